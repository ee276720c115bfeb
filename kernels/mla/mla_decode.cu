// MLA decode, absorbed form: every query row against the latent cache, split over the whole chip.
//
//   Math     kernels/mla/mla.h with q' from mla_prepare.cu: O[row] = sum_s softmax_s(scale q'[row] .
//            cache[s]) cache[s, :R]. Online softmax in fp32, base 2; P is rounded to bf16 for the second
//            product, and so are partial results: a rounding more on the way to O, 2.6e-3 instead of 2.1e-3 from
//            the truth (rel_l2), for half the bytes that go through the L2 twice.
//   Work     The cache tiles (64 tokens) of all sequences form one line; each block takes an equal stretch of
//            it, from the lengths on the device (MlaSplitPlan), through two places in shared memory. A block is
//            three groups of 4 warps: one multiplies and exponentiates the scores of every tile, two own one
//            half of the value channels each, so that the scores of a tile are found while the values of the one
//            before are summed. Both products are transposed, so that tokens and channels, of which there are
//            enough, fill the 64 rows of wgmma and the 32 queries are its columns: S^T = K Q^T and O^T += V^T
//            P^T, operands read from where the copy engine put them. A tile is 9 boxes of 64 tokens x 64
//            channels; the last one (k_pe) holds P^T once the scores are known. A group of values refills what
//            it has read. Exponents are taken relative to a reference that only moves when it must.
//   Order    What precedes wait_for_previous(): lengths, and tiles that end before the row that this call
//            appends. This kernel cannot start before every block of mla_absorb has passed its own wait (see
//            there), so whatever came before mla_absorb is complete, by induction over kernels that all wait;
//            and mla_absorb itself writes new rows and q' alone, which are read behind the wait. Only the first
//            tile is asked for before it, and the second when the queries are here: they would come behind both.
//            Within a block: a copy ends on tile_full, for which all who read it wait. Scores have read a box when
//            they arrive on probs_full, values when all of their group have met; then its leader fills it again
//            (the last one, which both groups read, also behind rope_free). Ordinary writes that wgmma reads, P^T,
//            zeroes and queries, are fenced by who wrote them, before probs_full or the group's barrier.
//   Grid     (groups, row tiles) blocks of 384, groups * row tiles <= multiprocessors: one block each.
//   Cost     2 (R + P) bytes and 2 T H (2 R + P) flops a cached token. At 4.3 TB/s a multiprocessor has a
//            tile every 4000 cycles; its products take 1700, 25 for each wgmma, which is what reading 3 KB of
//            shared memory takes. Partial results: 32 KB a block, written once, read once. Times, and what
//            they are made of: kernels/README.md.
//   Uses     sm_90a; 187 KB of shared memory, so one block a multiprocessor, and 104 registers a thread, so
//            that one of mla_absorb or mla_merge with 96 fits beside. Nothing is spilled (ptxas).
//   Limits   (R, P) = (512, 64), cache rows 16-byte aligned, B <= 1024. More than 32 rows (T H) cost one more
//            pass over the cache for each 32, at the same time, so that most of it hits L2.
//   Checked  tests/cuda/test_mla_cuda.cpp

#include "kernels/mla/mla_hopper.cuh"
#include "kernels/mla/mla_split.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int kGroupThreads = 128, kThreads = 3 * kGroupThreads;
constexpr int kRegisters = 104;  // a thread; leaves 96 for each of 256 threads of mla_absorb or mla_merge
constexpr int kChannels = 64, kBoxes = kMlaRow / kChannels;
constexpr int kHalves = 2, kHalfBoxes = kMlaRank / kChannels / kHalves;  // value channels of a group
constexpr int kHalfRank = kMlaRank / kHalves;
constexpr int kBoxBytes = kMlaTileTokens * kChannels * 2, kTileBytes = kBoxes * kBoxBytes;
constexpr int kQueryBoxBytes = kMlaTileRows * kChannels * 2, kQueryBytes = kBoxes * kQueryBoxBytes;

