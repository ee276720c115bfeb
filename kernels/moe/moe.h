#pragma once
// A mixture-of-experts feed-forward layer with sigmoid routing (paper section 4; reference: vLLM, SGLang noaux_tc).
//
//   s     = sigmoid(router x)                           fp32, [E]
//   idx   = top_k(s + bias)                             the lowest index on a tie
//   w     = s[idx]                                      or (s + bias)[idx] when biased_weights (first HF code)
//   w     = w / (sum w + 1e-20)  if renormalize;  w = w * scale
//   out   = sum_j w_j down[idx_j] (silu(gate[idx_j] x) * up[idx_j] x)  +  shared experts, weight 1, unscaled
//
// The S shared experts are stored behind the E routed ones, in slices of width I: a shared FFN of width S I is exactly
// the sum of S experts of width I.

#include <string>

#include "kernels/base/arena.h"
#include "kernels/base/types.h"
#include "kernels/base/view.h"

namespace kdabench {

template <class Types>
struct Moe {
  View<const typename Types::Act, 2> x;           // [N, D]
  View<const typename Types::Weight, 2> router;   // [E, D]
  View<const float, 1> bias;                      // [E], e_score_correction_bias
  View<const typename Types::Weight, 3> gate_up;  // [E + S, 2 I, D]: I gate rows (w1), then I up rows (w3)
  View<const typename Types::Weight, 3> down;     // [E + S, D, I]    (w2)
  int top_k;
  float scale;                                    // routed_scaling_factor
  bool renormalize;
  bool biased_weights;                            // --hf-router
  View<int32_t, 2> expert_ids;                    // [N, top_k], written: which experts each token chose
  View<float, 2> expert_weights;                  // [N, top_k], written
  View<typename Types::Act, 2> out;               // [N, D]
  bool given_experts = false;                     // expert_ids are given, only their weights are computed: two runs
                                                  // can be compared without the ties that rounding breaks either way
};

template <class T> void moe_cpu(const Moe<Cpu<T>>& args);
// The routing alone (fills expert_ids and expert_weights).
template <class T> void route_cpu(const Moe<Cpu<T>>& args);

// Few tokens: expert GEMV. More: a device-side list of (expert, tokens) and a grouped GEMM. No host round trip.
void moe_cuda(const Moe<Gpu>& args, Arena& scratch, cudaStream_t stream);
// The reason why moe_cuda cannot run this problem, or empty.
std::string moe_cuda_unsupported(const Moe<Gpu>& args);

}  // namespace kdabench
