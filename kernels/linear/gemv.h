#pragma once
// Linear layers of few tokens, inside kernels/linear: which problems the GEMV takes, and its launchers.

#include "kernels/linear/linear.h"

namespace kdabench {

constexpr int64_t kGemvTokens = 8;  // one n8 column of the tensor cores; above, cuBLASLt is faster (kernel_bench)

// Whether the tokens fit in shared memory beside the weight queue.
bool gemv_fits(int64_t tokens, int64_t in);

void gemv_cuda(const Linear<Gpu>& args, cudaStream_t stream);
void gemv_cuda(const Linear<Gpu, float>& args, cudaStream_t stream);

}  // namespace kdabench
