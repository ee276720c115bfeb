// Ceilings of a GPU, with the kernels of kernels/base/ceilings.h.

#include <fmt/format.h>

#include "harness/ceilings.h"
#include "kernels/base/ceilings.h"

namespace kdabench {

reports::Ceilings measure_ceilings(DeviceKind device) {
  if (device == DeviceKind::kCpu) return measure_cpu_ceilings();
  reports::Ceilings ceilings;
  ceilings.copy_bytes_per_s = copy_bytes_per_s();
  ceilings.read_bytes_per_s = read_bytes_per_s();
  ceilings.gemm_flops_per_s = gemm_flops_per_s();
  ceilings.method = fmt::format("best of several: device copy and read-only stream over {} MiB, and a bf16 product of "
                                "8192 x 8192 random values through cuBLASLt", kCeilingBytes >> 20);
  return ceilings;
}

}  // namespace kdabench
