// The CUDA runtime's view of the current GPU.

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <array>

#include "harness/machine.h"

namespace kdabench {

std::optional<CudaFacts> cuda_facts() {
  int current = 0;
  cudaDeviceProp properties{};
  if (cudaGetDevice(&current) != cudaSuccess || cudaGetDeviceProperties(&properties, current) != cudaSuccess) {
    cudaGetLastError();  // clear it: the next check must report its own failure
    return {};
  }
  CudaFacts facts;
  facts.name = properties.name;
  facts.compute_capability = fmt::format("{}.{}", properties.major, properties.minor);
  facts.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  facts.l2_bytes = properties.l2CacheSize;
  facts.multiprocessors = properties.multiProcessorCount;
  std::array<char, 32> bus{};
  if (cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), current) == cudaSuccess)
    facts.pci_bus_id = bus.data();
  cudaDriverGetVersion(&facts.driver_version);
  cudaRuntimeGetVersion(&facts.runtime_version);
  return facts;
}

}  // namespace kdabench
