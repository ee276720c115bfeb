#pragma once
// The small operations between the large ones: embedding, RMSNorm over the residual stream, SwiGLU's product,
// and the running lengths of the sequences.
//
// N counts tokens (B * T, batch-major), D model width, I feed-forward width.

#include "kernels/base/arena.h"
#include "kernels/base/types.h"
#include "kernels/base/view.h"

namespace kdabench {

// residual[n] <- table[ids[n]]. An id outside [0, vocabulary) is the caller's error and is checked before it gets here.
template <class Types>
struct Embed {
  View<const int32_t, 1> ids;                        // [N]
  View<const typename Types::Weight, 2> table;       // [vocabulary, D]
  View<typename Types::Accum, 2> residual;           // [N, D]
};

// residual <- residual + delta (when there is one);  out <- residual / sqrt(mean(residual^2) + eps) * weight.
// The residual stream stays in Accum: 27 layers of bf16 rounding would be the largest error of the whole model.
template <class Types>
struct AddRmsNorm {
  View<const typename Types::Act, 2> delta;          // [N, D], or null
  View<typename Types::Accum, 2> residual;           // [N, D], updated in place; rows may be strided
  View<const typename Types::Weight, 1> weight;      // [D]
  float eps;
  View<typename Types::Act, 2> out;                  // [N, D]
};

// out <- silu(gate) * up, with gate = gate_up[:, :I] and up = gate_up[:, I:].
template <class Types>
struct SiluMul {
  View<const typename Types::Act, 2> gate_up;        // [N, 2 I]
  View<typename Types::Act, 2> out;                  // [N, I]
};

// lengths[b] <- lengths[b] + tokens.
struct Advance {
  View<int32_t, 1> lengths;                          // [B]
  int32_t tokens;
};

template <class T> void embed_cpu(const Embed<Cpu<T>>& args);
template <class T> void add_rms_norm_cpu(const AddRmsNorm<Cpu<T>>& args);
template <class T> void silu_mul_cpu(const SiluMul<Cpu<T>>& args);
void advance_cpu(const Advance& args);

void embed_cuda(const Embed<Gpu>& args, cudaStream_t stream);
void add_rms_norm_cuda(const AddRmsNorm<Gpu>& args, cudaStream_t stream);
void silu_mul_cuda(const SiluMul<Gpu>& args, cudaStream_t stream);
void advance_cuda(const Advance& args, cudaStream_t stream);

}  // namespace kdabench
