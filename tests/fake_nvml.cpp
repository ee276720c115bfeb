// A management library for tests: a GPU that answers, or not, as the environment says. Its C interface is NVML's.
//
//   FAKE_NVML_ENERGY       millijoules; absent: the function refuses
//   FAKE_NVML_THROTTLE     nanoseconds throttled for power; absent: the field refuses
//   FAKE_NVML_PROCESSES    compute processes on the GPU

#include <cstdlib>

namespace {

constexpr int kSuccess = 0, kRefused = 3;

unsigned long long setting(const char* name, unsigned long long otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct FieldValue {
  unsigned field, scope;
  long long timestamp, latency_us;
  unsigned value_type;
  int status;
  unsigned long long value;
};

}  // namespace

extern "C" {
int nvmlInit_v2() { return kSuccess; }
int nvmlShutdown() { return kSuccess; }
int nvmlDeviceGetHandleByIndex_v2(unsigned, void** device) { return *device = &*device, kSuccess; }
int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) { return *milliwatts = 345600, kSuccess; }
int nvmlDeviceGetTemperature(void*, unsigned, unsigned* celsius) { return *celsius = 41, kSuccess; }
int nvmlDeviceGetTotalEnergyConsumption(void*, unsigned long long* millijoules) {
  *millijoules = setting("FAKE_NVML_ENERGY", 0);
  return std::getenv("FAKE_NVML_ENERGY") ? kSuccess : kRefused;
}
int nvmlDeviceGetFieldValues(void*, int count, FieldValue* values) {
  for (int i = 0; i < count; ++i) {
    const bool power = values[i].field == 74;
    values[i].status = power && !std::getenv("FAKE_NVML_THROTTLE") ? kRefused : kSuccess;
    values[i].value_type = 3;
    values[i].value = power ? setting("FAKE_NVML_THROTTLE", 0) : 0;
  }
  return kSuccess;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void*, unsigned* count, void*) {
  *count = static_cast<unsigned>(setting("FAKE_NVML_PROCESSES", 0));
  return kSuccess;
}
}
