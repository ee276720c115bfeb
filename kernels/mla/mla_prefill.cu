// MLA prefill, expanded form: keys and values of each head are made from the cache, then flash attention.
//
//   Math     kernels/mla/mla.h at any offset: query t of sequence b sees keys [0, lengths[b] + t]. Scores and
//            softmax in fp32, P rounded to bf16 for the second product; k_nope and v are rounded to bf16 by
//            the expansion.
//   Work     For each sequence and segment of 32768 keys (8192 for few queries): one GEMM
//            [segment, R] x [R, H (N + V)] into scratch, then the attention kernel, which carries (maximum, sum, O) in fp32 from segment to segment and
//            divides in the segment of a tile's last key. An item is 128 queries of one head. One thread fills
//            shared memory by tensor copies: 128 keys at a time in two stages, k_nope and v from scratch, k_pe
//            from the cache row. Two groups of four warps take 64 queries each: S = Q K^T of a tile is begun,
//            then O += P V of the tile before, which S need not wait for; the softmax runs while the tensor cores
//            are at the other group's. P stays in registers. Keys from the last to the first: masks come first.
//   Grid     A block a multiprocessor. Items by a counter, most keys first among as many heads as have keys and
//            values that fit half of the L2; the next item's first keys are fetched while this one ends.
//   Order    *_full and *_free of a stage are mbarriers: its bytes are here; its 8 warps' products are done.
//            Zeroes over values that nobody wrote are fenced, and both groups meet, before O reads them.
//   Cost     2 (N + P + V) flops a query, key and head, half of them with a causal mask; the expansion adds 2
//            R (N + V) a key and head, a tenth at 8192 queries. H200, 32 heads, causal flops over all of the
//            time, expansion included: 4096 queries 0.311 ms (552 TFLOP/s), 16384 3.85 ms (715). From there on the
//            power limit is the bound (690 W at 1.56 GHz, nvidia-smi): 16384 behind 114688 64.3 ms (641), 131072
//            261 ms (675). Tensor cores were busy for 86 % of the cycles, the L2 for 57 % (ncu, 16384,
//            version 3a of kernels/README.md).
//   Uses     sm_90a, wgmma m64n128k16, 3 x 128 threads, 168 registers (40 for the group that fills, 232 for the
//            others), nothing spilled (ptxas, nvcc 13.0). (128, 64, 128): 208 KB of shared memory.
//   Limits   (N, P, V) in {(128, 64, 128), (64, 32, 64)}; 16-byte aligned q and cache rows. The host loops
//            over segments up to max_context, so a loose bound expands rows that nobody reads.
//   Checked  tests/cuda/test_mla_cuda.cpp

#include "kernels/base/device.cuh"
#include "kernels/linear/linear.h"
#include "kernels/mla/mla_kernels.h"
#include "kernels/mla/mla_prefill.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int kQueries = 128, kKeys = 128;  // of a tile; 64 queries for each of the two groups that multiply
constexpr int kGroup = 128, kThreads = 3 * kGroup;
constexpr int kChannels = 64, kBoxBytes = kKeys * kChannels * 2;
constexpr int kStages = 2;
// Keys expanded at a time. A pass of few queries, between steps of decode perhaps, must not take half a GB for it.
constexpr int64_t kSegment = 32768, kShortSegment = 8192, kFewQueries = 1024;
constexpr int64_t kNearBytes = 24 << 20;  // of keys and values that are read at a time: half of the L2

struct Prefill {
  CUtensorMap q, q_pe, kv, cache;  // of this sequence; kv of this segment
  const int32_t* length;
  int* next;              // items that were begun beyond the first of every block; null where there are none
  float *values, *stats;  // [T, H, V] and [T, H, 2], carried between segments
  bf16* out;
  int64_t out_token;
  int T, H, R, q_pe_column, q_pe_head, segment_first, segment_last;
  int items, heads_near;  // heads whose keys and values are read at a time
  float scale;            // log2(e) / sqrt(N + P)
};

// Boxes of [128 rows, 64 channels], swizzled. The last one of q and k has the P rope channels, and others that no
// product reads.
template <int N, int V>
struct Tiles {
  static constexpr int kKeyBoxes = N / kChannels + 1, kValueBoxes = V / kChannels;
  alignas(1024) unsigned char q[kKeyBoxes * kBoxBytes];
  unsigned char k[kStages][kKeyBoxes * kBoxBytes];
  unsigned char v[kStages][kValueBoxes * kBoxBytes];
  uint64_t q_full, q_free, k_full[kStages], k_free[kStages], v_full[kStages], v_free[kStages];
  uint64_t item_full[2], item_free[2];
  int item[2];
};

