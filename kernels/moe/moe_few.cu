// A mixture of experts for up to 4 tokens: expert GEMVs, in two kernels behind the router's product.
//
//   Math     kernels/moe/moe.h; the truth is moe_cpu<double>.
//   Work     kernels/linear/weight_stream.cuh. Gate and up: a tile is 8 gate rows and the 8 up rows of the same
//            channels, so that silu(gate) * up needs no second pass; the product is scaled by the expert's weight and
//            stored as bf16. Down: one sum over all experts of a token, in registers: no atomics, nothing to combine.
//            Every block chooses the experts itself (0.5 us, less than a launch); block 0 writes them.
//   Grid     Two blocks of 256 threads a multiprocessor; tiles in turn, the shared experts' first, whose weights are
//            asked for before wait_for_previous(). Routed weights cannot be: their addresses depend on the router.
//   Cost     6 (top_k + S) N D I bytes: 127 MB at N = 1 of the 48B model, 29.6 us at 4.3 TB/s. A shared expert is read
//            once from HBM for all tokens; a routed one that two tokens share comes from L2 the second time.
//   Limits   moe_few_fits: the activations fit in shared memory.
//   Checked  tests/cuda/test_moe_cuda.cpp.

#include "kernels/linear/weight_stream.cuh"
#include "kernels/moe/choose.cuh"
#include "kernels/moe/moe_parts.h"

namespace kdabench {
namespace {

using namespace device;

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
  int tokens, width, inner, shared;
  int prefetched;  // slots of a token whose down rows gate_up brings into the L2
  int blocks;  // k-blocks a warp: of all columns in gate_up, of one expert's in down
  int stride;  // of a token in shared memory
  bool given;  // ids are given
};

// Brings this block's share of the down rows of each token's first experts into the L2: only this kernel knows them
// before the next one has waited, read and staged, and the memory would idle meanwhile (about 3 us).
__device__ inline void prefetch_down(const FewArgs& a, const int* chosen) {
  const int groups = a.width / kStreamRows, count = a.tokens * a.prefetched * groups, lane = threadIdx.x;
  if (lane >= kStreamRows) return;
  for (int i = blockIdx.x; i < count; i += gridDim.x) {
    const int pair = i / groups, slot = pair % a.prefetched, token = pair / a.prefetched;
    const int row = (i - pair * groups) * kStreamRows + lane;
    const bf16* const from = a.down + (int64_t{chosen[token * a.rule.top_k + slot]} * a.width + row) * a.inner;
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(a.inner * 2) : "memory");
  }
}

template <int PerLane>
__global__ void __launch_bounds__(kStreamThreads, 3) few_gate_up_kernel(const __grid_constant__ FewArgs a) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  __shared__ int chosen[kMoeFewTokens * kMoeTopK];
  __shared__ float chosen_weight[kMoeFewTokens * kMoeTopK];
  bf16* const ring = reinterpret_cast<bf16*>(shared_memory);
  bf16* const x = ring + kStreamRingBytes / 2;
  float* const sums = reinterpret_cast<float*>(x + a.tokens * a.stride);

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int top_k = a.rule.top_k, slots = top_k + a.shared;
  const int item_tiles = a.inner / 8, tiles = (a.shared + a.tokens * top_k) * item_tiles;
  const int first_column = warp * a.blocks * kStreamColumns + 8 * t;

  // Items: the shared experts with all tokens, then (token, slot) pairs.
  const auto weights = [&, p = a.gate_up](int tile, int block) mutable {
    if (block == 0) {
      const int item = tile / item_tiles, row = (tile - item * item_tiles) * 8 + g;
      const int expert = item < a.shared ? a.rule.experts + item : chosen[item - a.shared];
      p = a.gate_up + (int64_t{expert} * 2 * a.inner + row) * a.width + first_column;
    }
    const bf16* const gate = p + block * kStreamColumns;
    const bool inside = first_column + block * kStreamColumns < a.width;
    return WeightPair{gate, gate + int64_t{a.inner} * a.width, inside, inside};
  };
  WeightStream stream(ring, weights, a.blocks);
  stream.set_tiles(blockIdx.x, tiles, gridDim.x);
  while (!stream.full() && stream.next_tile() < a.shared * item_tiles) stream.push();

  wait_for_previous();
  if (warp < a.tokens) {
    int id;
    float weight;
    choose_experts<PerLane>(a.rule, a.logits + warp * a.logits_stride,
                            a.given ? a.ids + warp * a.ids_stride : nullptr, id, weight);
    if (lane < top_k) {
      chosen[warp * top_k + lane] = id;
      chosen_weight[warp * top_k + lane] = weight;
      if (blockIdx.x == 0) {
        a.ids[warp * a.ids_stride + lane] = id;
        a.weights[warp * a.weights_stride + lane] = weight;
      }
    }
  } else {
    stage_rows(x, a.stride, a.tokens, a.width, kStreamWarps * a.blocks * kStreamColumns, true,
               [&](int n) { return a.x + n * a.x_stride; }, 32 * a.tokens);
  }
  __syncthreads();
  stream.fill();

  PartialSums partial(sums, a.tokens);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    if (tile + gridDim.x >= tiles) prefetch_down(a, chosen);
    const int item = tile / item_tiles, channel = (tile - item * item_tiles) * 8;
    const bool is_shared = item < a.shared;
    const int pair = item - a.shared, token = is_shared ? 0 : pair / top_k, columns = is_shared ? a.tokens : 1;
    float acc[1][4];
    stream.multiply(acc, [&](int, int block) {
      if (g >= columns) return make_uint4(0, 0, 0, 0);
      return *reinterpret_cast<const uint4*>(x + (token + g) * a.stride + first_column + block * kStreamColumns);
    });
    partial.write(acc);
    __syncthreads();
    if (threadIdx.x < 8 * columns) {
      const int i = threadIdx.x % 8, n = threadIdx.x / 8;
      const int slot = is_shared ? top_k + item : pair - token * top_k;
      const float weight = is_shared ? 1.f : chosen_weight[pair];
      const float product = silu(partial.sum(i, n)) * partial.sum(i + 8, n) * weight;
      a.hidden[(int64_t{token + n} * slots + slot) * a.inner + channel + i] = __float2bfloat16_rn(product);
    }
    partial.flip();
  }
}

