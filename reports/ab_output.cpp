// An A/B run for people, and as JSON.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "reports/ab.h"
#include "reports/names.h"
#include "reports/table.h"

namespace kdabench::reports {
namespace {

template <class T> Json optional(const std::optional<T>& value) { return value ? Json(*value) : Json(nullptr); }

// Of log ratios, as ratios.
Json ratios(const MeanInterval& interval) {
  return {{"n", interval.n},
          {"ratio", std::exp(interval.mean)},
          {"low", std::exp(interval.low)},
          {"high", std::exp(interval.high)},
          {"stddev_log", interval.stddev}};
}

Json decision_json(const Decision& decision) {
  if (decision.interval.n == 0) return nullptr;
  Json out = ratios(decision.interval);
  out["verdict"] = verdict_name(decision.verdict);
  out["p"] = decision.p;
  return out;
}

Json side_json(const AbSide& side) {
  return {{"path", side.path},
          {"hash", side.hash},
          {"tool_version", side.tool_version},
          {"git_commit", side.git_commit},
          {"git_dirty", side.git_dirty}};
}

Json row_json(const AbRow& row) {
  return {{"id", row.id},
          {"verdict", row.verdict},
          {"exit_code", static_cast<int>(row.exit)},
          {"note", row.note},
          {"a_ns", optional(row.a_ns)},
          {"b_ns", optional(row.b_ns)},
          {"first", decision_json(row.decision)},
          {"confirmation", row.confirmation ? decision_json(*row.confirmation) : Json(nullptr)},
          {"q", optional(row.q)},
          {"process_stddev_log", row.process_stddev},
          {"control", row.control ? ratios(*row.control) : Json(nullptr)},
          {"clock_ratio", optional(row.clock_ratio)}};
}

std::string seconds(double s) { return s < 90 ? fmt::format("{:.0f} s", s) : fmt::format("{:.1f} min", s / 60); }

}  // namespace

std::string ab_table(const AbReport& report) {
  const GateOptions& options = report.options;
  const bool same = report.a.hash == report.b.hash;
  std::string out = fmt::format("A        {} ({} {})\nB        {} ({} {}){}\n", report.a.path, report.a.tool_version,
                                report.a.git_commit.substr(0, 12), report.b.path, report.b.tool_version,
                                report.b.git_commit.substr(0, 12), same ? ", the same program as A" : "");
  if (report.injected_slowdown > 1)
    out += fmt::format("SLOWED   every step of B was made {} times as long on purpose: this tests the gate, not B\n",
                       report.injected_slowdown);
  out += fmt::format(
      "device   {}\nrule     margin {:.3g} %; {:.1f} % intervals over blocks of four processes; looks at {}; "
      "a fail is confirmed\n",
      report.device, 100 * options.delta, 100 * (1 - 2 * options.tail()), fmt::join(options.looks, ", "));
  std::vector<std::string> ids;
  for (const AbRow& row : report.rows) ids.push_back(row.id);
  const auto [common, names] = short_names(ids);
  if (!common.empty()) out += "cells    " + common + "\n";
  size_t width = 4;
  for (const std::string& name : names) width = std::max(width, name.size());
  const auto line = [&](const std::string& name, const std::string& verdict, const std::string& a, const std::string& b,
                        const std::string& ratio, const std::string& interval, const std::string& blocks,
                        const std::string& noise, const std::string& q, const std::string& note) {
    std::string text = fmt::format("{:<{}}  {:<12}  {:>7}  {:>7}  {:>6}  {:>14}  {:>6}  {:>6}  {:>7}  {}", name, width,
                                   verdict, a, b, ratio, interval, blocks, noise, q, note);
    text.erase(text.find_last_not_of(' ') + 1);
    return text + "\n";
  };
  out += "\n" + line("cell", "verdict", "A ms", "B ms", "B / A", "interval", "blocks", "noise", "q", "");
  std::map<std::string, int> counts;
  std::vector<double> noise;
  for (size_t i = 0; i < report.rows.size(); ++i) {
    const AbRow& row = report.rows[i];
    ++counts[row.verdict];
    const MeanInterval& d = row.decision.interval;
    if (d.n == 0) {
      out += line(names[i], row.verdict, "-", "-", "-", "-", "-", "-", "-", row.note);
      continue;
    }
    noise.push_back(row.process_stddev);
    const int64_t confirming = row.confirmation ? row.confirmation->interval.n : 0;
    out +=
        line(names[i], row.verdict, row.a_ns ? readable_ms(*row.a_ns) : "-", row.b_ns ? readable_ms(*row.b_ns) : "-",
             fmt::format("{:.4f}", std::exp(d.mean)), fmt::format("{:.4f}-{:.4f}", std::exp(d.low), std::exp(d.high)),
             confirming ? fmt::format("{}+{}", d.n, confirming) : fmt::format("{}", d.n),
             fmt::format("{:.2f} %", 100 * row.process_stddev), row.q ? fmt::format("{:.2g}", *row.q) : "-", row.note);
  }
  std::string summary;
  for (const auto& [verdict, count] : counts)
    summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", count, verdict);
  out += fmt::format("\n{}; {} processes in {}", summary, report.processes.size(), seconds(report.wall_s));
  if (!noise.empty())
    out += fmt::format("; noise between processes {:.2f} % in the median cell, {:.2f} % in the worst",
                       100 * median(noise), 100 * *std::max_element(noise.begin(), noise.end()));
  if (report.drift) out += fmt::format("; the sentinel drifted by {:+.2f} %", 100 * *report.drift);
  out += "\n";
  for (const std::string& problem : report.problems) out += "invalid: " + problem + "\n";
  return out + fmt::format("{} (exit code {})\n", exit_name(report.exit), static_cast<int>(report.exit));
}

Json to_json(const AbProcess& process) {
  Json cells = Json::array();
  for (const AbCell& cell : process.cells)
    cells.push_back({{"id", cell.id},
                     {"status", cell.status},
                     {"reason", cell.reason},
                     {"tpot_ns", optional(cell.tpot_ns)},
                     {"clock_hz", optional(cell.clock_hz)},
                     {"timed_ns", optional(cell.timed_ns)},
                     {"throttled_ns", optional(cell.throttled_ns)},
                     {"other_processes", optional(cell.other_processes)}});
  return {{"stage", process.stage},           {"block", process.block},   {"slot", process.slot},
          {"side", process.is_b ? "b" : "a"}, {"wall_s", process.wall_s}, {"cells", cells}};
}

AbProcess ab_process_from_json(const Json& json) {
  try {
    AbProcess process;
    process.stage = json.at("stage").get<std::string>();
    process.block = json.at("block").get<int64_t>();
    process.slot = json.at("slot").get<int64_t>();
    process.is_b = json.at("side").get<std::string>() == "b";
    process.wall_s = json.at("wall_s").get<double>();
    const auto number = [](const Json& cell, const char* key) {
      return cell.at(key).is_null() ? std::nullopt : std::optional(cell.at(key).get<double>());
    };
    for (const Json& cell : json.at("cells")) {
      AbCell out{cell.at("id").get<std::string>(), cell.at("status").get<std::string>(),
                 cell.at("reason").get<std::string>(), number(cell, "tpot_ns"), number(cell, "clock_hz"),
                 number(cell, "timed_ns"), number(cell, "throttled_ns"), {}};
      if (const auto others = number(cell, "other_processes")) out.other_processes = static_cast<int64_t>(*others);
      process.cells.push_back(out);
    }
    return process;
  } catch (const Json::exception& error) {
    throw Error(fmt::format(
        "wanted a process of an A/B run, found JSON of another shape ({}); start again with --force", error.what()));
  }
}

Json ab_json(const AbReport& report) {
  const GateOptions& options = report.options;
  Json out = {{"schema", kAbSchema},
              {"schema_version", kAbSchemaVersion},
              {"command", report.command},
              {"started_utc", report.started_utc},
              {"finished_utc", report.finished_utc},
              {"a", side_json(report.a)},
              {"b", side_json(report.b)},
              {"same_program", report.a.hash == report.b.hash},
              {"injected_slowdown", report.injected_slowdown},
              {"machine_fingerprint", report.machine},
              {"device", report.device},
              {"plan", report.plan},
              {"rule",
               {{"delta", options.delta},
                {"alpha", options.alpha},
                {"looks", options.looks},
                {"interval_level", 1 - 2 * options.tail()},
                {"clock_difference", options.clock_difference},
                {"throttled_share", options.throttled_share},
                {"max_drift", options.drift},
                {"seed", options.seed}}},
              {"estimated_s", report.estimated_s},
              {"wall_s", report.wall_s},
              {"sentinel", {{"id", report.sentinel}, {"drift", optional(report.drift)}}},
              {"problems", report.problems},
              {"exit_code", static_cast<int>(report.exit)},
              {"exit_name", exit_name(report.exit)},
              {"cells", Json::array()},
              {"processes", Json::array()}};
  for (const AbRow& row : report.rows) out["cells"].push_back(row_json(row));
  for (const AbProcess& process : report.processes) out["processes"].push_back(to_json(process));
  return out;
}

}  // namespace kdabench::reports
