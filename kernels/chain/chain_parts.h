#pragma once
// What a chain's kernel is told, inside kernels/chain.
//
// A phase is one product. Its weight rows are cut into units, each a contiguous piece that one warp multiplies: several
// whole rows, or a segment of one. Units whose sums belong together are a group, and a warp has all of them, one behind
// another: the segments of `group` rows, of every expert where experts are added up, or of gate and up of a channel.
// Whoever has a group adds in the same order, so that the result is the same bits.

#include <cstdint>

#include "kernels/base/types.h"
#include "kernels/moe/moe.h"

namespace kdabench {

constexpr int kChainPhases = 8;
constexpr int kChainWarps = 9, kChainThreads = 32 * kChainWarps;  // that multiply; two more warps ask and hand out
constexpr int kChainDepth = 4;                                    // units in flight of a warp
constexpr int kChainUnitBytes = 4608;                             // at most; a row of the 48B model's width
constexpr int kChainNormWidth = 4096;                             // that a block keeps in registers
constexpr int kChainPosted = 2 * kChainNormWidth + 16384;         // numbers that a chain posts, at most
constexpr int kChainMaxShared = 208 * 1024;                       // dynamic; the kernel declares 18 KB more

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
  void* y;                  // null where nobody reads it from memory
  bool y_float;
  bool posts;               // y are the logits that the experts wait for
  int posted, polled;       // where results are posted for the phase behind, and where x, or what a norm adds; -1: nowhere
  bool acquires;            // reads, or writes over, memory that phases before write
  int columns;              // of x
  int rows;                 // of the product: outputs; of gate and up: channels of all experts; 0 of a norm that stands alone
  int inner;                // channels of one expert
  int row_bytes;
  int group;                // rows
  int matrices;             // of a group
  int segments, segment_bytes;
  int groups;
  int owned;                // groups that belong to a warp beforehand; the others are handed out
  int64_t expert_bytes;     // of an expert's matrix
  float per_inner;          // 1 / inner
  // input == kNorm: kernels/pointwise/pointwise.h
  const Bf16* delta;
  float* residual;          // the same one of all norms of a chain
  bool keeps;               // it is what the norm before has left in shared memory
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
  int posted;               // numbers posted in all
  int x_bytes, kept_bytes;  // of shared memory, behind the rings
};

int chain_blocks();
void launch_chain(const ChainArgs& args, cudaStream_t stream);

}  // namespace kdabench
