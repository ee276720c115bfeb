// Reads the device timers. An ordinary launch, not a programmatic one: it must not start before the work before it ends.

#include "kernels/base/clock.h"

#include "kernels/base/cuda.h"

namespace kdabench {
namespace {

__global__ void stamp_clock_kernel(ClockStamp* stamp) {
  uint32_t multiprocessor;
  uint64_t nanoseconds;
  asm volatile("mov.u32 %0, %%smid;" : "=r"(multiprocessor));
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(nanoseconds));
  stamp->nanoseconds = nanoseconds;
  stamp->cycles = static_cast<uint64_t>(clock64());
  stamp->multiprocessor = multiprocessor;
}

__device__ uint64_t global_nanoseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

__global__ void spin_kernel(const ClockStamp* since, double factor) {
  const uint64_t begin = since->nanoseconds;
  const auto wanted = static_cast<uint64_t>(factor * static_cast<double>(global_nanoseconds() - begin));
  while (global_nanoseconds() - begin < wanted) {}
}

}  // namespace

void stamp_clock_cuda(ClockStamp* stamp, cudaStream_t stream) {
  stamp_clock_kernel<<<1, 1, 0, stream>>>(stamp);
  check_launch("stamp_clock");
}

void spin_cuda(const ClockStamp* since, double factor, cudaStream_t stream) {
  spin_kernel<<<1, 1, 0, stream>>>(since, factor);
  check_launch("spin");
}

}  // namespace kdabench
