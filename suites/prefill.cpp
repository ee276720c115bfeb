#include "suites/prefill.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/engine/nvtx.h"
#include "suites/agreement.h"
#include "suites/gpu_state.h"
#include "suites/memory.h"
#include "suites/runner.h"
#include "suites/timed.h"

namespace kdabench::suites {
namespace {

// The check reads this many tokens, the prompt's last ones: enough for the kernels that long passes get, and five more
// than a multiple of any tile. Its noise is that of the decode suite's five tokens (bounds.h): 0.017 to 0.021 in nine
// cells of the 48B models on an H200, 3K to 20,000 tokens, against a bound of 0.05.
constexpr int64_t kCheckPrompt = 4 * kCheckPiece + kCheckTokens;

// Share of the matrix rate that an estimate assumes. H200, 48B models, prompts of 4K and 32K: 0.31 to 0.39 of
// the measured rate.
constexpr double kShare = 0.3;

// Tokens of one sequence in a pass.
int64_t pass_tokens(const Plan& plan, int64_t context, int64_t batch) {
  return std::min(context, std::max<int64_t>(1, plan.chunk / batch));
}

int64_t check_tokens(const Plan& plan, int64_t context, int64_t batch) {
  return std::min(kCheckPrompt, pass_tokens(plan, context, batch));
}

SessionOptions session_options(const Plan& plan, int64_t context, int64_t batch) {
  SessionOptions options;
  options.batch = batch;
  options.capacity = context;
  options.forward_tokens = pass_tokens(plan, context, batch);
  options.slowdown = plan.inject_slowdown;
  return options;
}

StepCost cost(const Plan& plan, const Peer& peer, int64_t context, int64_t batch) {
  return prefill_cost(plan.config, peer.layout, number_bytes(plan.precision), batch, 0, context);
}

// Check, warm-up and repetitions, without what is allocated and filled.
double seconds(const Plan& plan, const Peer& peer, int64_t context, int64_t batch, double flops_per_s) {
  const auto of = [&](int64_t cached, int64_t tokens) {
    return static_cast<double>(prefill_cost(plan.config, peer.layout, number_bytes(plan.precision), batch, cached,
                                            tokens).flops) / (kShare * flops_per_s);
  };
  const int64_t checked = check_tokens(plan, context, batch);
  const double prompt = of(0, context);
  const double repetitions = std::clamp(std::ceil(plan.seconds / prompt), 1., static_cast<double>(plan.steps));
  return 2 * of(context - checked, checked) + of(0, pass_tokens(plan, context, batch)) + repetitions * prompt;
}

// Repetitions of one prompt, one after another.
struct Readings {
  DecodeSamples all;                          // wall_ns: their sum; tokens: [repetitions, B]
  std::optional<GpuReading> before, after;
};

Readings read(Bench& bench, Session& session, const std::vector<int32_t>& ids, const reports::Axes& axes) {
  const double whole = static_cast<double>(cost(bench.plan, bench.peer, axes.context, axes.batch).flops);
  Readings readings;
  DecodeSamples& all = readings.all;
  readings.before = bench.host.gpu();
  while (static_cast<int64_t>(all.step_ns.size()) < bench.plan.steps &&
         (all.step_ns.empty() || all.wall_ns < bench.plan.seconds * 1e9)) {
    const auto started = std::chrono::steady_clock::now();
    const auto after_pass = [&](int64_t tokens) {   // the prompt's last passes take longest
      const double done = static_cast<double>(cost(bench.plan, bench.peer, tokens, axes.batch).flops) / whole;
      const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - started;
      bench.host.progress(fmt::format("{} of {} tokens", tokens, axes.context), 0.2 + 0.8 * done);
      if (tokens < axes.context) bench.deadline.expect("the prompt", spent.count() * (1 / done - 1));
    };
    const DecodeSamples one = session.prefill(ids, after_pass);
    all.wall_ns += one.wall_ns;
    all.step_ns.insert(all.step_ns.end(), one.step_ns.begin(), one.step_ns.end());
    all.sm_clock_hz.insert(all.sm_clock_hz.end(), one.sm_clock_hz.begin(), one.sm_clock_hz.end());
    all.tokens.insert(all.tokens.end(), one.tokens.begin(), one.tokens.end());
    all.parts = one.parts;                    // of the last repetition
  }
  readings.after = bench.host.gpu();
  return readings;
}

// The logits behind the first token must be numbers, the token their largest, and the same each time. False when not.
bool first_tokens_hold(const Bench& bench, Session& session, const DecodeSamples& samples, reports::Cell& cell) {
  const auto batch = static_cast<size_t>(cell.axes.batch);
  const int64_t vocabulary = bench.plan.config.vocab_size;
  const std::vector<float> logits = session.last_logits();
  for (size_t i = 0; i < samples.tokens.size(); ++i) {
    const int32_t token = samples.tokens[i], first = samples.tokens[i % batch];
    if (token != first) {
      end(cell, "incorrect", fmt::format("Reading the same prompt again sampled {} after {}.", token, first));
      return false;
    }
  }
  for (size_t row = 0; row < batch; ++row) {
    const auto first = logits.begin() + static_cast<int64_t>(row) * vocabulary, last = first + vocabulary;
    const int32_t token = samples.tokens[row];
    const bool numbers = std::all_of(first, last, [](float x) { return std::isfinite(x); });
    if (numbers && token >= 0 && token < vocabulary && first[token] == *std::max_element(first, last)) continue;
    end(cell, "incorrect", fmt::format("The prompt's logits have {}; sequence {} sampled {}.",
                                       numbers ? "another maximum" : "an infinity or what is no number", row,
                                       token));
    return false;
  }
  return true;
}

void record_times(const Bench& bench, const DecodeSamples& samples, reports::Cell& cell) {
  const double batch = static_cast<double>(cell.axes.batch), prompts = static_cast<double>(samples.step_ns.size());
  reports::Timing timing;
  timing.clock = bench.plan.device == DeviceKind::kCuda ? "cuda_event" : "steady_clock";
  timing.stats = reports::summarize(samples.step_ns);
  timing.tpot_ns = timing.stats.median_ns / batch;
  timing.wall_median_ns = samples.wall_ns / prompts;
  if (!usable(bench, timing.stats.median_ns, "prompt", cell)) return;
  if (samples.step_ns.size() == 1 && bench.plan.steps > 1)
    cell.validity.reasons.push_back(
        {"one_repetition", fmt::format("The prompt took {:.3g} s and was read once, as --seconds {:g} asks: no spread is "
                                       "known.", timing.stats.median_ns * 1e-9, bench.plan.seconds)});
  reports::Throughput throughput;
  throughput.tokens_per_s = batch * static_cast<double>(cell.axes.context) * 1e9 / timing.stats.median_ns;
  throughput.bytes_per_s = static_cast<double>(cell.floor->bytes) * 1e9 / timing.stats.median_ns;
  cell.timing = timing;
  cell.throughput = throughput;
  const StepParts parts{samples.step_ns.back(), samples.parts,
                        "last repetition; device: events where a part ends and another begins; CPU: each operation timed"};
  cell.breakdown = breakdown_of(bench, parts, prefill_part_costs(bench.plan.config, bench.peer.layout,
                                                                 number_bytes(bench.plan.precision), cell.axes.batch, 0,
                                                                 cell.axes.context));
  if (cell.gpu_state && cell.gpu_state->energy && cell.gpu_state->energy->joules)
    cell.gpu_state->energy->joules_per_token =
        *cell.gpu_state->energy->joules / (batch * static_cast<double>(cell.axes.context) * prompts);
}

void measure(Bench& bench, reports::Cell& cell) {
  const reports::Axes& axes = cell.axes;
  bench.host.progress("allocate", 0);
  const SessionOptions options = session_options(bench.plan, axes.context, axes.batch);
  const std::unique_ptr<Session> session = bench.model.open(options);
  record_memory(bench, options, *session, cell);
  const int64_t checked = check_tokens(bench.plan, axes.context, axes.batch);
  if (!prefill_agrees_with_decode(bench, *session, axes.context - checked, checked, cell)) return;
  bench.deadline.check("the warm-up");

  reports::Prefill prefill;
  prefill.pass_tokens = options.forward_tokens;
  prefill.passes = (axes.context + options.forward_tokens - 1) / options.forward_tokens;
  prefill.seconds_asked = bench.plan.seconds;
  const int64_t vocabulary = bench.plan.config.vocab_size;
  {
    const NvtxRange range("warm-up");         // the first pass alone: libraries choose and load what every pass runs
    bench.host.progress("warm-up", 0.15);
    const DecodeSamples warm = session->prefill(
        seeded_ids(bench.plan.seed, "warm-up", axes.batch, options.forward_tokens, vocabulary));
    const double share = static_cast<double>(cost(bench.plan, bench.peer, options.forward_tokens, axes.batch).flops) /
                         static_cast<double>(cost(bench.plan, bench.peer, axes.context, axes.batch).flops);
    bench.deadline.expect("the prompt", warm.wall_ns / share);
  }
  const std::vector<int32_t> ids = seeded_ids(bench.plan.seed, "prompt", axes.batch, axes.context, vocabulary);
  const Readings readings = [&] {
    const NvtxRange range("prefill");
    return read(bench, *session, ids, axes);
  }();
  cell.prefill = prefill;
  cell.samples = reports::Samples{readings.all.step_ns, readings.all.sm_clock_hz};
  record_gpu_state(readings.before, readings.after, readings.all, cell);
  record_peak(bench, *session, cell);
  record_kernels(*session, cell);
  if (!first_tokens_hold(bench, *session, readings.all, cell)) return;
  cell.floor = floor_of(bench, cost(bench.plan, bench.peer, axes.context, axes.batch),
                        expected_distinct_experts(bench.plan.config, axes.batch * axes.context),
                        "expected under uniform routing");
  record_times(bench, readings.all, cell);
}

}  // namespace

Suite prefill_suite() {
  Suite suite{"prefill", "time to the first token of a prompt of --context tokens, from an empty cache", true,
              session_options, measure};
  suite.fill = "empty";
  suite.cost = cost;
  suite.seconds = seconds;
  return suite;
}

}  // namespace kdabench::suites
