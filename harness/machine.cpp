#include "harness/machine.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <fstream>

#include "build_info.h"
#include "kernels/base/random.h"

namespace kdabench {
namespace {

// The value after "key : " in a /proc file.
std::string proc_value(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) != 0) continue;
    const size_t colon = line.find(':');
    const size_t first = colon == std::string::npos ? colon : line.find_first_not_of(" \t", colon + 1);
    if (first != std::string::npos) return line.substr(first);
  }
  return "";
}

std::string hash(const std::string& text) { return fmt::format("fnv1a:{:016x}", random_stream(0, text)); }

reports::Machine probe_machine() {
  reports::Machine machine;
  utsname system{};
  if (uname(&system) == 0) machine.os = fmt::format("{} {} {}", system.sysname, system.release, system.machine);
  machine.cpu = proc_value("/proc/cpuinfo", "model name");
  if (machine.cpu.empty()) machine.cpu = "unknown";
  machine.cores = sysconf(_SC_NPROCESSORS_ONLN);
  machine.memory_bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
  return machine;
}

}  // namespace

#ifndef KDABENCH_CUDA
std::optional<CudaFacts> cuda_facts() { return {}; }
#endif

std::string fingerprint(const reports::Machine& machine, const reports::Device& device) {
  return hash(fmt::format("{}|{}|{}|{}", device.name, device.driver, machine.cpu, machine.cores));
}

Probe probe(DeviceKind kind) {
  Probe result;
  result.machine = probe_machine();
  reports::Device& device = result.device;
  device.kind = device_name(kind);
  if (kind == DeviceKind::kCpu) {
    device.name = result.machine.cpu;
    device.memory_bytes = result.machine.memory_bytes;
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (l3 > 0) device.l2_bytes = l3;
    device.reason = "a CPU has no multiprocessors, compute capability, power limit, UUID or driver";
  } else {
    const std::optional<CudaFacts> facts = cuda_facts();
    result.nvml = std::make_unique<Nvml>(facts ? facts->pci_bus_id : "");
    const NvmlIdentity identity = result.nvml->identity();
    device.reason = result.nvml->reason();
    if (facts) {
      device.name = facts->name;
      device.memory_bytes = facts->memory_bytes;
      device.l2_bytes = facts->l2_bytes;
      device.multiprocessors = facts->multiprocessors;
      device.compute_capability = facts->compute_capability;
    }
    device.driver = identity.driver.value_or(facts ? fmt::format("CUDA {}", facts->driver_version) : "");
    device.power_limit_milliwatts = identity.power_limit_milliwatts;
    device.ecc = identity.ecc;
    if (identity.uuid) device.uuid_hash = hash(*identity.uuid);
    if (identity.mig.value_or(false)) device.name += " (MIG)";
  }
  result.machine.fingerprint = fingerprint(result.machine, device);
  return result;
}

reports::Meta build_meta() {
  reports::Meta meta;
  meta.tool_version = build::kVersion;
  meta.git_commit = build::kCommit;
  meta.git_dirty = build::kDirty;
  meta.compiler = build::kCompiler;
  meta.build_type = build::kBuildType;
  meta.cuda_version = build::kCuda;
  meta.cuda_architectures = build::kCudaArchitectures;
  meta.started_utc = utc_now();
  return meta;
}

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&now, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec);
}

}  // namespace kdabench
