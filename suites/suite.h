#pragma once
// A suite is a name, the session it needs at a point, and a function that measures one cell. The runner (runner.h)
// enumerates cells, builds models and turns exceptions into statuses.

#include <chrono>
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "reports/items.h"
#include "reports/record.h"
#include "suites/plan.h"

namespace kdabench::suites {

// What the GPU's management library says right now. Counters only grow; a cell takes differences.
struct GpuReading {
  std::optional<double> power_watts, temperature_celsius, throttle_power_ns, throttle_thermal_ns;
  std::optional<double> energy_joules;        // since the driver was loaded
  std::optional<int64_t> other_processes;
  std::string reason;                         // why entries above are empty
};

// What a suite asks of the program around it.
class Host {
 public:
  virtual ~Host() = default;
  virtual bool finished_before(const std::string& id) const = 0;           // kept from an interrupted run
  virtual void starting(const std::string& what) = 0;                      // a model or a cell
  virtual void progress(const std::string& what, double fraction) = 0;     // within it, 0 to 1
  virtual void finished(const reports::Cell& cell) = 0;
  virtual std::optional<GpuReading> gpu() = 0;                             // empty on the CPU
  // Accuracy suites: a cell of this run or a kept one; an item scored before, by its key; and an item to keep.
  virtual const reports::Cell* find_cell(const std::string&) const { return nullptr; }
  virtual const reports::Item* find_item(const std::string&) const { return nullptr; }
  virtual void scored(const reports::Item&) {}
};

class Timeout : public Error {
 public:
  using Error::Error;
};

// Checked between the phases of a cell: a step that runs is never interrupted.
class Deadline {
 public:
  explicit Deadline(double seconds) : seconds_(seconds) {}
  void check(const std::string& before) const { expect(before, 0); }
  // Throws Timeout when `before`, which should take `ns`, would end after the deadline.
  void expect(const std::string& before, double ns) const {
    const double spent = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    if (seconds_ > 0 && spent + ns * 1e-9 > seconds_)
      throw Timeout(text("The cell would have passed its ", seconds_, " s before or in ", before,
                         "; raise --timeout or lower --steps."));
  }

 private:
  double seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// What a suite measures with.
struct Bench {
  Model& model;
  const Peer& peer;
  const Plan& plan;
  const reports::Ceilings& ceilings;          // entries are empty where nothing was measured
  Host& host;
  Deadline deadline;
};

// What an accuracy suite asks of one model at one point, for an estimate before it starts.
struct Workload {
  int64_t prompts = 0;
  int64_t read_tokens = 0, generated_tokens = 0;   // at most
  int64_t longest = 0;                             // tokens of one sequence, generated ones too
  std::string note;                                // prompt format, tokenizer
};

struct Suite {
  std::string name;
  std::string summary;                        // one line for --help
  bool needs_ceilings = false;
  std::function<SessionOptions(const Plan& plan, int64_t context, int64_t batch)> session;
  // Fills in everything but id and axes. What it throws becomes the status: OutOfMemory `oom`, Timeout `timeout`,
  // anything else `error`.
  std::function<void(Bench& bench, reports::Cell& cell)> measure;
  // Accuracy suites alone. They have points of their own in place of the sweep's, choose their sessions themselves, and
  // want trained weights. `workload` reads whatever the cell needs but the weights, so that what is wrong with a file or
  // a name is found before anything is loaded.
  std::function<std::vector<Point>(const Plan& plan)> points = {};
  std::function<Workload(const Plan& plan, const Peer& peer, const Point& point)> workload = {};
  // Suites whose timed step is not a decode step: what one costs at the least, about how long a cell takes at a matrix
  // rate, and what the report's axis `fill` says in place of the plan's.
  std::function<StepCost(const Plan& plan, const Peer& peer, int64_t context, int64_t batch)> cost = {};
  std::function<double(const Plan& plan, const Peer& peer, int64_t context, int64_t batch, double flops_per_s)> seconds = {};
  std::string fill = {};
  bool scores() const { return static_cast<bool>(workload); }
};

// Single scores in the order of the items, and where answers are chosen from, the log-probabilities of all of them, to
// the digits that a comparison can use.
inline reports::Items items_of(std::vector<double> scores, std::vector<double> choices = {}) {
  for (double& x : choices) x = std::round(x * 1e5) / 1e5;
  return {std::move(scores), std::move(choices), {}};
}

// Ends the cell without a result: a cell that is not ok has no speed.
inline void end(reports::Cell& cell, const std::string& status, const std::string& reason) {
  cell.status = status;
  cell.status_reason = reason;
  cell.timing.reset();
  cell.throughput.reset();
}

}  // namespace kdabench::suites
