// A mixture of experts for up to 8 tokens, in one kernel behind the router's product. One token comes here only when
// its layer does not fit in a chain (kernels/chain), which is faster.
//
//   Math     kernels/moe/moe.h; the truth is moe_cpu<double>.
//   Work     Every block chooses the experts itself and lists each once, whoever shares it; block 0 writes the choice.
//            A warp streams its rows of weights through a ring of bulk copies which goes on from gate and up to down:
//            while the blocks wait for each other, it fills with what comes next. A piece of gate and up is both rows
//            of a channel (or of up to 4), so a warp alone computes silu(gate) * up, scaled by the expert's weight. In
//            down a block has some rows of all experts; every (token, slot) and row has a sum of its own in shared
//            memory, added up in the order of the slots: the same result every time, whoever computed what.
//   Grid     A block a multiprocessor, all of them resident: they count each other's arrivals between gate_up and down.
//            The shared experts' pieces come first and are asked for before wait_for_previous(). Routed weights cannot
//            be: their addresses depend on the router. In equal shares the first warps are done with gate and up 17 us
//            before the last ones (4 tokens, clock stamps): the last eighth goes to who has room for it.
//   Cost     6 D I bytes an expert that is hit, once: 446 MB for 4 tokens of the 48B model, 97 us at 4.62 TB/s; 122 us
//            (a graph of rotating weights on an H200, router included), and 206 us for the 822 MB of 8 tokens.
//   Uses     sm_90a, 256 threads, 154 registers, no spills, 144 KB of ring, 15 KB of choice (ptxas, nvcc 13.0).
//   Limits   moe_few_fits: the activations fit in shared memory beside the ring. The experts of a token are different
//            ones, also where they are given. One such kernel a GPU at a time: two side by side could each hold half of
//            the chip forever.
//   Checked  tests/cuda/test_moe_cuda.cpp.

#include <algorithm>

#include "kernels/moe/few_dots.cuh"
#include "kernels/moe/few_stream.cuh"

namespace kdabench {
namespace {

using namespace device;

// Blocks that have finished gate and up, and blocks that know it; 0 between kernels.
__device__ unsigned arrived, left;

__device__ inline void arrive() { asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(&arrived) : "memory"); }
__device__ inline void await_all() {
  unsigned now;
  do {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(&arrived) : "memory");
  } while (now < gridDim.x);
}
// The last one to leave makes ready for the next kernel.
__device__ inline void leave() {
  if (atomicInc(&left, gridDim.x - 1) == gridDim.x - 1) arrived = 0, few_tickets = 0;
}

// The tokens, by threads from `first` on. Blocks begin at different places: the same line at once would queue in the
// L2.
__device__ void stage_tokens(const FewArgs& a, bf16* x, int first) {
  const int chunks = a.width / 8, start = static_cast<int>(blockIdx.x * 61u % static_cast<unsigned>(chunks));
  for (int n = 0; n < a.tokens; ++n)
    for (int c = static_cast<int>(threadIdx.x) - first; c >= 0 && c < chunks; c += kFewThreads - first) {
      const int at = (c + start < chunks ? c + start : c + start - chunks) * 8;
      cp_async16(x + n * a.vector_stride + at, a.x + n * a.x_stride + at);
    }
  cp_async_commit();
}

// By threads first, first + threads, ...
__device__ inline void copy_vector(bf16* to, const bf16* from, int columns, int first, int threads) {
  for (int c = first; c < columns / 8; c += threads)
    reinterpret_cast<uint4*>(to)[c] = __ldcg(reinterpret_cast<const uint4*>(from) + c);
}

// A vector on its way through a warp's registers.
struct HeldVector {
  static constexpr int kPacks = 4, kColumns = 256 * kPacks;
  uint4 pack[kPacks];

  __device__ void load(const bf16* from, int columns) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int c = i * 32 + threadIdx.x % 32;
      if (c < columns / 8) pack[i] = __ldcg(reinterpret_cast<const uint4*>(from) + c);
    }
  }
  __device__ void store(bf16* to, int columns) const {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      const int c = i * 32 + threadIdx.x % 32;
      if (c < columns / 8) reinterpret_cast<uint4*>(to)[c] = pack[i];
    }
  }
};