struct Split {
  CUtensorMap cache;
  const bf16* query;
  const int32_t* lengths;
  bf16* values;
  float2* stats;
  int B, T, H, slots;
  float scale;  // log2(e) / sqrt(N + P)
};

struct Shared {
  // [box][token][64 channels], swizzled. The last box takes P^T when its scores are known.
  alignas(1024) unsigned char tile[2][kTileBytes];
  alignas(1024) unsigned char query[kQueryBytes];  // [box][row][64 channels], swizzled
  float most[2][4][kMlaTileRows];                  // of a warp's tokens, in turns
  float sums[4][kMlaTileRows];
  float rescale[2][kMlaTileRows];
  int rescaled[2];  // whether the factors are other than 1
  uint64_t tile_full[2][3];  // boxes 0 to 3, 4 to 7, 8
  uint64_t probs_full[2], rope_free[2], first_query;
};

// What a block does: tiles [first, last) of the line, of which the first is of `sequence`.
struct Work {
  const int *prefix, *lengths;
  int first, last, sequence;
  __device__ int token(int tile, int of) const { return (tile - prefix[of]) * kMlaTileTokens; }
};

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
template <int Group>
__device__ void group_sync() {
  asm volatile("bar.sync %0, %1;" ::"n"(Group + 1), "n"(kGroupThreads) : "memory");
}

// How far, in powers of 2, a score may be above the reference: sums stay far below fp32's and bf16's 2^127.
constexpr float kGrowth = 32;

// 2 ulp (CUDA math manual), results below 2^-126 are 0.
__device__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// group_sync<0>, and whether any thread of the group says yes.
__device__ bool scores_any(bool yes) {
  int any;
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.s32 p, %1, 0;\nbarrier.cta.red.or.pred p, 1, %2, p;\n"
      "selp.s32 %0, 1, 0, p;\n}\n"
      : "=r"(any)
      : "r"(static_cast<int>(yes)), "n"(kGroupThreads)
      : "memory");
  return any != 0;
}

// A fragment's columns of this thread, 8 j + 2 (lane % 4) + c, are numbered 2 j + c here.
__device__ int column_of(int i) { return i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2; }

// By the group of the scores, thread by thread: a tensor copy would wait behind those of the tiles. Eight lanes take 128
// bytes of a row.
__device__ void fetch_query(const Split& a, Shared& s, int sequence) {
  const int lane = threadIdx.x % 8, rows = a.B * a.T * a.H;
  const int first = sequence * a.T * a.H + static_cast<int>(blockIdx.y) * kMlaTileRows;
#pragma unroll
  for (int at = 0; at < kMlaTileRows; at += kGroupThreads / 8) {
    const int row = at + static_cast<int>(threadIdx.x) / 8;
    const bool valid = first + row < rows;  // what is behind the last query is zero
    const bf16* const from = a.query + (valid ? int64_t{first + row} * kMlaRow : 0) + lane * 8;
    unsigned char* const to = s.query + row * 128 + (lane ^ row % 8) * 16;
#pragma unroll
    for (int box = 0; box < kBoxes; ++box) cp_async16(to + box * kQueryBoxBytes, from + box * kChannels, valid);
  }
  cp_async_commit();
}
__device__ void wait_for_query() {
  cp_async_wait<0>();
  fence_async_shared();
  group_sync<0>();
}