// A tile of queries of one head against the keys of the segment that any of them sees.
struct Item {
  int head, first_query, length, end, key_tiles;
  bool finished;  // the tile's last key is in this segment

  __device__ Item(const Prefill& a, int item, int length) : length(length) {
    // Heads whose keys stay in the L2 go together; most keys first.
    const int tiles = (a.T + kQueries - 1) / kQueries, first_head = item / (tiles * a.heads_near) * a.heads_near;
    const int heads = min(a.heads_near, a.H - first_head), of_heads = item - first_head * tiles;
    head = first_head + of_heads % heads;
    first_query = (tiles - 1 - of_heads / heads) * kQueries;
    const int last_key = length + min(first_query + kQueries, a.T) - 1;
    end = min(a.segment_last, last_key + 1);
    key_tiles = end <= a.segment_first ? 0 : (end - a.segment_first + kKeys - 1) / kKeys;
    finished = last_key < a.segment_last;
  }
};

// 2 ulp (CUDA math manual), results below 2^-126 are 0; arguments are never positive here.
__device__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// One thread. Items, and the boxes that they need, in the order in which the others use them up.
template <int N, int P, int V>
__device__ void fetch(const Prefill& a, Tiles<N, V>& s, int length) {
  using Shared = Tiles<N, V>;
  constexpr int kKeyBytes = Shared::kKeyBoxes * kBoxBytes, kValueBytes = Shared::kValueBoxes * kBoxBytes;
  uint64_t often;
  asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(often));
  fence_async();  // what is read came by ordinary stores

  const auto next_of = [&] { return a.next ? int(gridDim.x) + atomicAdd(a.next, 1) : a.items; };
  int tile = 0, turn = 0;
  for (int i = blockIdx.x;; i = next_of()) {
    const bool all = i >= a.items;
    const Item item(a, all ? 0 : i, length);
    if (!all && item.key_tiles == 0) continue;
    barrier_wait(&s.item_free[turn % 2], turn / 2 % 2 ^ 1);
    s.item[turn % 2] = all ? -1 : i;
    barrier_arrive(&s.item_full[turn % 2]);
    if (all) return;

    for (int n = 0; n <= item.key_tiles; ++n) {
      if (n < item.key_tiles) {
        const int stage = (tile + n) % kStages, row = (item.key_tiles - 1 - n) * kKeys;
        barrier_wait(&s.k_free[stage], (tile + n) / kStages % 2 ^ 1);
        barrier_expect(&s.k_full[stage], kKeyBytes);
        for (int box = 0; box < N / kChannels; ++box)
          copy_box(s.k[stage] + box * kBoxBytes, a.kv, item.head * (N + V) + box * kChannels, row, 0, &s.k_full[stage],
                   often);
        copy_box(s.k[stage] + N / kChannels * kBoxBytes, a.cache, a.R, a.segment_first + row, 0, &s.k_full[stage],
                 often);
      }
      if (n == 0) {
        barrier_wait(&s.q_free, turn % 2 ^ 1);
        barrier_expect(&s.q_full, kKeyBytes);
        for (int box = 0; box < N / kChannels; ++box)
          copy_box(s.q + box * kBoxBytes, a.q, item.head * (N + P) + box * kChannels, item.first_query, 0, &s.q_full,
                   often);
        copy_box(s.q + N / kChannels * kBoxBytes, a.q_pe, a.q_pe_column + item.head * a.q_pe_head, item.first_query, 0,
                 &s.q_full, often);
      } else {
        const int stage = (tile + n - 1) % kStages, row = (item.key_tiles - n) * kKeys;
        barrier_wait(&s.v_free[stage], (tile + n - 1) / kStages % 2 ^ 1);
        barrier_expect(&s.v_full[stage], kValueBytes);
        for (int box = 0; box < Shared::kValueBoxes; ++box)
          copy_box(s.v[stage] + box * kBoxBytes, a.kv, item.head * (N + V) + N + box * kChannels, row, 0,
                   &s.v_full[stage], often);
      }
    }
    tile += item.key_tiles, ++turn;
  }
}

// The running softmax of two rows of a thread.
struct Rows {
  float most[2], sum[2], rescale[2];

