#include "suites/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/engine/nvtx.h"
#include "suites/agreement.h"
#include "suites/bounds.h"
#include "suites/gpu_state.h"
#include "suites/memory.h"
#include "suites/runner.h"
#include "suites/timed.h"

namespace kdabench::suites {
namespace {

// Tokens of one sequence that a prefill fill reads at once.
int64_t prefill_chunk(int64_t batch) { return std::max<int64_t>(1, 4096 / batch); }

SessionOptions session_options(const Plan& plan, int64_t context, int64_t batch) {
  SessionOptions options;
  options.batch = batch;
  options.capacity = context + std::max(plan.steps, kCheckTokens);
  options.forward_tokens = kCheckSession;
  options.slowdown = plan.inject_slowdown;
  if (plan.fill == "prefill")
    options.forward_tokens = std::max(kCheckSession, std::min(context, prefill_chunk(batch)));
  return options;
}

void fill(Bench& bench, Session& session, int64_t batch, int64_t tokens) {
  const NvtxRange range("fill");
  session.reset();
  if (bench.plan.fill == "random") {
    bench.host.progress("fill", 0.3);
    return session.fill_random(tokens, bench.plan.seed);
  }
  const auto started = std::chrono::steady_clock::now();
  int64_t done = 0;
  while (done < tokens) {
    const int64_t chunk = std::min(prefill_chunk(batch), tokens - done);
    session.forward(seeded_ids(bench.plan.seed, fmt::format("prefill.{}", done), batch, chunk,
                               bench.plan.config.vocab_size), Logits::kNone);
    done += chunk;
    const double share = static_cast<double>(done) / static_cast<double>(tokens);
    const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - started;
    bench.host.progress(fmt::format("prefill {} of {} tokens", done, tokens), 0.3 + 0.4 * share);
    bench.deadline.expect("the prefill", spent.count() * (1 / share - 1));
  }
}

void record_floor(const Bench& bench, Session& session, reports::Cell& cell) {
  const reports::Axes& axes = cell.axes;
  const std::optional<double> measured = session.distinct_experts();
  const double expected = expected_distinct_experts(bench.plan.config, axes.batch);
  // Step i reads context + i cached rows; the mean over the steps is what the median is held against.
  const NumberBytes bytes = number_bytes(bench.plan.precision);
  const StepCost cost = decode_cost(bench.plan.config, bench.peer.layout, bytes, axes.batch,
                                    axes.context + (axes.steps - 1) / 2, measured.value_or(expected));
  cell.floor = floor_of(bench, cost, measured.value_or(expected),
                        measured ? "measured in the last step" : "expected under uniform routing");
}

// Times, or the reason why there are none.
void record_times(const Bench& bench, const DecodeSamples& samples, reports::Cell& cell) {
  const double batch = static_cast<double>(cell.axes.batch);
  cell.samples = reports::Samples{samples.step_ns, samples.sm_clock_hz};
  const auto wanted = static_cast<size_t>(cell.axes.steps);
  if (samples.step_ns.size() != wanted || samples.tokens.size() != wanted * static_cast<size_t>(cell.axes.batch))
    return end(cell, "incorrect", fmt::format("{} steps of {} sequences gave {} times and {} tokens.", wanted,
                                              cell.axes.batch, samples.step_ns.size(), samples.tokens.size()));
  for (const int32_t token : samples.tokens)
    if (token < 0 || token >= bench.plan.config.vocab_size)
      return end(cell, "incorrect", fmt::format("Decode sampled {}, which is no token of the vocabulary.", token));

  reports::Timing timing;
  timing.clock = bench.plan.device == DeviceKind::kCuda ? "cuda_event" : "steady_clock";
  timing.graph = samples.graph;
  timing.stats = reports::summarize(samples.step_ns);
  timing.tpot_ns = timing.stats.median_ns / batch;
  if (samples.wall_ns > 0) timing.wall_median_ns = samples.wall_ns / static_cast<double>(cell.axes.steps);
  if (samples.graph) timing.build_graph_ns = samples.build_graph_ns;
  reports::Throughput throughput;
  throughput.tokens_per_s = batch * 1e9 / timing.stats.median_ns;
  throughput.bytes_per_s = static_cast<double>(cell.floor->bytes) * 1e9 / timing.stats.median_ns;

  if (!usable(bench, timing.stats.median_ns, "step", cell)) return;
  cell.timing = timing;
  cell.throughput = throughput;
}

void record_breakdown(Bench& bench, Session& session, reports::Cell& cell) {
  const NvtxRange range("breakdown");
  bench.host.progress("breakdown", 0.9);
  const reports::Axes& axes = cell.axes;
  const int64_t steps = std::min<int64_t>(axes.steps, 8);  // the last ones again, two or three times for each part
  const StepParts measured = session.breakdown(steps);
  const auto costs = decode_part_costs(bench.plan.config, bench.peer.layout, number_bytes(bench.plan.precision),
                                       axes.batch, axes.context + axes.steps - steps + (steps - 1) / 2,
                                       cell.floor->distinct_experts.value_or(0));
  const reports::Breakdown breakdown = breakdown_of(bench, measured, costs);
  cell.breakdown = breakdown;
  if (std::abs(breakdown.remainder_ns) > bounds::kBreakdownRemainder * breakdown.step_ns)
    cell.validity.reasons.push_back(
        {"breakdown_loose", fmt::format("The parts leave {:.0f} % of the step unexplained; the clock changes when parts are left "
                                        "out.",
                                        100 * breakdown.remainder_ns / breakdown.step_ns)});
}

void measure(Bench& bench, reports::Cell& cell) {
  const reports::Axes& axes = cell.axes;
  bench.host.progress("allocate", 0);
  const SessionOptions options = session_options(bench.plan, axes.context, axes.batch);
  const std::unique_ptr<Session> session = bench.model.open(options);
  record_memory(bench, options, *session, cell);
  if (!prefill_agrees_with_decode(bench, *session, axes.context, kCheckTokens, cell)) return;
  bench.deadline.check("the fill");

  // Warm-up steps come out of the context, so that the first timed step finds exactly `context` cached tokens.
  const int64_t warmup = std::min(bench.plan.warmup, axes.context - 1);
  fill(bench, *session, axes.batch, axes.context - warmup);
  bench.deadline.check("the warm-up");
  if (warmup > 0) {
    const NvtxRange range("warm-up");
    bench.host.progress("warm-up", 0.7);
    const DecodeSamples warm = session->decode(warmup);
    const double step_ns = warm.wall_ns / static_cast<double>(warmup);
    bench.deadline.expect("the timed steps", step_ns * static_cast<double>(axes.steps));
  }

  bench.host.progress("decode", 0.8);
  const std::optional<GpuReading> before = bench.host.gpu();
  const DecodeSamples samples = [&] {
    const NvtxRange range("decode");
    return session->decode(axes.steps);
  }();
  record_gpu_state(before, bench.host.gpu(), samples, cell);
  record_launches(samples, cell);
  record_peak(bench, *session, cell);
  record_floor(bench, *session, cell);
  record_kernels(*session, cell);
  record_times(bench, samples, cell);
  if (bench.plan.breakdown && cell.timing) record_breakdown(bench, *session, cell);
}

}  // namespace

Suite decode_suite() {
  return {"decode", "time of a decode step at a context, checked first, beside its physical floor", true,
          session_options, measure};
}

}  // namespace kdabench::suites
