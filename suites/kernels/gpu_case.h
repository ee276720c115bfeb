#pragma once
// One operation on the GPU, measured as it runs inside a model: a captured graph of launches, each over another copy of
// the data, so that what a step reads from HBM is read from HBM here.

#include <benchmark/benchmark.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "kernels/base/arena.h"
#include "kernels/base/cuda.h"
#include "kernels/base/fill.h"
#include "kernels/base/kernel_log.h"
#include "kernels/base/kernel_use.h"

namespace kdabench::suites {

// Random tensors in an arena; nothing is written while the arena measures.
class Tensors {
 public:
  Tensors(Arena& arena, uint64_t seed, cudaStream_t stream) : arena_(arena), seed_(seed), stream_(stream) {}

  template <class T = Bf16, class... Size>
  View<T, sizeof...(Size)> normal(float stddev, Size... sizes) {
    const auto view = arena_.take<T>(sizes...);
    if (!arena_.measuring())
      fill_normal_cuda(FillNormal<T>{View<T, 2>(view.data, {1, view.count()}), seed_ + ++count_ * 0x9e3779b97f4a7c15ull,
                                     stddev},
                       stream_);
    return view;
  }
  template <class T, class... Size>
  View<T, sizeof...(Size)> constant(T value, Size... sizes) {
    const auto view = arena_.take<T>(sizes...);
    if (arena_.measuring()) return view;
    const std::vector<T> host(view.count(), value);
    check(cudaMemcpyAsync(view.data, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice, stream_), "upload");
    check(cudaStreamSynchronize(stream_), "upload");
    return view;
  }

 private:
  Arena& arena_;
  uint64_t seed_, count_ = 0;
  cudaStream_t stream_;
};

template <class Args>
struct GpuCase {
  std::string name;
  int64_t tokens;                                          // a launch
  double bytes;                                            // least traffic of a launch, read and written
  double flops;                                            // 0: not worth stating
  std::function<Args(Tensors&)> make;
  std::function<void(const Args&, Arena&, cudaStream_t)> run;
  std::function<std::string(const Args&)> unsupported = {};
  std::function<double(const Args&)> bytes_of = {};        // when they depend on the data; after a run
  int launches = 0;                                        // in the graph; 0: as many as there are copies
  int least_copies = 1;
  double copied_bytes = 0;                                 // that one copy holds and a launch reads; 0: `bytes`
};

// Denominators, measured once.
struct Ceilings {
  double read_bytes_per_s, gemm_flops_per_s;
};
const Ceilings& ceilings();

// Registers the case; its copies hold 4 times the L2 at least, or there is one that is larger than that.
template <class Args>
void add_gpu(GpuCase<Args> c);

// ---- implementation -----------------------------------------------------------------------------------------------

struct GraphDeleter {
  void operator()(cudaGraphExec_t graph) const noexcept { cudaGraphExecDestroy(graph); }
};
using GraphExec = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, GraphDeleter>;

template <class Enqueue>
GraphExec capture(cudaStream_t stream, Enqueue&& enqueue) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin a capture");
  enqueue();
  check(cudaStreamEndCapture(stream, &graph), "end a capture");
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "instantiate a graph");
  return GraphExec(executable);
}

