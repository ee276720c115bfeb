// MLA prefill, expanded form: keys and values of each head are made from the cache, then flash attention.
//
//   Math     kernels/mla/mla.h at any offset: query t of sequence b sees keys [0, lengths[b] + t]. Scores and softmax in
//            fp32, P rounded to bf16 for the second product; k_nope and v are rounded to bf16 by the expansion.
//   Work     For each sequence and segment of 8192 keys: one GEMM [segment, R] x [R, H (N + V)] into scratch, then the
//            attention kernel, which carries (maximum, sum, O) in fp32 from segment to segment and divides in the
//            segment of a tile's last key. A block takes 128 queries of one head, 16 a warp, Q fragments in registers;
//            64 keys at a time in two cp.async stages: k_nope and v from scratch, k_pe from the cache row itself.
//   Grid     (query tiles, H) blocks of 256; a tile's neighbours share its keys through L2. Most keys first.
//   Cost     2 (N + P + V) flops a query, key and head, half of them with a causal mask; the expansion adds
//            2 R (N + V) a key and head, less than a tenth from 8192 queries on.
//   Uses     sm_90a, mma.sync. (128, 64, 128): 137 KB of shared memory, one block a multiprocessor.
//   Limits   (N, P, V) in {(128, 64, 128), (64, 32, 64)}; 16-byte aligned q and cache rows. The host loops over segments
//            up to max_context, so a loose bound expands rows that nobody reads.
//   Checked  tests/cuda/test_mla_cuda.cpp
//   Next     wgmma with both operands in shared memory: mma.sync stops near 60 % of the tensor peak.

#include "kernels/base/device.cuh"
#include "kernels/linear/linear.h"
#include "kernels/mla/mla_kernels.h"

namespace kdabench {
namespace {

using namespace device;

constexpr int kQueries = 128, kKeys = 64, kThreads = 256;
constexpr int64_t kSegment = 8192;

struct Prefill {
  const bf16 *q, *q_pe, *kv, *cache;  // of this sequence
  const int32_t* length;
  float *values, *stats;  // [T, H, V] and [T, H, 2], carried between segments
  bf16* out;
  int64_t q_token, q_pe_token, q_pe_head, cache_token, out_token;
  int T, H, R, segment_first, segment_last;
  float scale;  // log2(e) / sqrt(N + P)
};

template <int N, int P, int V>
struct Tiles {
  static constexpr int kKeyStride = N + P + 8, kValueStride = V + 8;  // odd numbers of 16-byte chunks
  alignas(16) bf16 q[kQueries][kKeyStride];
  alignas(16) bf16 k[2][kKeys][kKeyStride];
  alignas(16) bf16 v[2][kKeys][kValueStride];
};

// 2 ulp (CUDA math manual), results below 2^-126 are 0; arguments are never positive here.
__device__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

template <int N, int P, int V>
__device__ void fetch_keys(const Prefill& a, Tiles<N, P, V>& s, int stage, int first, int end) {
  constexpr int kExpanded = (N + V) / 8, kRope = P / 8;  // chunks of a key
  const bf16* const kv = a.kv + int64_t{blockIdx.y} * (N + V);
#pragma unroll
  for (int i = threadIdx.x; i < kKeys * kExpanded; i += kThreads) {
    const int row = i / kExpanded, chunk = i % kExpanded * 8;
    // Rows past the end are zero: their P is 0, and 0 times whatever is there could be NaN.
    cp_async16(chunk < N ? &s.k[stage][row][chunk] : &s.v[stage][row][chunk - N],
               kv + int64_t{first + row - a.segment_first} * a.H * (N + V) + chunk, first + row < end);
  }
#pragma unroll
  for (int i = threadIdx.x; i < kKeys * kRope; i += kThreads) {
    const int row = i / kRope, chunk = i % kRope * 8;
    cp_async16(&s.k[stage][row][N + chunk], a.cache + (first + row) * a.cache_token + a.R + chunk, first + row < end);
  }
  cp_async_commit();
}

template <int N, int P, int V>
__global__ void __launch_bounds__(kThreads, 1) mla_prefill_kernel(const __grid_constant__ Prefill a) {
  extern __shared__ __align__(128) unsigned char memory[];
  auto& s = *reinterpret_cast<Tiles<N, P, V>*>(memory);
  constexpr int kSteps = (N + P) / 16, kKeyTiles = kKeys / 8, kValueTiles = V / 8;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, h = blockIdx.y;
  const int first_query = (gridDim.x - 1 - blockIdx.x) * kQueries;
  let_next_start();
  wait_for_previous();

  const int length = *a.length;
  const int last_key = length + min(first_query + kQueries, a.T) - 1;  // that any query of this tile sees
  const int end = min(a.segment_last, last_key + 1);
  if (end <= a.segment_first) return;

  for (int i = threadIdx.x; i < kQueries * (N + P) / 8; i += kThreads) {
    const int row = i / ((N + P) / 8), chunk = i % ((N + P) / 8) * 8;
    const int64_t t = first_query + row;
    const bf16* const from = chunk < N ? a.q + t * a.q_token + h * (N + P) + chunk
                                       : a.q_pe + t * a.q_pe_token + h * a.q_pe_head + chunk - N;
    cp_async16(&s.q[row][chunk], from, t < a.T);
  }
  fetch_keys(a, s, 0, a.segment_first, end);

  // This thread's two rows, lane / 4 and + 8 of its warp's 16.
  const int row = first_query + warp * 16 + lane / 4;
  float o[kValueTiles][4] = {};
  float most[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  if (a.segment_first > 0) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (row + 8 * r >= a.T) continue;
      const int64_t at = int64_t{row + 8 * r} * a.H + h;
      most[r] = a.stats[2 * at];
      sum[r] = lane % 4 == 0 ? a.stats[2 * at + 1] : 0;  // the four lanes of a row add up at the end
#pragma unroll
      for (int n = 0; n < kValueTiles; ++n) {
        const float2 x = *reinterpret_cast<const float2*>(a.values + at * V + n * 8 + lane % 4 * 2);
        o[n][2 * r] = x.x, o[n][2 * r + 1] = x.y;
      }
    }
  }

