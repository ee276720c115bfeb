// MLA decode, absorbed form: every query row against the latent cache, split over the whole chip.
//
//   Math     kernels/mla/mla.h with q' from mla_prepare.cu: O[row] = sum_s softmax_s(scale q'[row] .
//            cache[s]) cache[s, :R]. Online softmax in fp32, base 2; P is rounded to bf16 for the second
//            product.
//   Work     The cache tiles (64 tokens) of all sequences form one line; each block takes an equal stretch of
//            it, from the lengths on the device (MlaSplitPlan). In a block two groups of 4 warps take turns,
//            a tile each, and share nothing until their sequence ends: one's softmax hides behind the other's
//            products. Both products are transposed, so that tokens and channels, of which there are enough,
//            fill the 64 rows of wgmma and the 32 queries are its columns: S^T = K Q^T and O^T += V^T P^T,
//            operands read from where the copy engine put them. A tile is 9 boxes of 64 tokens x 64 channels;
//            the last one (k_pe) holds P^T once the scores are known. The first half of a tile is refilled
//            while the second is still multiplied.
//   Order    What precedes wait_for_previous(): lengths, and tiles that end before the row that this call
//            appends. This kernel cannot start before every block of mla_absorb has passed its own wait (see
//            there), so whatever came before mla_absorb is complete, by induction over kernels that all wait;
//            and mla_absorb itself writes new rows and q' alone, which are read behind the wait.
//   Grid     (groups, row tiles) blocks of 256, groups * row tiles <= multiprocessors: one block each.
//   Cost     2 (R + P) bytes and 2 T H (2 R + P) flops a cached token. At 4.3 TB/s a multiprocessor has a
//            tile every 4000 cycles; its products read shared memory for about 1650. Partial results: 64 KB a
//            block, written once, read once. Append to merge, one sequence, H200, CUDA graph: 18.0 us at 4K
//            tokens, 25.8 at 16K, 42.1 at 64K, 96.8 at 256K, 319 at 1M (3.8 TB/s); 16 sequences of 64K 327.
//            Of this some 17 us are latencies of the three kernels, whatever the context.
//   Uses     sm_90a; 187 KB of shared memory, so one block a multiprocessor, and 200 registers a thread, so
//            that one of mla_absorb or mla_merge fits beside: 216 registers cost 1.4 us at 4K tokens. 4
//            bytes a thread are spilled (ptxas).
//   Limits   (R, P) = (512, 64), cache rows 16-byte aligned, B <= 1024. More than 32 rows (T H) cost one more
//            pass over the cache for each 32, at the same time, so that most of it hits L2.
//   Checked  tests/cuda/test_mla_cuda.cpp

#include "kernels/mla/mla_hopper.cuh"
#include "kernels/mla/mla_split.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int kThreads = 256, kGroupThreads = 128;
constexpr int kRegisters = 200;  // a thread; leaves 56 for each of 256 threads of mla_absorb or mla_merge
constexpr int kChannels = 64, kBoxes = kMlaRow / kChannels, kValueBoxes = kMlaRank / kChannels;
constexpr int kBoxBytes = kMlaTileTokens * kChannels * 2, kTileBytes = kBoxes * kBoxBytes;
constexpr int kHalfBoxes = 4;  // that are refilled first
constexpr int kQueryBoxBytes = kMlaTileRows * kChannels * 2, kQueryBytes = kBoxes * kQueryBoxBytes;
constexpr int kOutStride = kMlaRank + 4;  // floats; the rows of a fragment store fall on different banks

struct Split {
  CUtensorMap cache, query;
  const int32_t* lengths;
  float* values;
  float2* stats;
  int B, T, H, slots;
  float scale;  // log2(e) / sqrt(N + P)
};

struct Shared {
  // A group's tile, [box][token][64 channels], swizzled. Between sequences the first holds partial results.
  alignas(1024) unsigned char tile[2][kTileBytes];
  alignas(1024) unsigned char query[kQueryBytes];  // [box][row][64 channels], swizzled
  float most[2][4][kMlaTileRows];                  // of a warp's tokens
  float sums[2][4][kMlaTileRows];
  float reference[2][kMlaTileRows];
  uint64_t tile_full[2][2], query_full;
};
static_assert(kMlaTileRows * kOutStride * 4 <= kTileBytes);

