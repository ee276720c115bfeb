#pragma once
// Seeded problems on the GPU. A test draws in double, runs the CPU's truth, mirrors the same values, runs the kernels,
// and compares what it downloads:
//
//   if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
//   auto truth = moe_problem({.tokens = 4}, seed);
//   Mirror mirror(truth.as<Gpu>());                 // before the truth runs: outputs are uploaded as NaN
//   moe_cpu(truth.args());
//   run_cuda([&](Arena& scratch, cudaStream_t stream) { moe_cuda(mirror.args(), scratch, stream); });
//   const MoeProblem<Gpu> got = mirror.download();
//   EXPECT_TRUE(close("out", got.out, truth.out, ...));

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <type_traits>
#include <utility>

#include "kernels/base/arena.h"
#include "kernels/base/cuda.h"
#include "kernels/problems.h"
#include "tests/compare.h"

namespace kdabench {

// Prints as well, because ctest reads a skipped test from its output.
inline bool has_gpu() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) return true;
  cudaGetLastError();
  std::puts("skipped: no GPU");
  return false;
}

// A problem's vectors on the GPU; its own vectors stay as they were uploaded.
template <class Problem>
class Mirror {
 public:
  explicit Mirror(Problem host) : host_(std::move(host)) {
    host_.visit_buffers([this](const char* name, auto& vector) {
      // 512 bytes more than asked for, all NaN: what a kernel reads behind an end shows.
      const int64_t bytes = int64_t(vector.size() * sizeof(vector[0]));
      DeviceMemory memory(bytes + 512, name);
      check(cudaMemset(memory.data(), 0xff, bytes + 512), "poison a buffer");
      if (bytes > 0) check(cudaMemcpy(memory.data(), vector.data(), bytes, cudaMemcpyHostToDevice), "upload");
      memory_.emplace(&vector, std::move(memory));
    });
  }
  // Buffers are found by the address of their vector.
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  // The problem's views, of device memory.
  auto args() {
    return host_.args_at([this](auto& vector) { return pointer(vector); });
  }

  // Where a vector of host() lies on the device.
  template <class T>
  T* pointer(std::vector<T>& vector) {
    return static_cast<T*>(memory_.at(&vector).data());
  }
  Problem& host() { return host_; }

  // What the device holds now.
  Problem download() {
    Problem copy = host_;
    std::vector<const void*> from;
    host_.visit_buffers([&](const char*, auto& vector) { from.push_back(memory_.at(&vector).data()); });
    size_t next = 0;
    copy.visit_buffers([&](const char*, auto& vector) {
      const void* const device = from[next++];
      if (!vector.empty())
        check(cudaMemcpy(vector.data(), device, vector.size() * sizeof(vector[0]), cudaMemcpyDeviceToHost), "download");
    });
    return copy;
  }

 private:
  Problem host_;
  std::map<const void*, DeviceMemory> memory_;
};

// Runs launch(scratch, stream) twice, as the engine does: once measuring, once for real in scratch full of NaN.
template <class Launch>
void run_cuda(Launch&& launch) {
  Arena measure;
  launch(measure, static_cast<cudaStream_t>(nullptr));
  const int64_t bytes = measure.peak_bytes();
  const DeviceMemory memory(bytes + 512, "scratch");
  check(cudaMemset(memory.data(), 0xff, bytes + 512), "poison the scratch memory");
  check(cudaDeviceSynchronize(), "wait for the uploads");  // the stream does not wait for the default stream
  const Stream stream = make_stream();
  Arena scratch(memory.data(), bytes);
  launch(scratch, stream.get());
  EXPECT_EQ(scratch.used_bytes(), 0) << "scratch was not given back";
  EXPECT_EQ(scratch.peak_bytes(), bytes) << "the measuring pass took another path";
  check(cudaStreamSynchronize(stream.get()), "run the kernels");
  check(cudaGetLastError(), "run the kernels");
}

}  // namespace kdabench
