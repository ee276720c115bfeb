#pragma once
// The host and the device as they describe themselves, without host or user names.

#include <memory>
#include <optional>
#include <string>

#include "harness/engine/model.h"
#include "harness/nvml.h"
#include "reports/record.h"

namespace kdabench {

// What the CUDA runtime says of the current GPU; empty in a CPU build or without a GPU.
struct CudaFacts {
  std::string name, pci_bus_id, compute_capability;
  int64_t memory_bytes = 0, l2_bytes = 0, multiprocessors = 0;
  int driver_version = 0, runtime_version = 0;   // 13000 is 13.0
};
std::optional<CudaFacts> cuda_facts();

struct Probe {
  reports::Machine machine;
  reports::Device device;
  std::unique_ptr<Nvml> nvml;                    // for --device cuda
};
Probe probe(DeviceKind device);

// A hash of what makes times comparable. FNV-1a, 64 bits, as "fnv1a:0123456789abcdef".
std::string fingerprint(const reports::Machine& machine, const reports::Device& device);

// What the build and the clock say: meta without argv, seed and options.
reports::Meta build_meta();
std::string utc_now();                           // 2026-01-31T23:59:59Z

}  // namespace kdabench
