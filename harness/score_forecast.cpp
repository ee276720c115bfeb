#include "harness/score_forecast.h"

#include <fmt/format.h>

#include <algorithm>

#include "reports/table.h"

namespace kdabench {
namespace {

// Shares of the rates that a pass over prompts and a decode step are assumed to reach, and rows decoded together. A small
// model is bound by neither: a layer of a decode step takes a GPU this long whatever it computes, and a cell so long to
// open its session and capture its step (scripts/gpu_accuracy.sh on an H200: 0.9 ms a step of 8 layers at 1K, 0.1 s).
constexpr double kPrefillShare = 0.3, kDecodeShare = 0.5, kLayerSecondsCuda = 1e-4, kCellSecondsCuda = 0.1;
constexpr int64_t kRowsCuda = 128, kRowsCpu = 8;

double seconds_of(const suites::Plan& plan, const suites::Peer& peer, const suites::Workload& work) {
  if (work.prompts == 0) return 0;
  const suites::Plan own = suites::plan_of(plan, peer);
  const AssumedRates rates = assumed_rates(plan.device);
  const NumberBytes bytes = number_bytes(plan.precision);
  const StepCost token = decode_cost(own.config, peer.layout, bytes, 1, work.longest / 2,
                                     expected_distinct_experts(own.config, 1));
  double seconds = static_cast<double>(work.read_tokens) * static_cast<double>(token.flops) /
                   (kPrefillShare * rates.flops_per_s);
  const bool cuda = plan.device == DeviceKind::kCuda;
  if (cuda) seconds += kCellSecondsCuda;
  if (work.generated_tokens == 0) return seconds;
  const int64_t rows = std::min(work.prompts, cuda ? kRowsCuda : kRowsCpu);
  const StepCost step = decode_cost(own.config, peer.layout, bytes, rows, work.longest,
                                    expected_distinct_experts(own.config, rows));
  const double step_seconds = 1e-9 * suites::floor_ns(step, rates.read_bytes_per_s, rates.flops_per_s) / kDecodeShare;
  const double least = cuda ? kLayerSecondsCuda * static_cast<double>(own.config.num_hidden_layers) : 0;
  return seconds + static_cast<double>(work.generated_tokens) / static_cast<double>(rows) * std::max(step_seconds, least);
}

}  // namespace

// An H200: the read bandwidth a stream reaches, and dense bf16 tensor cores; or a desktop CPU.
AssumedRates assumed_rates(DeviceKind device) {
  return device == DeviceKind::kCuda ? AssumedRates{4.3e12, 800e12} : AssumedRates{40e9, 100e9};
}

std::string readable_seconds(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", std::max(1., seconds));
  if (seconds < 5400) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

std::vector<ScoreForecast> score_forecast(const std::vector<const suites::Suite*>& wanted, const suites::Plan& plan) {
  std::vector<ScoreForecast> result;
  for (suites::Task& task : suites::tasks(wanted, plan)) {
    if (!task.suite->scores()) continue;
    ScoreForecast row;
    row.work = task.suite->workload(suites::plan_of(plan, *task.peer), *task.peer, task.point);
    row.seconds = seconds_of(plan, *task.peer, row.work);
    row.task = std::move(task);
    result.push_back(std::move(row));
  }
  return result;
}

std::string estimate_text(const std::vector<ScoreForecast>& forecasts) {
  suites::Workload sum;
  double seconds = 0;
  for (const ScoreForecast& row : forecasts) {
    sum.prompts += row.work.prompts;
    sum.read_tokens += row.work.read_tokens;
    sum.generated_tokens += row.work.generated_tokens;
    seconds += row.seconds;
  }
  return fmt::format("{} prompts, at most {:.4g} M tokens to read and {:.4g} M to generate: about {} at assumed rates",
                     sum.prompts, static_cast<double>(sum.read_tokens) * 1e-6,
                     static_cast<double>(sum.generated_tokens) * 1e-6, readable_seconds(seconds));
}

void print_score_forecast(const std::vector<ScoreForecast>& forecasts) {
  size_t model_width = 5, task_width = 4;
  for (const ScoreForecast& row : forecasts) {
    model_width = std::max(model_width, row.task.peer->name.size());
    task_width = std::max(task_width, row.task.point.task.size());
  }
  constexpr const char* kRow = "{:<7} {:<{}} {:<{}} {:>7} {:>8} {:>12} {:>12} {:>10}  {}\n";
  fmt::print(kRow, "suite", "model", model_width, "task", task_width, "length", "prompts", "tokens read", "generated",
             "time", "how");
  for (const ScoreForecast& row : forecasts) {
    if (row.work.prompts == 0) continue;     // made of the others
    fmt::print(kRow, row.task.suite->name, row.task.peer->name, model_width, row.task.point.task, task_width,
               row.task.point.context ? reports::readable_tokens(row.task.point.context) : "-", row.work.prompts,
               row.work.read_tokens, row.work.generated_tokens, readable_seconds(row.seconds), row.work.note);
  }
  fmt::print("\n{}.\n", estimate_text(forecasts));
}

}  // namespace kdabench
