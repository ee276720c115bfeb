#include "harness/engine/cuda_backend.h"
#include "harness/engine/cuda_model.h"
#include "harness/engine/transformer_model.h"

namespace kdabench {

bool cuda_available(std::string* reason) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return true;
  cudaGetLastError();
  if (reason)
    *reason = status == cudaSuccess ? "no CUDA device is visible" : text("no GPU answers: ", cudaGetErrorString(status));
  return false;
}

std::unique_ptr<Model> make_cuda_model(const ModelOptions& options) {
  std::string reason;
  require(cuda_available(&reason), "--device cuda: ", reason, "; use --device cpu.");
  int device = 0, major = 0, minor = 0;
  check(cudaGetDevice(&device), "ask for the current device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "ask for the compute capability");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "ask for the compute capability");
  require(major == 9 && minor == 0, "--device cuda: this GPU has compute capability ", major, ".", minor,
          "; the kernels are built for 9.0 (sm_90a: H100, H200).");
  return std::make_unique<TransformerModel<CudaBackend>>(std::make_unique<CudaBackend>(), options);
}

DeviceMemoryState cuda_memory() {
  if (!cuda_available()) return {};
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "ask for free device memory");
  return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
}

}  // namespace kdabench
