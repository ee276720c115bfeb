// MLA before the attention: new cache rows, the absorbed queries q', and rotated queries for the expanded
// form.
//
//   Math     kernels/mla/mla.h; row = [rms_norm(kv_a[:R]) | k_pe], q'[h] = [w_uk[h]^T q_nope | q_pe]. fp32
//            sums, one rounding to bf16 at the end.
//   Work     append: a warp per token. Absorb: a block owns 128 of the 512 columns of one head, brings their
//            128 x 128 weights to shared memory before it waits for the queries, then takes 16 tokens at a
//            time through mma (for one token 15 rows are padding: the weights are what costs). Rotate: a
//            thread per pair.
//   Order    Absorb lets the next kernel start only after its own wait: mla_decode.cu builds on it.
//   Grid     append: tokens / 8. Absorb: (H * 4 + append blocks, tokens / 64): the two run side by side,
//            since neither needs the other. Rotate: pairs / 256.
//   Cost     absorb: 2 H N R bytes of weights (4.2 MB for 32 heads), once for every 64 tokens (L2 after the
//            first).
//   Uses     sm_90a; 39,168 bytes of shared memory and at most 96 registers a thread (63, rotating 69), so that a
//            block of mla_split starts beside one of absorb. Nothing is spilled (ptxas).
//   Limits   append and rotate: any shape. Absorb: (R, P, N) = (512, 64, 128).
//   Checked  tests/cuda/test_mla_cuda.cpp

#include "kernels/mla/mla_split.cuh"

namespace kdabench {
namespace {

using namespace device;

struct Append {
  const bf16 *kv_a, *norm;
  bf16* cache;
  const int32_t* lengths;
  int64_t kv_a_batch, kv_a_token, cache_batch, cache_token;
  int B, T, R, P;
  float eps, theta;
};

constexpr int kHeld = 16;  // channels of a row that a lane keeps, so that 512 are read in one round trip

__device__ float2 load_pair(const bf16* from) {
  return {__bfloat162float(from[0]), __bfloat162float(from[1])};
}

// A lane's channels lane + 32 j of kv_norm; before the wait.
struct Norm {
  __nv_bfloat162 pair[kHeld / 2];
  __device__ Norm(const Append& a, int R) {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int i = threadIdx.x % 32 + 32 * j;
      const bf16 one = i < R ? a.norm[i] : __float2bfloat16(0.f);
      j % 2 == 0 ? pair[j / 2].x = one : pair[j / 2].y = one;
    }
  }
  __device__ float operator[](int j) const {
    return j % 2 == 0 ? __low2float(pair[j / 2]) : __high2float(pair[j / 2]);
  }
};

// Row `token` = b T + t, by one warp. After wait_for_previous(). What a lane keeps is asked for before anything is
// stored: the compiler cannot move a load over a store, and a round trip to memory is most of this kernel. R and P are
// a.R and a.P, or constants.
template <bool kRope>
__device__ __forceinline__ void append_row(const Append& a, const Norm& norm, int R, int P, int token) {
  const int lane = threadIdx.x % 32, b = token / a.T, t = token - b * a.T;
  const bf16* const in = a.kv_a + b * a.kv_a_batch + t * a.kv_a_token;

  bf16 x[kHeld];
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int i = lane + 32 * j;
    x[j] = i < R ? in[i] : __float2bfloat16(0.f);
  }
  float2 pair = {0, 0};
  if (2 * lane < P) pair = load_pair(in + R + 2 * lane);
  const int position = a.lengths[b] + t;
  bf16* const row = a.cache + b * a.cache_batch + position * a.cache_token;

  float squares = 0;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) squares += __bfloat162float(x[j]) * __bfloat162float(x[j]);
#pragma unroll 1
  for (int i = lane + 32 * kHeld; i < R; i += 32) {
    const float more = __bfloat162float(in[i]);
    squares += more * more;
  }
  const float scale = rsqrtf(warp_sum(squares) / R + a.eps);
#pragma unroll
  for (int j = 0; j < kHeld; ++j)
    if (lane + 32 * j < R)
      row[lane + 32 * j] = __float2bfloat16(__bfloat162float(x[j]) * scale * norm[j]);
#pragma unroll 1
  for (int i = lane + 32 * kHeld; i < R; i += 32)
    row[i] = __float2bfloat16(__bfloat162float(in[i]) * scale * __bfloat162float(a.norm[i]));
#pragma unroll 1
  for (int i = lane; 2 * i < P; i += 32) {
    if (i > lane) pair = load_pair(in + R + 2 * i);
    if constexpr (kRope) pair = mla_rotate(pair, i, P, a.theta, position);
    row[R + 2 * i] = __float2bfloat16(pair.x);
    row[R + 2 * i + 1] = __float2bfloat16(pair.y);
  }
}

