// MLA, absorbed form, for cache rows of up to 256 numbers: what small models decode with. No tensor cores.
//
//   Math     kernels/mla/mla.h; q' in fp32, times log2(e) / sqrt(N + P). Online softmax in base 2, fp32
//            throughout: only inputs, cache rows and outputs are bf16.
//   Work     Three kernels. Absorb: a block makes q' of one head of one query. Split: a block is one of
//            `splits` equal stretches of a sequence's cache, for up to 4 heads of one query, cut on the device
//            by the real length. A lane holds 8 channels of a row, of q' and of the sum; a warp takes 4 tokens
//            at a time, whose 16 scores it adds up together: lanes swap halves of what they hold, 16 exchanges
//            instead of 80. Warps meet once, in shared memory. Merge: a block adds up the stretches of one
//            head and applies w_uv.
//   Grid     absorb and merge: (H, B T) blocks of 256. Split: (splits, heads / 4, B T) blocks of 256, about
//            four a multiprocessor.
//   Cost     2 (R + P) bytes a cached token, once for every 4 heads and every query, and 16 (R + P) products
//            a token and 4 heads on the ordinary cores. Partial results: 4 R bytes a head and stretch.
//   Uses     33 KB of shared memory a block of the split, 128 registers a thread there. Nothing is spilled (ptxas).
//   Limits   R and P multiples of 8, R + P <= 256; cache rows begin on 16 bytes.
//   Checked  tests/cuda/test_mla_cuda.cpp
//   Next     the heads of one query as rows of an mma, from 8 heads on.

#include "kernels/mla/mla_split.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kHeads = 4, kTokens = 4;            // of a block; of a warp at a time
constexpr int kChannels = 8;                      // of a lane
constexpr int kMostSplits = 64;
constexpr int kBlocksEach = 4;                    // a multiprocessor

struct Small {
  const bf16 *q, *kv_b, *cache;
  const int32_t* lengths;
  float* query;         // [B T, H, R + P]
  float* values;        // [B T, H, splits, R], not divided by their sums
  float2* stats;        // [B T, H, splits]  maximum, sum
  bf16* out;
  int64_t q_batch, q_token, cache_batch, cache_token, out_batch, out_token;
  int T, H, N, P, V, R, splits;
  float scale, theta;
};

__global__ void __launch_bounds__(kThreads) mla_small_absorb_kernel(const __grid_constant__ Small a) {
  extern __shared__ float query[];                // [N]
  const int h = blockIdx.x, b = blockIdx.y / a.T, t = blockIdx.y % a.T;
  let_next_start();
  wait_for_previous();
  const bf16* const q = a.q + b * a.q_batch + t * a.q_token + h * (a.N + a.P);
  const bf16* const w = a.kv_b + int64_t{h} * (a.N + a.V) * a.R;
  float* const to = a.query + (int64_t{blockIdx.y} * a.H + h) * (a.R + a.P);
  for (int n = threadIdx.x; n < a.N; n += kThreads) query[n] = __bfloat162float(q[n]) * a.scale;
  __syncthreads();
  for (int r = threadIdx.x; r < a.R; r += kThreads) {
    float x = 0;
#pragma unroll 8
    for (int n = 0; n < a.N; ++n) x += query[n] * __bfloat162float(w[int64_t{n} * a.R + r]);
    to[r] = x;
  }
  for (int i = threadIdx.x; i < a.P / 2; i += kThreads) {
    float2 pair = {__bfloat162float(q[a.N + 2 * i]), __bfloat162float(q[a.N + 2 * i + 1])};
    if (a.theta > 0) pair = mla_rotate(pair, i, a.P, a.theta, a.lengths[b] + t);
    to[a.R + 2 * i] = pair.x * a.scale;
    to[a.R + 2 * i + 1] = pair.y * a.scale;
  }
}

// Adds x[i] up over the warp for all 16 i; lane l gets the sum of x[l / 2].
__device__ float sum_of_own(float (&x)[16]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 8; half > 0; half /= 2) {       // how many each lane keeps; its partner is 2 `half` away
    const bool upper = lane & 2 * half;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float give = upper ? x[i] : x[i + half], keep = upper ? x[i + half] : x[i];
      x[i] = keep + __shfl_xor_sync(0xffffffffu, give, 2 * half);
    }
  }
  return x[0] + __shfl_xor_sync(0xffffffffu, x[0], 1);
}