  uint32_t q[kSteps][4];
  for (int first = a.segment_first, stage = 0; first < end; first += kKeys, stage ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // this tile is here for all, and all are done with the one before
    if (first + kKeys < end) fetch_keys(a, s, stage ^ 1, first + kKeys, end);
    if (first == a.segment_first) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
        ldmatrix4(q[step], &s.q[warp * 16 + lane % 16][step * 16 + lane / 16 * 8]);
    }

    float x[kKeyTiles][4] = {};
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 2) {
        uint32_t b[4];
        ldmatrix4(b, &s.k[stage][n * 8 + lane / 16 * 8 + lane % 8][step * 16 + lane / 8 % 2 * 8]);
        mma_16x8x16(x[n], q[step], {b[0], b[1]});
        mma_16x8x16(x[n + 1], q[step], {b[2], b[3]});
      }
    }

    if (first + kKeys - 1 > length + first_query + warp * 16) {
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (first + n * 8 + lane % 4 * 2 + i % 2 > length + row + i / 2 * 8) x[n][i] = -INFINITY;
    }
    float rescale[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      // Never -infinity: in the first segment every row sees key 0, in later ones it carries a maximum.
      float now = most[r];
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) now = fmaxf(now, fmaxf(x[n][2 * r], x[n][2 * r + 1]));
      now = warp_max<4>(now);
      const float reference = now == -INFINITY ? 0.f : now * a.scale;  // padding rows in later segments have none
      rescale[r] = exp2_of(most[r] * a.scale - reference);
      most[r] = now;
      float added = 0;
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) added += x[n][2 * r + i] = exp2_of(x[n][2 * r + i] * a.scale - reference);
      sum[r] = sum[r] * rescale[r] + added;
    }
#pragma unroll
    for (int n = 0; n < kValueTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) o[n][i] *= rescale[i / 2];

