#pragma once
// One sequence through the delta rule, token by token, with its state kept in some type: what state_error.cpp compares.

#include <memory>
#include <vector>

#include "kernels/problems.h"

namespace kdabench::suites {

class DeltaRun {
 public:
  virtual ~DeltaRun() = default;
  // The tokens of `inputs`, whose states are ignored: the run's own go on. `position`: tokens before. Returns the
  // output, [T, H, V].
  virtual std::vector<double> run(const DeltaProblem<Cpu<double>>& inputs, int32_t position) = 0;
  virtual std::vector<double> state() = 0;     // [H, V, K]
};

// On the GPU, one decode launch a token; empty on a machine without one. In state_error_cuda.cpp.
std::unique_ptr<DeltaRun> cuda_delta_run(StateType type);

}  // namespace kdabench::suites
