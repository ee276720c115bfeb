#pragma once
// Linear layers of few tokens, inside kernels/linear: which problems the GEMV takes, and its launchers.

#include "kernels/linear/linear.h"

namespace kdabench {

constexpr int64_t kGemvTokens = 8;  // one n8 column of the tensor cores; above, cuBLASLt is faster (kernel_bench)

// Whether the tokens fit in shared memory beside the weight queue.
bool gemv_fits(int64_t tokens, int64_t in);

void gemv_cuda(const Linear<Gpu>& args, cudaStream_t stream);
void gemv_cuda(const Linear<Gpu, float>& args, cudaStream_t stream);

// One token, whole rows.
bool row_gemv_fits(const Linear<Gpu>& args);
bool row_gemv_fits(const Linear<Gpu, float>& args);

void row_gemv_cuda(const Linear<Gpu>& args, cudaStream_t stream);
void row_gemv_cuda(const Linear<Gpu, float>& args, cudaStream_t stream);

// Whether the weights fit in the registers of a grid without a queue; then this is faster.
bool small_gemv_fits(const Linear<Gpu>& args);
bool small_gemv_fits(const Linear<Gpu, float>& args);

void small_gemv_cuda(const Linear<Gpu>& args, cudaStream_t stream);
void small_gemv_cuda(const Linear<Gpu, float>& args, cudaStream_t stream);
void small_gemv_cuda(const LinearPair<Gpu>& args, cudaStream_t stream);  // both fit and have the same shape

}  // namespace kdabench