  // Scores become P, not divided.
  __device__ void soften(float (&x)[kKeys / 2], float scale) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float now[2] = {most[r], most[r]};
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j)
        now[0] = fmaxf(now[0], x[4 * j + 2 * r]), now[1] = fmaxf(now[1], x[4 * j + 2 * r + 1]);
      now[0] = warp_max<4>(fmaxf(now[0], now[1]));
      // No key was seen: of the last tile, which comes first, a query may see none.
      const float reference = now[0] == -INFINITY ? 0.f : now[0] * scale;
      rescale[r] = exp2_of(most[r] * scale - reference);
      most[r] = now[0];
      float added[2] = {};
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& p = x[4 * j + 2 * r + i];
          added[i] += p = exp2_of(p * scale - reference);
        }
      sum[r] = sum[r] * rescale[r] + (added[0] + added[1]);
    }
  }
};

// A group of four warps: 64 queries.
template <int N, int P, int V>
__device__ __forceinline__ void attend(const Prefill& a, Tiles<N, V>& s, int length) {
  constexpr int kSteps = (N + P) / 16, kOut = V / 2;  // numbers of O a thread
  const int group = __shfl_sync(0xffffffffu, threadIdx.x / kGroup, 0) - 1;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const bool speaks = lane == 0;  // for its warp
  const uint64_t q = operand<128>(s.q + group * 64 * 128, 1024);
  const uint64_t k_first = operand<128>(s.k, 1024), v_first = operand_transposed(s.v, kBoxBytes);
  const auto k_of = [&](int tile) { return k_first + tile % kStages * (sizeof(s.k[0]) / 16); };
  const auto v_of = [&](int tile) { return v_first + tile % kStages * (sizeof(s.v[0]) / 16); };
  int tile = 0;
  for (int turn = 0;; ++turn) {
    barrier_wait(&s.item_full[turn % 2], turn / 2 % 2);
    const int i = s.item[turn % 2];
    barrier_arrive(&s.item_free[turn % 2]);
    if (i < 0) return;
    const Item item(a, i, length);
    const int group_row = item.first_query + group * 64, row = group_row + warp * 16 + lane / 4;

    // This thread's rows are row and row + 8, its columns 8 j + 2 (lane % 4) + {0, 1}.
    float o[kOut];
    Rows rows;
    int last_key[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const bool carried = a.segment_first > 0 && row + 8 * r < a.T;
      const int64_t at = int64_t{row + 8 * r} * a.H + item.head;
      rows.most[r] = carried ? a.stats[2 * at] : -INFINITY;
      rows.sum[r] = carried && lane % 4 == 0 ? a.stats[2 * at + 1] : 0;  // the four lanes of a row add up at the end
      last_key[r] = item.length + min(row + 8 * r, a.T - 1) - a.segment_first;
#pragma unroll
      for (int j = 0; j < V / 8; ++j) {
        const float2 x = carried ? *reinterpret_cast<const float2*>(a.values + at * V + j * 8 + lane % 4 * 2)
                                 : make_float2(0, 0);
        o[4 * j + 2 * r] = x.x, o[4 * j + 2 * r + 1] = x.y;
      }
    }

    float x[kKeys / 2];
    uint32_t p[kKeys / 4];
    const auto begin_scores = [&](int tile) {
      settle(x);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
        wgmma_64x128x16(x, q + (step / 4 * kBoxBytes + step % 4 * 32) / 16,
                        k_of(tile) + (step / 4 * kBoxBytes + step % 4 * 32) / 16, step > 0);
      wgmma_commit();
    };
    const auto begin_values = [&](int tile) {
      settle(o), settle(p);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < kKeys / 16; ++step)
        wgmma_transposed(o, p + 4 * step, v_of(tile) + step * 16 * 128 / 16);
      wgmma_commit();
    };
    const auto mask = [&](int first_key) {
#pragma unroll
      for (int e = 0; e < kKeys / 2; ++e)
        if (first_key + e / 4 * 8 + lane % 4 * 2 + e % 2 > last_key[e / 2 % 2]) x[e] = -INFINITY;
    };
    const auto pack = [&] {
#pragma unroll
      for (int e = 0; e < kKeys / 4; ++e) p[e] = pack_bf16(x[2 * e], x[2 * e + 1]);
    };
    const auto rescale = [&] {
#pragma unroll
      for (int e = 0; e < kOut; ++e) o[e] *= rows.rescale[e / 2 % 2];
    };

    // Tiles from the last one to the first.
    int first_key = (item.key_tiles - 1) * kKeys;
    barrier_wait(&s.q_full, turn % 2);
    barrier_wait(&s.k_full[tile % kStages], tile / kStages % 2);
    begin_scores(tile);
    wgmma_wait<0>();
    settle(x);
    if (speaks) barrier_arrive(&s.k_free[tile % kStages]);
    mask(first_key);
    rows.soften(x, a.scale);
    pack();
    // Values of rows that nobody wrote may be anything, and 0 times that be NaN.
    if (const int written = item.length + a.T - a.segment_first; first_key + kKeys > written) {
      barrier_wait(&s.v_full[tile % kStages], tile / kStages % 2);
      const int bytes = (first_key + kKeys - written) * 128;  // of a box
      for (int at = (threadIdx.x - kGroup) * 16; at < bytes * (V / kChannels); at += 2 * kGroup * 16)
        *reinterpret_cast<uint4*>(s.v[tile % kStages] + (at / bytes + 1) * kBoxBytes - bytes + at % bytes) = uint4{};
      fence_async_shared();
      meet(1, 2 * kGroup);
    }

    // Scores of this tile, and values of the one before.
    const auto step = [&](auto masked) {
      const int before = tile++;
      first_key -= kKeys;
      barrier_wait(&s.k_full[tile % kStages], tile / kStages % 2);
      begin_scores(tile);
      rescale();
      barrier_wait(&s.v_full[before % kStages], before / kStages % 2);
      begin_values(before);
      wgmma_wait<1>();
      settle(x);
      if (speaks) barrier_arrive(&s.k_free[tile % kStages]);
      if constexpr (decltype(masked)::value) mask(first_key);
      rows.soften(x, a.scale);
      wgmma_wait<0>();
      settle(o), settle(p);
      if (speaks) barrier_arrive(&s.v_free[before % kStages]);
      pack();
    };
    const int all_see = item.length + group_row - a.segment_first;  // keys up to this one
#pragma unroll 1
    while (first_key - 1 > all_see && first_key > 0) step(std::true_type{});
#pragma unroll 1
    while (first_key > 0) step(std::false_type{});
    if (speaks) barrier_arrive(&s.q_free);
    rescale();
    barrier_wait(&s.v_full[tile % kStages], tile / kStages % 2);
    begin_values(tile);
    wgmma_wait<0>();
    settle(o), settle(p);
    if (speaks) barrier_arrive(&s.v_free[tile % kStages]);
    ++tile;

#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float total = warp_sum<4>(rows.sum[r]), inverse = 1.f / total;
      const int64_t t = row + 8 * r, at = t * a.H + item.head;
      if (t >= a.T) continue;
      if (item.finished) {
        bf16* const to = a.out + t * a.out_token + item.head * V + lane % 4 * 2;
#pragma unroll
        for (int j = 0; j < V / 8; ++j)
          *reinterpret_cast<uint32_t*>(to + j * 8) =
              pack_bf16(o[4 * j + 2 * r] * inverse, o[4 * j + 2 * r + 1] * inverse);
      } else {
        if (lane % 4 == 0) a.stats[2 * at] = rows.most[r], a.stats[2 * at + 1] = total;
        float* const to = a.values + at * V + lane % 4 * 2;
#pragma unroll
        for (int j = 0; j < V / 8; ++j)
          *reinterpret_cast<float2*>(to + j * 8) = make_float2(o[4 * j + 2 * r], o[4 * j + 2 * r + 1]);
      }
    }
  }
}