template <bool kRope>
__global__ void __launch_bounds__(256) mla_append_kernel(const __grid_constant__ Append a) {
  let_next_start();
  const Norm norm(a, a.R);
  wait_for_previous();
  const int token = blockIdx.x * 8 + threadIdx.x / 32;
  if (token < a.B * a.T) append_row<kRope>(a, norm, a.R, a.P, token);
}

struct Absorb {
  Append append;
  const bf16 *kv_b, *q;
  bf16* query;
  int64_t q_batch, q_token;
  int H, append_blocks;
};

constexpr int kColumns = 128, kColumnTiles = kMlaRank / kColumns;
constexpr int kTokens = 16, kBlockTokens = 64;
constexpr int kStride = 128 + 8;  // elements; 17 chunks of 16 bytes, so ldmatrix meets no bank twice

template <bool kRope>
__global__ void __maxnreg__(96) mla_absorb_kernel(const __grid_constant__ Absorb a) {
  __shared__ alignas(16) bf16 weights[kMlaNope][kStride];  // [n, column]
  __shared__ alignas(16) bf16 nope[kTokens][kStride];
  const Append& p = a.append;
  const int tokens = p.B * p.T;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  const int role = static_cast<int>(blockIdx.x) - a.H * kColumnTiles;
  if (role >= 0) {
    const Norm norm(p, kMlaRank);
    wait_for_previous();
    let_next_start();
    for (int token = (blockIdx.y * a.append_blocks + role) * 8 + warp; token < tokens;
         token += gridDim.y * a.append_blocks * 8)
      append_row<kRope>(p, norm, kMlaRank, kMlaRope, token);
    return;
  }

  const int h = blockIdx.x / kColumnTiles, column = blockIdx.x % kColumnTiles * kColumns;
  const bf16* const w_uk = a.kv_b + int64_t{h} * (kMlaNope + kMlaValue) * kMlaRank + column;
#pragma unroll 2
  for (int row = threadIdx.x / 16; row < kMlaNope; row += 16)
    cp_async16(&weights[row][threadIdx.x % 16 * 8], w_uk + row * kMlaRank + threadIdx.x % 16 * 8);
  cp_async_commit();
  wait_for_previous();
  let_next_start();  // not before the wait: mla_split counts on that for what it reads early

  const int first = blockIdx.y * kBlockTokens;
#pragma unroll 1
  for (int from = first; from < min(tokens, first + kBlockTokens); from += kTokens) {
    // 16 tokens x 128 channels: one 16-byte load a thread. Rows past the end are zero.
    {
      const int row = threadIdx.x / 16, chunk = threadIdx.x % 16 * 8;
      const int token = from + row;
      const bool valid = token < tokens;
      const int b = valid ? token / p.T : 0, t = valid ? token - b * p.T : 0;
      cp_async16(&nope[row][chunk],
                 a.q + b * a.q_batch + t * a.q_token + h * (kMlaNope + kMlaRope) + chunk, valid);
      cp_async_commit();
    }
    if (column == 0) {
#pragma unroll 1
      for (int i = threadIdx.x; i < kTokens * kMlaRope / 2; i += 256) {
        const int token = from + i / (kMlaRope / 2);
        const int pair = i % (kMlaRope / 2);
        if (token >= tokens) continue;
        const int b = token / p.T, t = token - b * p.T;
        const bf16* const q_pe = a.q + b * a.q_batch + t * a.q_token + h * (kMlaNope + kMlaRope) + kMlaNope;
        __nv_bfloat162 value = *reinterpret_cast<const __nv_bfloat162*>(q_pe + 2 * pair);
        if constexpr (kRope) {
          const float2 turned =
              mla_rotate(__bfloat1622float2(value), pair, kMlaRope, p.theta, p.lengths[b] + t);
          value = __floats2bfloat162_rn(turned.x, turned.y);
        }
        bf16* const to = a.query + (int64_t{token} * a.H + h) * kMlaRow + kMlaRank + 2 * pair;
        *reinterpret_cast<__nv_bfloat162*>(to) = value;
      }
    }
    cp_async_wait<0>();
    __syncthreads();

    // Each warp: 16 tokens x its 16 columns.
    float sum[2][4] = {};
#pragma unroll 2
    for (int k = 0; k < kMlaNope; k += 16) {
      uint32_t x[4], w[4];
      ldmatrix4(x, &nope[lane % 16][k + lane / 16 * 8]);
      ldmatrix4_trans(w, &weights[k + lane % 16][warp * 16 + lane / 16 * 8]);
      mma_16x8x16(sum[0], x, {w[0], w[1]});
      mma_16x8x16(sum[1], x, {w[2], w[3]});
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = from + lane / 4 + 8 * half;
      if (token >= tokens) continue;
#pragma unroll
      for (int n = 0; n < 2; ++n)
        *reinterpret_cast<uint32_t*>(a.query + (int64_t{token} * a.H + h) * kMlaRow + column + warp * 16 + n * 8 +
                                     lane % 4 * 2) = pack_bf16(sum[n][2 * half], sum[n][2 * half + 1]);
    }
    __syncthreads();  // nope is refilled
  }
}

