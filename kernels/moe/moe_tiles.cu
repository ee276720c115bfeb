// A mixture of experts for many tokens: tiled products over the plan's items.
//
//   Math     kernels/moe/moe.h; the truth is moe_cpu<double>.
//   Work     A tile is 128 weight rows of an expert times the tokens of an item, up to 256, in steps of 64 columns.
//            Weight rows lie on the M side of wgmma, tokens on the N side: an item is padded to 16 tokens, not to 64.
//            A group of warps fills a ring of 4 stages (8 where items have up to 64 tokens): a tensor copy for the
//            weights, cp.async for the tokens, which are gathered; both end up as 128-byte rows, 16-byte chunks
//            XOR-swizzled. Two groups with 64 weight rows each multiply. Gate and up rows alternate in groups of 8 (a
//            tensor map of five dimensions reads them so), which puts both into one thread: silu(gate) * up is an
//            epilogue. Down writes a bf16 row per (token, slot); moe.cu adds them up in fp32 in the order of the slots.
//   Grid     A block a multiprocessor, which takes tiles in turn; the ring goes on to the next tile during an epilogue.
//   Cost     6 D I flops a (token, slot) and padding to 16 tokens. A step of 256 tokens takes 1024 cycles of tensor
//            cores, 640 of reading shared memory, 384 of filling it with 48 KB. At N = 8192 of the 48B model the stages
//            are 14 GB, which the L2 hands out at about 4.8 TB/s.
//   Uses     sm_90a wgmma m64nNk16, 3 x 128 threads, 168 registers, no spills, 192 KB of stages, 19 KB of places
//            (ptxas, nvcc 13.0).
//   Limits   D and I multiples of 16; rows aligned to 16 bytes.
//   Checked  tests/cuda/test_moe_cuda.cpp.
//   Next     Clusters of two blocks that share an item's tokens: a third less from the L2.

#include "kernels/mla/mla_hopper.cuh"
#include "kernels/moe/moe_parts.h"
#include "kernels/moe/wgmma.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int kColumns = 64, kWeightRows = 128;
constexpr int kChunks = kColumns / 8;  // 16-byte chunks of a row of a stage
constexpr int kGroup = 128, kThreads = 3 * kGroup;  // the group that fills comes first
constexpr int kWeightBytes = kWeightRows * kColumns * 2, kCopyRows = kGroup / kChunks;
constexpr int kRingBytes = 192 * 1024;

// Of tiles with at most Tokens tokens.
template <int Tokens>
struct Sizes {
  static constexpr int kStageBytes = kWeightBytes + Tokens * kColumns * 2;
  static constexpr int kStages = kRingBytes / kStageBytes;
  static constexpr int kCopies = Tokens / kCopyRows;  // token rows that a thread copies
  static constexpr int kAhead = kStages - 2;          // steps whose copies a thread has asked for but not seen
  static constexpr int kPlaces = kStages + 2;         // tiles between the first's epilogue and the last's copies
};

struct TileArgs {
  CUtensorMap weights;
  const bf16* x;        // gate_up: [tokens, columns]; down: hidden by position
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

// Where a tile's tokens come from and go to.
template <int Tokens>
struct Places {
  int count, first;
  int source[Tokens];   // row of x
  int entry[Tokens];
  float scale[Tokens];  // gate_up only
};

template <int Tokens>
struct Shared {
  Places<Tokens> places[Sizes<Tokens>::kPlaces];
  uint64_t full[Sizes<Tokens>::kStages], empty[Sizes<Tokens>::kStages];
};

// Between all four warps of the group that fills.
__device__ inline void fillers_sync() { asm volatile("bar.sync 1, 128;" ::: "memory"); }

__device__ inline void copy_weights(void* shared, const CUtensorMap& map, int column, int group, int expert,
                                    uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %3, %4, %5}], "
      "[%6];" ::"r"(shared_address(shared)),
      "l"(&map), "r"(column), "r"(0), "r"(group), "r"(expert), "r"(shared_address(barrier))
      : "memory");
}

