// The ceilings of a GPU (kernels/base/ceilings.h).
//
//   Work     Read: a thread has eight independent 16-byte loads in flight and folds them by XOR; the sink is written only
//            on a value that random data does not have, so that the loads cannot be removed.
//   Grid     Eight blocks of 256 threads a multiprocessor, in a loop.
//   Checked  suites/kernels prints them beside everything it measures.

#include "kernels/base/ceilings.h"

#include <limits>

#include "kernels/base/arena.h"
#include "kernels/base/device.cuh"
#include "kernels/base/fill.h"
#include "kernels/linear/linear.h"

namespace kdabench {
namespace {

constexpr int kThreads = 256, kLoads = 8, kRounds = 10;

__global__ void __launch_bounds__(kThreads) read_kernel(const device::bf16* data, int64_t vectors, uint32_t* sink) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  uint32_t folded = 0;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < vectors; i += kLoads * step) {
    device::Bf16x8 v[kLoads];
#pragma unroll
    for (int j = 0; j < kLoads; ++j)
      if (i + j * step < vectors) v[j] = device::load_stream(data + 8 * (i + j * step));
#pragma unroll
    for (int j = 0; j < kLoads; ++j)
      if (i + j * step < vectors) {
        const uint4 bits = *reinterpret_cast<const uint4*>(&v[j]);
        folded ^= bits.x ^ bits.y ^ bits.z ^ bits.w;
      }
  }
  if (folded == 0x9e3779b9u) *sink = folded;
}

// The shortest of several rounds.
template <class Launch>
double best_seconds(cudaStream_t stream, Launch&& launch) {
  const Event begin = make_event(), end = make_event();
  float best = std::numeric_limits<float>::infinity();
  for (int round = 0; round <= kRounds; ++round) {
    check(cudaEventRecord(begin.get(), stream), "record an event");
    launch();
    check(cudaEventRecord(end.get(), stream), "record an event");
    check(cudaEventSynchronize(end.get()), "measure a ceiling");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin.get(), end.get()), "read a timer");
    if (round > 0) best = std::min(best, ms);  // the first warms up
  }
  return best * 1e-3;
}

Bf16* random_elements(const DeviceMemory& memory, int64_t count, uint64_t seed, cudaStream_t stream) {
  Bf16* const data = static_cast<Bf16*>(memory.data());
  fill_normal_cuda(FillNormal<Bf16>{View<Bf16, 2>(data, {1, count}), seed, 1.f}, stream);
  return data;
}

}  // namespace

double copy_bytes_per_s(int64_t bytes) {
  const Stream stream = make_stream();
  const DeviceMemory from(bytes, "the copy ceiling"), to(bytes, "the copy ceiling");
  random_elements(from, bytes / 2, 1, stream.get());
  return 2 * bytes / best_seconds(stream.get(), [&] {
           check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, stream.get()), "copy");
         });
}

double read_bytes_per_s(int64_t bytes) {
  const Stream stream = make_stream();
  const DeviceMemory from(bytes, "the read ceiling"), sink(256, "the read ceiling");
  const Bf16* const data = random_elements(from, bytes / 2, 1, stream.get());
  return bytes / best_seconds(stream.get(), [&] {
           read_kernel<<<8 * device::multiprocessors(), kThreads, 0, stream.get()>>>(
               device::as_bf16(data), bytes / 16, static_cast<uint32_t*>(sink.data()));
           check_launch("read");
         });
}

double gemm_flops_per_s(int64_t size) {
  const Stream stream = make_stream();
  Arena measure;
  const View<const Bf16, 2> none(nullptr, {size, size});
  linear_cuda(Linear<Gpu>{none, none, View<Bf16, 2>(nullptr, {size, size})}, measure, stream.get());
  const DeviceMemory x(2 * size * size, "the gemm ceiling"), w(2 * size * size, "the gemm ceiling"),
      y(2 * size * size, "the gemm ceiling"), workspace(measure.peak_bytes() + 256, "the gemm ceiling");
  const Linear<Gpu> args{View<const Bf16, 2>(random_elements(x, size * size, 1, stream.get()), {size, size}),
                         View<const Bf16, 2>(random_elements(w, size * size, 2, stream.get()), {size, size}),
                         View<Bf16, 2>(static_cast<Bf16*>(y.data()), {size, size})};
  Arena scratch(workspace.data(), workspace.bytes());
  return 2. * size * size * size / best_seconds(stream.get(), [&] { linear_cuda(args, scratch, stream.get()); });
}

}  // namespace kdabench
