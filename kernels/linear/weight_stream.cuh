#pragma once
// Streams weight rows past a few tokens: the common part of all memory-bound products of decode (GEMV, experts).
//
//   Work     A tile is 16 weight rows, a k-block 32 of their columns. Eight warps share the k-blocks of a tile, or
//            of several tiles when the rows are short, and add their sums through shared memory. Weight rows lie on
//            the M side of mma.m16n8k16, tokens on the N side: the arithmetic is free for up to 16 tokens.
//   Queue    Each warp has its own ring of cp.async slots, one k-block (1 KB) a slot: a lane reads back the very
//            16 bytes it asked for, so neither a barrier nor a swizzle is needed, and bytes in flight cost no
//            registers. With two blocks a multiprocessor 128 KB are in flight: 4.6 TB/s at 1 us need 35 KB, but half
//            the queue is 20 % slower (kernel_bench, H200), because one late k-block holds up all that follow.
//   Order    mma's k order is free as long as both sides agree: a lane holds 8 consecutive columns (8 t .. 8 t + 7 of
//            the k-block), so weights need no ldmatrix and no layout of their own.
//   Shared   A block takes at most a third of a multiprocessor's shared memory where it can, and a grid two thirds: the
//            next kernel's first blocks then start their queues while this kernel still runs (PDL). Registers likewise:
//            launch bounds say three blocks.

#include "kernels/base/device.cuh"

namespace kdabench::device {

constexpr int kStreamWarps = 8;
constexpr int kStreamThreads = 32 * kStreamWarps;
constexpr int kStreamDepth = 8;      // k-blocks in flight a warp
constexpr int kStreamRows = 16;      // weight rows of a tile
constexpr int kStreamColumns = 32;   // weight columns of a k-block
constexpr int kPartialStride = 20;   // floats between two tokens' partial sums: 16 rows, padded against bank conflicts
constexpr int kStreamSlot = kStreamRows * kStreamColumns;  // elements
constexpr int kStreamRingBytes = kStreamWarps * kStreamDepth * kStreamSlot * 2;
constexpr int kMaxSharedBytes = 227 * 1024;

// What a lane asks for in a tile: 16 bytes of row g (g = lane / 4) and of a second row, which lies a fixed distance on;
// zeros of those that are not valid.
struct WeightRows {
  const bf16* low;  // at the lane's first column
  bool low_valid, high_valid;
};

// The distance between two tokens in shared memory: 64 bytes more than a multiple of 128, so that the eight lanes of a
// 16-byte read (two tokens, four chunks) touch all 32 banks.
__host__ __device__ inline int token_stride(int columns) { return (columns + 63) / 64 * 64 + 32; }

inline int partial_bytes(int tokens) { return 2 * kStreamWarps * tokens * kPartialStride * 4; }

// Blocks for `tiles` tiles, each using `shared_bytes`.
inline int stream_blocks(int64_t tiles, int shared_bytes) {
  const int resident = 2 * (shared_bytes + 1024) <= kMaxSharedBytes + 1024 ? 2 : 1;
  return static_cast<int>(std::min<int64_t>(tiles, int64_t{resident} * multiprocessors()));
}

// How the warps of a block share the columns of a tile: k-block i of a warp is at columns i * step + first, so that the
// warps together read rows in order.
struct ColumnShare {
  int first;   // this lane's first column
  int step;    // columns between a warp's k-blocks
  int blocks;  // k-blocks of a warp
  int valid;   // of this lane's k-blocks, those inside the matrix

  __device__ ColumnShare(int split, int splits, int blocks_, int columns)
      : first(split * kStreamColumns + threadIdx.x % 4 * 8), step(splits * kStreamColumns), blocks(blocks_),
        valid((columns - first + step - 1) / step) {}
};

// One warp's queue over tiles first, first + step, ... < end. In each it reads `parts` matrices one after another, of
// the same rows and columns; `rows(tile, part)` gives this lane's WeightRows and is called in exactly this order. A
// step has few instructions and no divergence, because its latency limits the stream as well.
template <class Rows>
class WeightStream {
 public:
  // `high`: elements from a lane's first row to its second.
  __device__ WeightStream(bf16* ring, const Rows& rows, const ColumnShare& share, int64_t high, int parts = 1)
      : begin_(ring + (threadIdx.x / 32) * kStreamDepth * kStreamSlot + (threadIdx.x % 32) * 8), slot_(begin_),
        rows_(rows), share_(share), high_(high), parts_(parts) {}

  __device__ void set_tiles(int first, int end, int step) {
    tile_ = first, end_ = end, step_ = step;
    if (tile_ < end_) next_ = rows_(tile_, 0);
  }
  __device__ int next_tile() const { return tile_; }
  // Puts more tiles behind those that are set; `rows` need not have known them before.
  __device__ void extend(int end) {
    if (tile_ >= end_ && tile_ < end) next_ = rows_(tile_, 0);
    end_ = end;
  }
  __device__ bool full() const { return pushed_ == kStreamDepth; }
  // Until release(), the next kernel may not start.
  __device__ void hold() { held_ = true; }
  __device__ void release() {
    held_ = false;
    if (tile_ >= end_) let_next_start();
  }
  __device__ void push_first() {
    push();
    ++pushed_;
  }
  __device__ void fill() {
    while (!full()) push_first();
  }

