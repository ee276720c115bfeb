#include "harness/nvml.h"

#include <dlfcn.h>

#include <array>
#include <vector>

namespace kdabench {
namespace {

// Our own declarations of the library's C interface (NVML API reference, structures of the versioned functions below).
using Status = int;                            // 0: success
using Handle = void*;
constexpr Status kSuccess = 0;
constexpr Status kTooSmall = 7;
constexpr unsigned kTemperatureGpu = 0;
constexpr unsigned kFieldThrottlePower = 74;   // nanoseconds below requested clocks because of power, cumulative
constexpr unsigned kFieldThrottleThermal = 75; // the same because of heat

struct FieldValue {
  unsigned field, scope;
  long long timestamp, latency_us;
  unsigned value_type;                         // 0 double, 1 uint, 2 ulong, 3 ulonglong, 4 longlong, 5 int
  Status status;
  union {
    double d;
    int si;
    unsigned ui;
    unsigned long ul;
    unsigned long long ull;
    long long sll;
  } value;
};

struct Process {
  unsigned pid;
  unsigned long long used_bytes;
  unsigned gpu_instance, compute_instance;
};

std::optional<double> number(const FieldValue& field) {
  if (field.status != kSuccess) return {};
  switch (field.value_type) {
    case 0: return field.value.d;
    case 1: return field.value.ui;
    case 2: return static_cast<double>(field.value.ul);
    case 3: return static_cast<double>(field.value.ull);
    case 4: return static_cast<double>(field.value.sll);
    case 5: return field.value.si;
    default: return {};
  }
}

}  // namespace

struct Nvml::Library {
  void* file = nullptr;
  Handle device = nullptr;
  Status (*shutdown)() = nullptr;

  ~Library() {
    if (shutdown) shutdown();
    if (file) dlclose(file);
  }

  // Calls a function by name; a library too old to have it counts as a refusal.
  template <class... Args> Status call(const char* name, Args... args) const {
    const auto function = reinterpret_cast<Status (*)(Args...)>(dlsym(file, name));
    return function ? function(args...) : -1;
  }

  std::optional<unsigned> unsigned_of(const char* name) const {
    unsigned value = 0;
    if (call(name, device, &value) != kSuccess) return {};
    return value;
  }

  std::optional<std::string> text_of(const char* name) const {
    std::array<char, 128> buffer{};
    if (call(name, device, buffer.data(), static_cast<unsigned>(buffer.size())) != kSuccess) return {};
    return std::string(buffer.data());
  }
};

Nvml::Nvml(const std::string& pci_bus_id, const std::string& library) : library_(std::make_unique<Library>()) {
  library_->file = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library_->file) {
    reason_ = library + " is not there";
    return;
  }
  if (library_->call("nvmlInit_v2") != kSuccess) {
    reason_ = "NVML did not start: no driver is loaded, or no GPU is visible";
    return;
  }
  library_->shutdown = reinterpret_cast<Status (*)()>(dlsym(library_->file, "nvmlShutdown"));
  const Status found = pci_bus_id.empty()
      ? library_->call("nvmlDeviceGetHandleByIndex_v2", 0u, &library_->device)
      : library_->call("nvmlDeviceGetHandleByPciBusId_v2", pci_bus_id.c_str(), &library_->device);
  if (found != kSuccess) {
    library_->device = nullptr;
    reason_ = "NVML does not know the GPU that CUDA uses";
  }
}

Nvml::~Nvml() = default;

NvmlIdentity Nvml::identity() const {
  NvmlIdentity id;
  if (!reason_.empty()) return id;
  id.name = library_->text_of("nvmlDeviceGetName");
  id.uuid = library_->text_of("nvmlDeviceGetUUID");
  std::array<char, 96> driver{};
  if (library_->call("nvmlSystemGetDriverVersion", driver.data(), static_cast<unsigned>(driver.size())) == kSuccess)
    id.driver = driver.data();
  if (const auto limit = library_->unsigned_of("nvmlDeviceGetEnforcedPowerLimit")) id.power_limit_milliwatts = *limit;
  int now = 0, pending = 0;
  if (library_->call("nvmlDeviceGetEccMode", library_->device, &now, &pending) == kSuccess) id.ecc = now != 0;
  unsigned mig = 0, mig_pending = 0;
  if (library_->call("nvmlDeviceGetMigMode", library_->device, &mig, &mig_pending) == kSuccess) id.mig = mig != 0;
  return id;
}

suites::GpuReading Nvml::read() const {
  suites::GpuReading reading;
  reading.reason = reason_;
  if (!reason_.empty()) return reading;
  // What this GPU or driver does not say is empty, and named.
  const auto refused = [&reading](const char* what) {
    reading.reason += reading.reason.empty() ? "the driver does not say: " : ", ";
    reading.reason += what;
  };
  if (const auto milliwatts = library_->unsigned_of("nvmlDeviceGetPowerUsage"))
    reading.power_watts = *milliwatts * 1e-3;
  else refused("power");
  unsigned celsius = 0;
  if (library_->call("nvmlDeviceGetTemperature", library_->device, kTemperatureGpu, &celsius) == kSuccess)
    reading.temperature_celsius = celsius;
  else
    refused("temperature");
  unsigned long long millijoules = 0;
  if (library_->call("nvmlDeviceGetTotalEnergyConsumption", library_->device, &millijoules) == kSuccess)
    reading.energy_joules = static_cast<double>(millijoules) * 1e-3;
  else
    refused("energy");

  std::array<FieldValue, 2> fields{};
  fields[0].field = kFieldThrottlePower;
  fields[1].field = kFieldThrottleThermal;
  if (library_->call("nvmlDeviceGetFieldValues", library_->device, static_cast<int>(fields.size()), fields.data()) ==
      kSuccess) {
    reading.throttle_power_ns = number(fields[0]);
    reading.throttle_thermal_ns = number(fields[1]);
  }
  if (!reading.throttle_power_ns) refused("time throttled for power");
  if (!reading.throttle_thermal_ns) refused("time throttled for heat");

  std::vector<Process> processes(64);
  auto count = static_cast<unsigned>(processes.size());
  const Status listed = library_->call("nvmlDeviceGetComputeRunningProcesses_v3", library_->device, &count,
                                       processes.data());
  if ((listed == kSuccess || listed == kTooSmall) && count > 0) {
    // One of them is us. In a container the ids are the host's, so ours cannot be found; and some hide the whole list.
    reading.other_processes = static_cast<int64_t>(count) - 1;
  } else {
    refused("processes on the GPU (not even this one)");
  }
  return reading;
}

}  // namespace kdabench
