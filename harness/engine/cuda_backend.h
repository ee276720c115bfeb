#pragma once
// The vocabulary of operations on a CUDA device: bf16 weights and activations, fp32 accumulation and recurrent state.
// Everything runs on one stream; a decode step is captured once into a CUDA graph and replayed. Of one token, products,
// norms and experts are not launched when they are asked for but collected, and run as one chain in front of whatever
// else is launched next (kernels/chain/chain.h).

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <span>
#include <vector>

#include "harness/engine/model.h"
#include "kernels/base/arena.h"
#include "kernels/base/clock.h"
#include "kernels/base/cuda.h"
#include "kernels/base/fill.h"
#include "kernels/base/kernel_log.h"
#include "kernels/base/kernel_use.h"
#include "kernels/chain/chain.h"
#include "kernels/kda/kda.h"
#include "kernels/linear/linear.h"
#include "kernels/mla/mla.h"
#include "kernels/moe/moe.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/sampling/sampling.h"

namespace kdabench {

class CudaBackend {
 public:
  using Types = Gpu;
  using Memory = DeviceMemory;

  struct GraphDeleter {
    using pointer = cudaGraphExec_t;
    void operator()(cudaGraphExec_t graph) const noexcept { cudaGraphExecDestroy(graph); }
  };
  // The captured decode step of one session.
  struct Graph {
    std::unique_ptr<cudaGraphExec_t, GraphDeleter> step;
    StepKernels kernels;
    int64_t launches = 0;                    // kernel nodes
  };

  CudaBackend() : stream_(make_stream()) {}

  Memory allocate(int64_t bytes, const char* purpose) { return DeviceMemory(bytes, purpose); }
  std::optional<int64_t> free_bytes() const {
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "ask for free device memory");
    return static_cast<int64_t>(free);
  }

  void zero(void* data, int64_t bytes) {
    flush();
    if (bytes > 0) check(cudaMemsetAsync(data, 0, bytes, stream_.get()), "zero device memory");
  }
  template <class U>
  void upload(View<U, 2> to, const U* from) {
    copy_rows(to.data, to.stride[0] * sizeof(U), from, to.size[1] * sizeof(U), to.size[1] * sizeof(U), to.size[0],
              cudaMemcpyHostToDevice);
    synchronize();                           // `from` is pageable and may die when this returns
  }
  template <class U>
  void download(U* to, View<const U, 2> from) {
    copy_rows(to, from.size[1] * sizeof(U), from.data, from.stride[0] * sizeof(U), from.size[1] * sizeof(U),
              from.size[0], cudaMemcpyDeviceToHost);
    synchronize();
  }
  template <class U>
  void copy(View<U, 2> to, View<const U, 2> from) {
    copy_rows(to.data, to.stride[0] * sizeof(U), from.data, from.stride[0] * sizeof(U), to.size[1] * sizeof(U),
              to.size[0], cudaMemcpyDeviceToDevice);
  }
  void synchronize() {
    flush();
    check(cudaStreamSynchronize(stream_.get()), "finish the work on the GPU");
  }

  void fill_normal(View<Bf16, 2> out, uint64_t random, float stddev) {
    flush();
    fill_normal_cuda(FillNormal<Bf16>{out, random, stddev}, stream_.get());
  }
  void fill_normal_exact(View<float, 2> out, uint64_t random, float stddev) {
    flush();
    fill_normal_cuda(FillNormal<float>{out, random, stddev}, stream_.get());
  }

  Part linear_part = Part::kProjections;     // see PartScope
  double slowdown = 1;                       // of timed steps, see SessionOptions

