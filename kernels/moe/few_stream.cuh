#pragma once
// The weights of moe_few.cu, which alone includes this file, as one stream a warp: gate and up, then down.

#include "kernels/base/bulk_copy.cuh"
#include "kernels/moe/few_choose.cuh"

namespace kdabench::device {

// Tickets of the routed pieces of gate and up that are not dealt out; 0 between kernels.
__device__ unsigned few_tickets;

// A piece: of an expert, by its place in the list, the `part`-th; and a segment of its rows.
struct Piece {
  int place, part, segment;
  bool down;
};

// The rows of a block, of every expert.
struct BlockRows {
  int first, count, pieces;
  __device__ explicit BlockRows(const FewArgs& a)
      : first(a.width * static_cast<int>(blockIdx.x) / static_cast<int>(gridDim.x)),
        count(a.width * static_cast<int>(blockIdx.x + 1) / static_cast<int>(gridDim.x) - first),
        pieces((count + a.rows - 1) / a.rows) {}
  __device__ int of(const FewArgs& a, const Piece& piece) const { return min(a.rows, count - piece.part * a.rows); }
};

// A warp's ring of bulk copies: pieces of gate and up, and right behind them those of down. Most of gate and up is
// dealt out, a piece to every warp in turn; the rest is taken by whoever has room for a piece, because warps do not
// finish at the same time. In down a block's warps take its pieces in the same way. All members are the same in all
// lanes; a lane asks for a row.
class PieceStream {
 public:
  __device__ PieceStream(const FewArgs& args, Experts& experts, const BlockRows& block, unsigned char* ring,
                         CopyBarrier* full, Piece* pieces)
      : a_(args), experts_(experts), block_(block), slots_(ring + threadIdx.x / 32 * kFewDepth * kFewSlotBytes),
        barriers_(full + threadIdx.x / 32 * kFewDepth), pieces_(pieces + threadIdx.x / 32 * kFewDepth),
        policy_(read_once_policy()), turn_(static_cast<int>(threadIdx.x / 32 * gridDim.x + blockIdx.x)) {
    if (lane() < kFewDepth) init_copy_barrier(barriers_ + lane(), 1);
    publish_copy_barriers();
    __syncwarp();
    set_shared(turn_);
  }
  // No other kernel uses the tickets from now on.
  __device__ void take_ticket() {
    if (lane() == 0) ticket_ = atomicAdd(&few_tickets, 1u);
  }
  // All experts are known from now on.
  __device__ void set_experts(int count) {
    count_ = count, chosen_ = true;
    const int warps = static_cast<int>(gridDim.x) * kFewWarps;
    dealt_ = max(1, (count - a_.shared) * a_.groups / warps * kFewFixed / 8);
    not_dealt_ = dealt_ * warps;
    if (piece_.place >= a_.shared) set_routed(turn_);
  }
  // Asks for pieces until the ring is full or what comes next is not known.
  __device__ void fill() {
    while (in_flight_ < kFewDepth && !done_) {
      if (piece_.place >= (chosen_ ? count_ : a_.shared) && !down_) {
        if (!chosen_) return;
        down_ = true;
        next_down();
        continue;
      }
      down_ ? ask_down() : ask_gate_up();
      ++in_flight_;
      put_ = put_ + 1 == kFewDepth ? 0 : put_ + 1;
    }
  }
  // Whether the oldest piece is one of gate and up.
  __device__ bool is_gate_up() const { return in_flight_ > 0 && !pieces_[take_].down; }
  __device__ bool empty() const { return in_flight_ == 0; }
  __device__ bool has_second() const { return in_flight_ > 1; }
  // The oldest piece, and the one behind it.
  __device__ Piece first() const { return pieces_[take_]; }
  __device__ Piece second() const { return pieces_[take_ + 1 == kFewDepth ? 0 : take_ + 1]; }
  // The oldest piece's rows, when they have come.
  __device__ const bf16* front() {
    await_copy(barriers_ + take_, parity_);
    return reinterpret_cast<const bf16*>(slots_ + take_ * kFewSlotBytes);
  }
  __device__ void pop() {
    fence_async_shared();
    __syncwarp();
    --in_flight_;
    if (++take_ == kFewDepth) take_ = 0, parity_ ^= 1;
    fill();
  }

