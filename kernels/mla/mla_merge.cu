// MLA decode, second half: merges the partial results of the split kernel and applies w_uv.
//
//   Math     O[row] = sum_i 2^(m_i - m) O_i / sum_i 2^(m_i - m) l_i over the slots i of a sequence, m = max_i
//            m_i; out[h] = w_uv[h] O. O is rounded to bf16 before w_uv (fp32 accumulation), as a separate
//            GEMM would see it.
//   Work     A cluster of 4 blocks owns one head and up to 8 tokens. Block `part` merges a quarter of the latent
//            channels, as they lie in MlaPartials, and hands them to the other three through distributed shared
//            memory; then it computes 32 of the 128 outputs by mma, tokens on the M side. Its 32 x 512 weights,
//            and which slots are whose, are in shared memory before it waits. A warp merges its own slots by its
//            own maximum, the first values on their way before the maximum is known; the warps meet once.
//   Grid     (4, H, token groups) blocks of 256: 128 blocks for one token of 32 heads, so that the whole chip
//            merges.
//   Cost     32 KB a slot from L2 (4.3 MB at 132 slots), 2 H V R bytes of weights (4.2 MB for 32 heads).
//            Without w_uv (mla_latent_cuda) there is no cluster, and a block writes what it merged.
//   Uses     sm_90a; 40 KB of shared memory and 96 registers a thread, so that a block starts beside the split
//            kernel's; 56 where there are many blocks. Nothing is spilled (ptxas).
//   Limits   (R, V) = (512, 128), B <= 1024. Reads lengths before it waits: see Order in mla_decode.cu.
//   Checked  tests/cuda/test_mla_cuda.cpp

#include <cooperative_groups.h>

#include "kernels/mla/mla_split.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int kParts = 4, kMostTokens = 8, kWarps = 8;
constexpr int kColumns = kMlaRank / kParts;   // merged by a block
constexpr int kOutputs = kMlaValue / kParts;  // computed by a block
constexpr int kHalf = kMlaRank / 2;           // channels that a warp multiplies
constexpr int kStride = kMlaRank + 32;        // bf16; 4 chunks of two rows fall on different banks

// Few tokens: a block a multiprocessor at most, so each has many slots of a warp in flight, in the registers that
// mla_decode.cu leaves. Many: four blocks a multiprocessor.
template <bool kFew>
constexpr int kAhead = kFew ? 9 : 4;
template <bool kFew>
constexpr int kRegisters = kFew ? 96 : 56;
constexpr int kHeld = 8;                                        // channels of a lane: 16 bytes
constexpr int64_t kSlotStep = kMlaTileRows * kMlaRank / kHeld;  // uint4

struct Merge {
  const bf16* kv_b;  // of a merge with w_uv
  const bf16* values;
  const float2* stats;
  const int32_t* lengths;
  bf16* out;
  int64_t out_batch, out_token;
  int B, T, H, N, groups, slots, block_tokens;
};

