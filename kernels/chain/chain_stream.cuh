#pragma once
// The weights of a chain: one warp of a block asks for the units of all others by bulk copies, into a ring for each of
// them and without regard to phases, and one hands out the groups that no warp owns.

#include "kernels/base/bulk_copy.cuh"
#include "kernels/chain/chain_choose.cuh"
#include "kernels/chain/chain_parts.h"

namespace kdabench::device {

// a / b from 1 / b, exact for 0 <= a < 2^21: an integer division has the latency of two dozen instructions.
__device__ inline int quotient(int a, float per_b) { return __float2int_rz((static_cast<float>(a) + 0.5f) * per_b); }

// Groups that belong to one warp are as far apart as all warps of the chip are many.
__device__ inline int first_group(int warp) { return static_cast<int>(blockIdx.x) + warp * static_cast<int>(gridDim.x); }
__device__ inline int group_step() { return static_cast<int>(gridDim.x) * kChainWarps; }

// What a warp is told of a unit that has come.
struct alignas(8) UnitNote {
  uint32_t bits;  // its piece of the vector: start / 8 and columns / 8, 12 bits each; 3 of rows; ends of matrix, group, phase
  int target;     // its first row or channel

  __device__ int start() const { return static_cast<int>(bits & 0xfff) * 8; }
  __device__ int columns() const { return static_cast<int>(bits >> 12 & 0xfff) * 8; }
  __device__ int rows() const { return static_cast<int>(bits >> 24 & 7); }
  __device__ bool ends_matrix() const { return bits >> 27 & 1; }
  __device__ bool ends_group() const { return bits >> 28 & 1; }
  __device__ bool ends_phase() const { return bits >> 29 & 1; }
  static __device__ uint32_t pack(int start, int columns, int rows, bool ends_matrix, bool ends_group, bool ends_phase) {
    return static_cast<uint32_t>(start / 8 | columns / 8 << 12 | rows << 24) | uint32_t{ends_matrix} << 27 |
           uint32_t{ends_group} << 28 | uint32_t{ends_phase} << 29;
  }
};

// In shared memory, beside the slots. A slot is full when its bytes have come, and empty when its warp has read them. All
// threads concerned arrive, each behind a fence of its own, not one for all behind a barrier: ptxas drops a __syncwarp of
// lanes that it knows to be together, and racecheck follows neither that nor one barrier behind another. It is as fast.
struct Rings {
  static constexpr int kSlots = kChainWarps * kChainDepth;
  CopyBarrier full[kSlots], empty[kSlots];
  CopyBarrier chosen, weighed;  // the experts are known; so are their weights
  UnitNote note[kSlots];
  int order[32], answer[32];    // of groups that are handed out, for every warp: see hand_out
};

// By one warp, before anybody uses them.
__device__ inline void init_rings(Rings& rings) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int slot = lane; slot < Rings::kSlots; slot += 32)
    init_copy_barrier(rings.full + slot, 1), init_copy_barrier(rings.empty + slot, 32);
  rings.order[lane] = rings.answer[lane] = 0;
  if (lane == 0) init_copy_barrier(&rings.chosen, kChainThreads), init_copy_barrier(&rings.weighed, 32);
  publish_copy_barriers();
  __syncwarp();
}

// ---- groups that are handed out ----------------------------------------------------------------------------------
// How many have been, of each phase; 0 between chains.
__device__ int handed_out[kChainPhases];

