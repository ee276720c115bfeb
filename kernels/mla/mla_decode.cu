// MLA decode, absorbed form: every query row against the latent cache, split over the whole chip.
//
//   Math     kernels/mla/mla.h with q' from mla_prepare.cu: O[row] = sum_s softmax_s(scale q'[row] .
//            cache[s]) cache[s, :R]. Online softmax in fp32, base 2; P is rounded to bf16 for the second
//            product.
//   Work     The cache tiles (32 tokens) of all sequences form one line; each block takes an equal stretch of
//            it, from the lengths on the device (MlaSplitPlan). Tiles stream through a ring of 5
//            shared-memory stages, and the ring runs on across sequences. cp.async by all threads: bulk
//            copies of a row each, issued by one warp, made 1M tokens take 537 us.
//            S = Q K^T: warp (k, half) takes 144 of the 576 channels and 16 of the 32 tokens, so that its
//            part of Q stays in registers for a whole sequence; the four parts meet in shared memory.
//            Softmax: 8 threads a row. O += P V: warp w owns value columns [64 w, 64 w + 64) of all 32 rows.
//            Two barriers a tile; O += P V of one tile and S of the next are not separated by one.
//   Grid     (groups, row tiles) blocks of 256, groups * row tiles <= multiprocessors: one block each.
//   Cost     2 (R + P) bytes and 2 T H (2 R + P) flops a cached token. At 4.3 TB/s a multiprocessor has a
//            token every 60 to 70 cycles; the mma alone take about 27. Partial results: 64 KB a block,
//            written once, read once. Append to merge, one sequence, H200: 27 us at 16K tokens, 67 at 128K,
//            374 at 1M (3.23 TB/s); CUDA graph.
//   Uses     sm_90a; 210 KB of shared memory, so one block a multiprocessor; 74 to 110 KB in flight. No
//            spills (ptxas).
//   Limits   (R, P) = (512, 64), cache rows 16-byte aligned, B <= 1024. More than 32 rows (T H) cost one more
//            pass over the cache for each 32, at the same time, so that most of it hits L2.
//   Checked  tests/cuda/test_mla_cuda.cpp
//   Next     One barrier a tile: softmax of one tile beside O += P V of the last and S of the next (S, P
//            doubled).

#include "kernels/mla/mla_split.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int kThreads = 256;
constexpr int kStages = 5;
constexpr int kRowStride = kMlaRow + 8;  // elements; 73 chunks of 16 bytes: ldmatrix meets no bank twice
constexpr int kTileElements = kMlaTileTokens * kRowStride;
constexpr int kScoreStride = 40;  // floats; the rows g, g + 1, .. of a fragment store fall on different banks
constexpr int kProbStride = 40;   // bf16; 5 chunks
constexpr int kParts = 4;         // of the channels
constexpr int kSteps = kMlaRow / kParts / 16;

struct Split {
  const bf16 *query, *cache;
  const int32_t* lengths;
  int64_t cache_batch, cache_token;
  float* values;
  float2* stats;
  int B, T, H, slots;
  float scale;  // log2(e) / sqrt(N + P)
};

struct Shared {
  alignas(128) bf16 ring[kStages][kTileElements];
  float scores[kParts][kMlaTileRows][kScoreStride];
  alignas(16) bf16 probs[kMlaTileRows][kProbStride];
  float rescale[kMlaTileRows];
};

// The next tile of this block's stretch to be fetched.
struct Fetch {
  int tile, last;
  int sequence = -1, context = 0;  // of `tile`
  int stage = 0;
};

// Read once, so first out of L2; with several row tiles the other blocks still want it.
__device__ uint64_t read_policy(bool once) {
  uint64_t policy;
  if (once)
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  else
    asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// By all threads: 8 a row, 9 chunks of 16 bytes each. Rows past the sequence's end become zero: finite, times
// P = 0. Commits a group in any case, so that a group is a tile to cp_async_wait.
__device__ void fetch_next(const Split& a, Shared& s, const int* prefix, Fetch& f, uint64_t policy) {
  if (f.tile < f.last) {
    if (f.tile >= prefix[f.sequence + 1]) {  // prefix[0] = 0: the first call always comes here
      while (f.tile >= prefix[f.sequence + 1]) ++f.sequence;
      f.context = a.lengths[f.sequence] + a.T;
    }
    const int row = threadIdx.x / 8, chunk = threadIdx.x % 8 * 8;
    const int token = (f.tile - prefix[f.sequence]) * kMlaTileTokens + row;
    const bf16* const from = a.cache + f.sequence * a.cache_batch + token * a.cache_token + chunk;
    const uint32_t to = shared_address(&s.ring[f.stage][row * kRowStride + chunk]);
    const int bytes = token < f.context ? 16 : 0;
#pragma unroll
    for (int i = 0; i < kMlaRow / 64; ++i)
      asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2, %3;"
                   :
                   : "r"(to + i * 128), "l"(from + i * 64), "r"(bytes), "l"(policy)
                   : "memory");
    ++f.tile;
    f.stage = f.stage + 1 == kStages ? 0 : f.stage + 1;
  }
  cp_async_commit();
}

