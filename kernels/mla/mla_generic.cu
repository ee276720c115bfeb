// MLA, absorbed form, for any shape: what no other kernel takes. Plain and slow on purpose; no tensor cores, no
// split.
//
//   Math     kernels/mla/mla.h. fp32 throughout: only inputs, cache rows and outputs are bf16.
//   Work     A block is one query of one head. It absorbs w_uk into q (shared memory), walks the cache 256
//            tokens at a time with an online softmax (a warp a token for the scores, a thread a channel for
//            the sum), applies w_uv.
//   Grid     (H, T, B) blocks of 256.
//   Cost     2 (R + P) bytes a cached token, for every head and query again (L2).
//   Uses     4 (2 R + P + 256) bytes of shared memory.
//   Limits   H and any dimension, as far as shared memory goes: 2 R + P <= 12,000.
//   Checked  tests/cuda/test_mla_cuda.cpp

#include "kernels/mla/mla_split.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int kKeys = 256;

struct Generic {
  const bf16 *q, *kv_b, *cache;
  const int32_t* lengths;
  bf16* out;
  int64_t q_batch, q_token, cache_batch, cache_token, out_batch, out_token;
  int N, P, V, R;
  float scale, theta;
};

__global__ void __launch_bounds__(256) mla_generic_kernel(const __grid_constant__ Generic a) {
  extern __shared__ float memory[];
  __shared__ float reduce[32], score[kKeys];
  float* const query = memory;          // [R + P]
  float* const sum = query + a.R + a.P;  // [R]
  const int h = blockIdx.x, t = blockIdx.y, b = blockIdx.z, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  let_next_start();
  wait_for_previous();

  const int position = a.lengths[b] + t;
  const bf16* const q = a.q + b * a.q_batch + t * a.q_token + h * (a.N + a.P);
  const bf16* const w = a.kv_b + int64_t{h} * (a.N + a.V) * a.R;
  const bf16* const cache = a.cache + b * a.cache_batch;
  for (int r = threadIdx.x; r < a.R; r += 256) {
    float x = 0;
    for (int n = 0; n < a.N; ++n) x += __bfloat162float(q[n]) * __bfloat162float(w[int64_t{n} * a.R + r]);
    query[r] = x;
    sum[r] = 0;
  }
  for (int i = threadIdx.x; i < a.P / 2; i += 256) {
    float2 pair = {__bfloat162float(q[a.N + 2 * i]), __bfloat162float(q[a.N + 2 * i + 1])};
    if (a.theta > 0) pair = mla_rotate(pair, i, a.P, a.theta, position);
    query[a.R + 2 * i] = pair.x;
    query[a.R + 2 * i + 1] = pair.y;
  }
  __syncthreads();

  float most = -INFINITY, weight_sum = 0;  // the same in every thread
  for (int first = 0; first <= position; first += kKeys) {
    const int keys = min(kKeys, position + 1 - first);
    for (int s = warp; s < keys; s += 8) {
      const bf16* const row = cache + (first + s) * a.cache_token;
      float x = 0;
      for (int i = lane; i < a.R + a.P; i += 32) x += query[i] * __bfloat162float(row[i]);
      x = warp_sum(x);
      if (lane == 0) score[s] = x * a.scale;
    }
    __syncthreads();
    float now = most;
    for (int s = 0; s < keys; ++s) now = fmaxf(now, score[s]);
    __syncthreads();  // score is overwritten
    float p = 0;
    if (threadIdx.x < keys) score[threadIdx.x] = p = exp2f(score[threadIdx.x] - now);
    const float rescale = exp2f(most - now);
    weight_sum = weight_sum * rescale + block_sum(p, reduce);  // its barriers also publish score
    most = now;
    for (int r = threadIdx.x; r < a.R; r += 256) {
      float x = sum[r] * rescale;
      for (int s = 0; s < keys; ++s) x += score[s] * __bfloat162float(cache[(first + s) * a.cache_token + r]);
      sum[r] = x;
    }
    __syncthreads();
  }

  for (int v = warp; v < a.V; v += 8) {
    const bf16* const row = w + int64_t{a.N + v} * a.R;
    float x = 0;
    for (int r = lane; r < a.R; r += 32) x += sum[r] * __bfloat162float(row[r]);
    x = warp_sum(x);
    if (lane == 0) a.out[b * a.out_batch + t * a.out_token + h * a.V + v] = __float2bfloat16(x / weight_sum);
  }
}

}  // namespace

void mla_generic_cuda(const Mla<Gpu>& args, cudaStream_t stream) {
  Generic a;
  a.q = as_bf16(args.q.data), a.kv_b = as_bf16(args.kv_b.data), a.cache = as_bf16(args.cache.data);
  a.lengths = args.lengths.data, a.out = as_bf16(args.out.data);
  a.q_batch = args.q.stride[0], a.q_token = args.q.stride[1];
  a.cache_batch = args.cache.stride[0], a.cache_token = args.cache.stride[1];
  a.out_batch = args.out.stride[0], a.out_token = args.out.stride[1];
  a.N = args.nope_dim, a.P = args.rope_dim, a.V = args.value_dim, a.R = args.rank;
  a.scale = 1.4426950408889634f / sqrtf(static_cast<float>(a.N + a.P)), a.theta = args.rope_theta;
  const dim3 grid(args.heads, static_cast<unsigned>(args.q.size[1]), static_cast<unsigned>(args.q.size[0]));
  launch(mla_generic_kernel, grid, 256, (2 * a.R + a.P) * sizeof(float), stream, "mla_generic", a);
}

}  // namespace kdabench
