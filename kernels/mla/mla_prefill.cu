// MLA prefill, expanded form: keys and values of each head are made from the cache, then flash attention.
//
//   Math     kernels/mla/mla.h at any offset: query t of sequence b sees keys [0, lengths[b] + t]. Scores and
//            softmax in fp32, P rounded to bf16 for the second product; k_nope and v are rounded to bf16 by
//            the expansion.
//   Work     For each sequence and segment of 8192 keys: one GEMM [segment, R] x [R, H (N + V)] into scratch,
//            then the attention kernel, which carries (maximum, sum, O) in fp32 from segment to segment and
//            divides in the segment of a tile's last key. A block takes 128 queries of one head (256 from
//            2048 queries on), 16 or 32 a warp, and 64 keys at a time in two cp.async stages: k_nope and v
//            from scratch, k_pe from the cache row.
//   Grid     (query tiles, H) blocks of 256; a tile's neighbours share its keys through L2. Most keys first.
//   Cost     2 (N + P + V) flops a query, key and head, half of them with a causal mask; the expansion adds 2
//            R (N + V) a key and head, a tenth at 8192 queries. H200, 8192 queries, 32 heads: 2.42 ms
//            (284 TFLOP/s, expansion counted as time). O is rescaled for every tile: asking whether a maximum
//            grew costs more, 2.61 ms.
//   Uses     sm_90a, mma.sync. (128, 64, 128): 137 or 188 KB of shared memory, one block a multiprocessor.
//            256 queries spill 88 bytes a thread (ptxas).
//   Limits   (N, P, V) in {(128, 64, 128), (64, 32, 64)}; 16-byte aligned q and cache rows. The host loops
//            over segments up to max_context, so a loose bound expands rows that nobody reads.
//   Checked  tests/cuda/test_mla_cuda.cpp
//   Next     wgmma with both operands in shared memory: mma.sync stops near 60 % of the tensor peak.

#include "kernels/base/device.cuh"
#include "kernels/linear/linear.h"
#include "kernels/mla/mla_kernels.h"

namespace kdabench {
namespace {

using namespace device;

constexpr int kKeys = 64, kThreads = 256;
constexpr int64_t kSegment = 8192;
constexpr int64_t kManyQueries = 2048;  // from here on, tiles of 256 queries leave enough blocks for the chip

struct Prefill {
  const bf16 *q, *q_pe, *kv, *cache;  // of this sequence
  const int32_t* length;
  float *values, *stats;  // [T, H, V] and [T, H, 2], carried between segments
  bf16* out;
  int64_t q_token, q_pe_token, q_pe_head, cache_token, out_token;
  int T, H, R, segment_first, segment_last;
  float scale;  // log2(e) / sqrt(N + P)
};

template <int M, int N, int P, int V>
struct Tiles {
  static constexpr int kQueries = 128 * M;
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

template <int M, int N, int P, int V>
__device__ void fetch_keys(const Prefill& a, Tiles<M, N, P, V>& s, int stage, int first, int end) {
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
    cp_async16(&s.k[stage][row][N + chunk], a.cache + (first + row) * a.cache_token + a.R + chunk,
               first + row < end);
  }
  cp_async_commit();
}

// M: fragments of 16 queries a warp. Two halve the shared-memory reads of k and v for each product, but leave
// no registers for Q, which is then read again for every 64 keys.
template <int M, int N, int P, int V>
__global__ void __launch_bounds__(kThreads, 1) mla_prefill_kernel(const __grid_constant__ Prefill a) {
  extern __shared__ __align__(128) unsigned char memory[];
  using Shared = Tiles<M, N, P, V>;
  auto& s = *reinterpret_cast<Shared*>(memory);
  constexpr int kSteps = (N + P) / 16, kKeyTiles = kKeys / 8, kValueTiles = V / 8;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, h = blockIdx.y;
  const int first_query = (gridDim.x - 1 - blockIdx.x) * Shared::kQueries;
  let_next_start();
  wait_for_previous();

  const int length = *a.length;
  // That any query of this tile sees.
  const int last_key = length + min(first_query + Shared::kQueries, a.T) - 1;
  const int end = min(a.segment_last, last_key + 1);
  if (end <= a.segment_first) return;

  for (int i = threadIdx.x; i < Shared::kQueries * (N + P) / 8; i += kThreads) {
    const int row = i / ((N + P) / 8), chunk = i % ((N + P) / 8) * 8;
    const int64_t t = first_query + row;
    const bf16* const from = chunk < N ? a.q + t * a.q_token + h * (N + P) + chunk
                                       : a.q_pe + t * a.q_pe_token + h * a.q_pe_head + chunk - N;
    cp_async16(&s.q[row][chunk], from, t < a.T);
  }
  fetch_keys(a, s, 0, a.segment_first, end);

  // This thread's rows are row + 8 r, r < 2 M: lane / 4 and + 8 of each fragment.
  const int warp_row = first_query + warp * 16 * M, row = warp_row + lane / 4;
  float o[M][kValueTiles][4] = {};
  float most[2 * M], sum[2 * M];
#pragma unroll
  for (int r = 0; r < 2 * M; ++r) {
    most[r] = -INFINITY, sum[r] = 0;
    if (a.segment_first == 0 || row + 8 * r >= a.T) continue;
    const int64_t at = int64_t{row + 8 * r} * a.H + h;
    most[r] = a.stats[2 * at];
    sum[r] = lane % 4 == 0 ? a.stats[2 * at + 1] : 0;  // the four lanes of a row add up at the end
#pragma unroll
    for (int n = 0; n < kValueTiles; ++n) {
      const float2 x = *reinterpret_cast<const float2*>(a.values + at * V + n * 8 + lane % 4 * 2);
      o[r / 2][n][r % 2 * 2] = x.x, o[r / 2][n][r % 2 * 2 + 1] = x.y;
    }
  }

  uint32_t held[M == 1 ? kSteps : 1][4];  // Q, where it fits
  for (int first = a.segment_first, stage = 0; first < end; first += kKeys, stage ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // this tile is here for all, and all are done with the one before
    if (first + kKeys < end) fetch_keys(a, s, stage ^ 1, first + kKeys, end);
    const bf16* const q = &s.q[warp * 16 * M + lane % 16][lane / 16 * 8];
    if (M == 1 && first == a.segment_first) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) ldmatrix4(held[M == 1 ? step : 0], q + step * 16);
    }

