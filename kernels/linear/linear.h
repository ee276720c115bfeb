#pragma once
// A linear layer without bias:  y[n, m] <- sum_k x[n, k] w[m, k].
//
// Rows of x and y may be strided (a slice of a wider projection); w is contiguous, [out, in] as in the checkpoint.

#include "kernels/base/arena.h"
#include "kernels/base/types.h"
#include "kernels/base/view.h"

namespace kdabench {

template <class Types, class Out = typename Types::Act>
struct Linear {
  View<const typename Types::Act, 2> x;     // [N, K]
  View<const typename Types::Weight, 2> w;  // [M, K]
  View<Out, 2> y;                           // [N, M]; Out is Act inside the model, Accum for the logits
};

// Two layers that do not depend on each other.
template <class Types>
struct LinearPair {
  Linear<Types> first, second;
};

template <class T> void linear_cpu(const Linear<Cpu<T>>& args);

// Our own GEMV for few tokens, cuBLASLt above. Takes what it needs from `scratch` first and, when the arena measures,
// returns before the launch (so do all launchers that have a scratch argument).
void linear_cuda(const Linear<Gpu>& args, Arena& scratch, cudaStream_t stream);
void linear_cuda(const Linear<Gpu, float>& args, Arena& scratch, cudaStream_t stream);
// In one launch where both are small and alike.
void linear_pair_cuda(const LinearPair<Gpu>& args, Arena& scratch, cudaStream_t stream);

}  // namespace kdabench