template <int N, int P, int V>
__global__ void __launch_bounds__(kThreads, 1) mla_prefill_kernel(const __grid_constant__ Prefill a) {
  extern __shared__ __align__(1024) unsigned char memory[];
  auto& s = *reinterpret_cast<Tiles<N, V>*>(memory);
  if (threadIdx.x == 0) {
    constexpr int kWarps = 2 * kGroup / 32;
    barrier_init(&s.q_full, 1), barrier_init(&s.q_free, kWarps);
    for (int i = 0; i < kStages; ++i) {
      barrier_init(&s.k_full[i], 1), barrier_init(&s.k_free[i], kWarps);
      barrier_init(&s.v_full[i], 1), barrier_init(&s.v_free[i], kWarps);
    }
    for (int i = 0; i < 2; ++i) barrier_init(&s.item_full[i], 1), barrier_init(&s.item_free[i], 2 * kGroup);
    fence_async();
  }
  __syncthreads();
  let_next_start();
  wait_for_previous();
  const int length = *a.length;
  if (threadIdx.x < kGroup) {
    fewer_registers<40>();
    if (threadIdx.x == 0) fetch<N, P, V>(a, s, length);
  } else {
    more_registers<232>();
    attend<N, P, V>(a, s, length);
  }
}

template <int N, int P, int V>
void launch_prefill(const Prefill& a, cudaStream_t stream) {
  constexpr size_t kSharedBytes = sizeof(Tiles<N, V>);
  allow_shared(mla_prefill_kernel<N, P, V>, kSharedBytes, "mla_prefill");
  launch(mla_prefill_kernel<N, P, V>, std::min(a.items, multiprocessors()), kThreads, kSharedBytes, stream,
         "mla_prefill", a);
}

