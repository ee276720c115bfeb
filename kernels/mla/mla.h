#pragma once
// Multi-head latent attention between its input and output projections (paper section 4; DeepSeek-V2 section 2.1).
//
//   latent   = rms_norm(kv_a[:R]);  k_pe = kv_a[R:]           one row of R + P numbers per token: the latent cache
//   k[h]     = [w_uk[h] latent | k_pe],  v[h] = w_uv[h] latent     w_kv_b rows are head-major: N k_nope rows, V v rows
//   out[h]   = sum_s softmax_s(q[h] . k[h, s] / sqrt(N + P)) v[h, s]        causal
//
// Two forms of the same sum. Absorbed (decode): q'[h] = [w_uk[h]^T q_nope | q_pe] against the cache row itself, then
// w_uv on the attended latent; the cache is read once for all heads. Expanded (prefill): k and v per head, fewer flops
// per query. NoPE by default; with rope_theta > 0 q_pe and the cached k_pe are rotated (interleaved pairs, as DeepSeek).

#include <string>

#include "kernels/base/arena.h"
#include "kernels/base/types.h"
#include "kernels/base/view.h"

namespace kdabench {

enum class MlaForm { kAutomatic, kAbsorbed, kExpanded };

template <class Types>
struct Mla {
  using Act = typename Types::Act;
  using Weight = typename Types::Weight;

  View<const Act, 3> q;                 // [B, T, H (N + P)]  per head: N nope, then P rope channels; strided rows
  View<const Act, 3> kv_a;              // [B, T, R + P]      strided rows
  View<const Weight, 1> kv_norm;        // [R]
  float kv_norm_eps;
  View<const Weight, 2> kv_b;           // [H (N + V), R]
  View<Act, 3> cache;                   // [B, capacity, R + P]  rows [lengths, lengths + T) are written
  View<const int32_t, 1> lengths;       // [B]  tokens cached before this call; on the device, read by the kernels
  int64_t max_context;                  // host's bound on lengths[b] + T, for planning; <= capacity
  float rope_theta;                     // 0: NoPE
  View<Act, 3> out;                     // [B, T, H V]
  int heads, nope_dim, rope_dim, value_dim, rank;  // H, N, P, V, R
  MlaForm form = MlaForm::kAutomatic;   // automatic: absorbed when T is small, expanded otherwise
};

template <class T> void mla_cpu(const Mla<Cpu<T>>& args);

// The absorbed form's attention alone, which is what most decode kernels call MLA: neither append nor products with
// w_kv_b.
//   out[b, t, h] = sum_s softmax_s(scale query[b, t, h] . cache[b, s]) cache[b, s, :R],  s <= lengths[b] + t
template <class Types>
struct MlaLatent {
  using Act = typename Types::Act;

  View<const Act, 4> query;             // [B, T, H, R + P]  absorbed and rotated; contiguous
  View<const Act, 3> cache;             // [B, capacity, R + P]  rows below lengths + T are read
  View<const int32_t, 1> lengths;       // [B]  as in Mla
  int64_t max_context;                  // as in Mla
  float scale;                          // 1 / sqrt(N + P)
  View<Act, 4> out;                     // [B, T, H, R]  contiguous
};

template <class T> void mla_latent_cpu(const MlaLatent<Cpu<T>>& args);

// kAutomatic on the GPU: absorbed up to this many tokens a call, expanded above.
inline constexpr int64_t kMlaAbsorbedTokens = 4;

// No host round trip: `lengths` is read by the kernels, so a captured graph may be replayed while the context grows to
// max_context. Scratch depends on sizes and max_context only.
void mla_cuda(const Mla<Gpu>& args, Arena& scratch, cudaStream_t stream);
// The reason why mla_cuda cannot run this problem, or empty.
std::string mla_cuda_unsupported(const Mla<Gpu>& args);
// Rows below lengths[b], and lengths, must have been written before the kernel that precedes this call started: they
// are read while it runs.
void mla_latent_cuda(const MlaLatent<Gpu>& args, Arena& scratch, cudaStream_t stream);
std::string mla_latent_cuda_unsupported(const MlaLatent<Gpu>& args);
// The attention that mla_cuda runs for this problem, chosen by form and shape alone: "split", "small", "generic",
// "expanded", or "none" for an unsupported problem.
//   split     absorbed, (R, P, N, V) = (512, 64, 128, 128)      kernels/mla/mla_decode.cu, mla_merge.cu
//   small     absorbed, R + P <= 256, both multiples of 8        kernels/mla/mla_small.cu
//   generic   absorbed, every other shape, plain and slow        kernels/mla/mla_generic.cu
//   expanded  (N, P, V) = (128, 64, 128) or (64, 32, 64)         kernels/mla/mla_prefill.cu
const char* mla_cuda_kernel(const Mla<Gpu>& args);

}  // namespace kdabench