// Scores and softmax of all tiles: P^T, what the sums so far are to be multiplied with, and the statistics.
__device__ __forceinline__ void scores(const Split& a, Shared& s, const Work& work) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first_row = blockIdx.y * kMlaTileRows;
  wait_for_previous();
  fetch_query(a, s, work.sequence);
  uint32_t m = 0;
  int sequence = work.sequence;
  for (int tile = work.first; tile < work.last; ++sequence) {
    const int length = work.lengths[sequence], end = min(work.last, work.prefix[sequence + 1]);
    float reference[8], sum[8];  // of this thread's columns; sum is its share
#pragma unroll
    for (int i = 0; i < 8; ++i) reference[i] = sum[i] = 0;
    bool first = true;
    wait_for_query();
    if (threadIdx.x == 0 && sequence == work.sequence) barrier_arrive(&s.first_query);

#pragma unroll 1
    for (; tile < end; ++tile, ++m) {
      const int turn = m % 2, from = work.token(tile, sequence);
      unsigned char* const cached = s.tile[turn];
      float x[16];
      const uint64_t k = operand<128>(cached, 1024), q = operand<128>(s.query, 1024);
#pragma unroll
      for (int part = 0; part < 3; ++part) {
        barrier_wait(&s.tile_full[turn][part], m / 2 % 2);
        wgmma_fence();
#pragma unroll
        for (int box = part * kHalfBoxes; box < min(kBoxes, (part + 1) * kHalfBoxes); ++box)
#pragma unroll
          for (int step = 0; step < 4; ++step)
            wgmma_64x32x16<false>(x, k + (box * kBoxBytes + step * 32) / 16,
                                  q + (box * kQueryBoxBytes + step * 32) / 16, box + step > 0);
      }
      wgmma_commit();
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
      // Exponents are relative to a reference near the maximum, not to the maximum: it moves with the first tile, and
      // when a score is kGrowth above it.
      bool grows = first;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        x[i] = x[i] * a.scale - reference[i / 4 * 2 + i % 2];
        grows |= x[i] > kGrowth;
      }
      const bool rescaled = scores_any(grows);  // all scores are taken: the last box may go, and the queries
      if (threadIdx.x == 0) s.rescaled[turn] = rescaled;
      if (tile + 1 == end && end < work.last) fetch_query(a, s, sequence + 1);
      if (rescaled) {
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
          for (int i = 0; i < 8; i += 2)
            *reinterpret_cast<float2*>(&s.most[turn][warp][column_of(i)]) = make_float2(now[i], now[i + 1]);
        group_sync<0>();
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const int column = column_of(i);
          const float most = fmaxf(fmaxf(s.most[turn][0][column], s.most[turn][1][column]),
                                   fmaxf(s.most[turn][2][column], s.most[turn][3][column]));
          const float up = most == -INFINITY ? 0.f : first ? most : fmaxf(most, 0.f);
          const float rescale = first ? 1.f : exp2_of(-up);
          if (threadIdx.x < 4) s.rescale[turn][column] = rescale;
          reference[i] += up;
          sum[i] *= rescale;
#pragma unroll
          for (int r = 0; r < 2; ++r) x[i / 2 * 4 + r * 2 + i % 2] -= up;
        }
        first = false;
      }
#pragma unroll
      for (int i = 0; i < 16; ++i) sum[i / 4 * 2 + i % 2] += x[i] = exp2_of(x[i]);
      // [token][32 rows], swizzled over 512 bytes
      unsigned char* const probs = cached + (kBoxes - 1) * kBoxBytes;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = warp * 16 + r * 8 + lane / 4;
#pragma unroll
        for (int j = 0; j < 4; ++j)
          *reinterpret_cast<uint32_t*>(probs + row * 64 + (j ^ row / 2 % 4) * 16 + lane % 4 * 4) =
              pack_bf16(x[j * 4 + r * 2], x[j * 4 + r * 2 + 1]);
      }
      fence_async_shared();
      __syncwarp();
      if (lane == 0) barrier_arrive(&s.probs_full[turn]);
    }

#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], offset);
      if (lane < 4) s.sums[warp][column_of(i)] = sum[i];
    }
    group_sync<0>();
    if (threadIdx.x < 4) {
      const int64_t slot = int64_t{blockIdx.y} * a.slots + blockIdx.x + sequence;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int row = column_of(i);
        const float total = (s.sums[0][row] + s.sums[1][row]) + (s.sums[2][row] + s.sums[3][row]);
        // Nothing of these tiles is visible to the row when the sum is 0.
        a.stats[slot * kMlaTileRows + row] = make_float2(total > 0 ? reference[i] : -INFINITY, total);
      }
    }
  }
}

