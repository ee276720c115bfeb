// kdabench info: the machine, the build and the ceilings, as a report would record them.

#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "harness/bind.h"
#include "harness/ceilings.h"
#include "harness/cli.h"
#include "harness/machine.h"
#include "kernels/base/error.h"
#include "reports/json.h"
#include "reports/table.h"

namespace kdabench {
namespace {

void print_text(const reports::Report& report, const std::string& cuda) {
  const reports::Meta& meta = report.meta;
  const reports::Machine& machine = report.machine;
  const reports::Device& device = report.devices.front();
  const reports::Ceilings& ceilings = report.ceilings;
  const auto bytes = [](const std::optional<int64_t>& value) {
    return value ? reports::readable_bytes(static_cast<double>(*value)) : std::string("unknown");
  };
  const auto rate = [](const std::optional<double>& value, double scale, const char* unit) {
    return value ? fmt::format("{:.4g} {}", *value * scale, unit) : std::string("not measured");
  };
  fmt::print("kdabench     {}, commit {}{}\n", meta.tool_version, meta.git_commit, meta.git_dirty ? ", changed" : "");
  fmt::print("build        {}, {}, CUDA {}\n", meta.build_type, meta.compiler, meta.cuda_version);
  fmt::print("host         {}, {} cores, {}, {}\n", machine.cpu, machine.cores, bytes(machine.memory_bytes),
             machine.os);
  fmt::print("cuda         {}\n", cuda);
  fmt::print("device       {} ({}), {}\n", device.name, device.kind, bytes(device.memory_bytes));
  if (!device.driver.empty()) fmt::print("driver       {}\n", device.driver);
  if (!device.reason.empty()) fmt::print("note         {}\n", device.reason);
  fmt::print("fingerprint  {}\n", machine.fingerprint);
  fmt::print("read         {}\n", rate(ceilings.read_bytes_per_s, 1e-9, "GB/s"));
  fmt::print("copy         {}\n", rate(ceilings.copy_bytes_per_s, 1e-9, "GB/s"));
  fmt::print("multiply     {}\n", rate(ceilings.gemm_flops_per_s, 1e-9, "GFLOP/s"));
  fmt::print("method       {}\n", ceilings.method);
}

int info(const std::string& wanted, bool as_json) {
  std::string reason;
  const bool cuda = cuda_available(&reason);
  const DeviceKind device = wanted.empty() ? (cuda ? DeviceKind::kCuda : DeviceKind::kCpu) : parse_device(wanted);
  require(device != DeviceKind::kCuda || cuda, "--device cuda is not available: ", reason);
  Probe here = probe(device);
  reports::Report report;
  report.meta = build_meta();
  report.machine = here.machine;
  report.devices = {here.device};
  report.ceilings = measure_ceilings(device);
  if (!as_json) {
    print_text(report, cuda ? "available" : "not available: " + reason);
    return 0;
  }
  const reports::Json whole = reports::to_json(report);
  reports::Json json;
  for (const char* key : {"machine", "devices", "ceilings"}) json[key] = whole[key];
  for (const char* key : {"tool_version", "git_commit", "git_dirty", "compiler", "build_type", "cuda_version",
                          "cuda_architectures"})
    json["build"][key] = whole["meta"][key];
  fmt::print("{}\n", reports::pretty(json));
  return 0;
}

}  // namespace

void add_info_command(CLI::App& app, const Parts&, Action& action) {
  CLI::App* command = app.add_subcommand("info", "Describe the machine and the build, and measure the ceilings");
  const auto device = std::make_shared<std::string>();
  const auto json = std::make_shared<bool>(false);
  FlagBinder{*command}("device", *device, "Options", "cpu or cuda; default: cuda where there is a GPU");
  FlagBinder{*command}("json", *json, "Options", "JSON, with the field names of a report");
  command->callback([device, json, &action] { action = [=](const Call&) { return info(*device, *json); }; });
}

}  // namespace kdabench
