#pragma once
// The vocabulary of operations on the CPU. One template: float is the backend, double the truth.
//
// A backend is: its number types; memory (allocate, zero, upload, download, copy); one member for each operation of
// kernels/, all with the arena they may take scratch from; and time_steps, which runs and times decode steps. When the
// arena measures, an operation takes its scratch and does nothing else.

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "harness/engine/model.h"
#include "kernels/base/arena.h"
#include "kernels/base/fill.h"
#include "kernels/kda/kda.h"
#include "kernels/linear/linear.h"
#include "kernels/mla/mla.h"
#include "kernels/moe/moe.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/sampling/sampling.h"

namespace kdabench {

template <class T>
class CpuBackend {
 public:
  using Types = Cpu<T>;
  struct Graph {  // a step needs no preparation here
    StepKernels kernels;
  };

  struct Free {
    void operator()(void* block) const { std::free(block); }
  };
  struct Memory {
    std::unique_ptr<void, Free> block;
    int64_t size = 0;
    void* data() const { return block.get(); }
    int64_t bytes() const { return size; }
  };
  Memory allocate(int64_t bytes, const char* purpose) {
    if (bytes == 0) return {};
    const int64_t free_bytes = device_memory(DeviceKind::kCpu).free_bytes;
    const int64_t rounded = (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
    void* block = rounded <= free_bytes ? std::aligned_alloc(Arena::kAlignment, rounded) : nullptr;
    if (!block)
      throw OutOfMemory(text("wanted ", bytes, " bytes of host memory for ", purpose, ", ", free_bytes, " are free."));
    return {std::unique_ptr<void, Free>(block), rounded};
  }
  std::optional<int64_t> free_bytes() const { return {}; }  // no driver to ask: host pages are mapped lazily

  void zero(void* data, int64_t bytes) {
    if (bytes > 0) std::memset(data, 0, bytes);
  }
  template <class U>
  void upload(View<U, 2> to, const U* from) {  // from: dense rows
    for (int64_t row = 0; row < to.size[0]; ++row)
      std::memcpy(to.data + row * to.stride[0], from + row * to.size[1], to.size[1] * sizeof(U));
  }
  template <class U>
  void download(U* to, View<const U, 2> from) {
    for (int64_t row = 0; row < from.size[0]; ++row)
      std::memcpy(to + row * from.size[1], from.data + row * from.stride[0], from.size[1] * sizeof(U));
  }
  template <class U>
  void copy(View<U, 2> to, View<const U, 2> from) {
    for (int64_t row = 0; row < to.size[0]; ++row)
      std::memcpy(to.data + row * to.stride[0], from.data + row * from.stride[0], to.size[1] * sizeof(U));
  }
  void synchronize() {}

  // Values are those a bf16 tensor would hold, so that every device has the same weights and caches.
  void fill_normal(View<T, 2> out, uint64_t random, float stddev) { fill_normal_cpu(FillNormal<T>{out, random, stddev}, true); }
  void fill_normal(View<Bf16, 2> out, uint64_t random, float stddev) { fill_normal_cpu(FillNormal<Bf16>{out, random, stddev}, true); }
  void fill_normal_exact(View<T, 2> out, uint64_t random, float stddev) { fill_normal_cpu(FillNormal<T>{out, random, stddev}, false); }

  Part linear_part = Part::kProjections;     // see PartScope
  double slowdown = 1;                       // of timed steps, see SessionOptions

  void embed(const Embed<Types>& a, Arena& arena) { run(Part::kNorms, arena, "embed_cpu", [&] { embed_cpu(a); }); }
  void add_rms_norm(const AddRmsNorm<Types>& a, Arena& arena) { run(Part::kNorms, arena, "add_rms_norm_cpu", [&] { add_rms_norm_cpu(a); }); }
  void silu_mul(const SiluMul<Types>& a, Arena& arena) { run(linear_part, arena, "silu_mul_cpu", [&] { silu_mul_cpu(a); }); }
  void advance(const Advance& a, Arena& arena) { run(Part::kNorms, arena, "advance_cpu", [&] { advance_cpu(a); }); }
  void linear(const Linear<Types>& a, Arena& arena) { run(linear_part, arena, "linear_cpu", [&] { linear_cpu(a); }); }
  void linear_pair(const LinearPair<Types>& a, Arena& arena) { linear(a.first, arena), linear(a.second, arena); }
  void argmax(const Argmax<Types>& a, Arena& arena) { run(linear_part, arena, "argmax_cpu", [&] { argmax_cpu(a); }); }
  void moe(const Moe<Types>& a, Arena& arena) {
    if (router_apart_ && !arena.measuring()) time_router(a);
    run(Part::kExperts, arena, "moe_cpu", [&] { moe_cpu(a); });
  }
  void mla(const Mla<Types>& a, Arena& arena) { run(Part::kAttention, arena, "mla_cpu", [&] { mla_cpu(a); }); }
  void delta_rule(const DeltaRule<Types>& a, Arena& arena) {
    if (a.qkv.size[1] == 1) run(Part::kRecurrence, arena, "delta_rule_cpu", [&] { delta_rule_cpu(a); });
    else run(Part::kRecurrence, arena, "delta_rule_chunked_cpu", [&] { delta_rule_chunked_cpu(a); });
  }
  bool low_rank_delta_rule(const LowRankDeltaRule<Types>&, Arena&) { return false; }  // see CudaBackend

  template <class Step>
  DecodeSamples time_steps(int64_t steps, Graph& graph, View<const int32_t, 1> next, Step&& step) {
    DecodeSamples samples;
    graph.kernels = {};
    const auto start = Clock::now();
    for (int64_t i = 0; i < steps; ++i) {
      kernels_ = i == 0 ? &graph.kernels : nullptr;
      const auto begin = Clock::now();
      step();
      if (slowdown > 1)
        for (const double until = slowdown * elapsed_ns(begin); elapsed_ns(begin) < until;) {}
      samples.step_ns.push_back(elapsed_ns(begin));
      samples.tokens.insert(samples.tokens.end(), next.data, next.data + next.size[0]);
    }
    kernels_ = nullptr;
    samples.wall_ns = elapsed_ns(start);
    return samples;
  }

  // Runs `work` once, timed from now until its tokens are here; notes its kernels.
  template <class Work>
  DecodeSamples time_once(StepKernels& kernels, View<const int32_t, 1> next, Work&& work) {
    struct Noting {
      StepKernels*& to;
      ~Noting() { to = nullptr; }            // also when `work` throws
    } const noting{kernels_};
    kernels_ = &kernels;
    DecodeSamples samples;
    part_ns_.fill(0);
    const auto begin = Clock::now();
    work();
    samples.parts = parts();
    if (slowdown > 1)
      for (const double until = slowdown * elapsed_ns(begin); elapsed_ns(begin) < until;) {}
    samples.tokens.assign(next.data, next.data + next.size[0]);
    samples.wall_ns = elapsed_ns(begin);
    samples.step_ns = {samples.wall_ns};
    return samples;
  }

  template <class Rewind, class Step>
  StepParts time_parts(int64_t steps, View<const int32_t, 1> next, Rewind&& rewind, Step&& step) {
    Graph graph;
    rewind();
    part_ns_.fill(0);
    router_apart_ = true;
    const DecodeSamples samples = time_steps(steps, graph, next, step);
    router_apart_ = false;
    StepParts result;
    result.method = "each operation timed by the steady clock, mean over the steps; the router's product once more alone, and "
                    "taken from the experts";
    const double router = part_ns_[static_cast<size_t>(Part::kRouter)];
    double& experts = part_ns_[static_cast<size_t>(Part::kExperts)];
    result.step_ns = (samples.wall_ns - router) / static_cast<double>(steps);
    experts = std::max(0.0, experts - router);
    result.parts = parts();
    for (PartTime& part : result.parts) part.time_ns /= static_cast<double>(steps);
    return result;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static double elapsed_ns(Clock::time_point from) {
    return std::chrono::duration<double, std::nano>(Clock::now() - from).count();
  }
  // The router's product by itself, which moe_cpu does again.
  void time_router(const Moe<Types>& a) {
    std::vector<T> logits(a.x.size[0] * a.router.size[0]);
    const Linear<Types> product{a.x, a.router, View<T, 2>(logits.data(), {a.x.size[0], a.router.size[0]})};
    const auto begin = Clock::now();
    linear_cpu(product);
    part_ns_[static_cast<size_t>(Part::kRouter)] += elapsed_ns(begin);
  }
  // Those that ran, since part_ns_ was cleared.
  std::vector<PartTime> parts() const {
    std::vector<PartTime> ran;
    for (const Part part : kAllParts)
      if (const double ns = part_ns_[static_cast<size_t>(part)]; ns > 0) ran.push_back({part, ns});
    return ran;
  }
  template <class Operation>
  void run(Part part, const Arena& arena, const char* kernel, Operation&& operation) {
    if (arena.measuring()) return;
    if (kernels_) add_kernel(kernels_->parts, part, kernel);
    const auto begin = Clock::now();
    operation();
    part_ns_[static_cast<size_t>(part)] += elapsed_ns(begin);
  }

  StepKernels* kernels_ = nullptr;           // of the step that is noted, the first of a loop
  std::array<double, kParts> part_ns_ = {};
  bool router_apart_ = false;                // time_parts: timed by itself, too
};

}  // namespace kdabench