template <bool kProject, bool kFew>
__global__ void __cluster_dims__(kProject ? kParts : 1, 1, 1) __maxnreg__(kRegisters<kFew>)
    mla_merge_kernel(const __grid_constant__ Merge a) {
  // What the warps that share a token merged; later half sums of the outputs.
  __shared__ alignas(16) float parts[kWarps][kColumns];
  __shared__ float2 part_stats[kWarps];
  __shared__ int first_slot[kMostTokens], slot_count[kMostTokens];
  extern __shared__ __align__(16) unsigned char memory[];
  bf16(*const weights)[kStride] = reinterpret_cast<bf16(*)[kStride]>(memory);  // [kOutputs]
  bf16(*const merged)[kStride] = weights + kOutputs;                           // [block_tokens]
  int* const prefix = kProject ? reinterpret_cast<int*>(merged + a.block_tokens) : reinterpret_cast<int*>(memory);

  auto cluster = cooperative_groups::this_cluster();
  const int part = blockIdx.x, h = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t first = int64_t{blockIdx.z} * a.block_tokens;
  const int tokens = static_cast<int>(min(int64_t{a.block_tokens}, int64_t{a.B} * a.T - first));

  if constexpr (kProject) {
    const bf16* const w_uv =
        a.kv_b + (int64_t{h} * (a.N + kMlaValue) + a.N + part * kOutputs) * kMlaRank + lane * 8;
#pragma unroll
    for (int i = 0; i < kOutputs / kWarps * 2; ++i) {
      const int row = i / 2 * kWarps + warp, at = i % 2 * kHalf;
      cp_async16(&weights[row][at + lane * 8], w_uv + row * kMlaRank + at);
    }
    cp_async_commit();
    cluster.barrier_arrive();  // matched below: no block writes into a peer that has not started
  }
  let_next_start();
  mla_tile_prefix(prefix, nullptr, a.lengths, a.B, a.T);
  if (static_cast<int>(threadIdx.x) < tokens) {
    const MlaLine line(prefix[a.B], a.groups);
    const int64_t b = (first + threadIdx.x) / a.T;
    const int from = line.owner(prefix[b]);
    first_slot[threadIdx.x] = from + static_cast<int>(b);
    slot_count[threadIdx.x] = line.owner(prefix[b + 1] - 1) - from + 1;
  }
  __syncthreads();
  wait_for_previous();

  // `ways` warps share a token where there are fewer tokens than warps; a half of a warp takes every other slot of its.
  const int ways = tokens == 1 ? 8 : tokens == 2 ? 4 : tokens <= 4 ? 2 : 1;
  float most = -INFINITY, sum = 0;
  float merge[kHeld] = {};
  const int side = lane / 16, place = lane % 16;
  if (const int k = warp / ways; k < tokens) {
    const int row = static_cast<int>((first + k) % a.T) * a.H + h, count = slot_count[k];
    const int64_t at =
        (int64_t{row / kMlaTileRows} * a.slots + first_slot[k]) * kMlaTileRows + row % kMlaTileRows;
    const float2* const stats = a.stats + at;
    const uint4* next = reinterpret_cast<const uint4*>(a.values + at * kMlaRank + part * kColumns) + place +
                        (warp % ways + side * ways) * kSlotStep;
    const int step = 2 * ways * static_cast<int>(kSlotStep);
    for (int begin = warp % ways; begin < count; begin += 32 * ways) {  // 32 slots a round, one a lane
      const int here = min(32, (count - begin + ways - 1) / ways);
      constexpr int kNow = kAhead<kFew>;
      uint4 v[kNow];
#pragma unroll
      for (int j = 0; j < kNow; ++j) {
        v[j] = make_uint4(0, 0, 0, 0);
        if (2 * j + side < here) v[j] = __ldcs(next), next += step;
      }
      const float2 stat =
          lane < here ? stats[(begin + lane * ways) * kMlaTileRows] : make_float2(-INFINITY, 0.f);
      const float now = fmaxf(most, warp_max(stat.x));
      const float reference = now == -INFINITY ? 0.f : now;  // a query may see nothing of these slots
      const float rescale = exp2f(most - reference), weight = exp2f(stat.x - reference);
      most = now;
      sum = sum * rescale + warp_sum(weight * stat.y);
#pragma unroll
      for (int i = 0; i < kHeld; ++i) merge[i] *= rescale;
      for (int j = 0; j < here; j += 2 * kNow) {
#pragma unroll
        for (int i = 0; i < kNow; ++i) {
          const float w = __shfl_sync(0xffffffffu, weight, (j + 2 * i + side) % 32);  // 0 from `here` on
          const uint32_t pairs[kHeld / 2] = {v[i].x, v[i].y, v[i].z, v[i].w};
#pragma unroll
          for (int k = 0; k < kHeld / 2; ++k) {
            merge[2 * k] += w * __uint_as_float(pairs[k] << 16);
            merge[2 * k + 1] += w * __uint_as_float(pairs[k] & 0xffff0000u);
          }
          if (j + 2 * (kNow + i) + side < here) v[i] = __ldcs(next), next += step;
        }
      }
    }
  }
  // From MlaPartials' order to [box][32 channels], which are [2 warps][2 r][8 g]: a half of the warp stores two boxes.
#pragma unroll
  for (int i = 0; i < kHeld; ++i) merge[i] += __shfl_xor_sync(0xffffffffu, merge[i], 16);
  float* const boxes = &parts[warp][side * 64 + place / 8 * 16 + place % 8];
  boxes[0] = side ? merge[4] : merge[0], boxes[8] = side ? merge[5] : merge[1];
  boxes[32] = side ? merge[6] : merge[2], boxes[40] = side ? merge[7] : merge[3];
  if (lane == 0) part_stats[warp] = make_float2(most, sum);
  if constexpr (kProject) cluster.barrier_wait();
  __syncthreads();
  if (warp < tokens) {
    const float2 stat = lane < ways ? part_stats[warp * ways + lane] : make_float2(-INFINITY, 0.f);
    const float weight = exp2f(stat.x - warp_max(stat.x));  // the maximum is finite: every query sees the first token
    const float total = 1.f / warp_sum(weight * stat.y);
    float4 v = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < kWarps; ++i) {
      const float w = __shfl_sync(0xffffffffu, weight, i);
      if (i >= ways) continue;
      const float4 x = *reinterpret_cast<const float4*>(&parts[warp * ways + i][lane * 4]);
      v.x += w * x.x, v.y += w * x.y, v.z += w * x.z, v.w += w * x.w;
    }
    const int channel = part / 2 * kHalf + lane / 8 * 64 + part % 2 * 32 + lane % 8 * 4;
    const uint2 packed = make_uint2(pack_bf16(v.x * total, v.y * total), pack_bf16(v.z * total, v.w * total));
    if constexpr (!kProject) {
      bf16* const to = a.out + (first + warp) * a.out_token + h * kMlaRank + channel;
      *reinterpret_cast<uint2*>(to) = packed;
      return;
    }
    bf16* const here = &merged[warp][channel];
#pragma unroll
    for (int peer = 0; peer < kParts; ++peer)
      *reinterpret_cast<uint2*>(cluster.map_shared_rank(here, peer)) = packed;
  }
  if constexpr (!kProject) return;
  cp_async_wait<0>();
  cluster.sync();

  // Warp (outputs, half): 8 outputs x 256 channels. A lane takes 8 adjacent channels for each 32: the mma
  // sees the channels of a 32 in another order than memory, the same for both operands. Rows past the last
  // token repeat it; an mma row only reaches its own output row.
  const int outputs = warp % 4 * 8, half = warp / 4;
  float y[4] = {};
  const bf16* const x = &merged[min(lane / 4, tokens - 1)][half * kHalf + lane % 4 * 8];
  const bf16* const w = &weights[outputs + lane / 4][half * kHalf + lane % 4 * 8];
