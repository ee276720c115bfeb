// The claims table in its four forms, and one claim at length.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "reports/claims.h"
#include "reports/escape.h"
#include "reports/prefill_parts.h"
#include "reports/table.h"

namespace kdabench::reports {
namespace {

std::string with_unit(const std::string& value, const std::string& unit) {
  return unit == "x" ? value + unit : value + " " + unit;
}

std::string paper_number(const Claim& claim) { return with_unit(fmt::format("{:.4g}", claim.paper), claim.unit); }

std::string measured_number(const Claim& claim, double value) {
  return with_unit(fmt::format("{:.{}f}", value, claim.unit == "x" || claim.unit == "ppl" ? 2 : 1), claim.unit);
}

// Results without evidence, joined by their reason.
std::vector<std::pair<std::string, std::string>> reasons(const std::vector<ClaimResult>& results) {
  std::vector<std::pair<std::string, std::string>> out;  // reason, ids
  for (const ClaimResult& result : results) {
    if (result.reason.empty()) continue;
    const auto at =
        std::find_if(out.begin(), out.end(), [&](const auto& entry) { return entry.first == result.reason; });
    if (at == out.end())
      out.push_back({result.reason, result.claim.id});
    else
      at->second += ", " + result.claim.id;
  }
  return out;
}

std::string counts(const std::vector<ClaimResult>& results) {
  std::map<std::string, int> by_verdict;
  for (const ClaimResult& result : results) ++by_verdict[result.verdict];
  return fmt::format("{} reproduced, {} not reproduced, {} not testable here", by_verdict["reproduced"],
                     by_verdict["not reproduced"], by_verdict["not testable here"]);
}

std::string machines(const std::vector<Source>& sources) {
  std::string out;
  for (const Source& source : sources) {
    const Report& report = source.report;
    const std::string& device = report.devices.empty() ? report.machine.cpu : report.devices.front().name;
    out += (out.empty() ? "" : "; ") + source.name + (device.empty() ? "" : " (" + device + ")");
  }
  return out;
}

constexpr const char* kLegend =
    "floors: the ratio of the two cells' floors (bytes / measured bandwidth), which two perfect engines would show. "
    "bound: "
    "what no cost of a step can pass that is alike for both models, the larger of the ratio of their batches and "
    "that of "
    "their caches a token";

// Breaks at spaces; later lines are indented.
std::string wrapped(const std::string& words, size_t width, size_t indent) {
  std::istringstream in(words);
  std::string out, word;
  size_t used = indent;
  while (in >> word) {
    if (used > indent && used + 1 + word.size() > width) {
      out += '\n';
      out.append(indent, ' ');
      used = indent;
    }
    if (used > indent) out += ' ';
    out += word;
    used += word.size() + (used > indent ? 1 : 0);
  }
  out += '\n';
  return out;
}

std::string text_table(const std::vector<ClaimResult>& results, const std::vector<Source>& sources) {
  size_t id = 5, section = 5, measured = 8;
  for (const ClaimResult& result : results) {
    id = std::max(id, result.claim.id.size());
    section = std::max(section, result.claim.section.size());
    measured = std::max(measured, claim_numbers(result).measured.size());
  }
  const auto line = [&](const std::string& a, const std::string& b, const ClaimNumbers& s,
                        const std::string& verdict) {
    return fmt::format("{:<{}}  {:<{}}  {:>11}  {:>{}}  {:>6}  {:>6}  {}\n", a, id, b, section, s.paper, s.measured,
                       measured, s.floors, s.bound, verdict);
  };
  std::string out = "The paper's claims against " + machines(sources) + "\n\n";
  out += line("claim", "where", {"paper", "measured", "floors", "bound"}, "verdict");
  out += line(std::string(id, '-'), std::string(section, '-'),
              {std::string(11, '-'), std::string(measured, '-'), "------", "------"}, std::string(17, '-'));
  for (const ClaimResult& result : results)
    out += line(result.claim.id, result.claim.section, claim_numbers(result), result.verdict);
  out += fmt::format("\n{}\n{}", counts(results), wrapped(kLegend, 110, 0));
  for (const ClaimResult& result : results)
    if (const auto a = amortisation_of(result, sources)) {
      out += fmt::format("where an amortised ratio comes from: kdabench claims --explain {}\n",
                         paper_number(result.claim));
      break;
    }
  for (const auto& [reason, ids] : reasons(results))
    out += fmt::format("\n{}  {}", wrapped(ids + ":", 110, 0), wrapped(reason, 110, 2));
  return out;
}

std::string markdown_table(const std::vector<ClaimResult>& results, const std::vector<Source>& sources) {
  std::string out =
      "| claim | where | paper | measured | floors | bound | verdict |\n|:--|:--|--:|--:|--:|--:|:--|\n";
  for (const ClaimResult& result : results) {
    const ClaimNumbers s = claim_numbers(result);
    out +=
        fmt::format("| {} | {} | {} | {} | {} | {} | {} |\n", markdown_escaped(result.claim.says),
                    markdown_escaped(result.claim.section), s.paper, s.measured, s.floors, s.bound, result.verdict);
  }
  out += fmt::format("\n{}; {}. {}.\n", counts(results), markdown_escaped(machines(sources)), kLegend);
  if (!reasons(results).empty()) out += "\n";
  for (const auto& [reason, ids] : reasons(results))
    out += fmt::format("* {}: {}\n", markdown_escaped(ids), markdown_escaped(reason));
  return out;
}

std::string latex_table(const std::vector<ClaimResult>& results, const std::vector<Source>& sources) {
  std::string out =
      "% needs \\usepackage{booktabs}\n\\begin{tabular}{llrrrrl}\n\\toprule\n"
      "claim & where & paper & measured & floors & bound & verdict \\\\\n\\midrule\n";
  const auto times = [](std::string value) {  // 6.3x -> 6.3$\times$
    if (!value.empty() && value.back() == 'x') return value.substr(0, value.size() - 1) + "$\\times$";
    const size_t at = value.find(" +/- ");
    if (at == std::string::npos) return latex_escaped(value);
    return latex_escaped(value.substr(0, at)) + " $\\pm$ " + latex_escaped(value.substr(at + 5));
  };
  for (const ClaimResult& result : results) {
    const ClaimNumbers s = claim_numbers(result);
    out += fmt::format("{} & {} & {} & {} & {} & {} & {} \\\\\n", latex_escaped(result.claim.id),
                       latex_escaped(result.claim.section), times(s.paper), times(s.measured), times(s.floors),
                       times(s.bound), result.verdict);
  }
  return out + "\\bottomrule\n\\end{tabular}\n% " + counts(results) + "; " + one_line(machines(sources)) + "\n";
}

Json claims_json(const std::vector<ClaimResult>& results, const std::vector<Source>& sources) {
  const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); };
  Json out = {{"schema", "kdabench/claims"}, {"schema_version", "1.0.0"}, {"sources", Json::array()}};
  for (const Source& source : sources)
    out["sources"].push_back({{"name", source.name},
                              {"git_commit", source.report.meta.git_commit},
                              {"command", source.report.meta.command},
                              {"fingerprint", source.report.machine.fingerprint}});
  out["claims"] = Json::array();
  for (const ClaimResult& result : results) {
    const Claim& claim = result.claim;
    Json one = {{"id", claim.id},
                {"section", claim.section},
                {"says", claim.says},
                {"paper", claim.paper},
                {"unit", claim.unit},
                {"direction", claim.direction},
                {"tolerance", claim.tolerance},
                {"tolerance_absolute", claim.absolute},
                {"verdict", result.verdict},
                {"reason", result.reason}};
    one["measured"] = result.evidence.empty() ? Json(nullptr) : Json(result.evidence[result.best].measured);
    one["best"] = result.evidence.empty() ? Json(nullptr) : Json(result.best);
    const auto as_json = [&](const Evidence& evidence) {
      return Json{{"source", evidence.source},
                  {"of", evidence.of->id},
                  {"over", evidence.over ? Json(evidence.over->id) : Json(nullptr)},
                  {"measured", evidence.measured},
                  {"stderr", or_null(evidence.standard_error)},
                  {"floors", or_null(evidence.floors)},
                  {"bound", or_null(evidence.bound)}};
    };
    one["evidence"] = Json::array();
    for (const Evidence& evidence : result.evidence) one["evidence"].push_back(as_json(evidence));
    if (result.elsewhere) one["elsewhere"] = as_json(*result.elsewhere);
    if (const auto a = amortisation_of(result, sources)) one["decomposition"] = amortisation_json(*a);
    out["claims"].push_back(one);
  }
  return out;
}