  void embed(const Embed<Types>& a, Arena& arena) {
    if (launches(Part::kNorms, arena)) embed_cuda(a, stream_.get());
  }
  void add_rms_norm(const AddRmsNorm<Types>& a, Arena& arena) {
    if (runs(Part::kNorms) && !arena.measuring() && !collected(a)) add_rms_norm_cuda(a, stream_.get());
  }
  void silu_mul(const SiluMul<Types>& a, Arena& arena) {
    if (launches(linear_part, arena)) silu_mul_cuda(a, stream_.get());
  }
  void advance(const Advance& a, Arena& arena) {
    enter(Part::kNorms);
    if (arena.measuring()) return;
    flush();
    advance_cuda(a, stream_.get());          // never left out: the context must grow
  }
  template <class Out>
  void linear(const Linear<Types, Out>& a, Arena& arena) {
    if (!runs(linear_part)) return;
    if (a.w.count() < kLeastCollected || arena.measuring() || !collected(a)) {
      flush();
      linear_cuda(a, arena, stream_.get());
    }
  }
  void linear_pair(const LinearPair<Types>& a, Arena& arena) {
    if (!runs(linear_part)) return;
    flush();
    linear_pair_cuda(a, arena, stream_.get());
  }
  void argmax(const Argmax<Types>& a, Arena& arena) {
    if (!runs(linear_part)) return;
    flush();
    argmax_cuda(a, arena, stream_.get());
  }
  void moe(const Moe<Types>& a, Arena& arena) {
    supported(moe_cuda_unsupported(a));
    seen_ |= 1u << static_cast<int>(Part::kRouter);
    if (runs(Part::kExperts)) {
      if (arena.measuring() || !collected(a, arena)) moe_cuda(a, arena, stream_.get());
    } else if (!(left_out_ >> static_cast<int>(Part::kRouter) & 1) && !arena.measuring()) {
      const ArenaScope scope(arena);         // time_parts: its product alone; moe_cuda's scratch begins with as much
      const Linear<Types, float> logits{a.x, a.router, arena.take<float>(a.x.size[0], a.router.size[0])};
      if (!collected(logits)) linear_cuda(logits, arena, stream_.get());
    }
  }
  void mla(const Mla<Types>& a, Arena& arena) {
    supported(mla_cuda_unsupported(a));
    if (!runs(Part::kAttention)) return;
    flush();
    mla_cuda(a, arena, stream_.get());
  }
  void delta_rule(const DeltaRule<Types>& a, Arena& arena) {
    supported(delta_rule_cuda_unsupported(a));
    if (!runs(Part::kRecurrence)) return;
    flush();
    delta_rule_cuda(a, arena, stream_.get());
  }

  // Whether the recurrence takes the products of its gates along; otherwise they are products of their own.
  bool low_rank_delta_rule(const LowRankDeltaRule<Types>& a, Arena& arena) {
    if (!low_rank_delta_rule_cuda_unsupported(a).empty()) return false;
    if (!launches(Part::kRecurrence, arena)) return true;
    low_rank_delta_rule_cuda(a, stream_.get());
    return true;
  }

  // Runs `step` once into a graph (the first time), then replays it `steps` times with events and device timers around
  // each replay. The host only enqueues; it waits once, at the end.
  template <class Step>
  DecodeSamples time_steps(int64_t steps, Graph& graph, View<const int32_t, 1> next, Step&& step) {
    DecodeSamples samples;
    samples.graph = true;
    const cudaStream_t stream = stream_.get();
    if (!graph.step) samples.build_graph_ns = capture(graph, step);
    samples.kernels = graph.launches;

    const int64_t batch = next.size[0];
    std::vector<Event> begin(steps), end(steps);
    for (int64_t i = 0; i < steps; ++i) begin[i] = make_event(), end[i] = make_event();
    const DeviceMemory stamps(2 * steps * int64_t{sizeof(ClockStamp)}, "clock stamps");
    const DeviceMemory tokens(steps * batch * int64_t{sizeof(int32_t)}, "sampled tokens");
    ClockStamp* const stamp = static_cast<ClockStamp*>(stamps.data());
    int32_t* const token = static_cast<int32_t*>(tokens.data());
    check(cudaStreamSynchronize(stream), "start decoding");

    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < steps; ++i) {
      stamp_clock_cuda(stamp + 2 * i, stream);
      check(cudaEventRecord(begin[i].get(), stream), "record an event");
      check(cudaGraphLaunch(graph.step.get(), stream), "launch a decode step");
      if (slowdown > 1) spin_cuda(stamp + 2 * i, slowdown, stream);
      check(cudaEventRecord(end[i].get(), stream), "record an event");
      stamp_clock_cuda(stamp + 2 * i + 1, stream);
      check(cudaMemcpyAsync(token + i * batch, next.data, batch * sizeof(int32_t), cudaMemcpyDeviceToDevice, stream),
            "keep the sampled tokens");
    }
    check(cudaStreamSynchronize(stream), "decode");
    samples.wall_ns = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();

