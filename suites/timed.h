#pragma once
// What suites that time steps write into a cell alike: the floor, kernels, and why a time may not be used.

#include <array>
#include <string>

#include "harness/engine/cost.h"
#include "reports/record.h"
#include "suites/suite.h"

namespace kdabench::suites {

// Bytes, operations and time at the measured ceilings; what says how the experts of `cost` were counted.
reports::Floor floor_of(const Bench& bench, const StepCost& cost, double distinct_experts, const std::string& source);

// Times beside the floor of each part.
reports::Breakdown breakdown_of(const Bench& bench, const StepParts& measured, const std::array<PartCost, kParts>& costs);

// The kernels of the session's last decode steps or prefill.
void record_kernels(const Session& session, reports::Cell& cell);

// False, with the reason in the cell, when a median must not be used: it lies below the floor, or a slowdown was injected
// to test a gate. Sets cell.floor->fraction. `what` names a step in the sentence.
bool usable(const Bench& bench, double median_ns, const std::string& what, reports::Cell& cell);

}  // namespace kdabench::suites