// By one warp, a lane for every warp that multiplies. An order is the phase + 1, or -1 when there are no more to come; the
// answer is 1 + a group, or 1 + the number of groups when none is left; both are 0 when they have been taken. Multiprocessors
// are served unevenly by the memory: in equal shares, the first were done with gate and up 7 us before the last.
__device__ inline void hand_out(const ChainArgs& args, Rings& rings) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  bool more = lane < kChainWarps;
  wait_for_previous();  // one chain counts at a time
  while (__any_sync(0xffffffffu, more)) {
    int order = more ? atomicExch(rings.order + lane, 0) : 0;
    if (order < 0) more = false, order = 0;
    unsigned waiting = __ballot_sync(0xffffffffu, order > 0);
    if (waiting == 0) __nanosleep(100);
    for (; waiting != 0; waiting = __ballot_sync(0xffffffffu, order > 0)) {  // one phase at a time
      const int phase = __shfl_sync(0xffffffffu, order, __ffs(waiting) - 1) - 1;
      const unsigned now = __ballot_sync(0xffffffffu, order == phase + 1);
      const ChainPhase& p = args.phase[phase];
      int before = 0;
      if (lane == 0) {
        before = atomicAdd(handed_out + phase, __popc(now));
        // Every warp of the chip orders until nothing is left for it, so that the last order of all is known.
        if (before + __popc(now) == p.groups - p.owned + group_step()) handed_out[phase] = 0;
      }
      before = __shfl_sync(0xffffffffu, before, 0);
      if (order == phase + 1) {
        atomicExch(rings.answer + lane, 1 + min(p.groups, p.owned + before + __popc(now & ((1u << lane) - 1))));
        order = 0;
      }
    }
  }
}

// The groups of one warp in a phase, one after another: those that it owns, then those it is handed.
class Groups {
 public:
  __device__ Groups(Rings& rings, int warp) : rings_(rings), warp_(warp) {}
  __device__ void start(const ChainPhase& p, int phase) { phase_ = phase, now_ = first_group(warp_), next_ = -1, end_ = p.groups; }
  __device__ bool done() const { return now_ >= end_; }
  __device__ int now() const { return now_; }
  // Whether it is known what comes next; orders it where it is not.
  __device__ bool knows_next(const ChainPhase& p) {
    if (next_ >= 0) return true;
    if (p.owned >= end_ || now_ + group_step() < p.owned) {
      next_ = now_ + group_step();
    } else if (!ordered_) {
      ordered_ = true;
      atomicExch(rings_.order + warp_, phase_ + 1);
    } else {
      next_ = atomicExch(rings_.answer + warp_, 0) - 1;
    }
    return next_ >= 0;
  }
  __device__ bool next_is_last() const { return next_ >= end_; }
  __device__ void advance() { now_ = next_, next_ = -1, ordered_ = false; }
  __device__ void stop() { atomicExch(rings_.order + warp_, -1); }

 private:
  Rings& rings_;
  int warp_, phase_ = 0, now_ = 0, next_ = -1, end_ = 0;
  bool ordered_ = false;
};

