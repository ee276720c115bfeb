#pragma once
// How many sequences fit. Pure arithmetic over a prediction, so that the dry run, the run and the tests agree.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "harness/engine/model.h"
#include "suites/plan.h"

namespace kdabench::suites {

// Bytes of a session with `batch` sequences; never falls when the batch grows.
using Predict = std::function<SessionBytes(int64_t batch)>;

struct Fit {
  int64_t batch = 0;                          // 0: not even one sequence fits
  SessionBytes bytes;                         // of that batch, or of what was asked for and does not fit
  int64_t available = 0;                      // what the bytes were held against
  bool fits = false;
  std::string reason;                         // one sentence: why it does not fit, or what bound the batch
};

// Left free by same-memory without a budget, as a share of the device: library workspaces, graphs, fragmentation.
inline constexpr double kReserve = 0.02;

// More sequences than this are never asked for: grids of the kernels end near it.
inline constexpr int64_t kMostSequences = 32768;

// The largest batch up to kMostSequences that `fits`, by bisection; 0 when none does.
int64_t largest_batch(const std::function<bool(int64_t)>& fits);

// `memory` is the device once the weights are on it.
//   same-batch                 all of the session within the free memory
//   same-memory                the same, less the reserve, for the largest batch
//   same-memory with a budget  caches and states within the budget for the largest batch, and the session must fit too
Fit fit(const Point& point, const Predict& predict, const DeviceMemoryState& memory);

}  // namespace kdabench::suites
