#pragma once
// From a plan to cells: enumerates them, predicts what they take, builds each model once and measures all its cells.

#include <vector>

#include "reports/record.h"
#include "suites/fit.h"
#include "suites/plan.h"
#include "suites/suite.h"

namespace kdabench::suites {

// A cell to be: in the order of the plan, all cells of a peer together.
struct Task {
  const Suite* suite;
  const Peer* peer;
  Point point;
  reports::Cell cell;                         // suite, axes and id; a same-memory cell has no batch yet
};
std::vector<Task> tasks(const std::vector<const Suite*>& suites, const Plan& plan);

// What a task takes, from its config alone: nothing is built and no device is asked.
struct Forecast {
  Task task;
  int64_t weight_bytes = 0;
  Fit fit;                                    // on the device less the weights
  StepCost cost;                              // of one timed step, experts expected under uniform routing
  double floor_ns = 0;
  std::optional<double> seconds;              // of the cell, about, where the suite knows: Suite::seconds
};

// A device, measured or supposed.
struct DeviceFacts {
  DeviceMemoryState memory;                   // before the weights are on it
  double read_bytes_per_s = 0;
  double gemm_flops_per_s = 0;
};
std::vector<Forecast> forecast(const std::vector<const Suite*>& suites, const Plan& plan, const DeviceFacts& device);

// Measures every task that `host` has not finished before. Throws only what the host throws.
void run(const std::vector<const Suite*>& suites, const Plan& plan, const reports::Ceilings& ceilings, Host& host);

// The larger of bytes / bandwidth and flops / rate; a rate of 0 is unknown and sets no floor.
double floor_ns(const StepCost& cost, double read_bytes_per_s, double gemm_flops_per_s);

// What config and layout say of a cell's bytes; entries that need a session are left at 0 and null.
reports::Memory analytic_memory(const Plan& plan, const Peer& peer, const reports::Axes& axes);

}  // namespace kdabench::suites
