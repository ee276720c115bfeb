#ifndef KDABENCH_CUDA
#include "harness/engine/cuda_model.h"
#include "kernels/base/error.h"

namespace kdabench {
namespace {
constexpr const char* kReason = "this build of kdabench has no CUDA; build the preset cuda (cmake --preset cuda)";
}

bool cuda_available(std::string* reason) {
  if (reason) *reason = kReason;
  return false;
}
std::unique_ptr<Model> make_cuda_model(const ModelOptions&) {
  fail("--device cuda: ", kReason, ", or use --device cpu.");
}
DeviceMemoryState cuda_memory() { return {}; }

}  // namespace kdabench
#endif
