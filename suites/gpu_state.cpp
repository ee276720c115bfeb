#include "suites/gpu_state.h"

#include <fmt/format.h>

#include <algorithm>

#include "suites/bounds.h"

namespace kdabench::suites {
namespace {

void add(std::string& reason, const std::string& more) {
  if (!reason.empty()) reason += "; ";
  reason += more;
}

std::optional<double> difference(const std::optional<double>& before, const std::optional<double>& after) {
  if (!before || !after) return {};
  return std::max(0.0, *after - *before);
}

reports::Energy energy(const std::optional<GpuReading>& before, const GpuReading& after,
                       const DecodeSamples& samples) {
  reports::Energy out;
  out.window_ns = samples.wall_ns;
  const std::optional<double> joules = difference(before ? before->energy_joules : std::nullopt, after.energy_joules);
  if (!joules) {
    out.reason = "the driver gave no energy counter";
  } else if (samples.wall_ns < kEnergyWindowNs) {
    out.reason = fmt::format("window_too_short: the loop took {:.2f} s, the counter wants {:.0f} s; raise --steps",
                             samples.wall_ns * 1e-9, kEnergyWindowNs * 1e-9);
  } else {
    out.joules = joules;
    out.mean_watts = *joules / (samples.wall_ns * 1e-9);
    if (!samples.tokens.empty()) out.joules_per_token = *joules / static_cast<double>(samples.tokens.size());
  }
  return out;
}

}  // namespace

void record_gpu_state(const std::optional<GpuReading>& before, const std::optional<GpuReading>& after,
                      const DecodeSamples& samples, reports::Cell& cell) {
  if (!after) return;
  reports::GpuState state;
  state.reason = after->reason;
  state.power_watts = after->power_watts;
  state.temperature_celsius = after->temperature_celsius;
  state.other_processes = after->other_processes;
  state.throttle_power_ns = difference(before ? before->throttle_power_ns : std::nullopt, after->throttle_power_ns);
  state.throttle_thermal_ns =
      difference(before ? before->throttle_thermal_ns : std::nullopt, after->throttle_thermal_ns);
  state.energy = energy(before, *after, samples);
  auto& reasons = cell.validity.reasons;
  if (samples.sm_clock_hz.empty()) {
    add(state.reason, "no SM clock: device timers gave none");
  } else {
    std::vector<double> clock = samples.sm_clock_hz;
    std::sort(clock.begin(), clock.end());
    const double median = clock[clock.size() / 2];
    state.sm_clock_hz_min = clock.front();
    state.sm_clock_hz_median = median;
    state.sm_clock_hz_max = clock.back();
    if (clock.front() < bounds::kSteadyClock * median)
      reasons.push_back({"clock_unsteady", fmt::format("The SM clock fell from {:.0f} to {:.0f} MHz during the timed "
                                                       "steps; run again on a cooler or less loaded GPU.",
                                                       median * 1e-6, clock.front() * 1e-6)});
  }
  const auto throttled = [&](const std::optional<double>& ns, const char* code, const char* what) {
    if (!ns || samples.wall_ns <= 0 || *ns <= bounds::kThrottledShare * samples.wall_ns) return;
    reasons.push_back({code, fmt::format("The GPU was throttled for {} during {:.0f} % of the timed loop.", what,
                                         std::min(100.0, 100 * *ns / samples.wall_ns))});
  };
  throttled(state.throttle_power_ns, "throttled_power", "power");
  throttled(state.throttle_thermal_ns, "throttled_thermal", "heat");
  if (state.other_processes.value_or(0) > 0)
    reasons.push_back({"other_processes", fmt::format("{} other compute processes were on the GPU; run again alone.",
                                                      *state.other_processes)});
  cell.gpu_state = state;
}

void record_launches(const DecodeSamples& samples, reports::Cell& cell) {
  reports::Launches launches;
  launches.kernels_per_step = samples.kernels;
  if (!samples.kernels) launches.reason = "no CUDA graph: the CPU launches no kernels";
  cell.launches = launches;
}

}  // namespace kdabench::suites
