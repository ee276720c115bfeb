#pragma once
// kdabench run --dry-run: every cell with the bytes it will need, whether it fits, the floor of a step and, of prefill, about the time.

#include <string>
#include <vector>

#include "harness/options.h"
#include "suites/runner.h"

namespace kdabench {

// One sentence over the cells whose suite knows how long they take; empty when there are none.
std::string prefill_estimate(const std::vector<suites::Forecast>& rows);

int print_dry_run(const RunOptions& options, const std::vector<const suites::Suite*>& suites,
                  const suites::Plan& plan);

}  // namespace kdabench