// S[32 rows, 16 tokens] of this warp's channels, to shared memory.
__device__ void score(Shared& s, const bf16* tile, const uint32_t (&q)[kSteps][2][4]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = warp % kParts, half = warp / kParts;
  float sum[2][2][4] = {};  // [row half][token half]
  const int token = half * 16 + lane / 16 * 8 + lane % 8, channel = part * kSteps * 16 + lane / 8 % 2 * 8;
  const bf16* const k = tile + token * kRowStride + channel;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    uint32_t b[4];
    ldmatrix4(b, k + step * 16);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      mma_16x8x16(sum[m][0], q[step][m], {b[0], b[1]});
      mma_16x8x16(sum[m][1], q[step][m], {b[2], b[3]});
    }
  }
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = m * 16 + r * 8 + lane / 4, column = half * 16 + n * 8 + lane % 4 * 2;
        *reinterpret_cast<float2*>(&s.scores[part][row][column]) =
            make_float2(sum[m][n][2 * r], sum[m][n][2 * r + 1]);
      }
}

// One row by 8 threads, 4 tokens each. `most` and `sum` live in registers from tile to tile; sum is this
// thread's share.
__device__ void softmax(Shared& s, int visible, float scale, float& most, float& sum) {
  const int row = threadIdx.x / 8, column = threadIdx.x % 8 * 4;
  float x[4] = {};
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const float4 v = *reinterpret_cast<const float4*>(&s.scores[part][row][column]);
    x[0] += v.x, x[1] += v.y, x[2] += v.z, x[3] += v.w;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) x[j] = column + j < visible ? x[j] * scale : -INFINITY;
  const float now = fmaxf(most, warp_max<8>(fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3]))));
  const float reference = now == -INFINITY ? 0.f : now;  // nothing visible yet: all weights are 0, not NaN
  const float rescale = exp2f(most - reference);
  float p[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) p[j] = exp2f(x[j] - reference);
  sum = sum * rescale + (p[0] + p[1]) + (p[2] + p[3]);
  most = now;
  *reinterpret_cast<uint2*>(&s.probs[row][column]) = make_uint2(pack_bf16(p[0], p[1]), pack_bf16(p[2], p[3]));
  if (column == 0) s.rescale[row] = rescale;
}

