// Linear layer on the CPU.
//
//   Math     kernels/linear/linear.h.
//   Work     A thread owns 16 output channels at a time, for all tokens: every weight is read from memory once.
//   Checked  tests/test_linear.cpp.

#include "kernels/linear/linear.h"

#include <algorithm>

#include "kernels/base/cpu_math.h"
#include "kernels/linear/gemm_cpu.h"

namespace kdabench {

template <class T>
void linear_cpu(const Linear<Cpu<T>>& args) {
  const int64_t N = args.x.size[0], K = args.x.size[1], M = args.w.size[0];
  assert(args.w.size[1] == K && args.y.size[0] == N && args.y.size[1] == M);
  constexpr int64_t kBlock = 16;
#pragma omp parallel for schedule(static) if (N * M * K > kWorthThreads)
  for (int64_t first = 0; first < M; first += kBlock)
    gemm_cpu<T>(N, std::min(kBlock, M - first), K, args.x.data, args.x.stride[0], args.w.data + first * K, K,
                args.y.data + first, args.y.stride[0]);
}

template void linear_cpu(const Linear<Cpu<float>>&);
template void linear_cpu(const Linear<Cpu<double>>&);

}  // namespace kdabench