template <class Args>
void measure(const GpuCase<Args>& c, benchmark::State& state) {
  constexpr double kCachedBytes = 4. * (60 << 20);  // 4 times the L2 of an H200
  constexpr double kWarmUpSeconds = 0.03;  // the clocks rise within a few milliseconds of work
  const Stream stream = make_stream();
  const double held = c.copied_bytes > 0 ? c.copied_bytes : c.bytes;
  const int copies = std::max(c.least_copies, std::min(256, static_cast<int>(kCachedBytes / held) + 1));
  const int launches = c.launches > 0 ? c.launches : std::max(copies, held > 1e9 ? 2 : 8);

  const auto make_all = [&](Arena& arena, cudaStream_t on) {
    std::vector<Args> all;
    for (int i = 0; i < copies; ++i) {
      Tensors tensors(arena, 1000003ull * (i + 1), on);
      all.push_back(c.make(tensors));
    }
    return all;
  };
  Arena measure_data, measure_scratch;
  const std::vector<Args> shapes = make_all(measure_data, nullptr);
  if (c.unsupported) {
    const std::string reason = c.unsupported(shapes[0]);
    if (!reason.empty()) return state.SkipWithError(reason.c_str());
  }
  c.run(shapes[0], measure_scratch, stream.get());
  const DeviceMemory data(measure_data.peak_bytes() + 256, c.name);
  const DeviceMemory workspace(measure_scratch.peak_bytes() + 256, "scratch");
  Arena arena(data.data(), data.bytes()), scratch(workspace.data(), workspace.bytes());
  const std::vector<Args> all = make_all(arena, stream.get());

  // Once outside the capture: libraries load their kernels.
  std::vector<KernelUse> kernels;
  {
    const KernelLog log([&](const KernelLaunch& launch) { count_launch(kernels, launch); });
    for (const Args& args : all) c.run(args, scratch, stream.get());
  }
  describe_cuda(kernels);
  std::vector<std::string> names;
  std::string label;
  int64_t registers = 0, local_bytes = 0;
  for (const KernelUse& kernel : kernels) {
    if (std::find(names.begin(), names.end(), kernel.name) == names.end()) {
      names.push_back(kernel.name);
      label += (label.empty() ? "" : ", ") + kernel.name;
    }
    registers = std::max(registers, kernel.registers);
    local_bytes = std::max(local_bytes, kernel.local_bytes);
  }
  state.SetLabel(label);
  if (registers > 0) {                        // a counter has no words: the most of those in the label but a library's
    state.counters["registers"] = static_cast<double>(registers);
    state.counters["local_bytes"] = static_cast<double>(local_bytes);
  }
  check(cudaStreamSynchronize(stream.get()), text("run ", c.name));
  double bytes = 0;
  for (int i = 0; i < launches; ++i) bytes += c.bytes_of ? c.bytes_of(all[i % copies]) : c.bytes;
  const GraphExec graph = capture(stream.get(), [&] {
    for (int i = 0; i < launches; ++i) c.run(all[i % copies], scratch, stream.get());
  });

  const Event begin = make_event(), end = make_event();
  const auto replay = [&] {
    check(cudaEventRecord(begin.get(), stream.get()), "record an event");
    check(cudaGraphLaunch(graph.get(), stream.get()), text("run ", c.name));
    check(cudaEventRecord(end.get(), stream.get()), "record an event");
    check(cudaEventSynchronize(end.get()), text("run ", c.name));
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin.get(), end.get()), "read a timer");
    return ms * 1e-3 / launches;
  };
  for (double warm = 0; warm < kWarmUpSeconds;) warm += replay() * launches;
  double seconds = 0;
  for (auto _ : state) {
    const double one = replay();
    state.SetIterationTime(one);
    seconds += one;
  }
  const double mean = seconds / state.iterations();
  state.SetItemsProcessed(state.iterations() * c.tokens);
  if (bytes > 0) {
    state.counters["bytes_per_s"] = bytes / launches / mean;
    state.counters["fraction_of_read_bandwidth"] = bytes / launches / mean / ceilings().read_bytes_per_s;
  }
  if (c.flops > 0) {
    state.counters["flops_per_s"] = c.flops / mean;
    state.counters["fraction_of_gemm_rate"] = c.flops / mean / ceilings().gemm_flops_per_s;
  }
}

template <class Args>
void add_gpu(GpuCase<Args> c) {
  constexpr int kReplays = 20;
  const std::string name = c.name;
  benchmark::RegisterBenchmark(name.c_str(), [c = std::move(c)](benchmark::State& state) {
    try {
      measure(c, state);
    } catch (const Error& error) {
      state.SkipWithError(error.what());
    }
  })->UseManualTime()->Iterations(kReplays)->Unit(benchmark::kMicrosecond);
}

}  // namespace kdabench::suites
