#include "reports/prefill_parts.h"

#include <fmt/format.h>

#include <algorithm>

#include "reports/table.h"

namespace kdabench::reports {
namespace {

double time_of(const Cell& cell, const std::string& part) {
  for (const PartOfStep& known : cell.breakdown->parts)
    if (known.name == part) return known.time_ns;
  return 0;
}

// The cell's time if its prompt were `times` as long.
double at_length(const Cell& cell, double times) {
  const double attention = time_of(cell, "attention");
  return times * (cell.breakdown->step_ns - attention) + times * times * attention;
}

}  // namespace

std::string prefill_text(const ClaimResult& result) {
  const Evidence* const evidence = !result.evidence.empty() ? &result.evidence[result.best]
                                   : result.elsewhere       ? &*result.elsewhere
                                                            : nullptr;
  if (!evidence || !evidence->over || evidence->of->suite != "prefill") return "";
  const Cell &of = *evidence->of, &over = *evidence->over;
  if (!of.breakdown || !over.breakdown || of.axes.context <= 0) return "";

  std::string out = fmt::format("\nWhere the time goes at {}, ms (share)\n\n  {:<12} {:>16} {:>16}\n",
                                readable_tokens(of.axes.context), "", of.axes.model, over.axes.model);
  std::vector<std::string> names;
  for (const Cell* cell : {&of, &over})
    for (const PartOfStep& part : cell->breakdown->parts)
      if (std::find(names.begin(), names.end(), part.name) == names.end()) names.push_back(part.name);
  for (const std::string& name : names) {
    out += fmt::format("  {:<12}", name);
    for (const Cell* cell : {&of, &over}) {
      const double ns = time_of(*cell, name), share = 100 * ns / std::max(1.0, cell->breakdown->step_ns);
      out += fmt::format(" {:>16}", ns > 0 ? fmt::format("{} ({:.0f} %)", readable_ms(ns), share) : "-");
    }
    out += "\n";
  }

  const double mine = time_of(of, "attention"), other = time_of(over, "attention");
  if (mine <= 0 || other <= 0) return out;
  out += fmt::format("\nAttention grows with the square of the length, the rest with the length: the ratio tends to that of "
                     "the attention, {:.2f}x.\n", mine / other);
  const Json& where = result.claim.query["where"];
  const double asked = where.contains("context") && where["context"].is_number() ? where["context"].get<double>() : 0;
  const double times = asked / double(of.axes.context);
  if (times > 1)
    out += fmt::format("So split, {} would give {:.2f}x: an extrapolation, no measurement.\n",
                       readable_tokens(int64_t(asked)), at_length(of, times) / at_length(over, times));
  return out;
}

}  // namespace kdabench::reports
