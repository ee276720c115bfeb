#pragma once
// What the kernel of moe_few.cu is told.

#include "kernels/moe/choose.cuh"
#include "kernels/moe/moe_parts.h"

namespace kdabench::device {

constexpr int kFewWarps = 8, kFewThreads = 32 * kFewWarps;
constexpr int kFewDepth = 2;          // pieces in flight of a warp
constexpr int kFewSlotBytes = 9216;   // of a piece at most: a gate row and an up row of the 48B model
constexpr int kFewRingBytes = kFewWarps * kFewDepth * kFewSlotBytes;
constexpr int kFewFixed = 7;          // eighths of the routed pieces of gate and up that are dealt out in equal shares
constexpr int kFewRows = 4;           // of a piece of down, and channels of a piece of gate and up, at most
constexpr int kFewChosen = kMoeFewTokens * kMoeTopK;
static_assert(kFewRows * kMoeFewTokens <= 32 && kFewWarps >= kMoeFewTokens && kFewThreads >= kFewChosen);

struct FewArgs {
  const bf16* x;
  const bf16* gate_up;
  const bf16* down;
  const float* logits;
  int32_t* ids;
  float* weights;
  bf16* hidden;  // [tokens slots, inner]
  bf16* out;
  int64_t x_stride, logits_stride, ids_stride, weights_stride, out_stride;
  RouteRule rule;
  int tokens, width, inner, shared, slots;
  bool given;  // ids are given
  // Gate and up: a piece is the rows of `channels` channels, or a segment of those of one.
  int channels, groups, segments, segment_columns;
  int experts_on, groups_on;  // from a warp's piece to its next: this many experts, and groups of channels
  // Down: a piece is `rows` rows, or segments of them. A block has `most_rows` at most.
  int rows, most_rows, down_segments, down_columns;
  int vector_stride, vector_bytes;  // of a token, in elements; of what all tokens, and later all hidden vectors, take
};

}  // namespace kdabench::device