// O[32 rows, 64 columns] of this warp.
__device__ void accumulate(const Shared& s, const bf16* tile, float (&o)[2][8][4]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float rescale[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) rescale[i] = s.rescale[i * 8 + lane / 4];
  const bool same = rescale[0] == 1.f && rescale[1] == 1.f && rescale[2] == 1.f && rescale[3] == 1.f;
  if (!__all_sync(0xffffffffu, same)) {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) o[m][n][i] *= rescale[2 * m + i / 2];
  }
  const bf16* const v = tile + lane % 16 * kRowStride + warp * 64 + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kMlaTileTokens; k += 16) {
    uint32_t p[2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m) ldmatrix4(p[m], &s.probs[m * 16 + lane % 16][k + lane / 16 * 8]);
#pragma unroll
    for (int n = 0; n < 8; n += 2) {
      uint32_t b[4];
      ldmatrix4_trans(b, v + k * kRowStride + n * 8);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        mma_16x8x16(o[m][n], p[m], {b[0], b[1]});
        mma_16x8x16(o[m][n + 1], p[m], {b[2], b[3]});
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads, 1) mla_split_kernel(const __grid_constant__ Split a) {
  extern __shared__ __align__(128) unsigned char memory[];
  Shared& s = *reinterpret_cast<Shared*>(memory);
  int* const prefix = reinterpret_cast<int*>(memory + sizeof(Shared));
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int rows = a.T * a.H, first_row = blockIdx.y * kMlaTileRows;

  let_next_start();
  wait_for_previous();
  mla_tile_prefix(prefix, a.lengths, a.B, a.T);

  const MlaLine line(prefix[a.B], gridDim.x);
  if (blockIdx.x >= line.groups) return;
  int tile = line.first(blockIdx.x);
  const int last = line.first(blockIdx.x + 1);
  const uint64_t policy = read_policy(gridDim.y == 1);
  Fetch fetch{tile, last};
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) fetch_next(a, s, prefix, fetch, policy);

  int sequence = 0, stage = 0;
  // The token of this thread's softmax row; padding rows take the last one.
  const int t = min((first_row + static_cast<int>(threadIdx.x) / 8) / a.H, a.T - 1);
  while (tile < last) {
    while (tile >= prefix[sequence + 1]) ++sequence;
    const int end = min(last, prefix[sequence + 1]);
    const int context = a.lengths[sequence] + t + 1;  // tokens that this thread's softmax row sees

    uint32_t q[kSteps][2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = first_row + m * 16 + r * 8 + lane / 4;
        const bf16* const from =
            a.query + (int64_t{sequence} * rows + row) * kMlaRow + warp % kParts * kSteps * 16 + lane % 4 * 2;
#pragma unroll
        for (int step = 0; step < kSteps; ++step)
#pragma unroll
          for (int c = 0; c < 2; ++c)
            q[step][m][c * 2 + r] =
                row < rows ? *reinterpret_cast<const uint32_t*>(from + step * 16 + c * 8) : 0;
      }
    float o[2][8][4] = {};
    float most = -INFINITY, sum = 0;

    cp_async_wait<kStages - 2>();
    __syncthreads();  // the first tile of this sequence is here, for all
    for (; tile < end; ++tile) {
      const bf16* const cached = s.ring[stage];
      stage = stage + 1 == kStages ? 0 : stage + 1;
      score(s, cached, q);
      __syncthreads();  // the scores are whole
      softmax(s, context - (tile - prefix[sequence]) * kMlaTileTokens, a.scale, most, sum);
      cp_async_wait<kStages - 3>();
      __syncthreads();  // P is whole, the next tile is here, and no warp needs the tile before this one:
      accumulate(s, cached, o);
      fetch_next(a, s, prefix, fetch, policy);  // into its stage; here, because other warps are busy with mma
    }

    const int64_t slot = int64_t{blockIdx.y} * a.slots + blockIdx.x + sequence;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = m * 16 + r * 8 + lane / 4;
        if (first_row + row >= rows) continue;
        float* const to = a.values + (slot * kMlaTileRows + row) * kMlaRank + warp * 64 + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < 8; ++n)
          *reinterpret_cast<float2*>(to + n * 8) = make_float2(o[m][n][2 * r], o[m][n][2 * r + 1]);
      }
    sum = warp_sum<8>(sum);
    if (threadIdx.x % 8 == 0) a.stats[slot * kMlaTileRows + threadIdx.x / 8] = make_float2(most, sum);
  }
}

}  // namespace

void mla_split_cuda(const Mla<Gpu>& args, View<const Bf16, 4> query, const MlaPartials& partials,
                    const MlaSplitPlan& plan, cudaStream_t stream) {
  Split a;
  a.query = as_bf16(query.data), a.cache = as_bf16(args.cache.data);
  a.lengths = args.lengths.data;
  a.cache_batch = args.cache.stride[0], a.cache_token = args.cache.stride[1];
  a.values = partials.values.data, a.stats = reinterpret_cast<float2*>(partials.stats.data);
  a.B = static_cast<int>(args.q.size[0]), a.T = static_cast<int>(args.q.size[1]), a.H = args.heads;
  a.slots = plan.slots;
  a.scale = 1.4426950408889634f / sqrtf(static_cast<float>(args.nope_dim + args.rope_dim));

  const size_t shared_bytes = sizeof(Shared) + (a.B + 1) * sizeof(int);
  allow_shared(mla_split_kernel, shared_bytes, "mla_split");
  launch(mla_split_kernel, dim3(plan.groups, plan.row_tiles), kThreads, shared_bytes, stream, "mla_split", a);
}

}  // namespace kdabench
