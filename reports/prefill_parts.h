#pragma once
// Where the time behind a prefill ratio goes, from the two cells' breakdowns. Attention grows with the square of the
// prompt, everything else with its length, so two models of one config tend to the ratio of their attention: 27 layers
// to 7. What the same split would give at another length explains a measurement; it is none.

#include <string>
#include <vector>

#include "reports/claims.h"

namespace kdabench::reports {

// Text for --explain; empty for other claims, and for cells without a breakdown.
std::string prefill_text(const ClaimResult& result);

}  // namespace kdabench::reports
