// The ceilings of a GPU (kernels/base/ceilings.h).
//
//   Work     Read: a thread has four or eight independent 16-byte loads in flight and folds them by XOR; the sink is
//            written only on a value that random data does not have, so that the loads cannot be removed.
//   Grid     Several are tried: a block a tile, or 2, 4 or 8 blocks of 256 threads a multiprocessor in a loop.
//   Checked  suites/kernels prints them beside everything it measures.

#include "kernels/base/ceilings.h"

#include <limits>

#include "kernels/base/arena.h"
#include "kernels/base/device.cuh"
#include "kernels/base/fill.h"
#include "kernels/linear/linear.h"

namespace kdabench {
namespace {

constexpr int kThreads = 256, kRounds = 10;

// Tiles of kThreads * Loads vectors; a thread's loads are kThreads vectors apart.
template <int Loads>
__global__ void __launch_bounds__(kThreads) read_kernel(const device::bf16* data, int64_t tiles, uint32_t* sink) {
  uint32_t folded = 0;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    device::Bf16x8 v[Loads];
#pragma unroll
    for (int j = 0; j < Loads; ++j)
      v[j] = device::load_stream(data + 8 * ((tile * Loads + j) * kThreads + threadIdx.x));
#pragma unroll
    for (int j = 0; j < Loads; ++j) {
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
  double best = 0;
  const auto attempt = [&](auto kernel, int loads, int blocks) {
    const int64_t tiles = bytes / (16 * kThreads * loads);
    const int64_t grid = blocks > 0 ? int64_t{blocks} * device::multiprocessors() : tiles;
    const double seconds = best_seconds(stream.get(), [&] {
      kernel<<<static_cast<unsigned>(grid), kThreads, 0, stream.get()>>>(device::as_bf16(data), tiles,
                                                                        static_cast<uint32_t*>(sink.data()));
      check_launch("read");
    });
    best = std::max(best, tiles * 16. * kThreads * loads / seconds);
  };
  // Which shape is best differs between chips; 0: a block a tile.
  for (const int blocks : {0, 2, 4, 8}) {
    attempt(read_kernel<4>, 4, blocks);
    attempt(read_kernel<8>, 8, blocks);
  }
  return best;
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
