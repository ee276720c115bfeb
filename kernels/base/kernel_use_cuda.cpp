#include "kernels/base/cuda.h"
#include "kernels/base/kernel_use.h"

namespace kdabench {

void describe_cuda(std::vector<KernelUse>& uses) {
  for (KernelUse& use : uses) {
    if (!use.function) continue;
    cudaFuncAttributes attributes = {};
    check(cudaFuncGetAttributes(&attributes, use.function), text("ask for the registers of ", use.name));
    const char* mangled = nullptr;
    check(cudaFuncGetName(&mangled, use.function), text("ask for the name of ", use.name));
    use.instance = kernel_instance(mangled);
    use.registers = attributes.numRegs;
    use.local_bytes = static_cast<int64_t>(attributes.localSizeBytes);
    use.static_shared_bytes = static_cast<int64_t>(attributes.sharedSizeBytes);
  }
}

}  // namespace kdabench
