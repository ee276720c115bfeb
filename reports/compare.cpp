#include "reports/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "reports/names.h"
#include "reports/table.h"

namespace kdabench::reports {
namespace {

constexpr const char* kMethod = "ratio of medians, no statistics";

bool measured(const Cell& cell) { return cell.status == "ok" && cell.validity.valid && cell.timing; }

// Bytes that follow from the model and the allocator. What a driver reports moves with drivers and is not
// judged.
std::vector<int64_t> exact_bytes(const Cell& cell, bool same_batch) {
  const Memory& m = *cell.memory;
  std::vector<int64_t> bytes = {m.cache_bytes_per_token, m.state_bytes_per_sequence};
  if (same_batch) bytes.insert(bytes.end(), {m.cache_bytes_analytic, m.cache_bytes_allocated});
  return bytes;
}

void settle(CellComparison& out, std::string verdict, Exit exit, std::string note) {
  out.verdict = std::move(verdict);
  out.exit = exit;
  out.note = std::move(note);
}

// Status first: what is wrong or did not run has no time to judge. True when that decides the cell.
bool settled_by_status(const Cell& base, const Cell& candidate, CellComparison& out) {
  const std::string &was = base.status, &is = candidate.status;
  const std::string why = candidate.status_reason.empty() ? "" : ": " + candidate.status_reason;
  if (is == "incorrect") {
    settle(out, "incorrect", Exit::incorrect, "the result is wrong" + why);
  } else if (is == "invalid" || (is == "ok" && !candidate.validity.valid)) {
    const auto& reasons = candidate.validity.reasons;
    settle(out, "invalid", Exit::invalid,
           "the measurement may not be used" + (reasons.empty() ? why : ": " + reasons.front().detail));
  } else if (is == "error" || is == "timeout") {
    settle(out, "failed", Exit::regression, is + why);
  } else if (is != "ok" && is == was) {
    settle(out, "same", Exit::pass, is + " in both");
  } else if (is != "ok") {
    settle(out, "failed", Exit::regression, fmt::format("was {}, is {}{}", was, is, why));
  } else if (was == "incorrect" || was == "invalid" || (was == "ok" && !base.validity.valid)) {
    settle(out, "no_baseline", Exit::no_baseline,
           fmt::format("the base cell is {} and cannot be a baseline", was == "ok" ? "invalid" : was));
  } else if (was != "ok") {
    settle(out, "recovered", Exit::pass, fmt::format("was {}, is ok", was));
  } else {
    return false;
  }
  return true;
}

void judge(const Cell& base, const Cell& candidate, bool same_machine, double threshold,
           CellComparison& out) {
  out.base_status = base.status;
  out.candidate_status = candidate.status;
  if (measured(base)) out.base_median_ns = base.timing->stats.median_ns;
  if (measured(candidate)) out.candidate_median_ns = candidate.timing->stats.median_ns;
  // Per token where the batch is a result: more sequences a step is not a slowdown.
  const bool same_batch = base.axes.batch == candidate.axes.batch;
  if (same_machine && out.base_median_ns && out.candidate_median_ns && *out.base_median_ns > 0)
    out.time_ratio = same_batch ? *out.candidate_median_ns / *out.base_median_ns
                                : candidate.timing->tpot_ns / base.timing->tpot_ns;
  bool more = false;
  if (base.memory && candidate.memory) {
    const auto a = exact_bytes(base, same_batch), b = exact_bytes(candidate, same_batch);
    out.bytes_equal = a == b;
    for (size_t i = 0; i < a.size(); ++i) more |= b[i] > a[i];
  }
  // The same failure twice is no change, unless it now counts more bytes.
  if (settled_by_status(base, candidate, out) && !(more && out.verdict == "same")) return;

  if (more)
    return settle(out, "more_bytes", Exit::regression, "cache or state takes more bytes than in base");
  if (base.memory && !candidate.memory)
    return settle(out, "failed", Exit::regression, "base counts bytes and the candidate does not");
  const std::string fewer =
      out.bytes_equal.value_or(true) ? "" : "cache or state takes fewer bytes than in base";
  if (base.timing && !candidate.timing)
    return settle(out, "failed", Exit::regression, "base has a time and the candidate has none");
  if (!base.timing && candidate.timing)
    return settle(out, "no_baseline", Exit::no_baseline, "the candidate has a time and base has none");
  if (!base.timing) return settle(out, fewer.empty() ? "same" : "fewer_bytes", Exit::pass, fewer);
  if (!same_machine)
    return settle(out, "not_judged", Exit::no_baseline, "another machine: times are not judged");
  if (*out.time_ratio > 1 + threshold)
    return settle(out, "slower", Exit::regression, fmt::format("{:+.1f} %", 100 * (*out.time_ratio - 1)));
  if (*out.time_ratio < 1 / (1 + threshold))
    return settle(out, "faster", Exit::pass,
                  fmt::format("{:+.1f} %; update the baseline", 100 * (*out.time_ratio - 1)));
  settle(out, fewer.empty() ? "same" : "fewer_bytes", Exit::pass, fewer);
}

std::map<std::string, const Cell*> by_id(const Report& report) {
  std::map<std::string, const Cell*> cells;
  for (const Cell& cell : report.cells)
    if (!cells.emplace(cell.id, &cell).second)
      throw Error(fmt::format("wanted unique cell ids, found {} twice; run kdabench validate", cell.id));
  return cells;
}

}  // namespace

const char* exit_name(Exit code) {
  switch (code) {
    case Exit::pass: return "pass";
    case Exit::regression: return "regression";
    case Exit::usage: return "usage, IO or schema error";
    case Exit::inconclusive: return "inconclusive";
    case Exit::invalid: return "invalid measurement";
    case Exit::incorrect: return "incorrect result";
    case Exit::no_baseline: return "baseline missing or incompatible";
  }
  return "unknown";
}

Exit worst(Exit a, Exit b) {
  for (const Exit code :
       {Exit::usage, Exit::incorrect, Exit::invalid, Exit::no_baseline, Exit::regression, Exit::inconclusive})
    if (a == code || b == code) return code;
  return Exit::pass;
}

Comparison compare(const Report& base, const Report& candidate, const CompareOptions& options) {
  if (!(options.threshold >= 0))
    throw Error(
        fmt::format("compare wants a threshold of 0 or more, found {}; 0.03 is 3 %", options.threshold));
  Comparison out;
  out.options = options;
  out.base = "base";
  out.candidate = "candidate";
  out.same_machine =
      !base.machine.fingerprint.empty() && base.machine.fingerprint == candidate.machine.fingerprint;
  const auto old_cells = by_id(base), new_cells = by_id(candidate);
  for (const Cell& cell : base.cells) {
    CellComparison row;
    row.id = cell.id;
    if (const auto at = new_cells.find(cell.id); at != new_cells.end()) {
      judge(cell, *at->second, out.same_machine, options.threshold, row);
    } else {
      row.base_status = cell.status;
      settle(row, "missing", Exit::regression, "the candidate has no such cell");
    }
    out.cells.push_back(row);
  }
  for (const Cell& cell : candidate.cells) {
    if (old_cells.count(cell.id)) continue;
    CellComparison row;
    row.id = cell.id;
    row.candidate_status = cell.status;
    const Exit own = cell.status == "incorrect" ? Exit::incorrect
                     : cell.status == "invalid" ? Exit::invalid
                                                : Exit::no_baseline;
    settle(row, "extra", own, "base has no such cell; update the baseline");
    out.cells.push_back(row);
  }
  for (const CellComparison& row : out.cells) out.exit = worst(out.exit, row.exit);
  if (!out.same_machine) out.exit = worst(out.exit, Exit::no_baseline);
  if (out.cells.empty()) {
    out.problem = "neither report has a cell";
    out.exit = worst(out.exit, Exit::no_baseline);
  }
  return out;
}

Comparison compare_files(const fs::path& base, const fs::path& candidate, const CompareOptions& options) {
  Comparison out;
  out.options = options;
  try {
    const Report after = read_report(candidate);  // first: a broken candidate outranks a missing base
    std::error_code ignored;
    const bool missing = !fs::exists(base, ignored);
    if (missing) {
      out.problem =
          fmt::format("{}: wanted a baseline, found no such file; make one with --out", base.string());
      out.exit = Exit::no_baseline;
    } else {
      out = compare(read_report(base), after, options);
    }
  } catch (const Error& error) {
    out.problem = error.what();
    out.exit = Exit::usage;
  }
  out.base = base.string();
  out.candidate = candidate.string();
  return out;
}

std::string compare_table(const Comparison& comparison) {
  std::string out = fmt::format("base       {}\ncandidate  {}\nthreshold  {:.1f} % ({})\n", comparison.base,
                                comparison.candidate, 100 * comparison.options.threshold, kMethod);
  if (!comparison.problem.empty()) out += comparison.problem + "\n";
  if (!comparison.cells.empty() && !comparison.same_machine)
    out += "machine    fingerprints differ or are empty: times are not judged\n";
  std::vector<std::string> ids;
  for (const CellComparison& cell : comparison.cells) ids.push_back(cell.id);
  const auto [common, names] = short_names(ids);
  if (!common.empty()) out += "all cells  " + common + "\n";
  size_t name_width = 4;
  for (const std::string& name : names) name_width = std::max(name_width, name.size());
  const auto line = [&](const std::string& name, const std::string& verdict, const std::string& before,
                        const std::string& after, const std::string& ratio, const std::string& bytes,
                        const std::string& note) {
    std::string text = fmt::format("{:<{}}  {:<11}  {:>9}  {:>9}  {:>6}  {:<5}  {}", name, name_width,
                                   verdict, before, after, ratio, bytes, note);
    text.erase(text.find_last_not_of(' ') + 1);
    return text + "\n";
  };
  if (!comparison.cells.empty())
    out += "\n" + line("cell", "verdict", "base ms", "new ms", "ratio", "bytes", "note");
  std::map<std::string, int> counts;
  for (size_t i = 0; i < comparison.cells.size(); ++i) {
    const CellComparison& row = comparison.cells[i];
    const auto time = [](const std::optional<double>& ns, const std::string& status) {
      return ns ? readable_ms(*ns) : status.empty() ? "-" : status;
    };
    out += line(names[i], row.verdict, time(row.base_median_ns, row.base_status),
                time(row.candidate_median_ns, row.candidate_status),
                row.time_ratio ? fmt::format("{:.3f}", *row.time_ratio) : "-",
                row.bytes_equal ? (*row.bytes_equal ? "equal" : "DIFF") : "-", row.note);
    ++counts[row.verdict];
  }
  std::string summary;
  for (const auto& [verdict, count] : counts)
    summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", count, verdict);
  if (!summary.empty()) out += "\n" + summary + "\n";
  return out +
         fmt::format("{} (exit code {})\n", exit_name(comparison.exit), static_cast<int>(comparison.exit));
}

Json compare_json(const Comparison& comparison) {
  const auto number = [](const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); };
  Json out = {{"schema", "kdabench/comparison"},
              {"schema_version", "1.0.0"},
              {"base", comparison.base},
              {"candidate", comparison.candidate},
              {"method", kMethod},
              {"threshold", comparison.options.threshold},
              {"same_machine", comparison.same_machine},
              {"exit_code", static_cast<int>(comparison.exit)},
              {"exit_name", exit_name(comparison.exit)},
              {"problem", comparison.problem},
              {"cells", Json::array()}};
  for (const CellComparison& row : comparison.cells)
    out["cells"].push_back({{"id", row.id},
                            {"verdict", row.verdict},
                            {"exit_code", static_cast<int>(row.exit)},
                            {"base_status", row.base_status},
                            {"candidate_status", row.candidate_status},
                            {"base_median_ns", number(row.base_median_ns)},
                            {"candidate_median_ns", number(row.candidate_median_ns)},
                            {"time_ratio", number(row.time_ratio)},
                            {"bytes_equal", row.bytes_equal ? Json(*row.bytes_equal) : Json(nullptr)},
                            {"note", row.note}});
  return out;
}

}  // namespace kdabench::reports
