#pragma once
// Where a ratio of amortised decode times comes from, computed from measured cells. With B sequences a step,
//   TPOT = step / B,   TPOT_full / TPOT_hybrid = (B_hybrid / B_full) * (step_full / step_hybrid)
// and each factor splits once more: sequences into the ratio of their bytes and what whole numbers make of it, steps
// into the ratio of their floors and how near each comes to its own.
//
// The cost of a batch that was not measured is modelled from the cells' bytes: step(B) = overhead + (weights + head +
// experts(B) + B * (cache + state)) / rate, with experts(B) between measured batches and the rate (bytes / time) of
// the model's own cell. Under it equal batches cannot differ by more than the caches a token do.

#include <optional>
#include <string>
#include <vector>

#include "reports/json.h"

namespace kdabench::reports {

// What one token moves, amortised over the batch, in bytes, as the cell's floor counts them.
struct BytesPerToken {
  double weights = 0, experts = 0, head = 0, cache = 0, state = 0;
  double total() const { return weights + experts + head + cache + state; }
};

// A cache budget: how many sequences fit of either model, and what that gives.
struct BudgetRow {
  double from_bytes = 0, to_bytes = 0;  // budgets that hold exactly these batches
  int64_t full_batch = 0, hybrid_batch = 0;
  std::optional<double> ratio;        // without overhead; empty beyond the measured batches
  std::optional<double> overhead_ns;  // a step's fixed cost that would make the ratio the paper's; 0 when it is
};                                    // reached without; empty when no overhead can

struct StepCheck {  // the model against a measured cell
  std::string model;
  int64_t batch = 0;
  double measured_ns = 0, modelled_ns = 0;
};

struct Amortisation {
  const Cell* full = nullptr;
  const Cell* hybrid = nullptr;
  double target = 0;                                       // the paper's ratio
  double ratio = 0;                                        // of TPOT, measured
  double cache_ratio = 0;                                  // bytes of cache a token: the bound at equal batches
  double sequence_ratio = 0;                               // bytes of one sequence, states included
  double batch_ratio = 0, rounding = 0;                    // B_hybrid / B_full, and that over sequence_ratio
  double step_ratio = 0, floor_ratio = 0, efficiency = 0;  // step_full / step_hybrid = floor_ratio * efficiency
  BytesPerToken full_bytes, hybrid_bytes;
  std::vector<BudgetRow> budgets;
  std::vector<StepCheck> checks;
};

// `cells` are those of the same report: the batches between which experts are interpolated and the model is checked.
// Empty when a cell lacks timing, memory or floor.
std::optional<Amortisation> amortisation(const Cell& full, const Cell& hybrid, double target,
                                         const std::vector<Cell>& cells);

std::string amortisation_text(const Amortisation& a);
Json amortisation_json(const Amortisation& a);

}  // namespace kdabench::reports
