#pragma once
// Kimi Delta Attention and Gated DeltaNet between their input and output projections (paper section 4, Eq. 1 and 10).
//
//   q, k, v  = silu(short_conv(qkv))                     causal, depthwise, width W, per channel; no bias
//   q, k     = x / sqrt(sum x^2 + 1e-6)                  per head
//   g        = -exp(a_log[h]) softplus(gate + dt_bias)   natural log of the decay, fp32; softplus is linear above 20
//   g        = lower_bound * sigmoid(exp(a_log[h]) (gate + dt_bias))       instead, when lower_bound < 0
//   beta     = sigmoid(beta_logit)
//   S        <- diag(exp g) S                            forget
//   S        <- S + k (beta (v - S^T k))^T               correct
//   o        = S^T q / sqrt(K)                           read, after the update
//   out      = o / sqrt(mean o^2 + eps) * norm_weight * sigmoid(out_gate)  per head
//
// G is the number of gate channels of a head: G = K is KDA, G = 1 is GDN (one forget gate for the whole head). All else
// is the same for both, so that a difference between the two models is the gate and nothing else.
//
// T = 1 is decode and runs the recurrence; T > 1 is prefill and runs the chunkwise form (Eq. 2-9), at any offset: what
// came before is in `state` and `conv_state`. A bf16 state is rounded when it is stored: after every token by the
// recurrence, after the last one by the chunkwise form, which keeps it in Accum on the way. This model's gate is unbounded (g of -20 a token and below is legal):
// exp(-cumsum g) is never formed over a chunk.

#include <string>

#include "kernels/base/arena.h"
#include "kernels/base/types.h"
#include "kernels/base/view.h"

namespace kdabench {

// What a state is between tokens: Accum, or bf16 rounded to nearest even or stochastically (state_rounding.h).
enum class StateType { kAccum, kBf16, kBf16Stochastic };

template <class Types>
struct DeltaRule {
  using Act = typename Types::Act;
  using Weight = typename Types::Weight;
  using Accum = typename Types::Accum;

  View<const Act, 3> qkv;               // [B, T, 2 H K + H V]  pre-convolution: q heads, k heads, v heads; strided rows
  View<const Act, 3> gate;              // [B, T, H G]          raw forget gate (f_b f_a x, or GDN's a x); strided rows
  View<const Act, 3> beta;              // [B, T, H]            logits; strided rows
  View<const Act, 3> out_gate;          // [B, T, H V]          logits; strided rows
  View<const Weight, 2> conv;           // [2 H K + H V, W]     tap W - 1 is the current token
  View<const float, 1> a_log;           // [H]
  View<const float, 1> dt_bias;         // [H G]
  View<const Weight, 1> norm_weight;    // [V]
  float norm_eps;
  float lower_bound;                    // 0: the unbounded gate of the 48B checkpoint
  View<Act, 3> conv_state;              // [B, 2 H K + H V, W - 1]  last pre-convolution inputs, oldest first; updated
  StateType state_type = StateType::kAccum;
  View<Accum, 4> state;                 // [B, H, V, K]             updated in place; K is contiguous
  View<Bf16, 4> state_bf16;             // [B, H, V, K]             instead of `state`, when state_type says so
  View<const int32_t, 1> lengths;       // [B]  tokens before these: seeds stochastic rounding, otherwise unused
  // No kernel that may still run when this one starts writes the states: they may be read before its wait. Kernels that let
  // the next one start before they have waited themselves may be several.
  bool states_at_rest = false;
  View<Act, 3> out;                     // [B, T, H V]
  int heads, key_dim, value_dim, gate_dim;  // H, K, V, G
};

// T tokens one after another. The truth for T = double.
template <class T> void delta_rule_cpu(const DeltaRule<Cpu<T>>& args);
// The chunkwise form of the paper (Eq. 2-9, chunk 64 in sub-chunks of 16); the CPU backend's prefill.
template <class T> void delta_rule_chunked_cpu(const DeltaRule<Cpu<T>>& args);

// T = 1: one fused decode kernel. T > 1: the chunkwise kernels.
void delta_rule_cuda(const DeltaRule<Gpu>& args, Arena& scratch, cudaStream_t stream);
// The reason why delta_rule_cuda cannot run this problem, or empty.
std::string delta_rule_cuda_unsupported(const DeltaRule<Gpu>& args);

// One token whose gates are still products of a low rank, w x. They stay in Accum: only inputs are rounded.
template <class Types>
struct LowRank {
  View<const typename Types::Act, 3> x;      // [B, 1, R]  strided rows
  View<const typename Types::Weight, 2> w;   // [channels, R]
};
template <class Types>
struct LowRankDeltaRule {
  DeltaRule<Types> rule;                     // T = 1; `out_gate`, and with G = K `gate`, are not read
  LowRank<Types> gate;                       // H K channels; not read when G = 1
  LowRank<Types> out_gate;                   // H V channels
};
// The products within the decode kernel, in place of a launch of their own in front of it.
void low_rank_delta_rule_cuda(const LowRankDeltaRule<Gpu>& args, cudaStream_t stream);
// The reason why it cannot run this problem, or why products of their own are faster, or empty.
std::string low_rank_delta_rule_cuda_unsupported(const LowRankDeltaRule<Gpu>& args);

// The recurrence alone, on ready q, k, v, g, beta: what the published kernels call KDA.
template <class T>
struct DeltaRecurrence {
  View<const T, 4> q;        // [B, T, H, K]  unit length, unscaled
  View<const T, 4> k;        // [B, T, H, K]  unit length
  View<const T, 4> v;        // [B, T, H, V]
  View<const T, 4> g;        // [B, T, H, G]  <= 0, G = K or 1
  View<const T, 3> beta;     // [B, T, H]     in (0, 1)
  View<T, 4> state;          // [B, H, V, K]  updated in place
  View<T, 4> out;            // [B, T, H, V]
  StateType state_type = StateType::kAccum;  // otherwise `state` holds bf16 values before and after
  View<const int32_t, 1> lengths = {};       // [B]
};
template <class T> void delta_recurrence_cpu(const DeltaRecurrence<T>& args);
template <class T> void delta_chunked_cpu(const DeltaRecurrence<T>& args);

}  // namespace kdabench
