#pragma once
// What a prefill's time is made of, fitted to measured cells: T tokens cost a T + b T^2. Projections, experts and
// recurrences are the first term, attention is the second; two models of one config that differ in the number of
// attention layers tend to the ratio of their b. The fit explains what was measured; beyond it, it is no measurement.

#include <optional>
#include <string>
#include <vector>

#include "reports/claims.h"

namespace kdabench::reports {

struct PrefillCost {
  double linear_ns = 0, quadratic_ns = 0;  // a token, a pair of them
  int64_t shortest = 0, longest = 0;       // tokens of the prompts that it was fitted to
  double worst = 0;                        // largest relative error of the fit
  double at(double tokens) const { return linear_ns * tokens + quadratic_ns * tokens * tokens; }
};

// Least squares of relative errors over the usable prefill cells that share `like`'s axes but the context. Empty with
// fewer than three lengths, or where a term comes out negative.
std::optional<PrefillCost> prefill_cost(const Cell& like, const std::vector<Cell>& cells);

// The two costs behind a prefill ratio, and where their ratio tends to; empty for other claims.
std::string prefill_text(const ClaimResult& result, const std::vector<Source>& sources);

}  // namespace kdabench::reports
