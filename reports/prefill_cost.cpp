#include "reports/prefill_cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "reports/table.h"

namespace kdabench::reports {

std::optional<PrefillCost> prefill_cost(const Cell& like, const std::vector<Cell>& cells) {
  std::map<double, double> times;  // by tokens
  for (const Cell& cell : cells) {
    Axes axes = cell.axes;
    axes.context = like.axes.context;
    if (cell.suite == "prefill" && cell.status == "ok" && cell.validity.valid && cell.timing &&
        cell.axes.context > 0 && cell.timing->stats.median_ns > 0 && cell_id(cell.suite, axes) == cell_id(like.suite, like.axes))
      times[double(cell.axes.context)] = cell.timing->stats.median_ns;
  }
  if (times.size() < 3) return std::nullopt;
  // a T / t + b T^2 / t = 1 in the mean: the normal equations of relative errors
  double xx = 0, xy = 0, yy = 0, x1 = 0, y1 = 0;
  for (const auto& [tokens, ns] : times) {
    const double x = tokens / ns, y = tokens * tokens / ns;
    xx += x * x, xy += x * y, yy += y * y, x1 += x, y1 += y;
  }
  const double determinant = xx * yy - xy * xy;
  PrefillCost cost;
  cost.linear_ns = (x1 * yy - y1 * xy) / determinant;
  cost.quadratic_ns = (xx * y1 - xy * x1) / determinant;
  if (!(cost.linear_ns > 0) || !(cost.quadratic_ns > 0)) return std::nullopt;
  cost.shortest = int64_t(times.begin()->first);
  cost.longest = int64_t(times.rbegin()->first);
  for (const auto& [tokens, ns] : times) cost.worst = std::max(cost.worst, std::abs(cost.at(tokens) / ns - 1));
  return cost;
}

std::string prefill_text(const ClaimResult& result, const std::vector<Source>& sources) {
  const Evidence* const evidence = !result.evidence.empty() ? &result.evidence[result.best]
                                   : result.elsewhere       ? &*result.elsewhere
                                                            : nullptr;
  if (!evidence || !evidence->over || evidence->of->suite != "prefill") return "";
  const auto here = [&](const Source& source) {
    const auto& cells = source.report.cells;
    return std::any_of(cells.begin(), cells.end(), [&](const Cell& cell) { return &cell == evidence->of; });
  };
  const auto source = std::find_if(sources.begin(), sources.end(), here);
  if (source == sources.end()) return "";
  const auto of = prefill_cost(*evidence->of, source->report.cells);
  const auto over = prefill_cost(*evidence->over, source->report.cells);
  if (!of || !over) return "";
  std::string out = fmt::format("\nA prompt of T tokens costs a T + b T^2, fitted to {} to {}\n\n",
                                readable_tokens(std::max(of->shortest, over->shortest)),
                                readable_tokens(std::min(of->longest, over->longest)));
  for (const auto& [cell, cost] : {std::pair{evidence->of, *of}, std::pair{evidence->over, *over}})
    out += fmt::format("  {:<12} a {:.4g} us a token, b {:.4g} ps a pair; half of the time is attention from {:.0f}K on; off "
                       "by {:.1f} % at most\n", cell->axes.model, cost.linear_ns * 1e-3, cost.quadratic_ns * 1e3,
                       cost.linear_ns / cost.quadratic_ns / 1024, 100 * cost.worst);
  out += fmt::format("\nTheir ratio tends to {:.2f}x, that of b.", of->quadratic_ns / over->quadratic_ns);
  const auto& where = result.claim.query["where"];
  const double asked = where.contains("context") && where["context"].is_number() ? where["context"].get<double>() : 0;
  if (asked > double(std::min(of->longest, over->longest)))
    out += fmt::format(" At {} the fit gives {:.2f}x: an extrapolation, no measurement.", readable_tokens(int64_t(asked)),
                       of->at(asked) / over->at(asked));
  return out + "\n";
}

}  // namespace kdabench::reports
