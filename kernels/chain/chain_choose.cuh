#pragma once
// A token's experts, chosen by every block of a chain for itself; included by chain_kernel.cu alone. The choice of a
// separate launch (kernels/moe/choose.cuh) is the same: equal scores go to the lower index.

#include "kernels/chain/chain_parts.h"
#include "kernels/chain/chain_post.cuh"
#include "kernels/moe/choose.cuh"
#include "kernels/moe/moe_parts.h"

namespace kdabench::device {

// Of the warps that multiply.
__device__ inline void meet() { asm volatile("bar.sync 1, %0;" ::"n"(kChainThreads) : "memory"); }

// Where the experts of the token are kept in a block.
struct alignas(16) Choice {
  uint32_t key[kMoeExperts];                        // of every expert
  float logit[kMoeExperts];
  uint32_t candidate[kMoeExperts];                  // the best of every 32, in order
  int candidate_id[kMoeExperts];
  int id[kMoeTopK];
  float weight[kMoeTopK];
};

// Every block chooses for itself. Each group of 32 experts, a lane each, keeps its top_k best in order; then every
// candidate counts those before it. Nothing is serial but two barriers. Equal keys: the lower index is before.
__device__ void choose(const ChainExperts& e, Choice& shared) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (e.given) {
    if (static_cast<int>(threadIdx.x) < e.top_k) {
      const int id = __ldcg(e.ids + threadIdx.x);
      shared.id[threadIdx.x] = id;
      shared.logit[id] = await_logit(id);
    }
    meet();
    return;
  }
  const int groups = (e.experts + 31) / 32, kept = min(e.top_k, 32);
#pragma unroll 1
  for (int group = warp; group < groups; group += kChainWarps) {
    const int id = group * 32 + lane;
    uint32_t mine = 0;
    if (id < e.experts) {
      const float bias = __ldg(e.bias + id), logit = await_logit(id);
      mine = ordered(quick_sigmoid(logit) + bias);
      shared.logit[id] = logit;
    }
    shared.key[id] = mine;
    __syncwarp();
    int before = 0;
    const uint4* const keys = reinterpret_cast<const uint4*>(shared.key + group * 32);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const uint4 k = keys[j];
      before += k.x > mine || (k.x == mine && 4 * j < lane);
      before += k.y > mine || (k.y == mine && 4 * j + 1 < lane);
      before += k.z > mine || (k.z == mine && 4 * j + 2 < lane);
      before += k.w > mine || (k.w == mine && 4 * j + 3 < lane);
    }
    if (before < kept) shared.candidate[group * kept + before] = mine, shared.candidate_id[group * kept + before] = id;
  }
  meet();
  const int count = groups * kept;
  for (int c = threadIdx.x; c < count; c += kChainThreads) {
    const uint32_t mine = shared.candidate[c];
    int before = 0;
#pragma unroll 16
    for (int j = 0; j < count; ++j) {
      const uint32_t other = shared.candidate[j];
      before += other > mine || (other == mine && j < c);
    }
    if (before < e.top_k) shared.id[before] = shared.candidate_id[c];
  }
  meet();
}

// By one warp: lane j the weight of expert j.
__device__ void weigh(const ChainExperts& e, Choice& shared) {
  const int lane = threadIdx.x % 32;
  const bool mine = lane < e.top_k;
  const int id = mine ? shared.id[lane] : 0;
  float score = mine ? exact_sigmoid(shared.logit[id]) + (e.biased_weights ? e.bias[id] : 0.f) : 0.f;
  if (e.renormalize) score = score / (warp_sum(score) + 1e-20f);
  if (!mine) return;
  shared.weight[lane] = score * e.scale;
  if (blockIdx.x == 0) e.ids[lane] = id, e.weights[lane] = score * e.scale;
}

}  // namespace kdabench::device
