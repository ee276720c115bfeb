#pragma once
// What the CUDA files of this folder share: the launchers behind mla_cuda and the plan of the split decode.

#include <algorithm>

#include "kernels/mla/mla.h"

namespace kdabench {

// The one shape of the split decode kernel; its tiles are cut to it.
inline constexpr int kMlaRank = 512, kMlaRope = 64, kMlaNope = 128, kMlaValue = 128;
inline constexpr int kMlaRow = kMlaRank + kMlaRope;
inline constexpr int kMlaTileTokens = 64;  // cache rows of one tile
inline constexpr int kMlaTileRows = 32;    // queries (token-major, then head) of one row tile

// How the split decode is shared out. The cache tiles of all sequences form one line, which `groups` blocks
// cut evenly on the device, from the real lengths. Where group i and sequence b meet, slot i + b holds the
// partial result: unique, because going along the line either i or b grows.
struct MlaSplitPlan {
  int row_tiles;  // of T H queries; each has its own set of groups over the same line
  int groups;     // at most
  int slots;      // of partial results for each row tile
};

inline constexpr int kMlaMostGroups = 256;  // one a multiprocessor

inline MlaSplitPlan mla_split_plan(const MlaLatent<Gpu>& args, int multiprocessors) {
  const int64_t B = args.query.size[0], rows = args.query.size[1] * args.query.size[2];
  const int64_t row_tiles = (rows + kMlaTileRows - 1) / kMlaTileRows;
  const int64_t tiles = B * ((args.max_context + kMlaTileTokens - 1) / kMlaTileTokens);
  const int64_t by_chip = std::clamp<int64_t>(multiprocessors / row_tiles, 1, kMlaMostGroups);
  const int64_t groups = std::clamp<int64_t>(tiles, 1, by_chip);
  return {static_cast<int>(row_tiles), static_cast<int>(groups), static_cast<int>(groups + B)};
}

// Partial results of the split decode. The values are not divided by their sums, and their channels are in the order in
// which a thread of the split kernel holds 8 of them: [2 halves][4 warps][8 g][4 boxes][2 r] is channel
// 256 half + 64 box + 16 warp + 8 r + g. Maxima are in units of log2.
struct MlaPartials {
  View<Bf16, 4> values;  // [row_tiles, slots, kMlaTileRows, kMlaRank]
  View<float, 4> stats;  // [row_tiles, slots, kMlaTileRows, 2]  maximum, sum
};

// mla_prepare.cu
void mla_append_cuda(const Mla<Gpu>& args, cudaStream_t stream);
// The append and q' together.
void mla_absorb_cuda(const Mla<Gpu>& args, View<Bf16, 4> query, cudaStream_t stream);  // [B, T, H, kMlaRow]
void mla_rotate_queries_cuda(const Mla<Gpu>& args, View<Bf16, 4> q_pe, cudaStream_t stream);  // [B, T, H, P]
// mla_decode.cu
void mla_split_cuda(const MlaLatent<Gpu>& args, const MlaPartials& partials, const MlaSplitPlan& plan,
                    cudaStream_t stream);
// mla_merge.cu: to args.out, or through w_uv to out [B, T, H V]; kv_b is as in Mla.
void mla_merge_cuda(const MlaLatent<Gpu>& args, const MlaPartials& partials, const MlaSplitPlan& plan,
                    cudaStream_t stream);
void mla_merge_project_cuda(const MlaLatent<Gpu>& args, View<const Bf16, 2> kv_b, View<Bf16, 3> out,
                            const MlaPartials& partials, const MlaSplitPlan& plan, cudaStream_t stream);
// mla_small.cu: the append, the attention and w_uv, for the shapes that it takes.
bool mla_small_takes(const Mla<Gpu>& args);
void mla_small_cuda(const Mla<Gpu>& args, Arena& scratch, cudaStream_t stream);
// mla_generic.cu
void mla_generic_cuda(const Mla<Gpu>& args, cudaStream_t stream);
// mla_prefill.cu: all of the expanded form behind the append, the expansion of the keys included. An empty
// q_pe means that the queries need no rotation.
void mla_expanded_cuda(const Mla<Gpu>& args, View<const Bf16, 4> q_pe, Arena& scratch, cudaStream_t stream);

}  // namespace kdabench
