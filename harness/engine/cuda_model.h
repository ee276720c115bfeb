#pragma once
// The door to the CUDA backend. A build without CUDA has the same functions, which say so (cpu_only.cpp).

#include <memory>
#include <string>

#include "harness/engine/model.h"

namespace kdabench {

std::unique_ptr<Model> make_cuda_model(const ModelOptions& options);
DeviceMemoryState cuda_memory();

}  // namespace kdabench
