#pragma once
// What a report says of a kernel that ran: its template instance, how often it was launched, and what the compiler gave
// a thread and a block of it.

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/base/kernel_log.h"

namespace kdabench {

struct KernelUse {
  std::string name;                    // the launcher's
  const void* function = nullptr;      // null: launched by a library, of whose kernels nothing below is known
  int64_t launches = 0;                // of a library: calls
  int64_t dynamic_shared_bytes = 0;    // of a block, in the launch that asked for most
  // filled by describe_cuda
  std::string instance;                // gemv_kernel<float>
  int64_t registers = 0;               // a thread
  int64_t local_bytes = 0;             // a thread: its stack frame, where spilled registers and indexed arrays lie
  int64_t static_shared_bytes = 0;     // a block
};

// One launch more. Kernels stand in the order in which they first ran.
void count_launch(std::vector<KernelUse>& uses, const KernelLaunch& launch);

// Asks the CUDA runtime about each function; Error when it does not know one. In kernel_use_cuda.cpp.
void describe_cuda(std::vector<KernelUse>& uses);

// Without namespaces and parameters: "_ZN8kdabench...11gemv_kernelIfEE..." is gemv_kernel<float>. What is no mangled
// name stays as it is.
std::string kernel_instance(const std::string& mangled);

}  // namespace kdabench