  // acc = this warp's share of the next tile; `x(n, part, column)` gives the 8 columns from `column` on of a token: of
  // token 8 n + g where there is one, of any otherwise (its sums are not used). The queue must be full.
  template <int NT, class X>
  __device__ void multiply(float (&acc)[NT][4], X x) {
#pragma unroll
    for (int n = 0; n < NT; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) acc[n][i] = 0;
    for (int part = 0; part < parts_; ++part)
#pragma unroll 1
      for (int block = 0, column = share_.first; block < share_.blocks; ++block, column += share_.step) {
        cp_async_wait<kStreamDepth - 1>();
        const uint4 low = *reinterpret_cast<const uint4*>(slot_);  // in a full ring the oldest slot is the next to fill
        const uint4 high = *reinterpret_cast<const uint4*>(slot_ + kStreamSlot / 2);
        push();
        const uint32_t a0[4] = {low.x, high.x, low.y, high.y}, a1[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
        for (int n = 0; n < NT; ++n) {
          const uint4 v = x(n, part, column);
          const uint32_t b0[2] = {v.x, v.y}, b1[2] = {v.z, v.w};
          mma_16x8x16(acc[n], a0, b0);
          mma_16x8x16(acc[n], a1, b1);
        }
      }
  }

 private:
  // Asks for the next k-block; behind the end an empty group keeps the count of groups. With the last one, the next
  // kernel may start: its first loads then fill the memory's queue while this one drains.
  __device__ void push() {
    if (tile_ < end_) {
      const bool inside = block_ < share_.valid;
      cp_async16(slot_, next_.low, inside && next_.low_valid);
      cp_async16(slot_ + kStreamSlot / 2, next_.low + high_, inside && next_.high_valid);
      next_.low += share_.step;
      if (++block_ == share_.blocks) {
        block_ = 0;
        if (++part_ == parts_) {
          part_ = 0, tile_ += step_;
          if (tile_ >= end_ && !held_) let_next_start();
        }
        if (tile_ < end_) next_ = rows_(tile_, part_);
      }
    }
    cp_async_commit();
    slot_ += kStreamSlot;
    if (slot_ == begin_ + kStreamDepth * kStreamSlot) slot_ = begin_;
  }

  bf16* begin_;
  bf16* slot_;
  Rows rows_;
  ColumnShare share_;
  int64_t high_;
  int parts_;
  WeightRows next_ = {};
  int tile_ = 0, end_ = 0, step_ = 1, part_ = 0, block_ = 0, pushed_ = 0;
  bool held_ = false;
};

// Partial sums of a tile, [warp][token][row], in two buffers used in turn: one barrier a tile is then enough.
class PartialSums {
 public:
  __device__ PartialSums(float* shared, int tokens) : buffer_(shared), tokens_(tokens) {}

  template <int NT>
  __device__ void write(const float (&acc)[NT][4]) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float* const mine = current() + (threadIdx.x / 32) * tokens_ * kPartialStride;
#pragma unroll
    for (int n = 0; n < NT; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int token = 8 * n + 2 * t + i;
        if (token >= tokens_) continue;
        mine[token * kPartialStride + g] = acc[n][i];
        mine[token * kPartialStride + g + 8] = acc[n][2 + i];
      }
  }
  // After a barrier: the sum over warps [first, first + count) of one row of one token.
  __device__ float sum(int row, int token, int first = 0, int count = kStreamWarps) const {
    float total = 0;
    for (int w = first; w < first + count; ++w) total += current()[(w * tokens_ + token) * kPartialStride + row];
    return total;
  }
  __device__ void flip() { odd_ = !odd_; }

 private:
  __device__ float* current() const { return buffer_ + (odd_ ? kStreamWarps * tokens_ * kPartialStride : 0); }
  float* buffer_;
  int tokens_;
  bool odd_ = false;
};

// Copies `rows` rows of `width` columns to shared memory, zeros up to `padded` columns (a multiple of 8). Six loads of
// a thread are in flight at once. `row(i)` points to row i; width is a multiple of 8 when `vector`. The block's threads
// from `first_thread` on take part.
template <class Row>
__device__ void stage_rows(bf16* shared, int stride, int rows, int width, int padded, bool vector, const Row& row,
                           int first_thread = 0) {
  constexpr int kLoads = 6;
  const int chunks = padded / 8, total = rows * chunks, threads = kStreamThreads - first_thread;
  // Blocks begin at different places: all reading the same line at once would queue at one slice of the L2.
  const int start = static_cast<int>(blockIdx.x * 61u % static_cast<unsigned>(max(total, 1)));
  const auto place = [&](int i) { return i + start < total ? i + start : i + start - total; };
  const auto row_of = [&](int at) {  // a division has the latency of a dozen instructions
    return rows == 1 ? 0 : static_cast<int>(static_cast<unsigned>(at) / static_cast<unsigned>(chunks));
  };
  for (int first = static_cast<int>(threadIdx.x) - first_thread; first < total; first += kLoads * threads) {
    uint4 v[kLoads];
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const int i = first + j * threads, at = place(i), r = row_of(at), k = (at - r * chunks) * 8;
      v[j] = make_uint4(0, 0, 0, 0);
      if (i >= total || k >= width) continue;
      const bf16* const from = row(r) + k;
      if (vector) {
        v[j] = *reinterpret_cast<const uint4*>(from);
      } else {
        bf16* const element = reinterpret_cast<bf16*>(&v[j]);
#pragma unroll
        for (int e = 0; e < 8; ++e)
          if (k + e < width) element[e] = from[e];
      }
    }
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const int i = first + j * threads, at = place(i), r = row_of(at), k = (at - r * chunks) * 8;
      if (i < total) *reinterpret_cast<uint4*>(shared + r * stride + k) = v[j];
    }
  }
}

}  // namespace kdabench::device