// Asks for all steps of all tiles of this block.
template <bool GateUp, int Tokens>
__device__ __forceinline__ void fill(const TileArgs& a, unsigned char* stages, Shared<Tokens>& s) {
  using Of = Sizes<Tokens>;
  constexpr int kStages = Of::kStages, kCopies = Of::kCopies, kAhead = Of::kAhead;
  const int row_tiles = (a.rows + kWeightRows - 1) / kWeightRows, tiles = *a.item_count * row_tiles;
  const int steps = (a.columns + kColumns - 1) / kColumns;
  const int copy_row = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
  int step_of_all = 0;
  const auto finish = [&](int q) {  // the copies of step q have come
    fence_async_shared();
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(&s.full[q % kStages]);
  };
  int place = 0;
#pragma unroll 1
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int i = tile / row_tiles, row_tile = tile - i * row_tiles;
    const MoeItem item = a.items[i];
    Places<Tokens>& to = s.places[place];
    place = place + 1 == Of::kPlaces ? 0 : place + 1;
    barrier_wait(&s.empty[step_of_all % kStages], (step_of_all / kStages & 1) ^ 1);
    if (threadIdx.x == 0) to.count = item.count, to.first = item.first;
#pragma unroll
    for (int r = threadIdx.x; r < Tokens; r += kGroup) {
      if (r >= item.count) continue;
      const int entry = a.entries[item.first + r], token = entry / a.slots, slot = entry - token * a.slots;
      to.entry[r] = entry;
      to.source[r] = GateUp ? token : item.first + r;
      if (GateUp) to.scale[r] = slot < a.top_k ? a.expert_weights[token * a.weights_stride + slot] : 1.f;
    }
    fillers_sync();
    int source[kCopies];
#pragma unroll
    for (int c = 0; c < kCopies; ++c) {
      const int r = copy_row + c * kCopyRows;
      source[c] = r < item.count ? to.source[r] : -1;
    }
#pragma unroll 1
    for (int step = 0; step < steps; ++step, ++step_of_all) {
      const int turn = step_of_all % kStages, column = step * kColumns;
      unsigned char* const weights = stages + turn * Of::kStageBytes;
      unsigned char* const x = weights + kWeightBytes;
      barrier_wait(&s.empty[turn], (step_of_all / kStages & 1) ^ 1);
      if (threadIdx.x == 0) {
        barrier_expect(&s.full[turn], kWeightBytes);
        copy_weights(weights, a.weights, column, row_tile * (GateUp ? kWeightRows / 16 : kWeightRows / 8), item.expert,
                     &s.full[turn]);
      }
      const bool inside = column + chunk * 8 < a.columns;
#pragma unroll
      for (int c = 0; c < kCopies; ++c) {
        const int r = copy_row + c * kCopyRows;
        if (c * kCopyRows >= item.count) break;  // rows up to the next multiple of 16 are zeros
        cp_async16(x + r * 128 + ((chunk ^ (r & 7)) * 16),
                   a.x + (source[c] < 0 ? 0 : source[c] * a.x_stride + column + chunk * 8), inside && source[c] >= 0);
      }
      cp_async_commit();
      cp_async_wait<kAhead>();
      if (step_of_all >= kAhead) finish(step_of_all - kAhead);
    }
  }
  cp_async_wait<0>();
  for (int q = max(0, step_of_all - kAhead); q < step_of_all; ++q) finish(q);
}

// a: rows are channels, columns tokens, two tokens a lane; the result: rows are tokens, two channels a lane.
__device__ inline uint32_t transposed(float first, float second) {
  uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pack_bf16(first, second)));
  return out;
}

// A tile of N tokens or some less.
template <bool GateUp, int Tokens, int N>
__device__ __forceinline__ void multiply(const TileArgs& a, unsigned char* stages, Shared<Tokens>& s,
                                         const Places<Tokens>& at, int row_tile, int& step_of_all) {
  constexpr int kStages = Sizes<Tokens>::kStages;
  const int group = threadIdx.x / kGroup - 1, warp = threadIdx.x % kGroup / 32, lane = threadIdx.x % 32;
  const int steps = (a.columns + kColumns - 1) / kColumns;
  const auto release = [&](int q) {
    if (lane == 0) barrier_arrive(&s.empty[q % kStages]);
  };
  float d[N / 2] = {};
#pragma unroll 1
  for (int step = 0; step < steps; ++step, ++step_of_all) {
    const int turn = step_of_all % kStages;
    const unsigned char* const stage = stages + turn * Sizes<Tokens>::kStageBytes;
    const uint64_t w = operand<128>(stage + group * (kWeightBytes / 2), 1024);
    const uint64_t x = operand<128>(stage + kWeightBytes, 1024);
    barrier_wait(&s.full[turn], step_of_all / kStages & 1);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kColumns / 16; ++k) Wgmma<N>::add(d, w + 2 * k, x + 2 * k);
    wgmma_commit();
    wgmma_wait<1>();
    if (step > 0) release(step_of_all - 1);
  }
  wgmma_wait<0>();
  release(step_of_all - 1);

  const int row = row_tile * kWeightRows + group * (kWeightRows / 2) + warp * 16;  // the warp's first
  const int t = lane % 4;
#pragma unroll
  for (int j = 0; j < N / 8; ++j) {
    const float* const v = d + 4 * j;
    const int n = 8 * j + lane / 4;  // behind the transposition
    if constexpr (GateUp) {
      const float2 scale = *reinterpret_cast<const float2*>(at.scale + 8 * j + 2 * t);
      const uint32_t out = transposed(silu(v[0]) * v[2] * scale.x, silu(v[1]) * v[3] * scale.y);
      const int channel = row / 2 + 2 * t, inner = a.rows / 2;
      if (n < at.count && channel < inner)
        *reinterpret_cast<uint32_t*>(a.hidden + int64_t{at.first + n} * inner + channel) = out;
    } else {
      const uint32_t low = transposed(v[0], v[1]), high = transposed(v[2], v[3]);
      if (n < at.count && row < a.rows) {
        bf16* const to = a.rows_out + int64_t{at.entry[n]} * a.rows + row + 2 * t;
        *reinterpret_cast<uint32_t*>(to) = low;
        *reinterpret_cast<uint32_t*>(to + 8) = high;
      }
    }
  }
}

