#pragma once

namespace kdabench::suites {

// Registers all GPU benchmarks, or returns false on a machine without a GPU. In kernels_cuda.cpp.
bool add_cuda_benchmarks();

}  // namespace kdabench::suites