// ---- the rings ---------------------------------------------------------------------------------------------------
// By one warp: asks for all units, a lane for those of one warp. What a unit needs is worked out before its slot is empty;
// lanes that have nothing to ask for keep step with the others.
// kOneLane: for racecheck, which takes the first lane for the one that copies, whichever it is; so the first lane waits and
// copies for all. Slower, and the same otherwise.
template <bool kOneLane>
__device__ inline void feed(const ChainArgs& args, const Choice& choice, unsigned char* slots, Rings& rings) {
  const int warp = static_cast<int>(threadIdx.x % 32), first = warp * kChainDepth, shared = args.experts.shared;
  constexpr unsigned kAll = 0xffffffffu;
  const uint64_t policy = read_once_policy();
  Groups groups(rings, warp);
  const unsigned char* from = nullptr;
  UnitNote note = {};
  int phase = -1, matrix = 0, segment = 0, bytes = 0, put = 0, chosen = -1;
  uint32_t parity = 1;  // a slot that was never full is empty
  bool more = warp < kChainWarps, described = false;
  while (__any_sync(0xffffffffu, more)) {
    if (more && !described) {
      if (groups.done()) {
        if (++phase == args.phases) more = false, groups.stop();
        else groups.start(args.phase[phase], phase);
      }
      if (more && !groups.done()) {
        const ChainPhase& p = args.phase[phase];
        const bool last_segment = segment + 1 == p.segments, last = last_segment && matrix + 1 == p.matrices;
        if (groups.knows_next(p) || !last) {
          const int index = groups.now(), rows = min(p.group, p.rows - index * p.group);
          const bool gate_up = p.kind == ChainKind::kGateUp, down = p.kind == ChainKind::kDown;
          const int item = gate_up ? quotient(index, p.per_inner) : matrix;  // the expert's place among those of the token
          const int row = gate_up ? matrix * p.inner + index - item * p.inner : index * p.group;
          bytes = p.group > 1 ? rows * p.row_bytes : min(p.segment_bytes, p.row_bytes - segment * p.segment_bytes);
          from = reinterpret_cast<const unsigned char*>(p.w) + int64_t{row} * p.row_bytes + segment * p.segment_bytes;
          chosen = (gate_up || down) && item >= shared ? item - shared : -1;
          if ((gate_up || down) && item < shared) from += (args.experts.experts + item) * p.expert_bytes;
          note.bits = UnitNote::pack(((down ? matrix * p.row_bytes : 0) + segment * p.segment_bytes) / 2,
                                     (p.group > 1 ? p.row_bytes : bytes) / 2, rows, last_segment, last,
                                     last && groups.next_is_last());
          note.target = index * p.group;
          if (last_segment) segment = 0, ++matrix;
          else ++segment;
          if (last) matrix = 0, groups.advance();
          described = true;
        }
      }
    }
    bool ready = described && has_come(rings.empty + first + put, parity);
    if (ready && chosen >= 0) {
      ready = has_come(&rings.chosen, 0);
      if (kOneLane && ready) await_copy(&rings.chosen, 0);
      if (ready) from += choice.id[chosen] * args.phase[phase].expert_bytes;
    }
    if constexpr (kOneLane) {
      for (unsigned left = __ballot_sync(kAll, ready); left != 0; left &= left - 1) {
        const int who = __ffs(left) - 1, slot = __shfl_sync(kAll, first + put, who), size = __shfl_sync(kAll, bytes, who);
        const UnitNote its = {__shfl_sync(kAll, note.bits, who), __shfl_sync(kAll, note.target, who)};
        const auto* const source = reinterpret_cast<const unsigned char*>(
            __shfl_sync(kAll, reinterpret_cast<unsigned long long>(from), who));
        const uint32_t its_parity = __shfl_sync(kAll, parity, who);
        if (warp != 0) continue;
        await_copy(rings.empty + slot, its_parity);
        rings.note[slot] = its;
        start_copy(slots + slot * kChainUnitBytes, source, size, rings.full + slot, policy);
      }
    } else if (ready) {
      rings.note[first + put] = note;
      start_copy(slots + (first + put) * kChainUnitBytes, from, bytes, rings.full + first + put, policy);
    }
    if (ready) {
      described = false;
      if (++put == kChainDepth) put = 0, parity ^= 1;
    }
  }
  let_next_start();
}

// A warp's ring, as the warp sees it. All members are the same in all lanes.
class UnitRing {
 public:
  __device__ UnitRing(const unsigned char* slots, Rings& rings)
      : slots_(slots + threadIdx.x / 32 * kChainDepth * kChainUnitBytes), rings_(rings),
        first_(static_cast<int>(threadIdx.x / 32) * kChainDepth) {}
  // The oldest unit, when it has come.
  __device__ const bf16* front() {
    await_copy(rings_.full + first_ + take_, parity_);
    return reinterpret_cast<const bf16*>(slots_ + take_ * kChainUnitBytes);
  }
  __device__ UnitNote note() const { return rings_.note[first_ + take_]; }
  // This lane has read it.
  __device__ void pop() {
    fence_async_shared();
    arrive_at(rings_.empty + first_ + take_);
    if (++take_ == kChainDepth) take_ = 0, parity_ ^= 1;
  }

 private:
  const unsigned char* slots_;
  Rings& rings_;
  int first_, take_ = 0;
  uint32_t parity_ = 0;
};

}  // namespace kdabench::device
