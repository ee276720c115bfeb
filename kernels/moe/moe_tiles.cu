// A mixture of experts for prefill, where an expert has many tokens: tiled tensor-core products over gathered rows.
//
//   Math     kernels/moe/moe.h; the truth is moe_cpu<double>.
//   Work     A block computes BM tokens x 256 weight rows of one item of the plan, in steps of 64 columns through four
//            cp.async stages (rows of 128 bytes, 16-byte chunks XOR-swizzled: ldmatrix has no bank conflicts). Gate and
//            up rows alternate in groups of 8, so that one thread holds both and silu(gate) * up is an epilogue. Rows
//            behind the item's last token are neither loaded nor multiplied; the two rows of warps take 16-token tiles
//            in turn, so that both have work in a short item. Down writes a bf16 row per (token, slot); moe.cu adds
//            them up in fp32 in the order of the slots.
//   Grid     (weight tiles, items in the worst case) blocks of 256 threads, one a multiprocessor; a block without an
//            item leaves at once.
//   Cost     6 D I flops a (token, slot) and padding to 16 tokens: compute bound from about 200 tokens an expert. A
//            warp tile of 64 x 64 reads 4 KB of shared memory for 32 mma (32 cycles against 26); 64 x 32 would read 3
//            for 16.
//   Uses     sm_90a mma.sync m16n8k16, warps 2 x 4, warp tile BM / 2 x 64; 192 KB shared at BM = 128.
//   Limits   D and I multiples of 16; rows aligned to 16 bytes.
//   Checked  tests/cuda/test_moe_cuda.cpp.
//   Next     wgmma with bulk tensor copies: mma.sync reaches about 60 % of the rate of wgmma on this chip.

#include "kernels/base/device.cuh"
#include "kernels/moe/moe_parts.h"

namespace kdabench {
namespace {

using namespace device;

constexpr int kThreads = 256, kColumns = 64, kWeightRows = 256, kStages = 4;
constexpr int kChunks = kColumns / 8;          // 16-byte chunks of a row of a stage
constexpr int kCopyRows = kThreads / kChunks;  // rows that all threads copy at once

struct TileArgs {
  const bf16* x;        // gate_up: [tokens, columns]; down: hidden by position
  const bf16* weights;  // [experts, rows, columns]
  const MoeItem* items;
  const int32_t* item_count;
  const int32_t* entries;
  const float* expert_weights;
  bf16* hidden;    // written by gate_up, by position
  bf16* rows_out;  // written by down, by entry
  int64_t x_stride, weights_stride;
  int columns, rows;  // of an expert's matrix: D and 2 I, or I and D
  int top_k, slots;
};

template <int BM>
constexpr int stage_elements() {
  return (BM + kWeightRows) * kColumns;
}

__device__ inline int swizzled(int row, int chunk) { return row * kColumns + ((chunk ^ (row & 7)) * 8); }

template <int BM, bool GateUp>
__global__ void __launch_bounds__(kThreads, 1) tile_kernel(const __grid_constant__ TileArgs a) {
  constexpr int kRowTiles = BM / 32;  // 16-token tiles of a warp
  constexpr int kXLoads = BM / kCopyRows, kWeightLoads = kWeightRows / kCopyRows;
  extern __shared__ __align__(128) unsigned char shared[];
  bf16* const stages = reinterpret_cast<bf16*>(shared);
  __shared__ int entry[BM];

  let_next_start();
  wait_for_previous();
  if (static_cast<int>(blockIdx.y) >= *a.item_count) return;
  const MoeItem item = a.items[blockIdx.y];
  if (threadIdx.x < item.count) entry[threadIdx.x] = a.entries[item.first + threadIdx.x];
  __syncthreads();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int inner = a.rows / 2;  // gate_up only
  const int warp_m = warp / 4, warp_n = warp % 4 * 64;
  const auto first_token = [&](int m) { return (2 * m + warp_m) * 16; };

  // What this thread copies: the same chunk of rows r, r + 32, ... of each stage. Weight rows of a block: all in order,
  // or groups of 8, gate, up, gate, up, of 16 x 8 channels; either way 32 rows on is a fixed distance in memory.
  const int copy_row = threadIdx.x / kChunks, copy_chunk = threadIdx.x % kChunks;
  const bf16* x_row[kXLoads];
#pragma unroll
  for (int i = 0; i < kXLoads; ++i) {
    const int r = copy_row + i * kCopyRows;
    x_row[i] = nullptr;
    if (r < item.count) x_row[i] = a.x + (GateUp ? entry[r] / a.slots : item.first + r) * a.x_stride + copy_chunk * 8;
  }
  const int rows_on = GateUp ? kCopyRows / 2 : kCopyRows, end_row = GateUp ? inner : a.rows;
  const int first_row = GateUp ? blockIdx.x * (kWeightRows / 2) + copy_row / 16 * 8 + copy_row % 8
                               : blockIdx.x * kWeightRows + copy_row;  // a channel, or a row
  const int up = GateUp && copy_row / 8 % 2 == 1 ? inner : 0;
  const bf16* const weight_row =
      a.weights + (int64_t{item.expert} * a.rows + first_row + up) * a.columns + copy_chunk * 8;

  const int steps = (a.columns + kColumns - 1) / kColumns;
  const auto load = [&](int step) {
    if (step < steps) {
      bf16* const x = stages + step % kStages * stage_elements<BM>();
      bf16* const w = x + BM * kColumns;
      const int column = step * kColumns;
      const bool inside = column + copy_chunk * 8 < a.columns;
#pragma unroll
      for (int i = 0; i < kXLoads; ++i)
        cp_async16(x + swizzled(copy_row + i * kCopyRows, copy_chunk), x_row[i] + column,
                   inside && x_row[i] != nullptr);
#pragma unroll
      for (int i = 0; i < kWeightLoads; ++i)
        cp_async16(w + swizzled(copy_row + i * kCopyRows, copy_chunk),
                   weight_row + int64_t{i} * rows_on * a.columns + column, inside && first_row + i * rows_on < end_row);
    }
    cp_async_commit();
  };

  float acc[kRowTiles][8][4] = {};
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) load(s);
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // the stage has arrived for all, and all have left the one that is refilled now
    load(step + kStages - 1);
    const bf16* const x = stages + step % kStages * stage_elements<BM>();
    const bf16* const w = x + BM * kColumns;
#pragma unroll
    for (int k = 0; k < kColumns / 16; ++k) {
      uint32_t b[8][2];
#pragma unroll
      for (int j = 0; j < 8; j += 2) {
        uint32_t r[4];
        ldmatrix4(r, w + swizzled(warp_n + j * 8 + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
        b[j][0] = r[0], b[j][1] = r[1], b[j + 1][0] = r[2], b[j + 1][1] = r[3];
      }
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        if (first_token(m) >= item.count) continue;
        uint32_t r[4];
        ldmatrix4(r, x + swizzled(first_token(m) + lane % 16, 2 * k + lane / 16));
#pragma unroll
        for (int j = 0; j < 8; ++j) mma_16x8x16(acc[m][j], r, b[j]);
      }
    }
  }

#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = first_token(m) + half * 8 + g;
      if (r >= item.count) continue;
      if constexpr (GateUp) {
        const int token = entry[r] / a.slots, slot = entry[r] - token * a.slots;
        const float scale = slot < a.top_k ? a.expert_weights[token * a.weights_stride + slot] : 1.f;
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
          const int channel = blockIdx.x * (kWeightRows / 2) + warp_n / 2 + pair * 8 + 2 * t;
          const float* const gate = &acc[m][2 * pair][2 * half];
          const float* const up = &acc[m][2 * pair + 1][2 * half];
          if (channel < inner)
            *reinterpret_cast<uint32_t*>(a.hidden + int64_t{item.first + r} * inner + channel) =
                pack_bf16(silu(gate[0]) * up[0] * scale, silu(gate[1]) * up[1] * scale);
        }
      } else {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const int row = blockIdx.x * kWeightRows + warp_n + j * 8 + 2 * t;
          if (row < a.rows)
            *reinterpret_cast<uint32_t*>(a.rows_out + int64_t{entry[r]} * a.rows + row) =
                pack_bf16(acc[m][j][2 * half], acc[m][j][2 * half + 1]);
        }
      }
    }
}