__global__ void __launch_bounds__(kThreads, 2) mla_small_split_kernel(const __grid_constant__ Small a) {
  __shared__ alignas(16) float sums[kWarps][kHeads][32 * kChannels];
  __shared__ float2 stats[kWarps][kHeads];
  const int split = blockIdx.x, first_head = blockIdx.y * kHeads, b = blockIdx.z / a.T, t = blockIdx.z % a.T;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row_channels = a.R + a.P;
  const bool has_channels = lane * kChannels < row_channels;
  let_next_start();
  wait_for_previous();

  // Stretches of as many tokens; the last ones may be shorter, or empty.
  const int tokens = a.lengths[b] + t + 1, each = (tokens + a.splits - 1) / a.splits;
  const int first = split * each, end = min(first + each, tokens);
  const bf16* const cache = a.cache + b * a.cache_batch + lane * kChannels;

  float q[kHeads][kChannels] = {}, sum[kHeads][kChannels] = {};
#pragma unroll
  for (int h = 0; h < kHeads; ++h)
    if (has_channels && first_head + h < a.H) {
      const float* const from = a.query + (int64_t{blockIdx.z} * a.H + first_head + h) * row_channels + lane * kChannels;
#pragma unroll
      for (int i = 0; i < kChannels; ++i) q[h][i] = from[i];
    }

  // A lane keeps the softmax of head lane / 8, of every fourth token: (lane / 2) % 4.
  float most = -INFINITY, total = 0;
  for (int at = first + warp * kTokens; at < end; at += kWarps * kTokens) {
    Bf16x8 row[kTokens] = {};
#pragma unroll
    for (int k = 0; k < kTokens; ++k)
      if (has_channels && at + k < end) row[k] = load8(cache + (at + k) * a.cache_token);
    float x[kHeads * kTokens];
#pragma unroll
    for (int k = 0; k < kTokens; ++k) {
      float value[kChannels];
#pragma unroll
      for (int i = 0; i < kChannels / 2; ++i) {
        const float2 pair = __bfloat1622float2(row[k].pair[i]);
        value[2 * i] = pair.x, value[2 * i + 1] = pair.y;
      }
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        float dot = 0;
#pragma unroll
        for (int i = 0; i < kChannels; ++i) dot += q[h][i] * value[i];
        x[h * kTokens + k] = dot;
      }
    }
    const float own = sum_of_own(x), score = at + lane / 2 % kTokens < end ? own : -INFINITY;
    float now = fmaxf(score, __shfl_xor_sync(0xffffffffu, score, 2));
    now = fmaxf(most, fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 4)));  // finite: token `at` is seen
    const float p = exp2f(score - now), rescale = exp2f(most - now);
    total = total * rescale + p;
    most = now;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const float factor = __shfl_sync(0xffffffffu, rescale, h * 8);
#pragma unroll
      for (int i = 0; i < kChannels; ++i) sum[h][i] *= factor;
#pragma unroll
      for (int k = 0; k < kTokens; ++k) {
        const float weight = __shfl_sync(0xffffffffu, p, h * 8 + k * 2);
#pragma unroll
        for (int i = 0; i < kChannels / 2; ++i) {
          const float2 pair = __bfloat1622float2(row[k].pair[i]);
          sum[h][2 * i] += weight * pair.x;
          sum[h][2 * i + 1] += weight * pair.y;
        }
      }
    }
  }
  total += __shfl_xor_sync(0xffffffffu, total, 2);
  total += __shfl_xor_sync(0xffffffffu, total, 4);
  if (lane % 8 == 0) stats[warp][lane / 8] = make_float2(most, total);
#pragma unroll
  for (int h = 0; h < kHeads; ++h)
#pragma unroll
    for (int i = 0; i < kChannels; i += 4)
      *reinterpret_cast<float4*>(&sums[warp][h][lane * kChannels + i]) =
          make_float4(sum[h][i], sum[h][i + 1], sum[h][i + 2], sum[h][i + 3]);
  __syncthreads();

  for (int h = 0; h < kHeads && first_head + h < a.H; ++h) {
    const int64_t at = (int64_t{blockIdx.z} * a.H + first_head + h) * a.splits + split;
    float top = -INFINITY, whole = 0;
    for (int w = 0; w < kWarps; ++w) top = fmaxf(top, stats[w][h].x);
    const float reference = top == -INFINITY ? 0.f : top;  // an empty stretch
    for (int w = 0; w < kWarps; ++w) whole += exp2f(stats[w][h].x - reference) * stats[w][h].y;
    for (int r = threadIdx.x; r < a.R; r += kThreads) {
      float x = 0;
      for (int w = 0; w < kWarps; ++w) x += exp2f(stats[w][h].x - reference) * sums[w][h][r];
      a.values[at * a.R + r] = x;
    }
    if (threadIdx.x == 0) a.stats[at] = make_float2(top, whole);
  }
}