// Read once, so first out of L2; with several row tiles the other blocks still want it.
__device__ uint64_t read_policy(bool once) {
  uint64_t policy;
  if (once)
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  else
    asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// Of the 4 warps of a group. Barrier 0 is __syncthreads.
__device__ void group_sync(int group) {
  asm volatile(
      "{\n.reg .pred first;\nsetp.eq.s32 first, %0, 0;\n"
      "@first bar.sync 1, %1;\n@!first bar.sync 2, %1;\n}\n" ::"r"(group),
      "n"(kGroupThreads)
      : "memory");
}

__device__ bool is_leader() { return threadIdx.x % kGroupThreads == 0; }  // of its group

// Half 0 is boxes 0 to 3, half 1 the other 5. By one thread.
__device__ void fetch(const Split& a, Shared& s, int group, int half, int sequence, int token) {
  const uint64_t policy = read_policy(gridDim.y == 1);
  const int first = half == 0 ? 0 : kHalfBoxes, last = half == 0 ? kHalfBoxes : kBoxes;
  uint64_t* const full = &s.tile_full[group][half];
  barrier_expect(full, (last - first) * kBoxBytes);
  for (int box = first; box < last; ++box)
    copy_box(s.tile[group] + box * kBoxBytes, a.cache, box * kChannels, token, sequence, full, policy);
}

// 2 ulp (CUDA math manual), results below 2^-126 are 0; arguments are never positive here.
__device__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A reference for exponents: 0 where nothing is visible yet, so that weights are 0 and not NaN.
__device__ float finite(float x) { return x == -INFINITY ? 0.f : x; }

// A fragment's columns of this thread, 8 j + 2 (lane % 4) + c, are numbered 2 j + c here.
__device__ int column_of(int i) { return i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2; }

// Value boxes [First, First + Count) of O, times its weight, to (or added to) rows of channels in shared
// memory.
template <int First, int Count, bool kAdd>
__device__ void put(float* to, const float (&o)[kValueBoxes][16], const float (&weight)[8]) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
#pragma unroll
  for (int box = First; box < First + Count; ++box)
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int column = i / 4 * 2 + i % 2;
      const int channel = box * kChannels + warp * 16 + i / 2 % 2 * 8 + lane / 4;
      float* const at = to + column_of(column) * kOutStride + channel;
      const float value = o[box][i] * weight[column];
      *at = kAdd ? *at + value : value;
    }
}