template <int BM, bool GateUp>
void launch_tiles(const TileArgs& a, int64_t items, std::string_view name, cudaStream_t stream) {
  const size_t bytes = kStages * stage_elements<BM>() * sizeof(bf16);
  const dim3 grid((a.rows + kWeightRows - 1) / kWeightRows, items);
  allow_shared(tile_kernel<BM, GateUp>, bytes, name);
  launch(tile_kernel<BM, GateUp>, grid, dim3(kThreads), bytes, stream, name, a);
}

}  // namespace

void moe_tiles(const Moe<Gpu>& args, const MoePlan& plan, View<Bf16, 2> hidden, View<Bf16, 2> rows,
               cudaStream_t stream) {
  const int64_t width = args.x.size[1], inner = args.down.size[2], items = plan.items.size[0];
  TileArgs a = {};
  a.items = plan.items.data;
  a.item_count = plan.item_count.data;
  a.entries = plan.entries.data;
  a.expert_weights = args.expert_weights.data;
  a.weights_stride = args.expert_weights.stride[0];
  a.hidden = as_bf16(hidden.data);
  a.rows_out = as_bf16(rows.data);
  a.top_k = args.top_k;
  a.slots = static_cast<int>(args.top_k + args.gate_up.size[0] - args.router.size[0]);

  a.x = as_bf16(args.x.data);
  a.x_stride = args.x.stride[0];
  a.weights = as_bf16(args.gate_up.data);
  a.columns = static_cast<int>(width);
  a.rows = static_cast<int>(2 * inner);
  if (plan.chunk == 64) launch_tiles<64, true>(a, items, "moe_tiles_gate_up", stream);
  else launch_tiles<128, true>(a, items, "moe_tiles_gate_up", stream);

  a.x = as_bf16(hidden.data);
  a.x_stride = hidden.stride[0];
  a.weights = as_bf16(args.down.data);
  a.columns = static_cast<int>(inner);
  a.rows = static_cast<int>(width);
  if (plan.chunk == 64) launch_tiles<64, false>(a, items, "moe_tiles_down", stream);
  else launch_tiles<128, false>(a, items, "moe_tiles_down", stream);
}

}  // namespace kdabench