std::string explained(const ClaimResult& result, const std::vector<Source>& sources) {
  const Claim& claim = result.claim;
  std::string out = fmt::format("{}: {} ({})\n\n", claim.id, paper_number(claim), claim.section);
  const auto part = [&](const char* name, const std::string& words) {
    if (!words.empty()) out += fmt::format("{:<10}", name) + wrapped(words, 118, 10);
  };
  part("says", claim.says);
  part("protocol", claim.protocol);
  part("unsaid", claim.unsaid);
  part("test", claim.test);
  part("holds if", claim.direction == "equal" ? fmt::format("within {}{} of it: {}",
                                                            claim.absolute ? claim.tolerance : 100 * claim.tolerance,
                                                            claim.absolute ? " " + claim.unit : " %", claim.why)
                                              : fmt::format("at least the number less {}{}: {}",
                                                            claim.absolute ? claim.tolerance : 100 * claim.tolerance,
                                                            claim.absolute ? " " + claim.unit : " %", claim.why));
  part("verdict", result.verdict + (result.reason.empty() ? "" : ": " + result.reason));
  const auto show = [&](const char* mark, const Evidence& evidence) {
    out += fmt::format("\n{} {}\n  {}\n", mark, measured_number(claim, evidence.measured), evidence.of->id);
    if (evidence.over) out += "  over " + evidence.over->id + "\n";
    if (evidence.floors)
      out += fmt::format("  ratio of their floors {:.2f}x{}\n", *evidence.floors,
                         evidence.bound ? fmt::format(", bound {:.2f}x", *evidence.bound) : "");
  };
  for (size_t i = 0; i < result.evidence.size(); ++i) show(i == result.best ? "*" : " ", result.evidence[i]);
  if (result.elsewhere) show(" ", *result.elsewhere);
  out += prefill_text(result);
  if (const auto a = amortisation_of(result, sources)) out += fmt::format("\n{}", amortisation_text(*a));
  return out;
}

}  // namespace

