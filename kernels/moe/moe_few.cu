// A mixture of experts for up to 4 tokens: expert GEMVs, in two kernels behind the router's product. One token comes
// here only when its layer does not fit in a chain (kernels/chain), which is faster.
//
//   Math     kernels/moe/moe.h; the truth is moe_cpu<double>.
//   Work     kernels/linear/weight_stream.cuh: in gate and up a tile is 8 gate rows and the 8 up rows of the same
//            channels, so silu(gate) * up needs no second pass; the product is scaled by the expert's weight and stored
//            as bf16. Down: one sum over all experts of a token, in registers: no atomics, nothing to combine. Every
//            block of both kernels chooses the experts itself; block 0 of the first writes them.
//   Grid     Two blocks of 256 threads a multiprocessor; channels or tiles in turn, the shared experts' first, whose
//            weights are asked for before wait_for_previous(). Routed weights cannot be: their addresses depend on the
//            router. Down asks for its first ones while gate_up drains.
//   Cost     6 (top_k + S) N D I bytes at most: 446 MB for 4 tokens of the 48B model, 97 us at 4.62 TB/s; 134 us
//            (kernel_bench, H200, router included). A shared expert is read once from HBM for all tokens; a routed one
//            that two tokens share comes from L2 the second time.
//   Limits   moe_few_fits: the activations fit in shared memory.
//   Checked  tests/cuda/test_moe_cuda.cpp.
//   Next     With 4 tokens no down block fits beside two of gate and up: it should read the experts, not choose them.

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
  int blocks;  // k-blocks a warp: of all columns in gate_up, of one expert's in down
  int stride;  // of a token in shared memory
  bool given;  // ids are given
};

// a / b where a is mostly less than a few times b: a division has the latency of two dozen instructions.
__device__ inline int divide(int a, int b) {
  int quotient = 0;
  for (; a >= 4 * b; a -= 4 * b) quotient += 4;
  for (; a >= b; a -= b) ++quotient;
  return quotient;
}

template <int PerLane>
__global__ void __launch_bounds__(kStreamThreads, PerLane > 8 ? 1 : 3) few_gate_up_kernel(
    const __grid_constant__ FewArgs a) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  __shared__ int chosen[kMoeFewTokens * kMoeTopK];
  __shared__ float chosen_weight[kMoeFewTokens * kMoeTopK];
  bf16* const ring = reinterpret_cast<bf16*>(shared_memory);
  bf16* const x = ring + kStreamRingBytes / 2;
  float* const sums = reinterpret_cast<float*>(x + a.tokens * a.stride);

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4;
  const int top_k = a.rule.top_k, slots = top_k + a.shared;
  const int item_tiles = a.inner / 8, tiles = (a.shared + a.tokens * top_k) * item_tiles;
  const ColumnShare share(warp, kStreamWarps, a.blocks, a.width);

  // Items: the shared experts with all tokens, then (token, slot) pairs.
  const auto rows_of = [&](int tile, int) {
    const int item = divide(tile, item_tiles), channel = (tile - item * item_tiles) * 8 + g;
    const int expert = item < a.shared ? a.rule.experts + item : chosen[item - a.shared];
    return WeightRows{a.gate_up + (int64_t{expert} * 2 * a.inner + channel) * a.width + share.first, true, true};
  };
  WeightStream stream(ring, rows_of, share, int64_t{a.inner} * a.width);
  stream.hold();  // down reads the logits as soon as it runs: not before all blocks have waited for them
  stream.set_tiles(blockIdx.x, a.shared * item_tiles, gridDim.x);
  while (!stream.full() && stream.next_tile() < a.shared * item_tiles) stream.push_first();
  const LaneBias<PerLane> bias(a.rule);

  wait_for_previous();
  const float* const logits = a.logits + warp * a.logits_stride;  // of token `warp`
  int id = 0;
  if (warp < a.tokens) {
    id = choose_expert<PerLane>(a.rule, bias, logits, a.given ? a.ids + warp * a.ids_stride : nullptr);
    if (lane < top_k) chosen[warp * top_k + lane] = id;
  } else {
    stage_rows(x, a.stride, a.tokens, a.width, kStreamWarps * a.blocks * kStreamColumns, true,
               [&](int n) { return a.x + n * a.x_stride; }, 32 * a.tokens);
  }
  __syncthreads();
  stream.extend(tiles);
  stream.release();
  stream.fill();
  if (warp < a.tokens) {  // read behind the barrier of the first tile
    const float weight = expert_weight(a.rule, logits, id);
    if (lane < top_k) {
      chosen_weight[warp * top_k + lane] = weight;
      if (blockIdx.x == 0) {
        a.ids[warp * a.ids_stride + lane] = id;
        a.weights[warp * a.weights_stride + lane] = weight;
      }
    }
  }

  PartialSums partial(sums, a.tokens);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int item = divide(tile, item_tiles), channel = (tile - item * item_tiles) * 8;
    const bool is_shared = item < a.shared;
    const int pair = item - a.shared, token = is_shared ? 0 : divide(pair, top_k), columns = is_shared ? a.tokens : 1;
    float acc[1][4];
    stream.multiply(acc, [from = x + (token + min(g, columns - 1)) * a.stride](int, int, int column) {
      return *reinterpret_cast<const uint4*>(from + column);
    });
    partial.write(acc);
    __syncthreads();
    const int c = threadIdx.x % 8, n = threadIdx.x / 8;
    if (n < columns) {
      const int slot = is_shared ? top_k + item : pair - token * top_k;
      const float weight = is_shared ? 1.f : chosen_weight[pair];
      const float product = silu(partial.sum(c, n)) * partial.sum(c + 8, n) * weight;
      a.hidden[(int64_t{token + n} * slots + slot) * a.inner + channel + c] = __float2bfloat16_rn(product);
    }
    partial.flip();
  }
}

