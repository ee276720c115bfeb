#pragma once
// What a chain's kernel is told, inside kernels/chain.
//
// A phase is one product. Its weight rows are cut into units, each a contiguous piece that one warp multiplies: `group`
// whole rows, or a segment of one. Units with the same index i belong together (gate and up of a channel, a row's
// segments, a row of every expert): a block takes those of rows group * (blockIdx.x + i * gridDim.x) and adds them up.

#include <cstdint>

#include "kernels/base/types.h"
#include "kernels/moe/moe.h"

namespace kdabench {

constexpr int kChainPhases = 8;
constexpr int kChainWarps = 12, kChainThreads = 32 * kChainWarps;
constexpr int kChainDepth = 3;                   // units in flight of a warp
constexpr int kChainUnitBytes = 4608;  // at most; a row of the 48B model's width
constexpr int kChainNormWidth = 4096;            // that a block keeps in registers
constexpr int kChainMaxShared = 209 * 1024;      // dynamic; the kernel declares 17 KB more

enum class ChainKind : int32_t {
  kRows,    // y[r] = w[r] . x
  kGateUp,  // hidden[c] = weight silu(gate[c] . x) (up[c] . x), over channels of the shared, then the chosen experts
  kDown,    // y[r] = sum over the same experts of down[e][r] . hidden[e]
};
enum class ChainInput : int32_t {
  kGlobal,  // x
  kNorm,    // residual + delta, normalised
  kSame,    // that of the phase before
};

struct ChainPhase {
  ChainKind kind;
  ChainInput input;
  const Bf16* w;
  const Bf16* x;
  void* y;
  bool y_float;
  bool posts;               // y are the logits that the experts wait for
  int columns;              // of x
  int rows;                 // of the product: outputs; of gate and up: channels of all experts
  int inner;                // channels of one expert
  int row_bytes;
  int group, segments, segment_bytes;
  int parts;                // units of an index i: segments of every matrix
  int groups;               // indices in all blocks
  int whole, more;          // every block has `whole` indices, the first `more` blocks one more
  float per_part, per_segment, per_inner;  // 1 / parts, 1 / segments, 1 / inner
  // input == kNorm: kernels/pointwise/pointwise.h
  const Bf16* delta;
  float* residual;
  const Bf16* norm_weight;
  Bf16* norm_out;
  float eps;
};

struct ChainExperts {
  const float* bias;
  int32_t* ids;
  float* weights;
  int experts, shared, top_k;
  float scale;
  bool renormalize, biased_weights, given;
};

struct ChainArgs {
  ChainPhase phase[kChainPhases];
  int phases;
  ChainExperts experts;     // of the one mixture of experts
  bool counts;              // blocks wait for each other
  int x_bytes, sums_bytes, kept_bytes;  // of shared memory, behind the ring
};

int chain_blocks();
void launch_chain(const ChainArgs& args, cudaStream_t stream);

}  // namespace kdabench