struct Rotate {
  const bf16* q;
  bf16* q_pe;
  const int32_t* lengths;
  int64_t q_batch, q_token, pairs;
  int T, H, N, P;
  float theta;
};

__global__ void __launch_bounds__(256) mla_rotate_queries_kernel(const __grid_constant__ Rotate a) {
  let_next_start();
  wait_for_previous();
  const int64_t at = int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (at >= a.pairs) return;
  const int i = static_cast<int>(at % (a.P / 2));
  const int64_t row = at / (a.P / 2), token = row / a.H, b = token / a.T, t = token % a.T;
  const bf16* const in = a.q + b * a.q_batch + t * a.q_token + row % a.H * (a.N + a.P) + a.N + 2 * i;
  const float2 turned =
      mla_rotate({__bfloat162float(in[0]), __bfloat162float(in[1])}, i, a.P, a.theta, a.lengths[b] + t);
  a.q_pe[row * a.P + 2 * i] = __float2bfloat16(turned.x);
  a.q_pe[row * a.P + 2 * i + 1] = __float2bfloat16(turned.y);
}

Append append_of(const Mla<Gpu>& args) {
  Append a;
  a.kv_a = as_bf16(args.kv_a.data), a.norm = as_bf16(args.kv_norm.data), a.cache = as_bf16(args.cache.data);
  a.lengths = args.lengths.data;
  a.kv_a_batch = args.kv_a.stride[0], a.kv_a_token = args.kv_a.stride[1];
  a.cache_batch = args.cache.stride[0], a.cache_token = args.cache.stride[1];
  a.B = static_cast<int>(args.q.size[0]), a.T = static_cast<int>(args.q.size[1]);
  a.R = args.rank, a.P = args.rope_dim, a.eps = args.kv_norm_eps, a.theta = args.rope_theta;
  return a;
}

unsigned ceil_div(int64_t a, int64_t b) { return static_cast<unsigned>((a + b - 1) / b); }

}  // namespace

void mla_append_cuda(const Mla<Gpu>& args, cudaStream_t stream) {
  const Append a = append_of(args);
  const auto kernel = a.theta > 0 ? mla_append_kernel<true> : mla_append_kernel<false>;
  launch(kernel, ceil_div(int64_t{a.B} * a.T, 8), 256, 0, stream, "mla_append", a);
}

void mla_absorb_cuda(const Mla<Gpu>& args, View<Bf16, 4> query, cudaStream_t stream) {
  Absorb a;
  a.append = append_of(args);
  a.kv_b = as_bf16(args.kv_b.data), a.q = as_bf16(args.q.data), a.query = as_bf16(query.data);
  a.q_batch = args.q.stride[0], a.q_token = args.q.stride[1];
  a.H = args.heads;
  const int64_t tokens = int64_t{a.append.B} * a.append.T;
  const unsigned token_blocks = ceil_div(tokens, kBlockTokens);
  a.append_blocks = static_cast<int>(ceil_div(tokens, int64_t{8} * token_blocks));
  const dim3 grid(a.H * kColumnTiles + a.append_blocks, token_blocks);
  const auto kernel = args.rope_theta > 0 ? mla_absorb_kernel<true> : mla_absorb_kernel<false>;
  share_multiprocessor(kernel, "mla_absorb");
  launch(kernel, grid, 256, 0, stream, "mla_absorb", a);
}

void mla_rotate_queries_cuda(const Mla<Gpu>& args, View<Bf16, 4> q_pe, cudaStream_t stream) {
  Rotate a;
  a.q = as_bf16(args.q.data), a.q_pe = as_bf16(q_pe.data), a.lengths = args.lengths.data;
  a.q_batch = args.q.stride[0], a.q_token = args.q.stride[1];
  a.T = static_cast<int>(args.q.size[1]), a.H = args.heads, a.N = args.nope_dim, a.P = args.rope_dim;
  a.theta = args.rope_theta;
  a.pairs = q_pe.count() / 2;
  launch(mla_rotate_queries_kernel, ceil_div(a.pairs, 256), 256, 0, stream, "mla_rotate_queries", a);
}

}  // namespace kdabench