ClaimNumbers claim_numbers(const ClaimResult& result) {
  ClaimNumbers out{paper_number(result.claim)};
  if (result.evidence.empty() && !result.elsewhere) return out;
  const Evidence& best = result.evidence.empty() ? *result.elsewhere : result.evidence[result.best];
  out.measured = measured_number(result.claim, best.measured);
  if (result.evidence.empty()) out.measured += " at " + readable_tokens(best.of->axes.context);
  if (best.standard_error) out.measured += fmt::format(" +/- {:.1f}", *best.standard_error);
  if (best.floors) out.floors = measured_number(result.claim, *best.floors);
  if (best.bound) out.bound = measured_number(result.claim, *best.bound);
  return out;
}

std::string claims_table(const std::vector<ClaimResult>& results, const std::vector<Source>& sources,
                         const std::string& format) {
  if (format == "md") return markdown_table(results, sources);
  if (format == "latex") return latex_table(results, sources);
  if (format == "json") return pretty(claims_json(results, sources)) + "\n";
  return text_table(results, sources);
}

std::string explain_claim(const std::vector<ClaimResult>& results, const std::vector<Source>& sources,
                          const std::string& wanted) {
  std::vector<const ClaimResult*> found;
  std::string ids;
  for (const ClaimResult& result : results) {
    ids += (ids.empty() ? "" : ", ") + result.claim.id;
    if (result.claim.id == wanted) return explained(result, sources);
    if (paper_number(result.claim) == wanted) found.push_back(&result);
  }
  if (found.size() == 1) return explained(*found.front(), sources);
  if (found.empty())
    throw Error(fmt::format("--explain: wanted a claim's id or number, found {}; the ids are {}", wanted, ids));
  ids.clear();
  for (const ClaimResult* result : found) ids += (ids.empty() ? "" : ", ") + result->claim.id;
  throw Error(
      fmt::format("--explain: wanted one claim, found {} with {}; name one of {}", found.size(), wanted, ids));
}

}  // namespace kdabench::reports
