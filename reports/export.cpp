#include "reports/export.h"

#include <fmt/format.h>

#include <map>

#include "reports/escape.h"
#include "reports/export_json.h"
#include "reports/fields.h"
#include "reports/table.h"

namespace kdabench::reports {
namespace {

// Every block present, so that the columns do not depend on what was measured.
template <class T> void fill_blocks(T& record) {
  record.fields([](const char*, auto& member, const char*) {
    using Member = std::decay_t<decltype(member)>;
    if constexpr (kIsBlock<Member>)
      fill_blocks(member.emplace());
    else if constexpr (IsRecord<Member>)
      fill_blocks(member);
  });
}

void paths_of(const Json& json, const std::string& before, std::vector<std::string>& paths) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_array()) continue;
    if (value.is_object())
      paths_of(value, before + key + ".", paths);
    else
      paths.push_back(before + key);
  }
}

std::string at_path(const Json& json, const std::string& path) {
  const Json* at = &json;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t dot = std::min(path.find('.', begin), path.size());
    const auto found = at->find(path.substr(begin, dot - begin));
    if (found == at->end()) return "";
    at = &*found;
    begin = dot + 1;
  }
  if (at->is_null()) return "";
  return at->is_string() ? at->get<std::string>() : pretty(*at);
}

Exported csv_form(const Report& report) {
  Cell full;
  fill_blocks(full);
  std::vector<std::string> paths;
  paths_of(to_json(full), "", paths);
  Exported out;
  for (const std::string& path : paths) out.text += path + ",";
  out.text += "resources.kernels,validity.reasons,git_commit,fingerprint\r\n";
  for (const Cell& cell : report.cells) {
    const Json json = to_json(cell);
    for (const std::string& path : paths) out.text += csv_escaped(at_path(json, path)) + ",";
    std::string kernels, reasons;
    for (const KernelResources& row : cell.resources.value_or(Resources{}).kernels)
      if (row.registers)
        kernels += fmt::format("{}{}: {} registers, {} local bytes", kernels.empty() ? "" : "; ",
                               row.instance.value_or(row.name), *row.registers, row.local_bytes.value_or(0));
    for (const Reason& reason : cell.validity.reasons)
      reasons += (reasons.empty() ? "" : "; ") + reason.code + ": " + reason.detail;
    out.text += csv_escaped(kernels) + "," + csv_escaped(reasons) + "," + csv_escaped(report.meta.git_commit) + "," +
                csv_escaped(report.machine.fingerprint) + "\r\n";
  }
  return out;
}

using Form = Exported (*)(const Report&);

const std::vector<std::pair<std::string, Form>>& forms() {
  static const std::vector<std::pair<std::string, Form>> all = {
      {"google-benchmark", google_benchmark_form},
      {"llama-bench", llama_bench_form},
      {"nvbench", nvbench_form},
      {"github-action-benchmark", github_action_form},
      {"csv", csv_form},
      {"markdown", [](const Report& report) { return Exported{tables(report, TableStyle::markdown)}; }},
      {"latex", [](const Report& report) { return Exported{tables(report, TableStyle::latex)}; }},
  };
  return all;
}

}  // namespace

const std::vector<std::string>& export_formats() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const auto& [name, form] : forms()) out.push_back(name);
    return out;
  }();
  return names;
}

Exported export_report(const Report& report, const std::string& format) {
  for (const auto& [name, form] : forms())
    if (name == format) return form(report);
  throw Error(fmt::format("export: wanted one of {}, found {}; name one of them", fmt::join(export_formats(), ", "),
                          format));
}

}  // namespace kdabench::reports
