#pragma once
// The weights of a chain as one stream a warp: units of all phases, one behind another, through a ring of bulk copies.

#include "kernels/base/bulk_copy.cuh"
#include "kernels/chain/chain_choose.cuh"
#include "kernels/chain/chain_parts.h"

namespace kdabench::device {

// a / b from 1 / b, exact for 0 <= a < 2^21: an integer division has the latency of two dozen instructions.
__device__ inline int quotient(int a, float per_b) { return __float2int_rz((static_cast<float>(a) + 0.5f) * per_b); }

// Indices of a phase that this block has, and units that this warp has.
__device__ inline int indices(const ChainPhase& p) { return p.whole + (static_cast<int>(blockIdx.x) < p.more); }
__device__ inline int units(const ChainPhase& p) {
  return max(0, indices(p) * p.parts - static_cast<int>(threadIdx.x / 32) + kChainWarps - 1) / kChainWarps;
}

// The n-th unit of this warp in a phase. The lanes of a warp describe a unit each, 32 at a time: what a unit needs is
// worked out once in parallel, and nothing but shuffles is left to do between two units. (Worked out one by one, a unit
// took 1.3 us, whatever its size.)
struct Unit {
  int i, index, matrix, segment, item;  // item: of an expert's matrices, its place among the experts of the token

  __device__ Unit(const ChainPhase& p, int n) {
    const int u = n * kChainWarps + static_cast<int>(threadIdx.x / 32);
    i = quotient(u, p.per_part);
    const int part = u - i * p.parts;
    index = static_cast<int>(blockIdx.x) + i * static_cast<int>(gridDim.x);
    matrix = quotient(part, p.per_segment), segment = part - matrix * p.segments;
    item = p.kind == ChainKind::kRows ? -1 : p.kind == ChainKind::kDown ? matrix : quotient(index, p.per_inner);
  }
  __device__ int rows(const ChainPhase& p) const { return min(p.group, p.rows - index * p.group); }
  __device__ int bytes(const ChainPhase& p) const {
    return p.group > 1 ? rows(p) * p.row_bytes : min(p.segment_bytes, p.row_bytes - segment * p.segment_bytes);
  }
  // Of expert 0, where there are experts.
  __device__ const unsigned char* from(const ChainPhase& p) const {
    const int row = p.kind == ChainKind::kGateUp ? matrix * p.inner + index - item * p.inner : index * p.group;
    return reinterpret_cast<const unsigned char*>(p.w) + int64_t{row} * p.row_bytes + segment * p.segment_bytes;
  }
};

// A warp's ring of copies, and where it stands in the phases. All members are the same in all lanes but the described
// unit, which that lane asks for itself.
class UnitStream {
 public:
  __device__ UnitStream(const ChainArgs& args, const Choice& choice, unsigned char* ring, CopyBarrier* full)
      : args_(args), choice_(choice), slots_(ring + threadIdx.x / 32 * kChainDepth * kChainUnitBytes),
        barriers_(full + threadIdx.x / 32 * kChainDepth), policy_(read_once_policy()) {
    if (lane() < kChainDepth) init_copy_barrier(barriers_ + lane());
    __syncwarp();
  }
  // The experts are known from now on.
  __device__ void set_chosen() {
    chosen_ = true;
    if (phase_ >= 0 && phase_ < args_.phases) {
      const int chosen = item_ - args_.experts.shared;
      if (chosen >= 0) from_ += int64_t{choice_.id[chosen]} * expert_bytes(args_.phase[phase_]);
      known_ = min(total_, first_ + 32);
    }
  }
  // Asks for units until the ring is full or what comes next is not known. Describes the next ones even when the ring
  // is full, while there is time: they are asked for as soon as there is room.
  __device__ void fill() {
#pragma unroll 1
    for (;;) {
      if (n_ == known_ && !proceed()) return;
      if (in_flight_ == kChainDepth) return;
      ask();
    }
  }
  // The oldest unit, when it has come.
  __device__ const bf16* front() {
    await_copy(barriers_ + take_, parity_);
    return reinterpret_cast<const bf16*>(slots_ + take_ * kChainUnitBytes);
  }
  __device__ void pop(bool refill) {
    __syncwarp();
    --in_flight_;
    if (++take_ == kChainDepth) take_ = 0, parity_ ^= 1;
    if (!refill) return;
    if (__builtin_expect(in_flight_ == kChainDepth - 1 && n_ + 1 < known_, 1)) ask();  // few instructions, side by side
    else fill();
  }

 private:
  __device__ static int lane() { return threadIdx.x % 32; }
  __device__ void ask() {
    if (lane() == n_ - first_) start_copy(slots_ + put_ * kChainUnitBytes, from_, bytes_, barriers_ + put_, policy_);
    ++n_, ++in_flight_;
    put_ = put_ + 1 == kChainDepth ? 0 : put_ + 1;
  }
  // Goes on to the next units, of this phase or another; whether there is one that is known.
  __device__ bool proceed() {
    if (phase_ == args_.phases) return false;
    if (n_ == total_) {
      n_ = total_ = known_ = 0;
      do {
        if (++phase_ == args_.phases) {
          let_next_start();
          return false;
        }
        total_ = units(args_.phase[phase_]);
      } while (total_ == 0);
    } else if (n_ != first_ + 32) {
      return false;
    }
    describe();
    return n_ < known_;
  }
  // Makes the lanes describe the next 32 units.
  __device__ void describe() {
    const ChainPhase& p = args_.phase[phase_];
    first_ = n_;
    const Unit unit(p, first_ + lane());
    const int shared = args_.experts.shared;
    from_ = unit.from(p), bytes_ = unit.bytes(p), item_ = unit.item;
    const bool blocked = first_ + lane() < total_ && item_ >= shared && !chosen_;
    if (item_ >= 0 && first_ + lane() < total_ && !blocked)
      from_ += (item_ < shared ? args_.experts.experts + item_ : int64_t{choice_.id[item_ - shared]}) * expert_bytes(p);
    if (!blocked) item_ = -1;  // nothing is missing
    const unsigned unknown = __ballot_sync(0xffffffffu, blocked);
    known_ = unknown ? first_ + __ffs(unknown) - 1 : min(total_, first_ + 32);
  }
  __device__ static int64_t expert_bytes(const ChainPhase& p) {
    return int64_t{p.kind == ChainKind::kGateUp ? 2 * p.inner : p.rows} * p.row_bytes;
  }

  const ChainArgs& args_;
  const Choice& choice_;
  unsigned char* slots_;
  CopyBarrier* barriers_;
  uint64_t policy_;
  const unsigned char* from_ = nullptr;  // of this lane's unit
  int bytes_ = 0, item_ = -1;
  int phase_ = -1, n_ = 0, first_ = 0, known_ = 0, total_ = 0;
  int in_flight_ = 0, put_ = 0, take_ = 0;
  uint32_t parity_ = 0;
  bool chosen_ = false;
};

}  // namespace kdabench::device