template <int PerLane>
__global__ void __launch_bounds__(kFewThreads, 1) few_kernel(const __grid_constant__ FewArgs a) {
  extern __shared__ __align__(128) unsigned char ring[];
  __shared__ CopyBarrier full[kFewWarps * kFewDepth];
  __shared__ Piece pieces[kFewWarps * kFewDepth];
  __shared__ Experts experts;
  bf16* const vectors = reinterpret_cast<bf16*>(ring + kFewRingBytes);
  // [row of hidden, segment, row of the block]
  float* const sums = reinterpret_cast<float*>(ring + kFewRingBytes + a.vector_bytes);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, top_k = a.rule.top_k;

  begin_experts(a, experts);
  const BlockRows block(a);
  PieceStream stream(a, experts, block, ring, full, pieces);
  stream.fill();
  const LaneBias<PerLane> bias(a.rule);

  wait_for_previous();
  stream.take_ticket();
  const int choosing = a.tokens < kFewWarps ? 32 * a.tokens : 0;  // threads that have better to do
  stage_tokens(a, vectors, choosing);
  const int id = list_experts<PerLane>(a, bias, experts);
  stream.set_experts(experts.count);
  stream.fill();
  if (warp < a.tokens) {
    const float weight = expert_weight(a.rule, a.logits + warp * a.logits_stride, id);
    if (lane < top_k) {
      experts.weight[warp * a.slots + lane] = weight;
      if (blockIdx.x == 0) {
        a.ids[warp * a.ids_stride + lane] = id;
        a.weights[warp * a.weights_stride + lane] = weight;
      }
    }
  }
  cp_async_wait<0>();
  __syncthreads();

  // Lane p * kMoeFewTokens + n keeps the p-th channel of token n.
  const int lane_channel = lane / kMoeFewTokens, lane_token = lane % kMoeFewTokens;
  float gate = 0, up = 0;
  while (stream.is_gate_up()) {
    const Piece piece = stream.first();
    const bf16* const x = vectors + piece.segment * a.segment_columns;
    const uint32_t users = experts.users[piece.place];
    const int columns = min(a.segment_columns, a.width - piece.segment * a.segment_columns);
    const bf16* const w = stream.front();
    for (int p = 0; p < a.channels; ++p) {
      const bf16* const rows = w + 2 * p * a.segment_columns;
#pragma unroll 1
      for (uint32_t rest = users; rest;) {
        const int n = __ffs(rest) - 1;
        rest &= rest - 1;
        if (rest) {  // two at once
          const int m = __ffs(rest) - 1;
          rest &= rest - 1;
          Dots<1, 2> dots;
          dots.add(rows, a.segment_columns, 2, {x + n * a.vector_stride, x + m * a.vector_stride}, columns);
          const float total = dots.totals();
          const int from = lane_token == n ? 0 : 16;
          const float low = __shfl_sync(0xffffffffu, total, from), high = __shfl_sync(0xffffffffu, total, from + 8);
          if (lane_channel == p && (lane_token == n || lane_token == m)) gate += low, up += high;
        } else {
          Dots<1, 1> dots;
          dots.add(rows, a.segment_columns, 2, {x + n * a.vector_stride}, columns);
          const float total = dots.totals(), other = __shfl_xor_sync(0xffffffffu, total, 8);
          if (lane_channel == p && lane_token == n)
            gate += lane_channel % 2 ? other : total, up += lane_channel % 2 ? total : other;
        }
      }
    }
    stream.pop();
    if (piece.segment + 1 < a.segments) continue;
    if (lane_channel < a.channels && (users >> lane_token & 1)) {
      const int row = experts.row[piece.place * kMoeFewTokens + lane_token];
      a.hidden[int64_t{row} * a.inner + piece.part * a.channels + lane_channel] =
          __float2bfloat16_rn(silu(gate) * up * experts.weight[row]);
    }
    gate = up = 0;
  }

  __syncthreads();
  if (threadIdx.x == 0) {
    arrive();
    await_all();
  }
  __syncthreads();

  // Of the shared experts, all tokens' vectors; of the others, the one that a warp needs, which is asked for a piece
  // ahead: its first token's.
  const int packs = a.inner / 8, shared_packs = a.shared * a.tokens * packs;
  constexpr int kAtOnce = 4;
  for (int first = threadIdx.x; first < shared_packs; first += kAtOnce * kFewThreads) {
    uint4 pack[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const int c = first + j * kFewThreads, i = c / packs, s = i / a.tokens, n = i - s * a.tokens;
      if (c >= shared_packs) continue;
      const bf16* const from = a.hidden + int64_t{experts.row[s * kMoeFewTokens + n]} * a.inner;
      pack[j] = __ldcg(reinterpret_cast<const uint4*>(from) + c - i * packs);
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j)
      if (first + j * kFewThreads < shared_packs)
        reinterpret_cast<uint4*>(vectors)[first + j * kFewThreads] = pack[j];
  }
  __syncthreads();
  bf16* const mine = vectors + a.shared * a.tokens * a.inner + warp * a.down_columns;
  const auto columns_of = [&](const Piece& piece) {
    return min(a.down_columns, a.inner - piece.segment * a.down_columns);
  };
  const auto hidden_of = [&](const Piece& piece, int n) {
    return a.hidden + int64_t{experts.row[piece.place * kMoeFewTokens + n]} * a.inner + piece.segment * a.down_columns;
  };
  const bool ahead = a.down_columns <= HeldVector::kColumns;
  HeldVector next;
  const auto look_ahead = [&](const Piece& piece) {
    if (ahead && piece.place >= a.shared)
      next.load(hidden_of(piece, __ffs(experts.users[piece.place]) - 1), columns_of(piece));
  };
  if (!stream.empty()) look_ahead(stream.first());
  while (!stream.empty()) {
    const Piece piece = stream.first();
    const int columns = columns_of(piece), rows = block.of(a, piece);
    const uint32_t users = experts.users[piece.place];
    const bool routed = piece.place >= a.shared;
    __syncwarp();
    if (ahead && routed) next.store(mine, columns);
    if (stream.has_second()) look_ahead(stream.second());
    __syncwarp();
    const bf16* const w = stream.front();
#pragma unroll 1
    for (uint32_t rest = users; rest; rest &= rest - 1) {
      const int n = __ffs(rest) - 1;
      if (routed && (rest != users || !ahead)) {
        __syncwarp();
        copy_vector(mine, hidden_of(piece, n), columns, lane, 32);
        __syncwarp();
      }
      const bf16* const v =
          routed ? mine : vectors + (piece.place * a.tokens + n) * a.inner + piece.segment * a.down_columns;
      Dots<2, 1> dots;
      dots.add(w, a.down_columns, rows, {v}, columns);
      const float total = dots.totals();
      const int row = experts.row[piece.place * kMoeFewTokens + n] * a.down_segments + piece.segment;
      if (lane % 8 == 0 && lane / 8 < rows) sums[row * a.most_rows + piece.part * a.rows + lane / 8] = total;
    }
    stream.pop();
  }
  __syncthreads();
  if (threadIdx.x == 0) leave();
  const int parts = a.slots * a.down_segments;
  for (int i = threadIdx.x; i < a.tokens * block.count; i += kFewThreads) {
    const int n = i / block.count, r = i - n * block.count;
    float total = 0;
#pragma unroll 4
    for (int part = 0; part < parts; ++part) total += sums[(n * parts + part) * a.most_rows + r];
    a.out[n * a.out_stride + block.first + r] = __float2bfloat16_rn(total);
  }
}

