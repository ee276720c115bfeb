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

// Lane j gets the j-th best expert (j < top_k). Lane l holds experts l, l + 32, ...: PerLane of them.
template <int PerLane>
__device__ int best_expert(const RouteRule& rule, const float* logits) {
  const int lane = threadIdx.x % 32;
  uint32_t key[PerLane];
#pragma unroll
  for (int i = 0; i < PerLane; ++i) {
    const int e = lane + 32 * i;
    key[i] = e < rule.experts ? ordered(exact_sigmoid(logits[e]) + rule.bias[e]) : 0;
  }
  uint32_t best = 0;
  int best_at = 0;
  const auto find_best = [&] {
    best = 0, best_at = 0;
#pragma unroll
    for (int i = 0; i < PerLane; ++i)
      if (key[i] > best) best = key[i], best_at = lane + 32 * i;
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

// Lane j gets the j-th best expert and its weight. `given`: the token's experts when they are not to be chosen but
// taken, or null.
template <int PerLane>
__device__ void choose_experts(const RouteRule& rule, const float* logits, const int32_t* given, int& id,
                               float& weight) {
  const int lane = threadIdx.x % 32;
  if (given)
    id = lane < rule.top_k ? given[lane] : 0;
  else
    id = best_expert<PerLane>(rule, logits);
  const bool mine = lane < rule.top_k;
  const float score = mine ? exact_sigmoid(logits[id]) + (rule.biased_weights ? rule.bias[id] : 0.f) : 0.f;
  weight = score * rule.scale;
  if (rule.renormalize) weight = score / (warp_sum(score) + 1e-20f) * rule.scale;
}

}  // namespace kdabench::device