    float x[M][kKeyTiles][4] = {};
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t read[M][4];
#pragma unroll
      for (int m = 0; m < M; ++m) {
        if constexpr (M == 1) {
#pragma unroll
          for (int i = 0; i < 4; ++i) read[m][i] = held[step][i];
        } else {
          ldmatrix4(read[m], q + m * 16 * Shared::kKeyStride + step * 16);
        }
      }
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 2) {
        uint32_t b[4];
        ldmatrix4(b, &s.k[stage][n * 8 + lane / 16 * 8 + lane % 8][step * 16 + lane / 8 % 2 * 8]);
#pragma unroll
        for (int m = 0; m < M; ++m) {
          mma_16x8x16(x[m][n], read[m], {b[0], b[1]});
          mma_16x8x16(x[m][n + 1], read[m], {b[2], b[3]});
        }
      }
    }

    if (first + kKeys - 1 > length + warp_row) {
#pragma unroll
      for (int r = 0; r < 2 * M; ++r)
#pragma unroll
        for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
          for (int i = 0; i < 2; ++i)
            if (first + n * 8 + lane % 4 * 2 + i > length + row + 8 * r)
              x[r / 2][n][r % 2 * 2 + i] = -INFINITY;
    }
    float rescale[2 * M];
#pragma unroll
    for (int r = 0; r < 2 * M; ++r) {
      float now = most[r];
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
        now = fmaxf(now, fmaxf(x[r / 2][n][r % 2 * 2], x[r / 2][n][r % 2 * 2 + 1]));
      now = warp_max<4>(now);
      // Only padding rows of later segments have none: in the first segment every row sees key 0, later it
      // carries one.
      const float reference = now == -INFINITY ? 0.f : now * a.scale;
      rescale[r] = exp2_of(most[r] * a.scale - reference);
      most[r] = now;
      float added = 0;
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& p = x[r / 2][n][r % 2 * 2 + i];
          added += p = exp2_of(p * a.scale - reference);
        }
      sum[r] = sum[r] * rescale[r] + added;
    }
#pragma unroll
    for (int r = 0; r < 2 * M; ++r)
#pragma unroll
      for (int n = 0; n < kValueTiles; ++n)
        o[r / 2][n][r % 2 * 2] *= rescale[r], o[r / 2][n][r % 2 * 2 + 1] *= rescale[r];

#pragma unroll
    for (int k = 0; k < kKeyTiles; k += 2) {
      uint32_t p[M][4];
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          p[m][i] = pack_bf16(x[m][k + i / 2][i % 2 * 2], x[m][k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
      for (int n = 0; n < kValueTiles; n += 2) {
        uint32_t b[4];
        ldmatrix4_trans(b, &s.v[stage][k * 8 + lane % 16][n * 8 + lane / 16 * 8]);
#pragma unroll
        for (int m = 0; m < M; ++m) {
          mma_16x8x16(o[m][n], p[m], {b[0], b[1]});
          mma_16x8x16(o[m][n + 1], p[m], {b[2], b[3]});
        }
      }
    }
  }

  const bool finished = last_key < a.segment_last;
#pragma unroll
  for (int r = 0; r < 2 * M; ++r) {
    const float total = warp_sum<4>(sum[r]);
    if (row + 8 * r >= a.T) continue;
    const int64_t t = row + 8 * r, at = t * a.H + h;
    const float inverse = 1.f / total;
    if (!finished && lane % 4 == 0) a.stats[2 * at] = most[r], a.stats[2 * at + 1] = total;
#pragma unroll
    for (int n = 0; n < kValueTiles; ++n) {
      const float low = o[r / 2][n][r % 2 * 2], high = o[r / 2][n][r % 2 * 2 + 1];
      if (finished)
        *reinterpret_cast<uint32_t*>(a.out + t * a.out_token + h * V + n * 8 + lane % 4 * 2) =
            pack_bf16(low * inverse, high * inverse);
      else
        *reinterpret_cast<float2*>(a.values + at * V + n * 8 + lane % 4 * 2) = make_float2(low, high);
    }
  }
}

template <int M, int N, int P, int V>
void launch_prefill(const Prefill& a, cudaStream_t stream) {
  using Shared = Tiles<M, N, P, V>;
  constexpr size_t kSharedBytes = sizeof(Shared);
  allow_shared(mla_prefill_kernel<M, N, P, V>, kSharedBytes, "mla_prefill");
  const dim3 grid((a.T + Shared::kQueries - 1) / Shared::kQueries, a.H);
  launch(mla_prefill_kernel<M, N, P, V>, grid, kThreads, kSharedBytes, stream, "mla_prefill", a);
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
      if (N != kMlaNope)
        launch_prefill<1, 64, 32, 64>(a, stream);
      else if (T >= kManyQueries)
        launch_prefill<2, 128, 64, 128>(a, stream);
      else
        launch_prefill<1, 128, 64, 128>(a, stream);
    }
}

}  // namespace kdabench