#pragma unroll
  for (int i = 0; i < kHalf / 32; ++i) {
    const uint4 left = *reinterpret_cast<const uint4*>(x + i * 32);
    const uint4 right = *reinterpret_cast<const uint4*>(w + i * 32);
    mma_16x8x16(y, {left.x, 0, left.y, 0}, {right.x, right.y});
    mma_16x8x16(y, {left.z, 0, left.w, 0}, {right.z, right.w});
  }
  float2* const halves = reinterpret_cast<float2*>(parts);  // free since cluster.sync
  if (half == 1) halves[warp % 4 * 32 + lane] = make_float2(y[0], y[1]);
  __syncthreads();
  if (const int k = lane / 4; half == 0 && k < tokens) {
    const float2 other = halves[warp * 32 + lane];
    const int64_t b = (first + k) / a.T, t = (first + k) % a.T;
    const int column = h * kMlaValue + part * kOutputs + outputs + lane % 4 * 2;
    *reinterpret_cast<uint32_t*>(a.out + b * a.out_batch + t * a.out_token + column) =
        pack_bf16(y[0] + other.x, y[1] + other.y);
  }
}

template <bool kProject>
void launch_merge(Merge a, const MlaLatent<Gpu>& args, const MlaPartials& partials, const MlaSplitPlan& plan,
                  cudaStream_t stream) {
  a.values = as_bf16(partials.values.data), a.stats = reinterpret_cast<const float2*>(partials.stats.data);
  a.lengths = args.lengths.data;
  a.B = static_cast<int>(args.query.size[0]), a.T = static_cast<int>(args.query.size[1]);
  a.H = static_cast<int>(args.query.size[2]);
  a.groups = plan.groups, a.slots = plan.slots;

  // Weights are read once for each token group: as few tokens a group as fit four blocks a multiprocessor.
  const int64_t tokens = int64_t{a.B} * a.T, at_once = 4 * multiprocessors();
  a.block_tokens =
      static_cast<int>(std::clamp<int64_t>((tokens * a.H * kParts + at_once - 1) / at_once, 1, kMostTokens));
  const dim3 grid(kParts, a.H, static_cast<unsigned>((tokens + a.block_tokens - 1) / a.block_tokens));
  const size_t product_bytes = kProject ? (kOutputs + a.block_tokens) * kStride * sizeof(bf16) : 0;
  const size_t shared_bytes = product_bytes + (a.B + 1) * sizeof(int);
  const bool few = static_cast<int64_t>(grid.x) * grid.y * grid.z <= multiprocessors();
  const auto kernel = few ? mla_merge_kernel<kProject, true> : mla_merge_kernel<kProject, false>;
  allow_shared(kernel, shared_bytes, "mla_merge");
  share_multiprocessor(kernel, "mla_merge");
  launch(kernel, grid, kWarps * 32, shared_bytes, stream, "mla_merge", a);
}

}  // namespace

void mla_merge_cuda(const MlaLatent<Gpu>& args, const MlaPartials& partials, const MlaSplitPlan& plan,
                    cudaStream_t stream) {
  Merge a = {};
  a.out = as_bf16(args.out.data), a.out_batch = args.out.stride[0], a.out_token = args.out.stride[1];
  launch_merge<false>(a, args, partials, plan, stream);
}

void mla_merge_project_cuda(const MlaLatent<Gpu>& args, View<const Bf16, 2> kv_b, View<Bf16, 3> out,
                            const MlaPartials& partials, const MlaSplitPlan& plan, cudaStream_t stream) {
  Merge a = {};
  a.kv_b = as_bf16(kv_b.data), a.N = kMlaNope;
  a.out = as_bf16(out.data), a.out_batch = out.stride[0], a.out_token = out.stride[1];
  launch_merge<true>(a, args, partials, plan, stream);
}

}  // namespace kdabench
