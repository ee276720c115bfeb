#pragma once
// The driver's management library, loaded at run time: name, driver, power, temperature, energy, throttle counters,
// processes. The CUDA toolkit may lack its header and a GPU-less host its file; what is absent is empty, with the
// reason.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "suites/suite.h"

namespace kdabench {

struct NvmlIdentity {
  std::optional<std::string> name, driver, uuid;
  std::optional<int64_t> power_limit_milliwatts;
  std::optional<bool> ecc, mig;
};

class Nvml {
 public:
  // The GPU at this PCI bus id ("0000:1b:00.0"); the first one when it is empty. Never throws: see reason(). Tests
  // bring their own library.
  explicit Nvml(const std::string& pci_bus_id = "", const std::string& library = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  const std::string& reason() const { return reason_; }   // empty when the library and the GPU answered
  NvmlIdentity identity() const;
  suites::GpuReading read() const;

 private:
  struct Library;
  std::unique_ptr<Library> library_;
  std::string reason_;
};

}  // namespace kdabench
