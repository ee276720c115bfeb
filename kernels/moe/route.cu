// Routing: which experts each token takes, and the tokens of each expert.
//
//   Math     kernels/moe/moe.h; the truth is route_cpu<double>.
//   Work     Choice: a warp a token; each of top_k rounds is a warp-wide maximum of integer keys and a minimum of
//            indices. Plan: one block counts, scans and places; every expert's tokens are cut into equal items of at
//            most `chunk`.
//   Grid     N / 8 blocks; one block.
//   Cost     Latency: about 0.5 us of choice, 2 to 20 us of plan (64 to 8192 tokens).
//   Limits   E <= 1024, S <= 32, top_k <= 32.
//   Checked  tests/cuda/test_moe_cuda.cpp.

#include "kernels/moe/choose.cuh"
#include "kernels/moe/moe_parts.h"

namespace kdabench {
namespace {

using namespace device;

constexpr int kRouteWarps = 8, kPlanThreads = 1024;

struct RouteArgs {
  RouteRule rule;
  const float* logits;
  int32_t* ids;
  float* weights;
  int64_t logits_stride, ids_stride, weights_stride, tokens;
  bool given;
};

template <int PerLane>
__global__ void __launch_bounds__(32 * kRouteWarps) route_kernel(const __grid_constant__ RouteArgs a) {
  const LaneBias<PerLane> bias(a.rule);
  let_next_start();
  wait_for_previous();
  const int64_t n = int64_t{blockIdx.x} * kRouteWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (n >= a.tokens) return;
  const float* const logits = a.logits + n * a.logits_stride;
  const int id = choose_expert<PerLane>(a.rule, bias, logits, a.given ? a.ids + n * a.ids_stride : nullptr);
  const float weight = expert_weight(a.rule, logits, id);
  if (lane < a.rule.top_k) {
    a.ids[n * a.ids_stride + lane] = id;
    a.weights[n * a.weights_stride + lane] = weight;
  }
}

struct PlanArgs {
  const int32_t* ids;
  MoeItem* items;
  int32_t* item_count;
  int32_t* entries;
  int64_t ids_stride;
  int tokens, experts, shared, top_k, chunk;
};

__global__ void __launch_bounds__(kPlanThreads) plan_kernel(const __grid_constant__ PlanArgs a) {
  __shared__ int count[kMoeExperts + kMoeShared], start[kMoeExperts + kMoeShared], item[kMoeExperts + kMoeShared];
  const int all = a.experts + a.shared, slots = a.top_k + a.shared, chosen = a.tokens * a.top_k;
  for (int e = threadIdx.x; e < all; e += kPlanThreads) count[e] = e < a.experts ? 0 : a.tokens;
  let_next_start();
  wait_for_previous();
  __syncthreads();
  const auto expert_of = [&](int i) { return a.ids[i / a.top_k * a.ids_stride + i % a.top_k]; };
#pragma unroll 4
  for (int i = threadIdx.x; i < chosen; i += kPlanThreads) atomicAdd(&count[expert_of(i)], 1);
  __syncthreads();

  if (threadIdx.x < 32) {  // exclusive sums of entries and items: a lane a run of experts
    const int run = (all + 31) / 32, first = threadIdx.x * run, end = min(first + run, all);
    int entries = 0, items = 0;
    for (int e = first; e < end; ++e) entries += count[e], items += (count[e] + a.chunk - 1) / a.chunk;
    int entries_before = entries, items_before = items;
    for (int offset = 1; offset < 32; offset *= 2) {
      const int more_entries = __shfl_up_sync(0xffffffffu, entries_before, offset);
      const int more_items = __shfl_up_sync(0xffffffffu, items_before, offset);
      if (threadIdx.x >= offset) entries_before += more_entries, items_before += more_items;
    }
    if (threadIdx.x == 31) *a.item_count = items_before;
    entries_before -= entries, items_before -= items;
    for (int e = first; e < end; ++e) {
      start[e] = entries_before, item[e] = items_before;
      entries_before += count[e], items_before += (count[e] + a.chunk - 1) / a.chunk;
    }
  }
  __syncthreads();

  for (int e = threadIdx.x; e < all; e += kPlanThreads) {
    if (count[e] == 0) continue;
    const int parts = (count[e] + a.chunk - 1) / a.chunk, size = (count[e] + parts - 1) / parts;  // nearly equal parts
    for (int done = 0, i = item[e]; done < count[e]; done += size, ++i)
      a.items[i] = {e, start[e] + done, min(size, count[e] - done)};
  }
  for (int i = threadIdx.x; i < a.tokens * a.shared; i += kPlanThreads) {
    const int s = i / a.tokens, n = i % a.tokens;
    a.entries[start[a.experts + s] + n] = n * slots + a.top_k + s;
  }
  __syncthreads();  // start becomes the cursor
#pragma unroll 4
  for (int i = threadIdx.x; i < chosen; i += kPlanThreads)
    a.entries[atomicAdd(&start[expert_of(i)], 1)] = i / a.top_k * slots + i % a.top_k;
}

}  // namespace

void moe_route(const Moe<Gpu>& args, View<const float, 2> logits, cudaStream_t stream) {
  const int64_t tokens = args.x.size[0];
  const RouteArgs a{route_rule(args),   logits.data,
                    args.expert_ids.data, args.expert_weights.data,
                    logits.stride[0],   args.expert_ids.stride[0],
                    args.expert_weights.stride[0], tokens, args.given_experts};
  const auto kernel = a.rule.experts <= 256 ? route_kernel<8> : route_kernel<kMoeExperts / 32>;
  launch(kernel, dim3((tokens + kRouteWarps - 1) / kRouteWarps), dim3(32 * kRouteWarps), 0, stream, "moe_route", a);
}

void moe_make_plan(const Moe<Gpu>& args, const MoePlan& plan, cudaStream_t stream) {
  const int64_t experts = args.router.size[0];
  const PlanArgs a{args.expert_ids.data, plan.items.data, plan.item_count.data, plan.entries.data,
                   args.expert_ids.stride[0], static_cast<int>(args.x.size[0]), static_cast<int>(experts),
                   static_cast<int>(args.gate_up.size[0] - experts), args.top_k, plan.chunk};
  launch(plan_kernel, dim3(1), dim3(kPlanThreads), 0, stream, "moe_plan", a);
}

}  // namespace kdabench
