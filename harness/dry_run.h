#pragma once
// kdabench run --dry-run: every cell with the bytes it will need, whether it fits, and the floor of a step.

#include <vector>

#include "harness/options.h"
#include "suites/runner.h"

namespace kdabench {

int print_dry_run(const RunOptions& options, const std::vector<const suites::Suite*>& suites,
                  const suites::Plan& plan);

}  // namespace kdabench