CUtensorMap map_of(const void* data, int64_t columns, int64_t rows, int64_t row_stride, std::string_view name) {
  return tensor_map(data, columns, rows, 1, row_stride, 0, kKeys, name);
}

}  // namespace

void mla_expanded_cuda(const Mla<Gpu>& args, View<const Bf16, 4> q_pe, Arena& scratch, cudaStream_t stream) {
  const int64_t B = args.q.size[0], T = args.q.size[1], H = args.heads, N = args.nope_dim, P = args.rope_dim,
                V = args.value_dim, R = args.rank;
  const int64_t keys = T < kFewQueries ? kShortSegment : kSegment;
  const int64_t segments = (args.max_context + keys - 1) / keys;
  const int64_t items = (T + kQueries - 1) / kQueries * H;
  ArenaScope scope(scratch);
  const auto kv = scratch.take<Bf16>(std::min(keys, args.max_context), H * (N + V));
  const int64_t carried = segments > 1 ? T : 0;
  const auto values = scratch.take<float>(carried, H, V);
  const auto stats = scratch.take<float>(carried, H, 2);
  const bool shared_out = items > multiprocessors();
  const auto next = scratch.take<int32_t>(B, shared_out ? segments : 0);
  if (!scratch.measuring() && shared_out)
    check(cudaMemsetAsync(next.data, 0, next.count() * sizeof(int32_t), stream), "clear mla_prefill's counters");

  for (int64_t b = 0; b < B; ++b)
    for (int64_t segment = 0; segment < segments; ++segment) {
      const int64_t first = segment * keys, rows = std::min(keys, args.max_context - first);

      Linear<Gpu> expand;
      expand.x.data = args.cache.data + b * args.cache.stride[0] + first * args.cache.stride[1];
      expand.x.size[0] = rows, expand.x.size[1] = R;
      expand.x.stride[0] = args.cache.stride[1], expand.x.stride[1] = 1;
      expand.w = args.kv_b;
      expand.y = kv.slice(0, 0, rows);
      linear_cuda(expand, scratch, stream);
      if (scratch.measuring()) continue;

      Prefill a;
      const Bf16* const q = args.q.data + b * args.q.stride[0];
      a.q = map_of(q, H * (N + P), T, args.q.stride[1], "q");
      a.q_pe = a.q, a.q_pe_column = N, a.q_pe_head = N + P;
      if (q_pe) {
        a.q_pe = map_of(q_pe.data + b * q_pe.stride[0], H * P, T, H * P, "rotated q");
        a.q_pe_column = 0, a.q_pe_head = P;
      }
      a.kv = map_of(kv.data, H * (N + V), rows, H * (N + V), "keys and values");
      a.cache = map_of(args.cache.data + b * args.cache.stride[0], R + P, args.max_context, args.cache.stride[1],
                       "cache");
      a.length = args.lengths.data + b;
      a.next = shared_out ? next.data + b * segments + segment : nullptr;
      a.values = values.data, a.stats = stats.data;
      a.out = as_bf16(args.out.data) + b * args.out.stride[0], a.out_token = args.out.stride[1];
      a.T = static_cast<int>(T), a.H = args.heads, a.R = args.rank;
      a.segment_first = static_cast<int>(first), a.segment_last = static_cast<int>(first + rows);
      a.items = static_cast<int>(items);
      a.heads_near = static_cast<int>(std::clamp<int64_t>(kNearBytes / (rows * (N + V) * 2), 1, H));
      a.scale = 1.4426950408889634f / sqrtf(static_cast<float>(N + P));
      if (N == kMlaNope)
        launch_prefill<128, 64, 128>(a, stream);
      else
        launch_prefill<64, 32, 64>(a, stream);
    }
}

}  // namespace kdabench