// The smallest N that holds the tile's tokens.
template <bool GateUp, int Tokens, int N = 16>
__device__ __forceinline__ void multiply_some(const TileArgs& a, unsigned char* stages, Shared<Tokens>& s,
                                              const Places<Tokens>& at, int row_tile, int& step_of_all) {
  if constexpr (N < Tokens) {
    if (at.count > N) return multiply_some<GateUp, Tokens, N + 16>(a, stages, s, at, row_tile, step_of_all);
  }
  multiply<GateUp, Tokens, N>(a, stages, s, at, row_tile, step_of_all);
}

template <bool GateUp, int Tokens>
__global__ void __launch_bounds__(kThreads, 1) tile_kernel(const __grid_constant__ TileArgs a) {
  constexpr int kStages = Sizes<Tokens>::kStages;
  extern __shared__ __align__(1024) unsigned char stages[];
  __shared__ Shared<Tokens> s;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(&s.full[i], 1 + kGroup / 32);
      barrier_init(&s.empty[i], 2 * kGroup / 32);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  let_next_start();
  wait_for_previous();
  if (threadIdx.x < kGroup) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
    fill<GateUp>(a, stages, s);
    return;
  }
  asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
  const int row_tiles = (a.rows + kWeightRows - 1) / kWeightRows, tiles = *a.item_count * row_tiles;
  int step_of_all = 0, place = 0;
#pragma unroll 1
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    barrier_wait(&s.full[step_of_all % kStages], step_of_all / kStages & 1);  // `at` is written as well
    const Places<Tokens>& at = s.places[place];
    place = place + 1 == Sizes<Tokens>::kPlaces ? 0 : place + 1;
    multiply_some<GateUp>(a, stages, s, at, tile % row_tiles, step_of_all);
  }
}

// A map of [experts, sets, rows, columns] bf16 for boxes of 128 rows and 64 columns: 8 rows of every set in turn.
CUtensorMap expert_map(const Bf16* data, int64_t experts, int64_t sets, int64_t rows, int64_t columns) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
          "ask the driver for tensor maps");
    require(found == cudaDriverEntryPointSuccess, "the driver has no cuTensorMapEncodeTiled.");
    return reinterpret_cast<Encode>(function);
  }();
  const auto n = [](int64_t x) { return static_cast<cuuint64_t>(x); };
  const int64_t row_bytes = 2 * columns;
  const cuuint64_t sizes[5] = {n(columns), 8, n(sets), n(rows / 8), n(experts)};
  const cuuint64_t strides[4] = {n(row_bytes), n(rows * row_bytes), n(8 * row_bytes), n(sets * rows * row_bytes)};
  const cuuint32_t box[5] = {kColumns, 8, cuuint32_t(sets), cuuint32_t(kWeightRows / 8 / sets), 1};
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 5, const_cast<Bf16*>(data), sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  require(result == CUDA_SUCCESS, "tensor map of the experts: driver error ", static_cast<int>(result), ".");
  return map;
}

template <bool GateUp>
void launch_tiles(const TileArgs& a, int chunk, std::string_view name, cudaStream_t stream) {
  const auto kernel = chunk == kMoeFewTileTokens ? tile_kernel<GateUp, kMoeFewTileTokens>
                                                 : tile_kernel<GateUp, kMoeTileTokens>;
  allow_shared(kernel, kRingBytes, name);
  launch(kernel, dim3(multiprocessors()), dim3(kThreads), kRingBytes, stream, name, a);
}

}  // namespace

void moe_tiles(const Moe<Gpu>& args, const MoePlan& plan, View<Bf16, 2> hidden, View<Bf16, 2> rows,
               cudaStream_t stream) {
  const int64_t width = args.x.size[1], inner = args.down.size[2], all = args.gate_up.size[0];
  TileArgs a = {};
  a.items = plan.items.data;
  a.item_count = plan.item_count.data;
  a.entries = plan.entries.data;
  a.expert_weights = args.expert_weights.data;
  a.weights_stride = args.expert_weights.stride[0];
  a.hidden = as_bf16(hidden.data);
  a.rows_out = as_bf16(rows.data);
  a.top_k = args.top_k;
  a.slots = static_cast<int>(args.top_k + all - args.router.size[0]);

  a.weights = expert_map(args.gate_up.data, all, 2, inner, width);
  a.x = as_bf16(args.x.data);
  a.x_stride = args.x.stride[0];
  a.columns = static_cast<int>(width);
  a.rows = static_cast<int>(2 * inner);
  launch_tiles<true>(a, plan.chunk, "moe_tiles_gate_up", stream);

  a.weights = expert_map(args.down.data, all, 1, width, inner);
  a.x = as_bf16(hidden.data);
  a.x_stride = hidden.stride[0];
  a.columns = static_cast<int>(inner);
  a.rows = static_cast<int>(width);
  launch_tiles<false>(a, plan.chunk, "moe_tiles_down", stream);
}

}  // namespace kdabench
