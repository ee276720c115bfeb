// The gate's verdict as text, Markdown, JSON, JUnit XML and GitHub's workflow commands.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "reports/gate.h"
#include "reports/names.h"

namespace kdabench::reports {
namespace {

std::string ending(const Gate& gate) {
  return fmt::format("{} (exit code {})", exit_name(gate.exit), static_cast<int>(gate.exit));
}

std::string counts(const Gate& gate) {
  std::map<std::string, int> uses;
  for (const GateRow& row : gate.rows) ++uses[row.verdict];
  std::string text;
  for (const auto& [verdict, count] : uses) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, verdict);
  return text;
}

// What a reader must see: all that does not pass, and what improved.
bool worth_a_line(const GateRow& row) { return row.exit != Exit::pass || row.verdict == "improved"; }

// What the rules name and nothing was held to, a sentence each. Times have their own words.
std::vector<std::string> not_judged(const Gate& gate) {
  std::map<std::string, int> cells;
  for (const GateRow& row : gate.rows)
    if (row.verdict == "not_judged" && row.metric != "time") ++cells[row.metric + ": " + row.note];
  std::vector<std::string> said;
  for (const auto& [what, count] : cells)
    said.push_back(fmt::format("{} ({} {})", what, count, count == 1 ? "cell" : "cells"));
  if (!gate.unused.empty())
    said.push_back(fmt::format("{}: in no cell of either report", fmt::join(gate.unused, ", ")));
  return said;
}

std::string change(const GateRow& row) {
  const std::string was = row.base.empty() ? "-" : row.base, is = row.candidate.empty() ? "-" : row.candidate;
  return was == is ? was : was + " -> " + is;
}

std::string text(const Gate& gate) {
  std::string out = fmt::format("base       {}\ncandidate  {}\nrules      {}\n", gate.base, gate.candidate,
                                gate.rules.empty() ? "built in, those of reports/gate_rules.json" : gate.rules);
  if (!gate.problem.empty()) return out + gate.problem + "\n" + ending(gate) + "\n";
  if (!gate.same_machine) out += "machine    another one: times are not judged\n";
  for (const std::string& one : not_judged(gate)) out += "not judged " + one + "\n";
  std::vector<std::string> ids;
  for (const GateRow& row : gate.rows)
    if (ids.empty() || ids.back() != row.id) ids.push_back(row.id);
  const auto [common, names] = short_names(ids);
  if (!common.empty()) out += "all cells  " + common + "\n";
  size_t cell = 0, width = 4, metric = 6;
  for (const std::string& name : names) width = std::max(width, name.size());
  for (const GateRow& row : gate.rows)
    if (worth_a_line(row)) metric = std::max(metric, row.metric.size());
  std::string lines;
  for (const GateRow& row : gate.rows) {
    if (row.id != ids[cell]) ++cell;
    if (!worth_a_line(row)) continue;
    lines += fmt::format("{:<{}}  {:<{}}  {:<12}  {}{}{}\n", names[cell], width, row.metric, metric, row.verdict,
                         change(row), row.note.empty() ? "" : "; ", row.note);
  }
  return out + "\n" + lines + (lines.empty() ? "" : "\n") + counts(gate) + "\n" + ending(gate) + "\n";
}

std::string markdown(const Gate& gate) {
  std::string out = fmt::format("### kdabench gate: {}\n\n", exit_name(gate.exit));
  if (!gate.problem.empty()) out += gate.problem + "\n\n";
  std::string lines;
  for (const GateRow& row : gate.rows)
    if (worth_a_line(row))
      lines += fmt::format("| {} | {} | {} | {} | {} |\n", row.id, row.metric, row.verdict, change(row), row.note);
  if (!lines.empty())
    out += "| cell | metric | verdict | base -> candidate | note |\n|:--|:--|:--|:--|:--|\n" + lines + "\n";
  for (const std::string& one : not_judged(gate)) out += "Not judged: " + one + "\n\n";
  if (!gate.rows.empty())
    out += counts(gate) + (gate.same_machine ? "" : "; another machine, times are not judged") + "\n\n";
  return out + ending(gate) + "\n";
}

Json json(const Gate& gate) {
  Json out = {{"schema", "kdabench/gate"},       {"schema_version", "1.0.0"},
              {"base", gate.base},               {"candidate", gate.candidate},
              {"rules", gate.rules},             {"same_machine", gate.same_machine},
              {"problem", gate.problem},         {"not_judged", not_judged(gate)},
              {"exit_code", static_cast<int>(gate.exit)},
              {"exit_name", exit_name(gate.exit)}, {"rows", Json::array()}};
  for (const GateRow& row : gate.rows)
    out["rows"].push_back({{"id", row.id},
                           {"metric", row.metric},
                           {"verdict", row.verdict},
                           {"exit_code", static_cast<int>(row.exit)},
                           {"base", row.base},
                           {"candidate", row.candidate},
                           {"note", row.note}});
  return out;
}

// Characters that XML cannot hold, and control characters, which it may not.
std::string xml(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  return out;
}

std::string junit(const Gate& gate) {
  size_t failures = gate.problem.empty() ? 0 : 1, skipped = 0;
  std::string cases;
  if (!gate.problem.empty())
    cases += fmt::format("    <testcase classname=\"kdabench\" name=\"reports\"><failure message=\"{}\"/></testcase>\n",
                         xml(gate.problem));
  for (const GateRow& row : gate.rows) {
    const std::string head = fmt::format("    <testcase classname=\"{}\" name=\"{}\"", xml(row.id), xml(row.metric));
    if (row.exit != Exit::pass) {
      ++failures;
      cases += fmt::format("{}><failure type=\"{}\" message=\"{}\"/></testcase>\n", head, xml(row.verdict),
                           xml(change(row) + (row.note.empty() ? "" : "; " + row.note)));
    } else if (row.verdict == "not_judged") {
      ++skipped;
      cases += fmt::format("{}><skipped message=\"{}\"/></testcase>\n", head, xml(row.note));
    } else {
      cases += head + "/>\n";
    }
  }
  const size_t tests = gate.rows.size() + (gate.problem.empty() ? 0 : 1);
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"kdabench gate\" "
      "tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n    <properties><property name=\"exit\" value=\"{}\"/>"
      "<property name=\"not judged\" value=\"{}\"/></properties>\n{}  </testsuite>\n</testsuites>\n",
      tests, failures, skipped, xml(ending(gate)), xml(fmt::format("{}", fmt::join(not_judged(gate), "; "))), cases);
}

