#include "harness/dry_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/parse.h"
#include "harness/score_forecast.h"
#include "reports/table.h"

namespace kdabench {
namespace {

// An H200: what nvidia-smi calls 143771 MiB.
constexpr int64_t kAssumedMemory = int64_t{143771} << 20;

double gb(int64_t bytes) { return static_cast<double>(bytes) * 1e-9; }

}  // namespace

std::string prefill_estimate(const std::vector<suites::Forecast>& rows) {
  double seconds = 0;
  for (const suites::Forecast& row : rows) seconds += row.seconds.value_or(0);
  if (seconds == 0) return "";
  return fmt::format("prefill: about {} at assumed rates, check and warm-up in it, besides making the weights",
                     readable_seconds(seconds));
}

int print_dry_run(const RunOptions& options, const std::vector<const suites::Suite*>& wanted,
                  const suites::Plan& plan) {
  const std::vector<ScoreForecast> scores = score_forecast(wanted, plan);
  if (!scores.empty()) print_score_forecast(scores);
  if (std::all_of(wanted.begin(), wanted.end(), [](const suites::Suite* suite) { return suite->scores(); })) return 0;
  if (!scores.empty()) fmt::print("\n");
  const bool cuda = plan.device == DeviceKind::kCuda;
  const AssumedRates rates = assumed_rates(plan.device);
  suites::DeviceFacts device{{kAssumedMemory, kAssumedMemory}, rates.read_bytes_per_s, rates.flops_per_s};
  std::string memory_source = "assumed";
  if (!cuda) device.memory = device_memory(plan.device);
  if (!cuda) memory_source = "free now";
  if (cuda && cuda_available()) {
    device.memory = device_memory(plan.device);
    memory_source = "free now";
  }
  if (!options.device_memory.empty()) {
    device.memory.total_bytes = device.memory.free_bytes = parse_bytes("device-memory", options.device_memory);
    memory_source = "given";
  }
  if (!options.device_bandwidth.empty())
    device.read_bytes_per_s = parse_bandwidth("device-bandwidth", options.device_bandwidth);

  fmt::print("config {}, device {}, {}, {} timed steps, fill {}\n", plan.config.name, device_name(plan.device),
             precision_name(plan.precision), plan.steps, plan.fill);
  fmt::print("device memory {:.2f} GB ({}); floors at {:.4g} TB/s and {:.4g} TFLOP/s ({})\n\n",
             gb(device.memory.free_bytes), memory_source, device.read_bytes_per_s * 1e-12,
             device.gemm_flops_per_s * 1e-12, "assumed; a run measures them");

  size_t name_width = 5;
  for (const suites::Peer& peer : plan.peers) name_width = std::max(name_width, peer.name.size());
  const std::vector<suites::Forecast> rows = suites::forecast(wanted, plan, device);
  const std::string estimate = prefill_estimate(rows);
  constexpr const char* kRow = "{:<7} {:<{}} {:>7} {:>6} {:<11} {:>10} {:>10} {:>9} {:>9} {:>9}  {:<4} {:>9}{}\n";
  fmt::print(kRow, "suite", "model", name_width, "context", "batch", "protocol", "weights GB", "cache GB", "state GB",
             "work GB", "total GB", "fits", "floor ms", estimate.empty() ? "" : "     time");
  std::vector<std::string> refusals;
  for (const suites::Forecast& row : rows) {
    const reports::Axes& axes = row.task.cell.axes;
    const SessionBytes& bytes = row.fit.bytes;
    fmt::print(kRow, row.task.suite->name, axes.model, name_width, reports::readable_tokens(axes.context),
               row.task.point.same_memory() && !row.fit.fits ? "-" : std::to_string(axes.batch), axes.protocol,
               fmt::format("{:.4f}", gb(row.weight_bytes)), fmt::format("{:.4f}", gb(bytes.cache)),
               fmt::format("{:.4f}", gb(bytes.state)), fmt::format("{:.4f}", gb(bytes.workspace)),
               fmt::format("{:.4f}", gb(row.weight_bytes + bytes.total())), row.fit.fits ? "yes" : "no",
               row.task.suite->needs_ceilings ? fmt::format("{:.4g}", row.floor_ns * 1e-6) : "-",
               estimate.empty() ? "" : fmt::format("{:>9}", row.seconds ? readable_seconds(*row.seconds) : "-"));
    if (!row.fit.fits) refusals.push_back(row.task.cell.id + ": " + row.fit.reason);
  }
  if (!refusals.empty()) fmt::print("\nThese will be recorded as oom:\n");
  for (const std::string& line : refusals) fmt::print("  {}\n", line);
  if (!estimate.empty()) fmt::print("\n{}.\n", estimate);
  fmt::print("\nGB are 1e9 bytes. The floor counts experts as expected under uniform routing.\n");
  return 0;
}

}  // namespace kdabench