// O^T of one half of the channels; and its leader keeps the tiles coming.
__device__ __forceinline__ void values(const Split& a, Shared& s, const Work& work, int half) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const bool leader = threadIdx.x % kGroupThreads == 0;
  const uint64_t policy = read_policy(gridDim.y == 1);
  const int first_box = half * kHalfBoxes;

  int ahead = work.sequence;  // of the tile that is fetched next
  const auto fetch = [&](int tile) {
    while (tile >= work.prefix[ahead + 1]) ++ahead;
    const int turn = (tile - work.first) % 2, token = work.token(tile, ahead);
    barrier_expect(&s.tile_full[turn][half], kHalfBoxes * kBoxBytes);
#pragma unroll 1
    for (int box = first_box; box < first_box + kHalfBoxes; ++box)
      copy_box(s.tile[turn] + box * kBoxBytes, a.cache, box * kChannels, token, ahead, &s.tile_full[turn][half],
               policy);
    if (half == 0) return;
    if (const int m = tile - work.first; m >= 2) barrier_wait(&s.rope_free[turn], (m / 2 - 1) % 2);
    barrier_expect(&s.tile_full[turn][2], kBoxBytes);
    copy_box(s.tile[turn] + (kBoxes - 1) * kBoxBytes, a.cache, kMlaRank, token, ahead, &s.tile_full[turn][2],
             policy);
  };
  // This group has read `tile`; its place is free.
  const auto refill = [&](int tile) {
    if (tile + 2 >= work.last) return;
    if (half == 0) barrier_arrive(&s.rope_free[(tile - work.first) % 2]);
    fetch(tile + 2);
  };

  // The first tile, unless it has new rows, before the wait; the second one behind the queries, which it would delay.
  int fetched = work.first;
  if (leader && work.token(work.first + 1, work.sequence) <= work.lengths[work.sequence]) fetch(fetched++);
  wait_for_previous();
  if (leader) {
    fence_async();  // new rows came by ordinary stores
    if (fetched == work.first) fetch(fetched++);
    barrier_wait(&s.first_query, 0);
    if (fetched < work.last) fetch(fetched);
  }

  int sequence = work.sequence;
  for (int tile = work.first; tile < work.last; ++sequence) {
    const int end = min(work.last, work.prefix[sequence + 1]), begin = tile;
    float o[kHalfBoxes][16] = {};
#pragma unroll 1
    for (; tile < end; ++tile) {
      const uint32_t m = tile - work.first, turn = m % 2;
      const uint64_t v = operand<128>(s.tile[turn] + first_box * kBoxBytes, 1024);
      const uint64_t p = operand<64>(s.tile[turn] + (kBoxes - 1) * kBoxBytes, 512);
      barrier_wait(&s.tile_full[turn][half], m / 2 % 2);
      barrier_wait(&s.probs_full[turn], m / 2 % 2);
      if (tile > begin && s.rescaled[turn]) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float2 rescale = *reinterpret_cast<const float2*>(&s.rescale[turn][column_of(2 * j)]);
#pragma unroll
          for (int box = 0; box < kHalfBoxes; ++box)
#pragma unroll
            for (int r = 0; r < 2; ++r)
              o[box][j * 4 + r * 2] *= rescale.x, o[box][j * 4 + r * 2 + 1] *= rescale.y;
        }
      }
      // Rows that were never written: their P is 0, and 0 times whatever is there could be NaN.
      if (const int valid = work.lengths[sequence] + a.T - work.token(tile, sequence); valid < kMlaTileTokens) {
        unsigned char* const rows = s.tile[turn] + (first_box + lane / 8) * kBoxBytes + lane % 8 * 16;
#pragma unroll 4
        for (int row = valid + warp; row < kMlaTileTokens; row += kGroupThreads / 32)
          *reinterpret_cast<uint4*>(rows + row * 128) = make_uint4(0, 0, 0, 0);
        fence_async_shared();
        half == 0 ? group_sync<1>() : group_sync<2>();
      }
      wgmma_fence();
#pragma unroll
      for (int box = 0; box < kHalfBoxes; ++box)