 private:
  __device__ static int lane() { return threadIdx.x % 32; }
  __device__ void set_shared(int item) {
    const int place = item / a_.groups;
    piece_ = {min(place, a_.shared), item - place * a_.groups, 0, false};
    item_ = item;
  }
  __device__ void set_routed(int item) {
    const int place = item / a_.groups;
    piece_ = {a_.shared + place, item - place * a_.groups, 0, false};
  }
  __device__ void next_gate_up() {
    if (++piece_.segment < a_.segments) return;
    piece_.segment = 0;
    const int warps = static_cast<int>(gridDim.x) * kFewWarps;
    if (piece_.place < a_.shared) {
      set_shared(item_ + warps);
      if (piece_.place >= a_.shared && chosen_) set_routed(turn_);
    } else if (--dealt_ > 0) {
      piece_.place += a_.experts_on, piece_.part += a_.groups_on;
      if (piece_.part >= a_.groups) piece_.part -= a_.groups, ++piece_.place;
    } else {
      set_routed(not_dealt_ + static_cast<int>(__shfl_sync(0xffffffffu, ticket_, 0)));
      take_ticket();
    }
  }
  __device__ void next_down() {
    int item = 0;
    if (lane() == 0) item = atomicAdd(&experts_.next_down, 1);
    item = __shfl_sync(0xffffffffu, item, 0);
    if (item >= count_ * a_.down_segments * block_.pieces) {
      done_ = true;
      let_next_start();
      return;
    }
    const int expert_part = item / block_.pieces, place = expert_part / a_.down_segments;
    piece_ = {place, item - expert_part * block_.pieces, expert_part - place * a_.down_segments, true};
  }
  // Lane r copies its part, the r-th.
  __device__ void ask(int parts, const bf16* part, int columns, int stride) {
    CopyBarrier* const barrier = barriers_ + put_;
    if (lane() == 0) {
      pieces_[put_] = piece_;
      expect_bytes(barrier, 2 * parts * columns);
    }
    __syncwarp();
    if (lane() < parts)
      copy_part(slots_ + put_ * kFewSlotBytes + 2 * lane() * stride, part, 2 * columns, barrier, policy_);
  }
  __device__ void ask_gate_up() {
    const int channel = piece_.part * a_.channels + lane() / 2, first = piece_.segment * a_.segment_columns;
    const int64_t row = (int64_t{experts_.list[piece_.place]} * 2 + lane() % 2) * a_.inner + channel;
    ask(2 * a_.channels, a_.gate_up + row * a_.width + first, min(a_.segment_columns, a_.width - first),
        a_.segment_columns);
    next_gate_up();
  }
  __device__ void ask_down() {
    const int rows = block_.of(a_, piece_), first = piece_.segment * a_.down_columns;
    const int64_t row = int64_t{experts_.list[piece_.place]} * a_.width + block_.first + piece_.part * a_.rows + lane();
    const bf16* const from = a_.down + row * a_.inner + first;
    if (a_.down_segments == 1) ask(1, from, rows * a_.inner, 0);
    else ask(rows, from, min(a_.down_columns, a_.inner - first), a_.down_columns);
    next_down();
  }

  const FewArgs& a_;
  Experts& experts_;
  const BlockRows& block_;
  unsigned char* slots_;
  CopyBarrier* barriers_;
  Piece* pieces_;  // in the slots
  uint64_t policy_;
  Piece piece_;  // that comes next
  int turn_, item_ = 0, dealt_ = 0, not_dealt_ = 0, count_ = 0, in_flight_ = 0, put_ = 0, take_ = 0;
  unsigned ticket_ = 0;  // in lane 0
  uint32_t parity_ = 0;
  bool chosen_ = false, down_ = false, done_ = false;
};

}  // namespace kdabench::device
