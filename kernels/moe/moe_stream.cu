// A mixture of experts for decode batches, where an expert has few tokens: each expert's weights are streamed once.
//
//   Math     kernels/moe/moe.h; the truth is moe_cpu<double>.
//   Work     kernels/linear/weight_stream.cuh, with the 8 or 16 tokens of an item on the N side. Gate and up share a
//            tile as in moe_few.cu; hidden is kept by position in the plan, already scaled. Down writes a row per
//            (token, slot) in fp32, which moe.cu adds up in the order of the slots: the same result every time.
//   Grid     Two blocks (one at 16 tokens) of 256 threads a multiprocessor. Each takes a run of consecutive tiles, so
//            that it stages the tokens of at most a few items; the queue runs on while it does. The number of tiles is
//            read from the plan: the host does not know it.
//   Cost     6 D I bytes a hit expert: 1.46 GB at N = 16, 3.16 GB at N = 64 of the 48B model, 339 and 736 us at 4.3
//            TB/s.
//   Limits   moe_stream_fits: D and I up to about 8192 (8 tokens). An expert with more tokens is read once per item.
//   Checked  tests/cuda/test_moe_cuda.cpp.

#include "kernels/linear/weight_stream.cuh"
#include "kernels/moe/moe_parts.h"

namespace kdabench {
namespace {

using namespace device;

struct StreamArgs {
  const bf16* x;        // gate_up: [tokens, columns]; down: hidden by position
  const bf16* weights;  // [experts, rows, columns]
  const MoeItem* items;
  const int32_t* item_count;
  const int32_t* entries;
  const float* expert_weights;
  bf16* hidden;  // written by gate_up, by position
  float* rows_out;  // written by down, by entry
  int64_t x_stride, weights_stride;
  int columns, rows;  // of an expert's matrix: D and 2 I, or I and D
  int top_k, slots;
  int blocks;  // k-blocks a warp
  int stride;  // of a token in shared memory
};

template <int NT, bool GateUp>
__global__ void __launch_bounds__(kStreamThreads, NT == 1 ? 3 : 2) stream_kernel(const __grid_constant__ StreamArgs a) {
  constexpr int kTokens = 8 * NT;
  extern __shared__ __align__(128) unsigned char shared_memory[];
  __shared__ int entry[kTokens];
  __shared__ float scale[kTokens];
  bf16* const ring = reinterpret_cast<bf16*>(shared_memory);
  bf16* const x = ring + kStreamRingBytes / 2;
  float* const sums = reinterpret_cast<float*>(x + kTokens * a.stride);

  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
  const ColumnShare share(warp, kStreamWarps, a.blocks, a.columns);
  const int inner = a.rows / 2;  // gate_up only
  const int item_tiles = GateUp ? inner / 8 : a.rows / kStreamRows;

  wait_for_previous();
  const int64_t tiles = int64_t{*a.item_count} * item_tiles;
  const int first = static_cast<int>(tiles * blockIdx.x / gridDim.x);
  const int end = static_cast<int>(tiles * (blockIdx.x + 1) / gridDim.x);

  const auto rows_of = [&](int tile, int) {
    const int item = tile / item_tiles, row = (tile - item * item_tiles) * (GateUp ? 8 : kStreamRows) + g;
    return WeightRows{a.weights + (int64_t{a.items[item].expert} * a.rows + row) * a.columns + share.first, true, true};
  };
  WeightStream stream(ring, rows_of, share, int64_t{GateUp ? inner : 8} * a.columns);
  stream.set_tiles(first, end, 1);
  stream.fill();

  PartialSums partial(sums, kTokens);
  MoeItem item = {};
  int staged = -1;
  for (int tile = first; tile < end; ++tile) {
    const int i = tile / item_tiles, row_tile = tile - i * item_tiles;
    if (i != staged) {  // all warps have read the tokens before: they met behind the last tile's product
      staged = i;
      item = a.items[i];
      __syncthreads();  // entry and scale are still read behind that meeting
      if (threadIdx.x < item.count) {
        const int e = a.entries[item.first + threadIdx.x], token = e / a.slots, slot = e - token * a.slots;
        entry[threadIdx.x] = e;
        scale[threadIdx.x] = slot < a.top_k ? a.expert_weights[token * a.weights_stride + slot] : 1.f;
      }
      stage_rows(x, a.stride, item.count, a.columns, kStreamWarps * a.blocks * kStreamColumns, true, [&](int n) {
        const int position = item.first + n;
        return a.x + (GateUp ? a.entries[position] / a.slots : position) * a.x_stride;
      });
      __syncthreads();
    }
    float acc[NT][4];
    stream.multiply(acc, [&](int n, int, int column) {
      return *reinterpret_cast<const uint4*>(x + min(8 * n + g, item.count - 1) * a.stride + column);
    });
    partial.write(acc);
    __syncthreads();
    if constexpr (GateUp) {
      const int n = threadIdx.x / 8, r = threadIdx.x % 8;
      if (n < item.count) {
        const float product = silu(partial.sum(r, n)) * partial.sum(r + 8, n) * scale[n];
        a.hidden[int64_t{item.first + n} * inner + row_tile * 8 + r] = __float2bfloat16_rn(product);
      }
    } else {
      const int n = threadIdx.x / kStreamRows, r = threadIdx.x % kStreamRows;
      if (n < item.count) a.rows_out[int64_t{entry[n]} * a.rows + row_tile * kStreamRows + r] = partial.sum(r, n);
    }
    partial.flip();
  }
}

int warp_blocks(int64_t columns) {
  return static_cast<int>((columns + kStreamWarps * kStreamColumns - 1) / (kStreamWarps * kStreamColumns));
}
int columns_stride(int64_t columns) { return token_stride(kStreamWarps * kStreamColumns * warp_blocks(columns)); }
int shared_bytes(int64_t columns, int tokens) {
  return kStreamRingBytes + tokens * columns_stride(columns) * 2 + partial_bytes(tokens);
}

template <int NT, bool GateUp>
void launch_stream(StreamArgs a, int64_t most_tiles, std::string_view name, cudaStream_t stream) {
  a.blocks = warp_blocks(a.columns);
  a.stride = columns_stride(a.columns);
  const int bytes = shared_bytes(a.columns, 8 * NT);
  allow_shared(stream_kernel<NT, GateUp>, bytes, name);
  const dim3 grid(stream_blocks(most_tiles, bytes));
  launch(stream_kernel<NT, GateUp>, grid, dim3(kStreamThreads), bytes, stream, name, a);
}

}  // namespace

bool moe_stream_fits(const Moe<Gpu>& args, int chunk) {
  return shared_bytes(std::max(args.x.size[1], args.down.size[2]), chunk) + 8 * chunk <= kMaxSharedBytes;
}

void moe_stream(const Moe<Gpu>& args, const MoePlan& plan, View<Bf16, 2> hidden, View<float, 2> rows,
                cudaStream_t stream) {
  const int64_t width = args.x.size[1], inner = args.down.size[2], items = plan.items.size[0];
  StreamArgs a = {};
  a.items = plan.items.data;
  a.item_count = plan.item_count.data;
  a.entries = plan.entries.data;
  a.expert_weights = args.expert_weights.data;
  a.weights_stride = args.expert_weights.stride[0];
  a.hidden = as_bf16(hidden.data);
  a.rows_out = rows.data;
  a.top_k = args.top_k;
  a.slots = static_cast<int>(args.top_k + args.gate_up.size[0] - args.router.size[0]);

  a.x = as_bf16(args.x.data);
  a.x_stride = args.x.stride[0];
  a.weights = as_bf16(args.gate_up.data);
  a.columns = static_cast<int>(width);
  a.rows = static_cast<int>(2 * inner);
  if (plan.chunk == 8) launch_stream<1, true>(a, items * (inner / 8), "moe_stream_gate_up", stream);
  else launch_stream<2, true>(a, items * (inner / 8), "moe_stream_gate_up", stream);

  a.x = as_bf16(hidden.data);
  a.x_stride = hidden.stride[0];
  a.weights = as_bf16(args.down.data);
  a.columns = static_cast<int>(inner);
  a.rows = static_cast<int>(width);
  if (plan.chunk == 8) launch_stream<1, false>(a, items * (width / kStreamRows), "moe_stream_down", stream);
  else launch_stream<2, false>(a, items * (width / kStreamRows), "moe_stream_down", stream);
}

}  // namespace kdabench