int round_up(int64_t x, int to) { return static_cast<int>((x + to - 1) / to * to); }

// Everything that follows from the shape.
FewArgs shape_of(const Moe<Gpu>& args) {
  FewArgs a = {};
  a.tokens = static_cast<int>(args.x.size[0]);
  a.width = static_cast<int>(args.x.size[1]);
  a.inner = static_cast<int>(args.down.size[2]);
  a.shared = static_cast<int>(args.gate_up.size[0] - args.router.size[0]);
  a.slots = args.top_k + a.shared;
  // Columns of a segment are a multiple of 256, so that only the last one has lanes without a part.
  const auto cut = [](int columns, int rows, int& segments, int& segment_columns) {
    const int most = kFewSlotBytes / rows / 512 * 256;
    segments = (columns + most - 1) / most;
    segment_columns = segments == 1 ? columns : round_up((columns + segments - 1) / segments, 256);
    segments = (columns + segment_columns - 1) / segment_columns;
  };
  a.channels = kFewRows;
  while (a.channels > 1 && 4 * a.channels * a.width > kFewSlotBytes) a.channels /= 2;
  a.groups = a.inner / a.channels;
  if (4 * a.channels * a.width > kFewSlotBytes) cut(a.width, 2, a.segments, a.segment_columns);
  else a.segments = 1, a.segment_columns = a.width;
  const int warps = multiprocessors() * kFewWarps;
  a.experts_on = warps / a.groups, a.groups_on = warps % a.groups;

  a.most_rows = (a.width + multiprocessors() - 1) / multiprocessors();
  a.rows = std::clamp(kFewSlotBytes / (2 * a.inner), 1, kFewRows);
  cut(a.inner, a.rows, a.down_segments, a.down_columns);
  a.vector_stride = round_up(a.width, 64);
  a.vector_bytes = round_up(2 * std::max(a.tokens * a.vector_stride, a.shared * a.tokens * a.inner +
                                                                         kFewWarps * a.down_columns), 128);
  return a;
}

int shared_bytes(const FewArgs& a) {
  return kFewRingBytes + a.vector_bytes + 4 * a.tokens * a.slots * a.down_segments * a.most_rows;
}

}  // namespace

bool moe_few_fits(const Moe<Gpu>& args) {
  constexpr int kStaticBytes = sizeof(Experts) + kFewWarps * kFewDepth * (sizeof(CopyBarrier) + sizeof(Piece)) + 256;
  return args.x.size[0] <= kMoeFewTokens && shared_bytes(shape_of(args)) + kStaticBytes <= 227 * 1024;
}

void moe_few(const Moe<Gpu>& args, View<const float, 2> logits, View<Bf16, 2> hidden, cudaStream_t stream) {
  FewArgs a = shape_of(args);
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
  const auto kernel = a.rule.experts <= 256 ? few_kernel<8> : few_kernel<kMoeExperts / 32>;
  const int bytes = shared_bytes(a);
  allow_shared(kernel, bytes, "moe_few");
  launch(kernel, dim3(multiprocessors()), dim3(kFewThreads), bytes, stream, "moe_few", a);
}

}  // namespace kdabench
