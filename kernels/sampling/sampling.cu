// Greedy sampling on the GPU: the lowest index of the largest logit.
//
//   Math     kernels/sampling/sampling.h; the truth is argmax_cpu<double>. NaN never wins; a row of nothing else gives
//            0.
//   Work     Two stages: parts of a row to (value, index) in scratch, then a block a row over its parts.
//   Grid     (parts, B) blocks of 256 threads; at B = 1 as many parts as fill the machine.
//   Cost     4 B V bytes; 0.15 us at B = 1, V = 163840, so it is latency: two dependent launches.
//   Limits   V < 2^31.
//   Checked  tests/cuda/test_pointwise_cuda.cpp: exact.

#include "kernels/sampling/sampling.h"

#include <climits>

#include "kernels/base/device.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int kThreads = 256;

struct Best {
  float value;
  int32_t index;
};

__device__ inline Best better(Best a, Best b) {
  return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}
__device__ inline Best none() { return {__int_as_float(0xff800000), INT_MAX}; }

// The best of a block; valid in thread 0.
__device__ inline Best block_best(Best mine) {
  __shared__ Best partial[kThreads / 32];
  const auto warp_best = [](Best x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2)
      x = better(x, {__shfl_xor_sync(0xffffffffu, x.value, offset), __shfl_xor_sync(0xffffffffu, x.index, offset)});
    return x;
  };
  mine = warp_best(mine);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = mine;
  __syncthreads();
  return warp_best(threadIdx.x < kThreads / 32 ? partial[threadIdx.x] : none());
}

__global__ void __launch_bounds__(kThreads) argmax_parts_kernel(const float* logits, int64_t stride, int vocabulary,
                                                                int part_size, Best* best) {
  let_next_start();
  wait_for_previous();
  const float* const row = logits + blockIdx.y * stride;
  const int first = blockIdx.x * part_size, end = min(first + part_size, vocabulary);
  Best mine = none();
  if (reinterpret_cast<uintptr_t>(row) % 16 == 0) {  // part_size is a multiple of 4
    for (int i = first + 4 * static_cast<int>(threadIdx.x); i + 4 <= end; i += 4 * kThreads) {
      const float4 v = *reinterpret_cast<const float4*>(row + i);
      mine = better(better(mine, {v.x, i}), better(better({v.y, i + 1}, {v.z, i + 2}), {v.w, i + 3}));
    }
    const int tail = first + (end - first) / 4 * 4 + static_cast<int>(threadIdx.x);
    if (tail < end) mine = better(mine, {row[tail], tail});
  } else {
    for (int i = first + static_cast<int>(threadIdx.x); i < end; i += kThreads) mine = better(mine, {row[i], i});
  }
  mine = block_best(mine);
  if (threadIdx.x == 0) best[blockIdx.y * gridDim.x + blockIdx.x] = mine;
}

__global__ void __launch_bounds__(kThreads) argmax_rows_kernel(const Best* best, int parts, int32_t* ids,
                                                               int64_t stride) {
  let_next_start();
  wait_for_previous();
  Best mine = none();
  for (int i = threadIdx.x; i < parts; i += kThreads) mine = better(mine, best[blockIdx.x * parts + i]);
  mine = block_best(mine);
  if (threadIdx.x == 0) ids[blockIdx.x * stride] = mine.index == INT_MAX ? 0 : mine.index;
}

}  // namespace

void argmax_cuda(const Argmax<Gpu>& args, Arena& scratch, cudaStream_t stream) {
  const auto [batch, vocabulary] = args.logits.size;
  require(vocabulary > 0 && vocabulary < INT_MAX && batch <= 65535, "argmax: logits are [", batch, ", ", vocabulary,
          "]; the CUDA kernel takes at most 65535 rows of 2^31 - 1.");
  // A part is at least one load of every thread; two blocks a multiprocessor in all.
  const int64_t most = (vocabulary + 4 * kThreads - 1) / (4 * kThreads);
  const int64_t wanted = std::max<int64_t>(1, 2 * multiprocessors() / std::max<int64_t>(batch, 1));
  const int64_t count = std::min(most, wanted);
  const int part_size = static_cast<int>((vocabulary + count - 1) / count + 3) / 4 * 4;
  const int parts = static_cast<int>((vocabulary + part_size - 1) / part_size);

  const ArenaScope scope(scratch);
  const auto best = scratch.take<Best>(batch, parts);
  if (scratch.measuring() || batch == 0) return;
  launch(argmax_parts_kernel, dim3(parts, batch), dim3(kThreads), 0, stream, "argmax_parts", args.logits.data,
         args.logits.stride[0], static_cast<int>(vocabulary), part_size, best.data);
  launch(argmax_rows_kernel, dim3(batch), dim3(kThreads), 0, stream, "argmax_rows", best.data, parts, args.ids.data,
         args.ids.stride[0]);
}

}  // namespace kdabench
