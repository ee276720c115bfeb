#pragma once
// The stages of moe_cuda, inside kernels/moe. A slot is one of the top_k + S experts of a token, the shared ones last;
// an entry is token * slots + slot.

#include "kernels/moe/moe.h"

namespace kdabench {

constexpr int kMoeExperts = 1024, kMoeShared = 32, kMoeTopK = 32;
constexpr int kMoeFewTokens = 8;
constexpr int kMoeFewTileTokens = 64, kMoeTileTokens = 256;  // of an item of moe_tiles, at most

// Some tokens of one expert: entries [first, first + count) of the plan.
struct alignas(16) MoeItem {
  int32_t expert, first, count;
};

// The tokens of every expert, made on the device: no host ever knows it. Entries are grouped by expert; their order
// within an expert is not fixed, but no result depends on it (each has its own column and its own sum).
struct MoePlan {
  View<MoeItem, 1> items;       // as many as there can be; the first `*item_count` are set
  View<int32_t, 1> item_count;  // [1]
  View<int32_t, 1> entries;     // [N slots]
  int chunk;                    // most tokens an item has

  // Items in the worst case.
  static int64_t most_items(const Moe<Gpu>& args, int chunk) {
    const int64_t N = args.x.size[0], E = args.router.size[0], S = args.gate_up.size[0] - E, chosen = N * args.top_k;
    return std::min(E, chosen) + chosen / chunk + S * ((N + chunk - 1) / chunk);
  }
  static MoePlan take(const Moe<Gpu>& args, int chunk, Arena& scratch) {
    const int64_t slots = args.top_k + args.gate_up.size[0] - args.router.size[0];
    MoePlan plan;
    plan.items = scratch.take<MoeItem>(most_items(args, chunk));
    plan.item_count = scratch.take<int32_t>(1);
    plan.entries = scratch.take<int32_t>(args.x.size[0] * slots);
    plan.chunk = chunk;
    return plan;
  }
};

// logits [N, E] -> args.expert_ids, args.expert_weights.
void moe_route(const Moe<Gpu>& args, View<const float, 2> logits, cudaStream_t stream);
// args.expert_ids -> plan.
void moe_make_plan(const Moe<Gpu>& args, const MoePlan& plan, cudaStream_t stream);

// Up to kMoeFewTokens tokens, routing included: expert GEMVs straight to args.out. hidden is [N slots, I].
bool moe_few_fits(const Moe<Gpu>& args);
void moe_few(const Moe<Gpu>& args, View<const float, 2> logits, View<Bf16, 2> hidden, cudaStream_t stream);

// Few tokens an expert (plan.chunk 8 or 16): each expert's weights are streamed once. rows is [N slots, D], by entry.
bool moe_stream_fits(const Moe<Gpu>& args, int chunk);
void moe_stream(const Moe<Gpu>& args, const MoePlan& plan, View<Bf16, 2> hidden, View<float, 2> rows,
                cudaStream_t stream);

// Many tokens an expert (plan.chunk kMoeFewTileTokens or kMoeTileTokens): tiled products.
void moe_tiles(const Moe<Gpu>& args, const MoePlan& plan, View<Bf16, 2> hidden, View<Bf16, 2> rows,
               cudaStream_t stream);

}  // namespace kdabench
