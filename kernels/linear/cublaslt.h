#pragma once
// Linear layers of many tokens, inside kernels/linear: cuBLASLt behind a cache of plans.

#include "kernels/linear/linear.h"

namespace kdabench {

constexpr int64_t kCublasLtWorkspaceBytes = 32 << 20;  // what cuBLAS itself asks for on Hopper

// `workspace` has kCublasLtWorkspaceBytes. Ordinary launches: can be captured into a graph.
void cublaslt_cuda(const Linear<Gpu>& args, void* workspace, cudaStream_t stream);
void cublaslt_cuda(const Linear<Gpu, float>& args, void* workspace, cudaStream_t stream);

}  // namespace kdabench