__global__ void __launch_bounds__(kThreads) mla_small_merge_kernel(const __grid_constant__ Small a) {
  __shared__ float merged[32 * kChannels], weight[kMostSplits];
  const int h = blockIdx.x, b = blockIdx.y / a.T, t = blockIdx.y % a.T, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t at = (int64_t{blockIdx.y} * a.H + h) * a.splits;
  let_next_start();
  wait_for_previous();
  float top = -INFINITY, whole = 0;               // top is finite: every query sees the first token
  for (int s = 0; s < a.splits; ++s) top = fmaxf(top, a.stats[at + s].x);
  for (int s = 0; s < a.splits; ++s) whole += exp2f(a.stats[at + s].x - top) * a.stats[at + s].y;
  if (threadIdx.x < a.splits) weight[threadIdx.x] = exp2f(a.stats[at + threadIdx.x].x - top) / whole;
  __syncthreads();
  for (int r = threadIdx.x; r < a.R; r += kThreads) {
    float x = 0;
#pragma unroll 4
    for (int s = 0; s < a.splits; ++s) x += weight[s] * a.values[(at + s) * a.R + r];
    merged[r] = x;
  }
  __syncthreads();
  const bf16* const w_uv = a.kv_b + (int64_t{h} * (a.N + a.V) + a.N) * a.R;
  for (int v = warp; v < a.V; v += kWarps) {
    float x = 0;
    for (int r = lane; r < a.R; r += 32) x += merged[r] * __bfloat162float(w_uv[int64_t{v} * a.R + r]);
    x = warp_sum(x);
    if (lane == 0) a.out[b * a.out_batch + t * a.out_token + h * a.V + v] = __float2bfloat16(x);
  }
}

}  // namespace

bool mla_small_takes(const Mla<Gpu>& args) {
  return args.rank % kChannels == 0 && args.rope_dim % kChannels == 0 && args.rank + args.rope_dim <= 32 * kChannels;
}

void mla_small_cuda(const Mla<Gpu>& args, Arena& scratch, cudaStream_t stream) {
  const int64_t queries = args.q.size[0] * args.q.size[1], heads = args.heads;
  const int64_t groups = (heads + kHeads - 1) / kHeads, row = args.rank + args.rope_dim;
  const int64_t stretches = (args.max_context + kWarps * kTokens - 1) / (kWarps * kTokens);
  const int64_t splits = std::clamp<int64_t>(
      std::min(stretches, kBlocksEach * multiprocessors() / (queries * groups)), 1, kMostSplits);
  const View<float, 3> query = scratch.take<float>(queries, heads, row);
  const View<float, 4> values = scratch.take<float>(queries, heads, splits, args.rank);
  const View<float, 4> stats = scratch.take<float>(queries, heads, splits, 2);
  if (scratch.measuring()) return;

  Small a;
  a.q = as_bf16(args.q.data), a.kv_b = as_bf16(args.kv_b.data), a.cache = as_bf16(args.cache.data);
  a.lengths = args.lengths.data, a.out = as_bf16(args.out.data);
  a.query = query.data, a.values = values.data, a.stats = reinterpret_cast<float2*>(stats.data);
  a.q_batch = args.q.stride[0], a.q_token = args.q.stride[1];
  a.cache_batch = args.cache.stride[0], a.cache_token = args.cache.stride[1];
  a.out_batch = args.out.stride[0], a.out_token = args.out.stride[1];
  a.T = static_cast<int>(args.q.size[1]), a.H = args.heads;
  a.N = args.nope_dim, a.P = args.rope_dim, a.V = args.value_dim, a.R = args.rank;
  a.splits = static_cast<int>(splits);
  a.scale = 1.4426950408889634f / sqrtf(static_cast<float>(a.N + a.P)), a.theta = args.rope_theta;

  const dim3 each(args.heads, static_cast<unsigned>(queries));
  const dim3 parts(static_cast<unsigned>(splits), static_cast<unsigned>(groups), static_cast<unsigned>(queries));
  mla_append_cuda(args, stream);
  launch(mla_small_absorb_kernel, each, kThreads, a.N * sizeof(float), stream, "mla_small_absorb", a);
  launch(mla_small_split_kernel, parts, kThreads, 0, stream, "mla_small_split", a);
  launch(mla_small_merge_kernel, each, kThreads, 0, stream, "mla_small_merge", a);
}

}  // namespace kdabench
