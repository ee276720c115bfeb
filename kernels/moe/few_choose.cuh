#pragma once
// The distinct experts of a few tokens, chosen by every block for itself.

#include "kernels/moe/few_parts.cuh"

namespace kdabench::device {

// The experts of all tokens, each once: the shared ones, then the chosen ones in the order of their first choice.
struct Experts {
  int first[kMoeExperts];           // the first choice that fell on it
  int chosen[kFewChosen];           // [token, choice]
  int place[kFewChosen];            // of a first choice, in the list
  int list[kMoeShared + kFewChosen];
  uint32_t users[kMoeShared + kFewChosen];                       // tokens
  uint16_t row[(kMoeShared + kFewChosen) * kMoeFewTokens];       // [place, token]: its row of hidden
  float weight[kMoeFewTokens * (kMoeShared + kMoeTopK)];         // of a row of hidden
  int firsts[kFewWarps];
  int count;
  int next_down;  // piece of this block's
};

// Before the router's logits are there.
__device__ inline void begin_experts(const FewArgs& a, Experts& e) {
  if (threadIdx.x == 0) e.next_down = 0;
  for (int i = threadIdx.x; i < a.rule.experts; i += kFewThreads) e.first[i] = INT_MAX;
  for (int i = threadIdx.x; i < a.shared + a.tokens * a.rule.top_k; i += kFewThreads) e.users[i] = 0;
  for (int i = threadIdx.x; i < a.shared * a.tokens; i += kFewThreads) {
    const int s = i / a.tokens, n = i - s * a.tokens, row = n * a.slots + a.rule.top_k + s;
    e.list[s] = a.rule.experts + s;
    e.row[s * kMoeFewTokens + n] = static_cast<uint16_t>(row);
    e.weight[row] = 1;
  }
  __syncthreads();
  for (int s = threadIdx.x; s < a.shared; s += kFewThreads) e.users[s] = (1u << a.tokens) - 1;
  __syncthreads();
}

// Warp n chooses for token n, then all list what was chosen. Lane j of warp n gets the j-th expert of token n.
template <int PerLane>
__device__ int list_experts(const FewArgs& a, const LaneBias<PerLane>& bias, Experts& e) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, top_k = a.rule.top_k, i = threadIdx.x;
  int id = 0;
  if (warp < a.tokens) {
    id = choose_expert<PerLane>(a.rule, bias, a.logits + warp * a.logits_stride,
                                a.given ? a.ids + warp * a.ids_stride : nullptr);
    if (lane < top_k) {
      e.chosen[warp * top_k + lane] = id;
      atomicMin(&e.first[id], warp * top_k + lane);
    }
  }
  __syncthreads();
  const bool mine = i < a.tokens * top_k, is_first = mine && e.first[e.chosen[i]] == i;
  const unsigned firsts = __ballot_sync(0xffffffffu, is_first);
  if (lane == 0) e.firsts[warp] = __popc(firsts);
  __syncthreads();
  int before = a.shared + __popc(firsts & ((1u << lane) - 1)), all = a.shared;
#pragma unroll
  for (int w = 0; w < kFewWarps; ++w) {
    if (w < warp) before += e.firsts[w];
    all += e.firsts[w];
  }
  if (is_first) e.list[before] = e.chosen[i], e.place[i] = before;
  if (i == 0) e.count = all;
  __syncthreads();
  if (mine) {
    const int place = e.place[e.first[e.chosen[i]]], n = i / top_k;
    atomicOr(&e.users[place], 1u << n);
    e.row[place * kMoeFewTokens + n] = static_cast<uint16_t>(n * a.slots + i - n * top_k);
  }
  return id;
}

}  // namespace kdabench::device
