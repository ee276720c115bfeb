#include "suites/timed.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "suites/runner.h"

namespace kdabench::suites {

reports::Floor floor_of(const Bench& bench, const StepCost& cost, double distinct_experts, const std::string& source) {
  reports::Floor floor;
  floor.bytes = cost.bytes();
  floor.flops = cost.flops;
  floor.weight_bytes = cost.weight_bytes;
  floor.expert_bytes = cost.expert_bytes;
  floor.cache_bytes = cost.cache_bytes;
  floor.state_bytes = cost.state_bytes;
  floor.head_bytes = cost.head_bytes;
  if (bench.plan.config.num_experts > 0) {
    floor.distinct_experts = distinct_experts;
    floor.distinct_experts_source = source;
  }
  floor.time_ns = floor_ns(cost, bench.ceilings.read_bytes_per_s.value_or(0),
                           bench.ceilings.gemm_flops_per_s.value_or(0));
  return floor;
}

reports::Breakdown breakdown_of(const Bench& bench, const StepParts& measured, const std::array<PartCost, kParts>& costs) {
  reports::Breakdown breakdown;
  breakdown.method = measured.method;
  breakdown.step_ns = breakdown.remainder_ns = measured.step_ns;
  for (const auto& [part, time_ns] : measured.parts) {
    const PartCost& cost = costs[static_cast<size_t>(part)];
    StepCost as_step;
    as_step.weight_bytes = cost.bytes;
    as_step.flops = cost.flops;
    breakdown.parts.push_back({part_name(part), time_ns, cost.bytes,
                               floor_ns(as_step, bench.ceilings.read_bytes_per_s.value_or(0),
                                        bench.ceilings.gemm_flops_per_s.value_or(0))});
    breakdown.remainder_ns -= time_ns;
  }
  return breakdown;
}

// The parts' names are those of the record's fields.
void record_kernels(const Session& session, reports::Cell& cell) {
  const StepKernels& kernels = session.kernels();
  cell.kernels.emplace().fields([&](const char* part, std::optional<std::string>& names, const char*) {
    const auto at = kernels.parts.find(part);
    if (at != kernels.parts.end()) names = fmt::format("{}", fmt::join(at->second, ", "));
  });
  if (kernels.launched.empty()) return;     // the CPU launches none
  reports::Resources& resources = cell.resources.emplace();
  for (const KernelUse& use : kernels.launched) {
    reports::KernelResources& row = resources.kernels.emplace_back();
    row.name = use.name;
    row.launches = use.launches;
    if (use.function) {
      row.instance = use.instance;
      row.registers = use.registers;
      row.local_bytes = use.local_bytes;
      row.static_shared_bytes = use.static_shared_bytes;
      row.dynamic_shared_bytes = use.dynamic_shared_bytes;
    } else {
      resources.reason = use.name + " is a library, which does not say what its kernels take";
    }
  }
}

bool usable(const Bench& bench, double median_ns, const std::string& what, reports::Cell& cell) {
  const auto invalid = [&cell](const char* code, const std::string& reason) {
    cell.validity.valid = false;
    cell.validity.reasons.push_back({code, reason});
    end(cell, "invalid", reason);
    return false;
  };
  reports::Floor& floor = *cell.floor;
  if (floor.time_ns > 0) {
    floor.fraction = floor.time_ns / median_ns;
    if (*floor.fraction > 1)
      return invalid("above_ceiling",
                     fmt::format("The median {} took {:.4g} ms, below its floor of {:.4g} ms at the measured ceilings.",
                                 what, median_ns * 1e-6, floor.time_ns * 1e-6));
  } else {
    cell.validity.reasons.push_back({"no_ceiling", "No ceiling was measured, so the floor has no time."});
  }
  if (bench.plan.inject_slowdown > 1)
    return invalid("injected_slowdown", fmt::format("Every {} was made {} times as long on purpose, to test a gate.",
                                                    what, bench.plan.inject_slowdown));
  return true;
}

}  // namespace kdabench::suites