// A workflow command ends at the line's end and reserves three characters.
std::string command_text(const std::string& text, bool property) {
  std::string out;
  for (const char c : text) {
    if (c == '%') out += "%25";
    else if (c == '\r') out += "%0D";
    else if (c == '\n') out += "%0A";
    else if (property && c == ':') out += "%3A";
    else if (property && c == ',') out += "%2C";
    else out += c;
  }
  return out;
}

std::string github(const Gate& gate) {
  std::string out;
  if (!gate.problem.empty()) out += "::error title=kdabench gate::" + command_text(gate.problem, false) + "\n";
  for (const GateRow& row : gate.rows) {
    if (!worth_a_line(row)) continue;
    const char* const level = row.exit == Exit::pass ? "notice" : row.exit == Exit::inconclusive ? "warning" : "error";
    out += fmt::format(
        "::{} title={}::{}\n", level, command_text(row.metric + " " + row.verdict, true),
        command_text(fmt::format("{}: {}{}{}", row.id, change(row), row.note.empty() ? "" : "; ", row.note), false));
  }
  for (const std::string& one : not_judged(gate))
    out += "::notice title=not judged::" + command_text(one, false) + "\n";
  return out + counts(gate) + "\n" + ending(gate) + "\n";
}

}  // namespace

std::string gate_output(const Gate& gate, const std::string& format) {
  if (format == "text") return text(gate);
  if (format == "md") return markdown(gate);
  if (format == "json") return pretty(json(gate)) + "\n";
  if (format == "junit") return junit(gate);
  if (format == "github") return github(gate);
  throw Error(fmt::format("wanted text, md, json, junit or github, found {}", format));
}

}  // namespace kdabench::reports