__global__ void __launch_bounds__(kStreamThreads, 3) few_down_kernel(const __grid_constant__ FewArgs a) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  __shared__ int chosen[kMoeFewTokens * kMoeTopK];
  bf16* const ring = reinterpret_cast<bf16*>(shared_memory);
  bf16* const hidden = ring + kStreamRingBytes / 2;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int top_k = a.rule.top_k, slots = top_k + a.shared;
  const int padded = kStreamWarps * a.blocks * kStreamColumns;  // columns of a slot in shared memory
  const int token_tiles = a.width / kStreamRows, tiles = a.tokens * token_tiles;
  const int first_column = warp * a.blocks * kStreamColumns + 8 * t;
  float* const sums = reinterpret_cast<float*>(hidden + a.tokens * slots * padded);

  // A warp's k-blocks: its part of the first shared expert, of the next, ..., then of the routed ones. `part` counts
  // k-blocks within an expert, `order` experts.
  const auto weights = [&, p = a.down, part = 0, order = 0, token = 0, row = 0](int tile, int block) mutable {
    if (block == 0) {
      token = tile / token_tiles, row = (tile - token * token_tiles) * kStreamRows + g;
      part = 0, order = 0;
    }
    if (part == 0) {
      const int expert = order < a.shared ? a.rule.experts + order : chosen[token * top_k + order - a.shared];
      p = a.down + (int64_t{expert} * a.width + row) * a.inner + first_column;
    }
    const bf16* const low = p + part * kStreamColumns;
    const bool inside = first_column + part * kStreamColumns < a.inner;
    if (++part == a.blocks) part = 0, ++order;
    return WeightPair{low, low + 8 * a.inner, inside, inside};  // D is a multiple of 16: every row exists
  };
  WeightStream stream(ring, weights, slots * a.blocks);
  stream.set_tiles(blockIdx.x, tiles, gridDim.x);
  for (int i = 0; i < min(a.shared * a.blocks, kStreamDepth); ++i) stream.push();

  wait_for_previous();
  for (int i = threadIdx.x; i < a.tokens * top_k; i += kStreamThreads)
    chosen[i] = a.ids[i / top_k * a.ids_stride + i % top_k];
  __syncthreads();
  stream.fill();
  // In the same order of experts: the shared ones first.
  stage_rows(hidden, padded, a.tokens * slots, a.inner, padded, true, [&](int i) {
    const int n = i / slots, order = i - n * slots, slot = order < a.shared ? top_k + order : order - a.shared;
    return a.hidden + (int64_t{n} * slots + slot) * a.inner;
  });
  __syncthreads();

  PartialSums partial(sums, 1);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int token = tile / token_tiles, first_row = (tile - token * token_tiles) * kStreamRows;
    float acc[1][4];
    stream.multiply(acc, [&, p = hidden + token * slots * padded + first_column, part = 0](int, int) mutable {
      const bf16* const from = p + part * kStreamColumns;
      if (++part == a.blocks) part = 0, p += padded;
      return g > 0 ? make_uint4(0, 0, 0, 0) : *reinterpret_cast<const uint4*>(from);
    });
    partial.write(acc);
    __syncthreads();
    if (threadIdx.x < kStreamRows)
      a.out[token * a.out_stride + first_row + threadIdx.x] = __float2bfloat16_rn(partial.sum(threadIdx.x, 0));
    partial.flip();
  }
}

