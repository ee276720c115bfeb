#pragma once
// Single results that a report keeps, so that two runs of one test can be compared item by item (`kdabench gate`).

#include <string>
#include <vector>

#include "reports/record.h"
#include "suites/plan.h"

namespace kdabench::suites {

// Of answers that are chosen by log-probability: scores [items], choices [items, as many for each], and, with
// plan.reference, the divergence of each item's choices from those that report has for the same model and task. Call it
// when cell.accuracy is complete. Error: the reference has no such cell, or its prompts or right answers are others.
reports::Items paired_items(const AccuracyPlan& plan, const reports::Cell& cell, std::vector<double> scores,
                            std::vector<double> choices);

// Refuses a reference that cannot be read, or holds no log-probabilities for the model's cell of this suite and task,
// before anything is loaded.
void check_reference(const AccuracyPlan& plan, const std::string& suite, const std::string& model, const std::string& task);

}  // namespace kdabench::suites