template <int PerLane>
__global__ void __launch_bounds__(kStreamThreads, PerLane > 8 ? 1 : 3) few_down_kernel(
    const __grid_constant__ FewArgs a) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  __shared__ int chosen[kMoeFewTokens * kMoeTopK];
  bf16* const ring = reinterpret_cast<bf16*>(shared_memory);
  bf16* const hidden = ring + kStreamRingBytes / 2;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4;
  const int top_k = a.rule.top_k, slots = top_k + a.shared;
  const int padded = kStreamWarps * a.blocks * kStreamColumns;  // columns of a slot in shared memory
  const int token_tiles = a.width / kStreamRows, tiles = a.tokens * token_tiles;
  const ColumnShare share(warp, kStreamWarps, a.blocks, a.inner);
  float* const sums = reinterpret_cast<float*>(hidden + a.tokens * slots * padded);

  // gate_up let this kernel start after all of it had waited for the router: the logits are complete, and in the L2. So
  // the experts are chosen again here, and their weights asked for while gate_up still runs.
  if (warp < a.tokens) {
    const int id = choose_expert<PerLane>(a.rule, LaneBias<PerLane>(a.rule), a.logits + warp * a.logits_stride,
                                          a.given ? a.ids + warp * a.ids_stride : nullptr);
    if (lane < top_k) chosen[warp * top_k + lane] = id;
  }
  __syncthreads();

  // A tile is summed over the shared experts, then over the routed ones.
  const auto rows_of = [&](int tile, int order) {
    const int token = divide(tile, token_tiles), row = (tile - token * token_tiles) * kStreamRows + g;
    const int expert = order < a.shared ? a.rule.experts + order : chosen[token * top_k + order - a.shared];
    return WeightRows{a.down + (int64_t{expert} * a.width + row) * a.inner + share.first, true, true};
  };
  WeightStream stream(ring, rows_of, share, 8 * a.inner, slots);
  stream.set_tiles(blockIdx.x, tiles, gridDim.x);
  stream.fill();

  wait_for_previous();
  // In the same order of experts: the shared ones first.
  stage_rows(hidden, padded, a.tokens * slots, a.inner, padded, true, [&](int i) {
    const int n = divide(i, slots), order = i - n * slots, slot = order < a.shared ? top_k + order : order - a.shared;
    return a.hidden + (int64_t{n} * slots + slot) * a.inner;
  });
  __syncthreads();

  PartialSums partial(sums, 1);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int token = divide(tile, token_tiles), first_row = (tile - token * token_tiles) * kStreamRows;
    float acc[1][4];
    stream.multiply(acc, [&, from = hidden + token * slots * padded](int, int order, int column) {
      return *reinterpret_cast<const uint4*>(from + order * padded + column);
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

// `count`: blocks that have something to do.
void launch_few(void (*kernel)(FewArgs), int64_t count, int bytes, const FewArgs& a, std::string_view name,
                cudaStream_t stream) {
  allow_shared(kernel, bytes, name);
  launch(kernel, dim3(stream_blocks(count, bytes)), dim3(kStreamThreads), bytes, stream, name, a);
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
  const bool few_experts = a.rule.experts <= 256;
  const int64_t channels = int64_t{a.shared + a.tokens * a.rule.top_k} * a.inner;

  a.blocks = warp_blocks(a.width);
  a.stride = token_stride(kStreamWarps * kStreamColumns * a.blocks);
  launch_few(few_experts ? few_gate_up_kernel<8> : few_gate_up_kernel<kMoeExperts / 32>, channels / 8,
             gate_up_bytes(args), a, "moe_few_gate_up", stream);

  a.blocks = warp_blocks(a.inner);
  launch_few(few_experts ? few_down_kernel<8> : few_down_kernel<kMoeExperts / 32>,
             int64_t{a.tokens} * (a.width / kStreamRows), static_cast<int>(down_bytes(args)), a, "moe_few_down",
             stream);
}

}  // namespace kdabench