    samples.tokens.resize(steps * batch);
    check(cudaMemcpy(samples.tokens.data(), tokens.data(), tokens.bytes(), cudaMemcpyDeviceToHost), "read tokens");
    add_times(samples, begin, end, stamps);
    return samples;
  }

  // Runs `work` once between two events and two device timers, without a graph; notes its kernels, and when each part
  // begins. The host's clock runs until the tokens are there.
  template <class Work>
  DecodeSamples time_once(StepKernels& kernels, View<const int32_t, 1> next, Work&& work) {
    DecodeSamples samples;
    const cudaStream_t stream = stream_.get();
    const Event begin = make_event(), end = make_event();
    const DeviceMemory stamps(2 * int64_t{sizeof(ClockStamp)}, "clock stamps");
    ClockStamp* const stamp = static_cast<ClockStamp*>(stamps.data());
    const Noting noting(*this, kernels);
    synchronize();
    std::vector<Mark> marks;
    struct Marking {
      std::vector<Mark>*& to;
      ~Marking() { to = nullptr; }           // also when `work` throws
    } const marking{marks_};
    marks_ = &marks;

    const auto start = std::chrono::steady_clock::now();
    stamp_clock_cuda(stamp, stream);
    check(cudaEventRecord(begin.get(), stream), "record an event");
    work();
    flush();
    if (slowdown > 1) spin_cuda(stamp, slowdown, stream);
    check(cudaEventRecord(end.get(), stream), "record an event");
    stamp_clock_cuda(stamp + 1, stream);
    samples.tokens.resize(next.size[0]);
    check(cudaMemcpyAsync(samples.tokens.data(), next.data, next.size[0] * sizeof(int32_t), cudaMemcpyDeviceToHost,
                          stream), "read tokens");
    check(cudaStreamSynchronize(stream), "read a prompt");
    samples.wall_ns = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
    describe_cuda(kernels.launched);
    add_times(samples, {&begin, 1}, {&end, 1}, stamps);
    std::array<double, kParts> part_ns = {};
    for (size_t i = 0; i < marks.size(); ++i)
      part_ns[static_cast<size_t>(marks[i].part)] +=
          elapsed_ns(i == 0 ? begin : marks[i].begin, i + 1 < marks.size() ? marks[i + 1].begin : end);
    for (const Part part : kAllParts)
      if (const double ns = part_ns[static_cast<size_t>(part)]; ns > 0) samples.parts.push_back({part, ns});
    return samples;
  }

  // The step with parts added one by one, in order and in the reverse order: where two parts overlap, each gets half of
  // what that saves (Shapley's value, as far as parts overlap in pairs), and all of them add up to the step. The experts,
  // which wait for the router, come behind it in both. What parts read of others that are not there is stale, which
  // changes no time: nothing in a step depends on values but the experts' addresses, and the session keeps those.
  template <class Rewind, class Step>
  StepParts time_parts(int64_t steps, View<const int32_t, 1> next, Rewind&& rewind, Step&& step) {
    struct Restore {
      uint32_t& left_out;
      ~Restore() { left_out = 0; }
    } const restore{left_out_};
    const auto median_of = [&](uint32_t parts) {
      left_out_ = ~parts;
      Graph graph;
      rewind();
      time_steps(1, graph, next, step);      // captures, warms up
      rewind();
      DecodeSamples samples = time_steps(steps, graph, next, step);
      std::sort(samples.step_ns.begin(), samples.step_ns.end());
      return samples.step_ns[samples.step_ns.size() / 2];
    };
    seen_ = 0;
    median_of(~0u);
    std::vector<Part> order;
    for (const Part part : kAllParts)
      if (seen_ >> static_cast<int>(part) & 1) order.push_back(part);
    std::array<double, kParts> added = {};
    StepParts result;
    result.method = "what the part adds to the median of the step, mean of two orders: parts one by one, and in reverse, "
                    "the router before the experts";
    for (int pass = 0; pass < 2; ++pass) {
      uint32_t present = 0;
      double before = median_of(present);
      for (const Part part : order) {
        present |= 1u << static_cast<int>(part);
        const double with = median_of(present);
        added[static_cast<size_t>(part)] += (with - before) / 2;
        before = with;
      }
      result.step_ns += before / 2;
      std::reverse(order.begin(), order.end());
      const auto router = std::ranges::find(order, Part::kRouter), experts = std::ranges::find(order, Part::kExperts);
      if (experts < router) std::iter_swap(experts, router);
    }
    for (const Part part : order)            // a part below the noise takes nothing
      result.parts.push_back({part, std::max(0.0, added[static_cast<size_t>(part)])});
    return result;
  }

 private:
  // Where a part begins in the stream. What was collected before it and not yet launched counts for the part after it:
  // operations of single tokens alone.
  struct Mark {
    Part part;
    Event begin;
  };

  // While it lives, kernels that are launched are noted, each with the part that runs.
  class Noting {
   public:
    Noting(CudaBackend& backend, StepKernels& kernels)
        : noted_(backend.noted_), log_([&backend, &kernels](const KernelLaunch& launch) {
            add_kernel(kernels.parts, backend.running_, launch.name);
            count_launch(kernels.launched, launch);
          }) {
      noted_ = &kernels;
    }
    ~Noting() { noted_ = nullptr; }

   private:
    StepKernels*& noted_;
    KernelLog log_;
  };

  bool runs(Part part) {
    seen_ |= 1u << static_cast<int>(part);
    enter(part);
    return !(left_out_ >> static_cast<int>(part) & 1);
  }
  void enter(Part part) {
    if (marks_ && (marks_->empty() || marks_->back().part != part)) {
      marks_->push_back({part, make_event()});
      check(cudaEventRecord(marks_->back().begin.get(), stream_.get()), "record an event");
    }
    running_ = part;
  }
  // Whether the operation goes to the device now: not left out, and no dry run.
  bool launches(Part part, Arena& arena) {
    if (!runs(part) || arena.measuring()) return false;
    flush();
    return true;
  }
  void supported(const std::string& reason) {
    if (reason.empty()) return;
    forget();                                // what a pass collected that ends here
    throw Unsupported(reason);
  }

  // Launches what has been collected: a chain for the parts that joined it, or a norm by itself.
  void flush() {
    if (chain_.empty()) return;
    const KernelLog log([this](const KernelLaunch& launch) {
      if (!noted_) return;
      for (const Part part : kAllParts)
        if (launch.name.starts_with("chain") ? joined_ >> static_cast<int>(part) & 1 : part == Part::kNorms)
          add_kernel(noted_->parts, part, launch.name);
      count_launch(noted_->launched, launch);
    });
    chain_.launch(stream_.get());
    forget();
  }
  void forget() {
    chain_ = {};
    joined_ = 0;
  }
  // Whether the operation joined the chain: the present one, or a new one. Otherwise the present one was launched.
  template <class... Op>
  bool collected(Op&... op) {
    bool joined = chain_.add(op...);
    if (!joined) {
      flush();
      joined = chain_.add(op...);
    }
    if (joined) joined_ |= 1u << static_cast<int>(running_);
    return joined;
  }

  void copy_rows(void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t bytes, int64_t rows,
                 cudaMemcpyKind kind) {
    flush();
    if (rows == 1)
      check(cudaMemcpyAsync(to, from, bytes, kind, stream_.get()), "copy");
    else
      check(cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, bytes, rows, kind, stream_.get()), "copy rows");
  }

  static int64_t kernel_nodes(cudaGraph_t graph) {
    size_t count = 0;
    check(cudaGraphGetNodes(graph, nullptr, &count), "count the nodes of the decode graph");
    std::vector<cudaGraphNode_t> nodes(count);
    check(cudaGraphGetNodes(graph, nodes.data(), &count), "list the nodes of the decode graph");
    return std::count_if(nodes.begin(), nodes.end(), [](cudaGraphNode_t node) {
      cudaGraphNodeType type{};
      check(cudaGraphNodeGetType(node, &type), "read a node of the decode graph");
      return type == cudaGraphNodeTypeKernel;
    });
  }

  static double elapsed_ns(const Event& begin, const Event& end) {
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin.get(), end.get()), "read an event");
    return static_cast<double>(ms) * 1e6;
  }

  // Device times and SM clocks of finished steps; two stamps a step.
  static void add_times(DecodeSamples& samples, std::span<const Event> begin, std::span<const Event> end,
                        const DeviceMemory& stamps) {
    std::vector<ClockStamp> read(2 * begin.size());
    check(cudaMemcpy(read.data(), stamps.data(), stamps.bytes(), cudaMemcpyDeviceToHost), "read clock stamps");
    for (size_t i = 0; i < begin.size(); ++i) {
      samples.step_ns.push_back(elapsed_ns(begin[i], end[i]));
      const ClockStamp &a = read[2 * i], &b = read[2 * i + 1];
      if (a.multiprocessor == b.multiprocessor && b.nanoseconds > a.nanoseconds)
        samples.sm_clock_hz.push_back(1e9 * static_cast<double>(b.cycles - a.cycles) /
                                      static_cast<double>(b.nanoseconds - a.nanoseconds));
    }
  }

  template <class Step>
  double capture(Graph& graph, Step&& step) {
    const auto start = std::chrono::steady_clock::now();
    // relaxed: libraries may load a module lazily while we capture
    check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeRelaxed), "capture a decode step");
    cudaGraph_t captured = nullptr;
    graph.kernels = {};
    try {
      const Noting noting(*this, graph.kernels);
      step();
      flush();
    } catch (...) {
      forget();
      cudaStreamEndCapture(stream_.get(), &captured);
      if (captured) cudaGraphDestroy(captured);
      throw;
    }
    check(cudaStreamEndCapture(stream_.get(), &captured), "capture a decode step");
    graph.launches = kernel_nodes(captured);
    describe_cuda(graph.kernels.launched);
    cudaGraphExec_t executable = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&executable, captured, 0);
    cudaGraphDestroy(captured);
    check(status, "instantiate the decode graph");
    graph.step.reset(executable);
    check(cudaGraphUpload(executable, stream_.get()), "upload the decode graph");
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
  }

  static constexpr int64_t kLeastCollected = 2 << 20;  // weights: smaller products are faster alone

  Stream stream_;
  Chain chain_;                              // what has been collected
  uint32_t joined_ = 0;                      // parts of its operations, a bit each
  uint32_t left_out_ = 0;                    // time_parts: parts that are not launched, a bit each
  Part running_ = Part::kNorms;              // that the last operation belongs to
  uint32_t seen_ = 0;                        // parts that occurred, a bit each
  StepKernels* noted_ = nullptr;             // of the step that is noted
  std::vector<Mark>* marks_ = nullptr;       // of the work that is timed once
};

}  // namespace kdabench