#pragma unroll
    for (int k = 0; k < kKeyTiles; k += 2) {
      const uint32_t p[4] = {pack_bf16(x[k][0], x[k][1]), pack_bf16(x[k][2], x[k][3]),
                             pack_bf16(x[k + 1][0], x[k + 1][1]), pack_bf16(x[k + 1][2], x[k + 1][3])};
#pragma unroll
      for (int n = 0; n < kValueTiles; n += 2) {
        uint32_t b[4];
        ldmatrix4_trans(b, &s.v[stage][k * 8 + lane % 16][n * 8 + lane / 16 * 8]);
        mma_16x8x16(o[n], p, {b[0], b[1]});
        mma_16x8x16(o[n + 1], p, {b[2], b[3]});
      }
    }
  }

  const bool finished = last_key < a.segment_last;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float total = warp_sum<4>(sum[r]);
    if (row + 8 * r >= a.T) continue;
    const int64_t t = row + 8 * r, at = t * a.H + h;
    if (finished) {
      const float inverse = 1.f / total;
#pragma unroll
      for (int n = 0; n < kValueTiles; ++n)
        *reinterpret_cast<uint32_t*>(a.out + t * a.out_token + h * V + n * 8 + lane % 4 * 2) =
            pack_bf16(o[n][2 * r] * inverse, o[n][2 * r + 1] * inverse);
    } else {
      if (lane % 4 == 0) a.stats[2 * at] = most[r], a.stats[2 * at + 1] = total;
#pragma unroll
      for (int n = 0; n < kValueTiles; ++n)
        *reinterpret_cast<float2*>(a.values + at * V + n * 8 + lane % 4 * 2) =
            make_float2(o[n][2 * r], o[n][2 * r + 1]);
    }
  }
}

template <int N, int P, int V>
void launch_prefill(const Prefill& a, cudaStream_t stream) {
  constexpr size_t kSharedBytes = sizeof(Tiles<N, P, V>);
  allow_shared(mla_prefill_kernel<N, P, V>, kSharedBytes, "mla_prefill");
  const dim3 grid((a.T + kQueries - 1) / kQueries, a.H);
  launch(mla_prefill_kernel<N, P, V>, grid, kThreads, kSharedBytes, stream, "mla_prefill", a);
}

}  // namespace

void mla_expanded_cuda(const Mla<Gpu>& args, View<const Bf16, 4> q_pe, Arena& scratch, cudaStream_t stream) {
  const int64_t B = args.q.size[0], T = args.q.size[1], H = args.heads, N = args.nope_dim, P = args.rope_dim,
                V = args.value_dim;
  ArenaScope scope(scratch);
  const auto kv = scratch.take<Bf16>(std::min(kSegment, args.max_context), H * (N + V));
  const int64_t carried = args.max_context > kSegment ? T : 0;
  const auto values = scratch.take<float>(carried, H, V);
  const auto stats = scratch.take<float>(carried, H, 2);

  for (int64_t b = 0; b < B; ++b)
    for (int64_t first = 0; first < args.max_context; first += kSegment) {
      const int64_t rows = std::min(kSegment, args.max_context - first);
      const bf16* const cache = as_bf16(args.cache.data) + b * args.cache.stride[0];

      Linear<Gpu> expand;
      expand.x.data = args.cache.data + b * args.cache.stride[0] + first * args.cache.stride[1];
      expand.x.size[0] = rows, expand.x.size[1] = args.rank;
      expand.x.stride[0] = args.cache.stride[1], expand.x.stride[1] = 1;
      expand.w = args.kv_b;
      expand.y = kv.slice(0, 0, rows);
      linear_cuda(expand, scratch, stream);
      if (scratch.measuring()) continue;

      Prefill a;
      a.q = as_bf16(args.q.data) + b * args.q.stride[0], a.q_token = args.q.stride[1];
      a.q_pe = a.q + N, a.q_pe_token = a.q_token, a.q_pe_head = N + P;
      if (q_pe) a.q_pe = as_bf16(q_pe.data) + b * q_pe.stride[0], a.q_pe_token = H * P, a.q_pe_head = P;
      a.kv = as_bf16(kv.data), a.cache = cache, a.cache_token = args.cache.stride[1];
      a.length = args.lengths.data + b;
      a.values = values.data, a.stats = stats.data;
      a.out = as_bf16(args.out.data) + b * args.out.stride[0], a.out_token = args.out.stride[1];
      a.T = static_cast<int>(T), a.H = args.heads, a.R = args.rank;
      a.segment_first = static_cast<int>(first), a.segment_last = static_cast<int>(first + rows);
      a.scale = 1.4426950408889634f / sqrtf(static_cast<float>(N + P));
      if (N == kMlaNope)
        launch_prefill<128, 64, 128>(a, stream);
      else
        launch_prefill<64, 32, 64>(a, stream);
    }
}

}  // namespace kdabench
