#include "suites/paired.h"

#include "kernels/base/error.h"
#include "reports/json.h"
#include "reports/statistics.h"
#include "suites/suite.h"

namespace kdabench::suites {
namespace {

// The reference may be of another device or precision: a CPU in fp32 is what a GPU in bf16 is held to.
reports::Cell reference_cell(const AccuracyPlan& plan, const std::string& suite, const std::string& model,
                             const std::string& task) {
  for (const reports::Cell& cell : reports::read_report(plan.reference).cells)
    if (cell.suite == suite && cell.axes.model == model && cell.axes.task == task && cell.status == "ok" &&
        cell.accuracy && cell.accuracy->score && cell.items && !cell.items->choices.empty())
      return cell;
  fail("--reference ", plan.reference, " has no log-probabilities of ", suite, " ", task, " for ", model,
       "; make it with the same suite, model and flags, on any device.");
}

}  // namespace

void check_reference(const AccuracyPlan& plan, const std::string& suite, const std::string& model,
                     const std::string& task) {
  if (!plan.reference.empty()) reference_cell(plan, suite, model, task);
}

reports::Items paired_items(const AccuracyPlan& plan, const reports::Cell& cell, std::vector<double> scores,
                            std::vector<double> choices) {
  const size_t n = scores.size();
  reports::Items items = items_of(std::move(scores), std::move(choices));
  if (plan.reference.empty()) return items;
  const reports::Cell reference = reference_cell(plan, cell.suite, cell.axes.model, cell.axes.task.value_or(""));
  const reports::Score &was = *reference.accuracy->score, &is = *cell.accuracy->score;
  require(was.prompts_sha256 == is.prompts_sha256 && was.gold_sha256 == is.gold_sha256 &&
              reference.items->choices.size() == items.choices.size(),
          "--reference ", plan.reference, " was asked other prompts than this run; give the same data and flags.");
  items.kl = reports::choice_divergence(reference.items->choices, items.choices, items.choices.size() / n);
  return items;
}

}  // namespace kdabench::suites