__global__ void __maxnreg__(kRegisters) mla_split_kernel(const __grid_constant__ Split a) {
  extern __shared__ __align__(1024) unsigned char memory[];
  Shared& s = *reinterpret_cast<Shared*>(memory);
  int* const prefix = reinterpret_cast<int*>(memory + sizeof(Shared));
  const int group = threadIdx.x / kGroupThreads, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const int first_row = blockIdx.y * kMlaTileRows;

  let_next_start();
  if (threadIdx.x == 0) {
    for (int i = 0; i < 4; ++i) barrier_init(&s.tile_full[i / 2][i % 2], 1);
    barrier_init(&s.query_full, 1);
    fence_async();
    prefetch_map(a.cache), prefetch_map(a.query);
  }
  mla_tile_prefix(prefix, a.lengths, a.B, a.T);

  const MlaLine line(prefix[a.B], gridDim.x);
  if (blockIdx.x >= line.groups) return wait_for_previous();
  const int last = line.first(blockIdx.x + 1);

  bool waited = false;
  uint32_t tile_parity = 0, query_parity = 0;
  int sequence = 0;
  for (int tile = line.first(blockIdx.x); tile < last;) {
    while (tile >= prefix[sequence + 1]) ++sequence;
    const int count = min(last, prefix[sequence + 1]) - tile;  // tiles of this sequence here
    const int first_token = (tile - prefix[sequence]) * kMlaTileTokens;
    const int length = __ldcg(a.lengths + sequence);
    tile += count;

    bool wanted = is_leader() && group < count;
    const int token = first_token + group * kMlaTileTokens;
    if (wanted && (waited || token + kMlaTileTokens <= length)) {
      for (int half = 0; half < 2; ++half) fetch(a, s, group, half, sequence, token);
      wanted = false;
    }
    if (!waited) {
      wait_for_previous();
      fence_async();  // new rows and q' came by ordinary stores
      waited = true;
    }
    if (threadIdx.x == 0) {
      barrier_expect(&s.query_full, kQueryBytes);
      const uint64_t keep = read_policy(false);
      for (int box = 0; box < kBoxes; ++box)
        copy_box(s.query + box * kQueryBoxBytes, a.query, box * kChannels,
                 sequence * a.T * a.H + first_row, 0, &s.query_full, keep);
    }
    if (wanted)
      for (int half = 0; half < 2; ++half) fetch(a, s, group, half, sequence, token);

    float o[kValueBoxes][16] = {};
    float most[8], sum[8];  // of this thread's columns; sum is its share
#pragma unroll
    for (int i = 0; i < 8; ++i) most[i] = -INFINITY, sum[i] = 0;
    unsigned char* const cached = s.tile[group];
    // [token][32 rows], swizzled over 512 bytes
    unsigned char* const probs = cached + kValueBoxes * kBoxBytes;
    barrier_wait(&s.query_full, query_parity);
    query_parity ^= 1;

    for (int n = group; n < count; n += 2, tile_parity ^= 1) {
      const int from = first_token + n * kMlaTileTokens;
      float x[16];
      const uint64_t k = operand<128>(cached, 1024), q = operand<128>(s.query, 1024);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        barrier_wait(&s.tile_full[group][half], tile_parity);
        wgmma_fence();
#pragma unroll
        for (int box = half == 0 ? 0 : kHalfBoxes; box < (half == 0 ? kHalfBoxes : kBoxes); ++box)
#pragma unroll
          for (int step = 0; step < 4; ++step)
            wgmma_64x32x16<false>(x, k + (box * kBoxBytes + step * 32) / 16,
                                  q + (box * kQueryBoxBytes + step * 32) / 16, box + step > 0);
        wgmma_commit();
      }
      wgmma_wait<0>();

      if (from + kMlaTileTokens > length + 1) {  // some token is past the first query's own
#pragma unroll
        for (int i = 0; i < 16; ++i) {
          const int row = first_row + column_of(i / 4 * 2 + i % 2);
          // Padding rows take the last query's token.
          const int visible = length + 1 + (a.T == 1 ? 0 : min(row / a.H, a.T - 1));
          if (from + warp * 16 + i / 2 % 2 * 8 + lane / 4 >= visible) x[i] = -INFINITY;
        }
      }
      float now[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        now[i] = fmaxf(x[i / 2 * 4 + i % 2], x[i / 2 * 4 + i % 2 + 2]);
#pragma unroll
        for (int offset = 4; offset < 32; offset *= 2)
          now[i] = fmaxf(now[i], __shfl_xor_sync(0xffffffffu, now[i], offset));
      }
      if (lane < 4)
#pragma unroll
        for (int i = 0; i < 8; ++i) s.most[group][warp][column_of(i)] = now[i];
      group_sync(group);  // all maxima are here, and all scores are taken: the last box may go
#pragma unroll
      for (int i = 0; i < 8; i += 2) {
        float2 top = {most[i], most[i + 1]};
#pragma unroll
        for (int w = 0; w < 4; ++w) {
          const float2 other = *reinterpret_cast<const float2*>(&s.most[group][w][column_of(i)]);
          top.x = fmaxf(top.x, other.x), top.y = fmaxf(top.y, other.y);
        }
        float rescale[2];
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const float next = c == 0 ? top.x : top.y, reference = finite(next) * a.scale;
          rescale[c] = exp2_of(most[i + c] * a.scale - reference);
          most[i + c] = next;
          float added = 0;
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            float& p = x[i / 2 * 4 + r * 2 + c];
            added += p = exp2_of(p * a.scale - reference);
          }
          sum[i + c] = sum[i + c] * rescale[c] + added;
        }
        if (!__all_sync(0xffffffffu, rescale[0] == 1.f && rescale[1] == 1.f)) {
#pragma unroll
          for (int box = 0; box < kValueBoxes; ++box)
#pragma unroll
            for (int r = 0; r < 2; ++r)
              o[box][i * 2 + r * 2] *= rescale[0], o[box][i * 2 + r * 2 + 1] *= rescale[1];
        }
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = warp * 16 + r * 8 + lane / 4;
#pragma unroll
        for (int j = 0; j < 4; ++j)
          *reinterpret_cast<uint32_t*>(probs + row * 64 + (j ^ row / 2 % 4) * 16 + lane % 4 * 4) =
              pack_bf16(x[j * 4 + r * 2], x[j * 4 + r * 2 + 1]);
      }
      // Rows that were never written: their P is 0, and 0 times whatever is there could be NaN.
      if (const int valid = length + a.T - from; valid < kMlaTileTokens)
        for (int i = threadIdx.x % kGroupThreads; i < (kMlaTileTokens - valid) * kValueBoxes * 8;
             i += kGroupThreads)
          *reinterpret_cast<uint4*>(cached + i / 8 % kValueBoxes * kBoxBytes +
                                    (valid + i / (kValueBoxes * 8)) * 128 + i % 8 * 16) =
              make_uint4(0, 0, 0, 0);
      fence_async();
      group_sync(group);  // P is whole
      const uint64_t p = operand<64>(probs, 512);
      wgmma_fence();
