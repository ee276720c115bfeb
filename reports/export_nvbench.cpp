// A report as nvbench's --json writes one, file version 1.0.0. Named values are text, as there.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "reports/export_json.h"

namespace kdabench::reports {
namespace {

// An axis that nvbench would sweep: its value in a cell, as text, or nothing.
struct AxisColumn {
  const char* name;
  const char* type;  // int64 | string
  std::string (*value)(const Axes&);
};

const std::vector<AxisColumn>& columns() {
  static const std::vector<AxisColumn> all = {
      {"model", "string", [](const Axes& a) { return a.model; }},
      {"config", "string", [](const Axes& a) { return a.config; }},
      {"dtype", "string", [](const Axes& a) { return a.dtype; }},
      {"protocol", "string", [](const Axes& a) { return a.protocol; }},
      {"task", "string", [](const Axes& a) { return a.task.value_or(""); }},
      {"context", "int64", [](const Axes& a) { return std::to_string(a.context); }},
      {"batch", "int64", [](const Axes& a) { return std::to_string(a.batch); }},
      {"cache_budget", "int64", [](const Axes& a) { return std::to_string(a.cache_budget_bytes.value_or(0)); }},
  };
  return all;
}

Json named(const char* name, const char* type, const std::string& value) {
  return {{"name", name}, {"type", type}, {"value", value}};
}

Json summary(const std::string& tag, const char* name, const char* hint, const char* description, double value) {
  return {{"tag", tag},
          {"name", name},
          {"hint", hint},
          {"description", description},
          {"data", Json::array({named("value", "float64", fmt::format("{}", value))})}};
}

Json summaries_of(const Report& report, const Cell& cell) {
  const Stats& s = cell.timing->stats;
  const std::string side = cell.axes.device == "cuda" ? "gpu" : "cpu";
  const std::string time = "nv/cold/time/" + side + "/";
  Json out = Json::array();
  out.push_back({{"tag", "nv/cold/sample_size"},
                 {"name", "Samples"},
                 {"hint", "sample_size"},
                 {"description", "Number of timed steps"},
                 {"data", Json::array({named("value", "int64", std::to_string(s.n))})}});
  const auto seconds = [&](const char* tag, const char* name, double ns) {
    out.push_back(summary(time + tag, name, "duration", "One step of the whole batch", ns / 1e9));
  };
  const auto share = [&](const char* tag, const char* name, double part, double whole) {
    out.push_back(
        summary(time + tag, name, "percentage", "Relative to the value beside it", whole > 0 ? part / whole : 0));
  };
  seconds("min", "Min Time", s.min_ns);
  seconds("max", "Max Time", s.max_ns);
  seconds("mean", "Mean Time", s.mean_ns);
  seconds("stdev/absolute", "Noise", s.stddev_ns);
  share("stdev/relative", "Noise", s.stddev_ns, s.mean_ns);
  seconds("q1", "Q1 Time", s.q1_ns);
  seconds("median", "Median Time", s.median_ns);
  seconds("q3", "Q3 Time", s.q3_ns);
  seconds("iqr/absolute", "IQR", s.q3_ns - s.q1_ns);
  share("iqr/relative", "IQR", s.q3_ns - s.q1_ns, s.median_ns);
  if (cell.throughput)
    out.push_back(
        summary("nv/cold/bw/item_rate", "Elem/s", "item_rate", "Tokens a second", cell.throughput->tokens_per_s));
  if (cell.floor && s.median_ns > 0) {
    const double rate = double(cell.floor->bytes) * 1e9 / s.median_ns;
    out.push_back(summary("nv/cold/bw/global/bytes_per_second", "GlobalMem BW", "byte_rate",
                          "Bytes a step must move / median", rate));
    if (report.ceilings.read_bytes_per_s && *report.ceilings.read_bytes_per_s > 0)
      out.push_back(summary("nv/cold/bw/global/utilization", "BWUtil", "percentage", "Of the measured read bandwidth",
                            rate / *report.ceilings.read_bytes_per_s));
  }
  if (cell.gpu_state && cell.gpu_state->sm_clock_hz_median)
    out.push_back(summary("nv/cold/sm_clock_rate/mean", "Clock Rate", "frequency", "SM clock, median over the steps",
                          *cell.gpu_state->sm_clock_hz_median));
  return out;
}

Json device_json(const Device& device, size_t id) {
  const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  Json sm(nullptr);  // "9.0" -> 900
  if (device.compute_capability && device.compute_capability->size() == 3 && (*device.compute_capability)[1] == '.')
    sm = 100 * ((*device.compute_capability)[0] - '0') + 10 * ((*device.compute_capability)[2] - '0');
  return {{"id", id},
          {"name", device.name},
          {"sm_version", sm},
          {"number_of_sms", or_null(device.multiprocessors)},
          {"global_memory_size", or_null(device.memory_bytes)},
          {"l2_cache_size", or_null(device.l2_bytes)},
          {"ecc_state", or_null(device.ecc)}};
}

Json axes_of(const std::vector<const Cell*>& cells) {
  Json axes = Json::array();
  for (const AxisColumn& column : columns()) {
    Json values = Json::array();
    std::vector<std::string> seen;
    for (const Cell* cell : cells) {
      const std::string text = column.value(cell->axes);
      if (std::find(seen.begin(), seen.end(), text) != seen.end()) continue;
      seen.push_back(text);
      const bool integer = std::string(column.type) == "int64";
      values.push_back(
          {{"input_string", text}, {"description", ""}, {"value", integer ? Json(std::stoll(text)) : Json(text)}});
    }
    axes.push_back({{"name", column.name}, {"type", column.type}, {"flags", ""}, {"values", values}});
  }
  return axes;
}

Json state_of(const Report& report, const Cell& cell, size_t device) {
  Json values = Json::array();
  std::string name = fmt::format("Device={}", device);
  for (const AxisColumn& column : columns()) {
    const std::string text = column.value(cell.axes);
    values.push_back(named(column.name, column.type, text));
    name += fmt::format(" {}={}", column.name, text);
  }
  const bool timed = cell.status == "ok" && cell.timing;
  Json state = {{"name", name},          {"min_samples", cell.axes.steps},
                {"device", device},      {"type_config_index", 0},
                {"axis_values", values}, {"summaries", timed ? summaries_of(report, cell) : Json::array()},
                {"is_skipped", !timed}};
  if (!timed) state["skip_reason"] = cell.status + ": " + cell.status_reason;
  return state;
}

}  // namespace

Exported nvbench_form(const Report& report) {
  Exported out;
  Json root = {{"meta",
                {{"argv", report.meta.argv},
                 {"version",
                  {{"json", {{"major", 1}, {"minor", 0}, {"patch", 0}, {"string", "1.0.0"}}},
                   {"kdabench", {{"string", report.meta.tool_version}, {"git_sha", report.meta.git_commit}}}}}}},
               {"devices", Json::array()},
               {"benchmarks", Json::array()}};
  std::map<std::string, size_t> devices;  // by kind; the first of a kind is the one that was used
  for (size_t i = 0; i < report.devices.size(); ++i) {
    root["devices"].push_back(device_json(report.devices[i], i));
    devices.emplace(report.devices[i].kind, i);
  }
  std::vector<std::pair<std::string, std::vector<const Cell*>>> suites;
  for (const Cell& cell : report.cells) {
    if (cell.status == "ok" && !cell.timing) {  // bytes and scores have no place in it
      ++out.left_out;
      continue;
    }
    auto at =
        std::find_if(suites.begin(), suites.end(), [&](const auto& entry) { return entry.first == cell.suite; });
    if (at == suites.end()) at = suites.insert(at, {cell.suite, {}});
    at->second.push_back(&cell);
  }
  for (const auto& [suite, cells] : suites) {
    Json states = Json::array(), used = Json::array();
    for (const Cell* cell : cells) {
      const auto at = devices.find(cell->axes.device);
      const size_t device = at == devices.end() ? 0 : at->second;
      if (std::find(used.begin(), used.end(), Json(device)) == used.end()) used.push_back(device);
      states.push_back(state_of(report, *cell, device));
    }
    root["benchmarks"].push_back({{"name", suite},
                                  {"index", root["benchmarks"].size()},
                                  {"min_samples", 0},
                                  {"devices", used},
                                  {"axes", axes_of(cells)},
                                  {"states", states}});
  }
  out.text = pretty(root) + "\n";
  return out;
}

}  // namespace kdabench::reports