#pragma unroll
        for (int step = 0; step < kMlaTileTokens / 16; ++step)
          wgmma_64x32x16<true>(o[box], v + (box * kBoxBytes + step * 16 * 128) / 16, p + step * 16 * 64 / 16, 1);
      wgmma_commit();
      wgmma_wait<0>();
      half == 0 ? group_sync<1>() : group_sync<2>();
      if (leader && tile + 1 < end) refill(tile);
    }

    if (leader) refill(end - 1);
    // Straight from the registers: a thread has 8 channels of a query, 8 lanes 128 bytes in MlaPartials' order.
    const int64_t slot = int64_t{blockIdx.y} * a.slots + blockIdx.x + sequence;
    bf16* const to = a.values + (slot * kMlaTileRows + column_of(0)) * kMlaRank + half * kHalfRank +
                     (warp * 8 + lane / 4) * 8;
    const int rows = a.T * a.H - static_cast<int>(blockIdx.y) * kMlaTileRows;
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const auto pair = [&](int box) { return pack_bf16(o[box][j * 4 + c], o[box][j * 4 + 2 + c]); };
        if (column_of(2 * j + c) < rows)
          __stcg(reinterpret_cast<uint4*>(to + (8 * j + c) * kMlaRank), make_uint4(pair(0), pair(1), pair(2), pair(3)));
      }
  }
}

__global__ void __maxnreg__(kRegisters) mla_split_kernel(const __grid_constant__ Split a) {
  extern __shared__ __align__(1024) unsigned char memory[];
  Shared& s = *reinterpret_cast<Shared*>(memory);
  int* const prefix = reinterpret_cast<int*>(memory + sizeof(Shared));
  int* const lengths = prefix + a.B + 1;

  let_next_start();
  if (threadIdx.x == 0) {
    for (int turn = 0; turn < 2; ++turn) {
      for (int part = 0; part < 3; ++part) barrier_init(&s.tile_full[turn][part], 1);
      barrier_init(&s.probs_full[turn], 4);
      barrier_init(&s.rope_free[turn], 1);
    }
    barrier_init(&s.first_query, 1);
    fence_async();
    prefetch_map(a.cache);
  }
  mla_tile_prefix(prefix, lengths, a.lengths, a.B, a.T);

  const MlaLine line(prefix[a.B], gridDim.x);
  if (blockIdx.x >= line.groups) return wait_for_previous();
  Work work;
  work.prefix = prefix, work.lengths = lengths;
  work.first = line.first(blockIdx.x), work.last = line.first(blockIdx.x + 1);
  work.sequence = mla_sequence_of(prefix, a.B, work.first);
  if (const int group = threadIdx.x / kGroupThreads; group == 0)
    scores(a, s, work);
  else
    values(a, s, work, group - 1);
}

}  // namespace

void mla_split_cuda(const MlaLatent<Gpu>& args, const MlaPartials& partials, const MlaSplitPlan& plan,
                    cudaStream_t stream) {
  Split a;
  a.cache = tensor_map(args.cache.data, kMlaRow, args.cache.size[1], args.cache.size[0], args.cache.stride[1],
                       args.cache.stride[0], kMlaTileTokens, "the cache");
  a.query = as_bf16(args.query.data);
  a.lengths = args.lengths.data;
  a.values = as_bf16(partials.values.data), a.stats = reinterpret_cast<float2*>(partials.stats.data);
  a.B = static_cast<int>(args.query.size[0]), a.T = static_cast<int>(args.query.size[1]);
  a.H = static_cast<int>(args.query.size[2]);
  a.slots = plan.slots;
  a.scale = 1.4426950408889634f * args.scale;

  const size_t shared_bytes = sizeof(Shared) + (2 * a.B + 1) * sizeof(int);
  allow_shared(mla_split_kernel, shared_bytes, "mla_split");
  share_multiprocessor(mla_split_kernel, "mla_split");
  launch(mla_split_kernel, dim3(plan.groups, plan.row_tiles), kThreads, shared_bytes, stream, "mla_split", a);
}

}  // namespace kdabench