#pragma unroll
      for (int box = 0; box < kValueBoxes; ++box) {
#pragma unroll
        for (int step = 0; step < kMlaTileTokens / 16; ++step)
          wgmma_64x32x16<true>(o[box], k + (box * kBoxBytes + step * 16 * 128) / 16,
                               p + step * 16 * 64 / 16, 1);
        if (box == kHalfBoxes - 1) wgmma_commit();
      }
      wgmma_commit();
      const bool more = is_leader() && n + 2 < count;
      wgmma_wait<1>();
      group_sync(group);
      if (more) fetch(a, s, group, 0, sequence, from + 2 * kMlaTileTokens);
      wgmma_wait<0>();
      group_sync(group);
      if (more) fetch(a, s, group, 1, sequence, from + 2 * kMlaTileTokens);
    }

    // The two groups' results become one slot: each puts down half of its channels and adds the other half.
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], offset);
      if (lane < 4) {
        s.sums[group][warp][column_of(i)] = sum[i];
        if (warp == 0) s.reference[group][column_of(i)] = most[i];
      }
    }
    __syncthreads();  // and no tile is in use
    float weight[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float top = fmaxf(s.reference[0][column_of(i)], s.reference[1][column_of(i)]);
      weight[i] = exp2_of((most[i] - finite(top)) * a.scale);
    }
    float* const merged = reinterpret_cast<float*>(s.tile[0]);
    constexpr int kHalf = kValueBoxes / 2;
    if (count == 1) {
      if (group == 0) put<0, kValueBoxes, false>(merged, o, weight);
    } else {
      if (group == 0)
        put<kHalf, kHalf, false>(merged, o, weight);
      else
        put<0, kHalf, false>(merged, o, weight);
      __syncthreads();
      if (group == 0)
        put<0, kHalf, true>(merged, o, weight);
      else
        put<kHalf, kHalf, true>(merged, o, weight);
    }
    fence_async();
    __syncthreads();
    const int64_t slot = int64_t{blockIdx.y} * a.slots + blockIdx.x + sequence;
    if (threadIdx.x < kMlaTileRows) {
      const float* const m[2] = {s.reference[0], s.reference[1]};
      const float top = fmaxf(m[0][lane], m[1][lane]);
      float total = 0;
      for (int g = 0; g < 2; ++g)
        total += exp2_of((m[g][lane] - finite(top)) * a.scale) *
                 ((s.sums[g][0][lane] + s.sums[g][1][lane]) + (s.sums[g][2][lane] + s.sums[g][3][lane]));
      a.stats[slot * kMlaTileRows + lane] = make_float2(top * a.scale, total);
      if (first_row + lane < a.T * a.H)
        copy_out(a.values + (slot * kMlaTileRows + lane) * kMlaRank, merged + lane * kOutStride,
                 kMlaRank * 4);
      copies_out_done();
    }
    __syncthreads();  // the tiles are free again
  }
}

}  // namespace

void mla_split_cuda(const Mla<Gpu>& args, View<const Bf16, 4> query, const MlaPartials& partials,
                    const MlaSplitPlan& plan, cudaStream_t stream) {
  Split a;
  a.cache = tensor_map(args.cache.data, kMlaRow, args.cache.size[1], args.cache.size[0], args.cache.stride[1],
                       args.cache.stride[0], kMlaTileTokens, "the cache");
  a.query =
      tensor_map(query.data, kMlaRow, query.count() / kMlaRow, 1, kMlaRow, 0, kMlaTileRows, "the queries");
  a.lengths = args.lengths.data;
  a.values = partials.values.data, a.stats = reinterpret_cast<float2*>(partials.stats.data);
  a.B = static_cast<int>(args.q.size[0]), a.T = static_cast<int>(args.q.size[1]), a.H = args.heads;
  a.slots = plan.slots;
  a.scale = 1.4426950408889634f / sqrtf(static_cast<float>(args.nope_dim + args.rope_dim));

  const size_t shared_bytes = sizeof(Shared) + (a.B + 1) * sizeof(int);
  allow_shared(mla_split_kernel, shared_bytes, "mla_split");
  share_multiprocessor(mla_split_kernel, "mla_split");
  launch(mla_split_kernel, dim3(plan.groups, plan.row_tiles), kThreads, shared_bytes, stream, "mla_split", a);
}

}  // namespace kdabench
