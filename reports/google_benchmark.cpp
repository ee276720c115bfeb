// Reads Google Benchmark's JSON as a report, so that claims may ask about single operations.

#include <fmt/format.h>

#include "reports/claims.h"

namespace kdabench::reports {
namespace {

// "kda/prefill/T=2048/iterations:20/manual_time" -> "kda/prefill/T=2048": settings have a colon or are a kind of clock.
std::string without_settings(const std::string& name) {
  std::string kept;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t slash = std::min(name.find('/', begin), name.size());
    const std::string part = name.substr(begin, slash - begin);
    const bool setting = part.find(':') != std::string::npos || part == "manual_time" || part == "real_time" ||
                         part == "process_time";
    if (!setting) kept += (kept.empty() ? "" : "/") + part;
    begin = slash + 1;
  }
  return kept;
}

double ns_of(const std::string& unit, const std::string& name) {
  if (unit == "ns") return 1;
  if (unit == "us") return 1e3;
  if (unit == "ms") return 1e6;
  if (unit == "s") return 1e9;
  throw Error(fmt::format("benchmark {}: wanted time_unit ns, us, ms or s, found {}; write it again", name, unit));
}

std::string text_at(const Json& json, const char* key) {
  return json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
}

std::optional<int64_t> count_at(const Json& json, const char* key) {
  if (!json.contains(key) || !json[key].is_number()) return {};
  return static_cast<int64_t>(json[key].get<double>());
}

Report report_of(const Json& json) {
  Report report;
  const Json& context = json["context"];
  report.meta.command = text_at(context, "command");
  report.meta.started_utc = text_at(context, "date");
  for (const Json& row : json["benchmarks"]) {
    const std::string name = row.is_object() ? text_at(row, "name") : "";
    if (name.empty() || !row.contains("real_time") || !row["real_time"].is_number())
      throw Error("benchmarks: wanted rows with a name and a real_time, found another; write the file again");
    if (text_at(row, "run_type") == "aggregate") continue;
    Cell cell;
    cell.suite = "kernels";
    cell.axes.config = "kernel_bench";
    cell.axes.device = text_at(context, "executable").find("cuda") == std::string::npos ? "cpu" : "cuda";
    cell.axes.dtype = "mixed";  // bf16 weights and activations, fp32 states
    cell.axes.task = without_settings(name);
    cell.id = cell_id(cell.suite, cell.axes);
    const bool failed = row.contains("error_occurred") && row["error_occurred"] == true;
    cell.status = failed ? "error" : "ok";
    cell.status_reason = failed ? text_at(row, "error_message") : "";
    if (!failed) {
      Timing timing;
      timing.clock = "cuda_event";
      timing.stats = summarize({row["real_time"].get<double>() * ns_of(text_at(row, "time_unit"), name)});
      timing.tpot_ns = timing.stats.median_ns;
      cell.timing = timing;
    }
    if (const std::optional<int64_t> registers = count_at(row, "registers")) {
      Resources resources;
      KernelResources& most = resources.kernels.emplace_back();
      most.name = text_at(row, "label");
      most.launches = 1;
      most.registers = registers;
      most.local_bytes = count_at(row, "local_bytes");
      resources.reason = "kernel_bench keeps the most registers and local bytes of the kernels that an operation launches";
      cell.resources = resources;
    }
    report.cells.push_back(cell);
  }
  return report;
}

}  // namespace

Source read_source(const fs::path& path) {
  const Json json = read_json(path);
  const bool google = json.is_object() && !json.contains("schema") && json.contains("benchmarks") &&
                      json["benchmarks"].is_array() && json.contains("context") && json["context"].is_object();
  if (!google) return {path.filename().string(), read_report(path)};
  try {
    return {path.filename().string(), report_of(json)};
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", path.string(), error.what()));
  }
}

}  // namespace kdabench::reports
