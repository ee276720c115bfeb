#include "reports/export_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace kdabench::reports {
namespace {

bool timed(const Cell& cell) { return cell.status == "ok" && cell.timing.has_value(); }
bool failed(const Cell& cell) { return cell.status != "ok"; }

std::vector<double> samples_of(const Cell& cell) {
  if (cell.samples && !cell.samples->step_ns.empty()) return cell.samples->step_ns;
  return {cell.timing->stats.median_ns};
}

const Device* device_of(const Report& report, const Cell& cell) {
  for (const Device& device : report.devices)
    if (device.kind == cell.axes.device) return &device;
  return nullptr;
}

std::string text_of(const Json& json) { return pretty(json) + "\n"; }

// Integers as integers where the form wants them: a rounded time is exact enough in ns.
int64_t rounded(double value) { return std::abs(value) < 9e18 ? std::llround(value) : 0; }

}  // namespace

Exported google_benchmark_form(const Report& report) {
  Exported out;
  std::string build = report.meta.build_type;
  std::transform(build.begin(), build.end(), build.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  Json root = {{"context",
                {{"date", report.meta.started_utc},
                 {"host_name", report.machine.fingerprint},  // tells machines apart and names none
                 {"executable", "kdabench"},
                 {"num_cpus", report.machine.cores},
                 {"caches", Json::array()},
                 {"load_avg", Json::array()},
                 {"library_build_type", build},
                 {"kdabench_version", report.meta.tool_version},
                 {"git_commit", report.meta.git_commit},
                 {"command", report.meta.command}}},
               {"benchmarks", Json::array()}};
  std::map<std::string, size_t> families;
  std::map<std::string, size_t> instances;
  for (const Cell& cell : report.cells) {
    const std::string family = cell.suite + "/" + cell.axes.model + "/" + cell.axes.protocol;
    const size_t family_index = families.emplace(family, families.size()).first->second;
    const auto row = [&](const std::string& name, const char* run_type, size_t instance) {
      return Json{{"name", name},
                  {"family_index", family_index},
                  {"per_family_instance_index", instance},
                  {"run_name", cell.id},
                  {"run_type", run_type}};
    };
    if (failed(cell)) {
      Json error = row(cell.id, "iteration", instances[family]++);
      error.update({{"repetitions", 1},
                    {"repetition_index", 0},
                    {"threads", 1},
                    {"error_occurred", true},
                    {"error_message", cell.status + ": " + cell.status_reason},
                    {"iterations", 0},
                    {"real_time", 0.0},
                    {"cpu_time", 0.0},
                    {"time_unit", "ns"}});
      root["benchmarks"].push_back(error);
      continue;
    }
    if (!timed(cell)) {
      ++out.left_out;
      continue;
    }
    const size_t instance = instances[family]++;
    const std::vector<double> samples = samples_of(cell);
    const auto counters = [&](Json& json, double step_ns) {
      const double each = cell.suite == "prefill" ? double(cell.axes.context) : 1;
      if (step_ns > 0) json["items_per_second"] = each * double(cell.axes.batch) * 1e9 / step_ns;
      if (cell.floor && step_ns > 0) json["bytes_per_second"] = double(cell.floor->bytes) * 1e9 / step_ns;
    };
    for (size_t i = 0; i < samples.size(); ++i) {
      Json one = row(cell.id, "iteration", instance);
      one.update({{"repetitions", samples.size()},
                  {"repetition_index", i},
                  {"threads", 1},
                  {"iterations", 1},
                  {"real_time", samples[i]},
                  {"cpu_time", 0.0},
                  {"time_unit", "ns"}});
      counters(one, samples[i]);
      root["benchmarks"].push_back(one);
    }
    if (samples.size() < 2) continue;
    const Stats& s = cell.timing->stats;
    const double cv = s.mean_ns > 0 ? s.stddev_ns / s.mean_ns : 0;
    for (const auto& [name, value] : {std::pair<const char*, double>{"mean", s.mean_ns},
                                      {"median", s.median_ns},
                                      {"stddev", s.stddev_ns},
                                      {"cv", cv}}) {
      Json one = row(cell.id + "_" + name, "aggregate", instance);
      one.update({{"repetitions", samples.size()},
                  {"threads", 1},
                  {"aggregate_name", name},
                  {"aggregate_unit", std::string(name) == "cv" ? "percentage" : "time"},
                  {"iterations", samples.size()},
                  {"real_time", value},
                  {"cpu_time", 0.0},
                  {"time_unit", "ns"}});
      root["benchmarks"].push_back(one);
    }
  }
  out.text = text_of(root);
  return out;
}

Exported llama_bench_form(const Report& report) {
  Exported out;
  Json rows = Json::array();
  for (const Cell& cell : report.cells) {
    if (!timed(cell) || cell.axes.batch <= 0) {
      ++out.left_out;
      continue;
    }
    const bool cuda = cell.axes.device == "cuda", prefill = cell.suite == "prefill";
    const Device* device = device_of(report, cell);
    const std::string type = cell.axes.dtype == "fp32" ? "f32" : cell.axes.dtype;
    const double tokens = double(cell.axes.batch) * (prefill ? double(cell.axes.context) : 1);
    const std::vector<double> samples = samples_of(cell);
    std::vector<double> rates;
    Json samples_ns = Json::array();
    for (const double ns : samples) {
      samples_ns.push_back(rounded(ns));
      rates.push_back(ns > 0 ? tokens * 1e9 / ns : 0);
    }
    const Stats time = summarize(samples), rate = summarize(rates);
    rows.push_back({{"build_commit", report.meta.git_commit.substr(0, 8)},
                    {"build_number", 0},
                    {"cpu_info", report.machine.cpu},
                    {"gpu_info", cuda && device ? device->name : ""},
                    {"backends", cuda ? "CUDA" : "CPU"},
                    {"model_filename", cell.axes.config},
                    {"model_type", cell.axes.model + " " + cell.axes.config},
                    {"model_size", cell.memory ? cell.memory->weight_bytes : 0},
                    {"model_n_params", cell.memory ? cell.memory->parameters : 0},
                    {"n_batch", cell.axes.batch},
                    {"n_ubatch", cell.axes.batch},
                    {"n_threads", report.machine.cores},
                    {"cpu_mask", "0x0"},
                    {"cpu_strict", false},
                    {"poll", 50},
                    {"type_k", type},
                    {"type_v", type},
                    {"n_gpu_layers", cuda ? -1 : 0},
                    {"split_mode", "none"},
                    {"main_gpu", 0},
                    {"no_kv_offload", false},
                    {"flash_attn", cuda},
                    {"devices", "auto"},
                    {"tensor_split", "0.00"},
                    {"tensor_buft_overrides", "none"},
                    {"use_mmap", false},
                    {"embeddings", false},
                    {"no_op_offload", 0},
                    {"n_prompt", prefill ? rounded(tokens) : 0},
                    {"n_gen", prefill ? 0 : cell.axes.batch},
                    {"n_depth", prefill ? 0 : cell.axes.context},
                    {"test_time", report.meta.started_utc},
                    {"avg_ns", rounded(time.mean_ns)},
                    {"stddev_ns", rounded(time.stddev_ns)},
                    {"avg_ts", rate.mean_ns},
                    {"stddev_ts", rate.stddev_ns},
                    {"samples_ns", samples_ns},
                    {"samples_ts", rates}});
  }
  out.text = text_of(rows);
  return out;
}

Exported github_action_form(const Report& report) {
  Exported out;
  Json rows = Json::array();
  const std::string commit = report.meta.git_commit.substr(0, 12);
  for (const Cell& cell : report.cells) {
    if (failed(cell) || (!cell.timing && !cell.memory)) {
      ++out.left_out;
      continue;
    }
    if (cell.timing) {
      const bool decode = cell.suite == "decode" && cell.axes.batch > 0;
      const double per = decode ? double(cell.axes.batch) : 1;
      const Stats& s = cell.timing->stats;
      rows.push_back({{"name", cell.id},
                      {"unit", decode ? "ns/token" : "ns"},
                      {"value", decode ? cell.timing->tpot_ns : s.median_ns},
                      {"range", fmt::format("\u00b1 {:.0f}", s.mad_ns / per)},
                      {"extra", fmt::format("median of {} steps\nbatch {}\ncommit {}", s.n, cell.axes.batch, commit)}});
    }
    if (cell.memory && cell.memory->cache_bytes_analytic > 0)
      rows.push_back({{"name", cell.id + " cache"},
                      {"unit", "bytes"},
                      {"value", cell.memory->cache_bytes_analytic},
                      {"extra", fmt::format("{} bytes a token, {} a sequence\ncommit {}",
                                            cell.memory->cache_bytes_per_token, cell.memory->state_bytes_per_sequence,
                                            commit)}});
  }
  out.text = text_of(rows);
  return out;
}

}  // namespace kdabench::reports