// k-blocks a warp when all eight share `columns`.
int warp_blocks(int64_t columns) {
  return static_cast<int>((columns + kStreamWarps * kStreamColumns - 1) / (kStreamWarps * kStreamColumns));
}

int gate_up_bytes(const Moe<Gpu>& args) {
  const int tokens = static_cast<int>(args.x.size[0]);
  const int columns = kStreamWarps * kStreamColumns * warp_blocks(args.x.size[1]);
  return kStreamRingBytes + tokens * token_stride(columns) * 2 + partial_bytes(tokens);
}

int64_t down_bytes(const Moe<Gpu>& args) {
  const int64_t slots = args.top_k + args.gate_up.size[0] - args.router.size[0];
  const int64_t columns = kStreamWarps * kStreamColumns * warp_blocks(args.down.size[2]);
  return kStreamRingBytes + args.x.size[0] * slots * columns * 2 + partial_bytes(1);
}

}  // namespace

bool moe_few_fits(const Moe<Gpu>& args) {
  constexpr int kStaticBytes = 2 * 4 * kMoeFewTokens * kMoeTopK;
  return args.x.size[0] <= kMoeFewTokens && gate_up_bytes(args) + kStaticBytes <= kMaxSharedBytes &&
         down_bytes(args) + kStaticBytes <= kMaxSharedBytes;
}

void moe_few(const Moe<Gpu>& args, View<const float, 2> logits, View<Bf16, 2> hidden, cudaStream_t stream) {
  FewArgs a;
  a.x = as_bf16(args.x.data);
  a.gate_up = as_bf16(args.gate_up.data);
  a.down = as_bf16(args.down.data);
  a.logits = logits.data;
  a.ids = args.expert_ids.data;
  a.weights = args.expert_weights.data;
  a.hidden = as_bf16(hidden.data);
  a.out = as_bf16(args.out.data);
  a.x_stride = args.x.stride[0];
  a.logits_stride = logits.stride[0];
  a.ids_stride = args.expert_ids.stride[0];
  a.weights_stride = args.expert_weights.stride[0];
  a.out_stride = args.out.stride[0];
  a.rule = route_rule(args);
  a.given = args.given_experts;
  a.tokens = static_cast<int>(args.x.size[0]);
  a.width = static_cast<int>(args.x.size[1]);
  a.inner = static_cast<int>(args.down.size[2]);
  a.shared = static_cast<int>(args.gate_up.size[0] - args.router.size[0]);

  constexpr int64_t kPrefetchBytes = 16 << 20;  // 4 us of memory traffic, a third of the L2
  a.prefetched = static_cast<int>(
      std::min<int64_t>(a.rule.top_k, kPrefetchBytes / (int64_t{a.tokens} * a.width * a.inner * 2)));

  a.blocks = warp_blocks(a.width);
  a.stride = token_stride(kStreamWarps * kStreamColumns * a.blocks);
  const int gate_bytes = gate_up_bytes(args), bytes = static_cast<int>(down_bytes(args));
  const int gate_tiles = (a.shared + a.tokens * a.rule.top_k) * (a.inner / 8);
  const auto gate_up = a.rule.experts <= 256 ? few_gate_up_kernel<8> : few_gate_up_kernel<kMoeExperts / 32>;
  allow_shared(gate_up, gate_bytes, "moe_few_gate_up");
  launch(gate_up, dim3(stream_blocks(gate_tiles, gate_bytes)), dim3(kStreamThreads), gate_bytes, stream,
         "moe_few_gate_up", a);

  a.blocks = warp_blocks(a.inner);
  const int64_t tiles = int64_t{a.tokens} * (a.width / kStreamRows);
  allow_shared(few_down_kernel, bytes, "moe_few_down");
  launch(few_down_kernel, dim3(stream_blocks(tiles, bytes)), dim3(kStreamThreads), bytes, stream, "moe_few_down", a);
}

}  // namespace kdabench
