#pragma once
// One token's experts, chosen by one warp.

#include <climits>

#include "kernels/base/device.cuh"
#include "kernels/moe/moe.h"

namespace kdabench::device {

struct RouteRule {
  const float* bias;  // [experts]
  int experts, top_k;
  float scale;
  bool renormalize, biased_weights;
};

inline RouteRule route_rule(const Moe<Gpu>& args) {
  return {args.bias.data,     static_cast<int>(args.router.size[0]), args.top_k, args.scale, args.renormalize,
          args.biased_weights};
}

// Unsigned integers in the order of the floats; never 0.
__device__ inline uint32_t ordered(float x) {
  const uint32_t u = __float_as_uint(x);
  return max(u & 0x80000000u ? ~u : u | 0x80000000u, 1u);
}

__device__ inline float exact_sigmoid(float x) { return 1.f / (1.f + expf(-x)); }
// For the choice: no branches, so that a lane's experts overlap. Its error, 3 ulp, is below that of the logits.
__device__ inline float quick_sigmoid(float x) { return __fdividef(1.f, 1.f + __expf(-x)); }

// A lane's part of the bias, which may be read before wait_for_previous(). Lane l holds experts l, l + 32, ...: PerLane
// of them.
template <int PerLane>
struct LaneBias {
  float of[PerLane];
  __device__ explicit LaneBias(const RouteRule& rule) {
#pragma unroll
    for (int i = 0; i < PerLane; ++i) {
      const int e = threadIdx.x % 32 + 32 * i;
      of[i] = e < rule.experts ? __ldg(rule.bias + e) : 0.f;
    }
  }
};

// Lane j gets the j-th best expert (j < top_k). The logits are read from the L2: see moe_few.cu.
template <int PerLane>
__device__ int best_expert(const RouteRule& rule, const LaneBias<PerLane>& bias, const float* logits) {
  const int lane = threadIdx.x % 32;
  uint32_t key[PerLane];
#pragma unroll
  for (int i = 0; i < PerLane; ++i) {
    const int e = lane + 32 * i;
    key[i] = e < rule.experts ? ordered(quick_sigmoid(__ldcg(logits + e)) + bias.of[i]) : 0;
  }
  uint32_t best = 0;
  int best_at = 0;
  const auto find_best = [&] {
    if constexpr (PerLane == 8) {  // a tree: one warp computes alone here, so latency is what counts
      uint32_t most[4], last[2];
      int at[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        most[i] = max(key[i], key[i + 4]), at[i] = key[i + 4] > key[i] ? i + 4 : i;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const bool later = most[i + 2] > most[i] || (most[i + 2] == most[i] && at[i + 2] < at[i]);
        last[i] = max(most[i], most[i + 2]), at[i] = later ? at[i + 2] : at[i];
      }
      const bool later = last[1] > last[0] || (last[1] == last[0] && at[1] < at[0]);
      best = max(last[0], last[1]), best_at = lane + 32 * (later ? at[1] : at[0]);
    } else {
      best = 0, best_at = 0;
#pragma unroll
      for (int i = 0; i < PerLane; ++i)
        if (key[i] > best) best = key[i], best_at = lane + 32 * i;
    }
  };
  find_best();
  int id = 0;
  for (int j = 0; j < rule.top_k; ++j) {
    const uint32_t winner = __reduce_max_sync(0xffffffffu, best);
    const int at = __reduce_min_sync(0xffffffffu, best == winner ? best_at : INT_MAX);
    if (lane == j) id = at;
#pragma unroll
    for (int i = 0; i < PerLane; ++i) key[i] = lane + 32 * i == at ? 0 : key[i];
    find_best();
  }
  return id;
}

// Lane j gets the weight of expert `id`, its j-th.
__device__ inline float expert_weight(const RouteRule& rule, const float* logits, int id) {
  const bool mine = static_cast<int>(threadIdx.x % 32) < rule.top_k;
  const float score = mine ? exact_sigmoid(__ldcg(logits + id)) + (rule.biased_weights ? rule.bias[id] : 0.f) : 0.f;
  if (rule.renormalize) return score / (warp_sum(score) + 1e-20f) * rule.scale;
  return score * rule.scale;
}

// Lane j gets the j-th best expert. `given`: the token's experts when they are not to be chosen but taken, or null.
template <int PerLane>
__device__ int choose_expert(const RouteRule& rule, const LaneBias<PerLane>& bias, const float* logits,
                             const int32_t* given) {
  const int lane = threadIdx.x % 32;
  if (given) return lane < rule.top_k ? __ldcg(given + lane) : 0;
  return best_expert<PerLane>(rule, bias, logits);
}

}  // namespace kdabench::device
