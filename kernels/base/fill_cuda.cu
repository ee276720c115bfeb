// Seeded random contents on the GPU, bit-identical to the CPU's.
//
//   Math     kernels/base/fill.h and random.h: integers up to one last multiplication, so both devices agree.
//   Work     A thread makes 8 consecutive elements of a row at a time and stores them as 16-byte vectors.
//   Grid     8 blocks of 256 threads a multiprocessor, in a loop: element counts exceed any grid (49 G in the 48B
//            model).
//   Cost     About 40 integer instructions an element, against 2 bytes of stores: compute bound, about 0.2 s for 49 G.
//   Limits   None. Rows that are not aligned to 16 bytes are stored element by element.
//   Checked  tests/cuda/test_pointwise_cuda.cpp: equal to the last bit.

#include "kernels/base/device.cuh"
#include "kernels/base/fill.h"

namespace kdabench {
namespace {

constexpr int kThreads = 256, kChunk = 8;

__device__ inline void store_chunk(Bf16* to, const float (&x)[kChunk]) {
  uint4 v;
  uint32_t* const words = &v.x;
#pragma unroll
  for (int i = 0; i < kChunk / 2; ++i) words[i] = to_bf16(x[2 * i]).bits | uint32_t{to_bf16(x[2 * i + 1]).bits} << 16;
  *reinterpret_cast<uint4*>(to) = v;
}
__device__ inline void store_chunk(float* to, const float (&x)[kChunk]) {
  reinterpret_cast<float4*>(to)[0] = make_float4(x[0], x[1], x[2], x[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(x[4], x[5], x[6], x[7]);
}
__device__ inline void store_one(Bf16* to, float x) { *to = to_bf16(x); }
__device__ inline void store_one(float* to, float x) { *to = x; }

template <class T>
__global__ void __launch_bounds__(kThreads) fill_normal_kernel(T* out, int64_t rows, int64_t columns, int64_t stride,
                                                               uint64_t random, float stddev) {
  device::let_next_start();
  device::wait_for_previous();
  const int64_t chunks = (columns + kChunk - 1) / kChunk;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < rows * chunks; i += step) {
    const int64_t row = i / chunks, column = (i - row * chunks) * kChunk;
    T* const to = out + row * stride + column;
    float x[kChunk];
#pragma unroll
    for (int j = 0; j < kChunk; ++j) x[j] = stddev * random_normal(random, row * columns + column + j);
    if (column + kChunk <= columns && reinterpret_cast<uintptr_t>(to) % 16 == 0) {
      store_chunk(to, x);
    } else {
#pragma unroll
      for (int j = 0; j < kChunk; ++j)
        if (column + j < columns) store_one(to + j, x[j]);
    }
  }
}

template <class T>
void fill(const FillNormal<T>& args, cudaStream_t stream) {
  int64_t rows = args.out.size[0], columns = args.out.size[1], stride = args.out.stride[0];
  if (rows == 0 || columns == 0) return;
  if (stride == columns) columns *= rows, rows = 1, stride = columns;  // one long row
  const int64_t chunks = rows * ((columns + kChunk - 1) / kChunk);
  const dim3 grid(std::min<int64_t>(8 * device::multiprocessors(), (chunks + kThreads - 1) / kThreads));
  device::launch(fill_normal_kernel<T>, grid, dim3(kThreads), 0, stream, "fill_normal", args.out.data, rows, columns,
                 stride, args.random, args.stddev);
}

}  // namespace

void fill_normal_cuda(const FillNormal<Bf16>& args, cudaStream_t stream) { fill(args, stream); }
void fill_normal_cuda(const FillNormal<float>& args, cudaStream_t stream) { fill(args, stream); }

}  // namespace kdabench
