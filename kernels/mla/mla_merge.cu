// MLA decode, second half: merges the partial results of the split kernel and applies w_uv.
//
//   Math     O[row] = sum_i 2^(m_i - m) O_i / sum_i 2^(m_i - m) l_i over the slots i of a sequence, m = max_i
//            m_i; out[h] = w_uv[h] O. O is rounded to bf16 before w_uv (fp32 accumulation), as a separate
//            GEMM would see it.
//   Work     A cluster of 4 blocks owns one head and up to 16 tokens. Block `part` merges latent columns [128
//            part, ..) and hands them to the other three through distributed shared memory; then it computes
//            32 of the 128 outputs by mma, tokens on the M side. Its 32 x 512 weights are in registers before
//            it waits.
//   Grid     (4, H, token groups) blocks of 512: 128 blocks for one token of 32 heads, so that the whole chip
//            merges.
//   Cost     64 KB a slot from L2 (8.65 MB at 132 slots), 2 H V R bytes of weights (4.2 MB for 32 heads).
//   Uses     sm_90a; 25 KB of shared memory and 4 bytes a slot and token.
//   Limits   (R, V) = (512, 128), B <= 1024.
//   Checked  tests/cuda/test_mla_cuda.cpp

#include <cooperative_groups.h>

#include "kernels/mla/mla_split.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int kParts = 4, kMostTokens = 16, kWarps = 16;
constexpr int kQuarter = kMlaRank / 4;        // channels that a warp multiplies
constexpr int kColumns = kMlaRank / kParts;   // merged by a block
constexpr int kOutputs = kMlaValue / kParts;  // computed by a block
constexpr int kStride = kMlaRank + 8;         // bf16

struct Merge {
  const bf16* kv_b;
  const float* values;
  const float2* stats;
  const int32_t* lengths;
  bf16* out;
  int64_t out_batch, out_token;
  int B, T, H, N, groups, slots, block_tokens;
};

__global__ void __cluster_dims__(kParts, 1, 1) __launch_bounds__(kWarps * 32)
    mla_merge_kernel(const __grid_constant__ Merge a) {
  __shared__ alignas(16) bf16 merged[kMostTokens][kStride];
  // Sums of the warps that share a token; later of the channel quarters.
  __shared__ alignas(16) float parts[kWarps][kColumns];
  __shared__ int first_slot[kMostTokens], slot_count[kMostTokens];
  extern __shared__ float dynamic[];
  float* const weights = dynamic;  // [kMostTokens][groups]
  int* const prefix = reinterpret_cast<int*>(dynamic + a.block_tokens * a.groups);

  auto cluster = cooperative_groups::this_cluster();
  const int part = blockIdx.x, h = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t first = int64_t{blockIdx.z} * a.block_tokens;
  const int tokens = static_cast<int>(min(int64_t{a.block_tokens}, int64_t{a.B} * a.T - first));

  // Warp (outputs, quarter): 8 outputs x 128 channels. A lane holds 8 adjacent channels of one output for
  // each 32: the mma sees the channels of a 32 in another order than memory, the same for both operands.
  const int outputs = warp % 4 * 8, quarter = warp / 4;
  uint4 w[kQuarter / 32];
  const int64_t w_row = int64_t{h} * (a.N + kMlaValue) + a.N + part * kOutputs + outputs + lane / 4;
  const bf16* const w_uv = a.kv_b + w_row * kMlaRank + quarter * kQuarter + lane % 4 * 8;
#pragma unroll
  for (int i = 0; i < kQuarter / 32; ++i) {
    const Bf16x8 loaded = load_stream(w_uv + i * 32);
    w[i] = *reinterpret_cast<const uint4*>(&loaded);
  }
  let_next_start();
  cluster.barrier_arrive();  // matched below: no block writes into a peer that has not started
  wait_for_previous();
  mla_tile_prefix(prefix, a.lengths, a.B, a.T);
  const MlaLine line(prefix[a.B], a.groups);

  // The weight of every slot, a warp a token.
  if (warp < tokens) {
    const int k = warp;
    const int64_t b = (first + k) / a.T, t = (first + k) % a.T;
    const int row = static_cast<int>(t) * a.H + h;
    const int from = line.owner(prefix[b]), count = line.owner(prefix[b + 1] - 1) - from + 1;
    const int64_t slot = int64_t{row / kMlaTileRows} * a.slots + from + b;
    const float2* const stats = a.stats + slot * kMlaTileRows + row % kMlaTileRows;
    float2 held[kMlaMostGroups / 32];
    float most = -INFINITY, sum = 0;
#pragma unroll
    for (int j = 0; j < kMlaMostGroups / 32; ++j)
      held[j] = lane + 32 * j < count ? stats[(lane + 32 * j) * kMlaTileRows] : make_float2(-INFINITY, 0.f);
#pragma unroll
    for (int j = 0; j < kMlaMostGroups / 32; ++j) most = fmaxf(most, held[j].x);
    most = warp_max(most);  // finite: every row sees the first token
#pragma unroll
    for (int j = 0; j < kMlaMostGroups / 32; ++j) {
      held[j].x = exp2f(held[j].x - most);
      sum += held[j].x * held[j].y;
    }
    sum = 1.f / warp_sum(sum);
#pragma unroll
    for (int j = 0; j < kMlaMostGroups / 32; ++j)
      if (lane + 32 * j < count) weights[k * a.groups + lane + 32 * j] = held[j].x * sum;
    if (lane == 0) first_slot[k] = from + static_cast<int>(b), slot_count[k] = count;
  }
  __syncthreads();
  cluster.barrier_wait();

  // Four columns a lane. `ways` warps share a token where there are fewer tokens than warps.
  const int ways = tokens == 1 ? 16 : tokens == 2 ? 8 : tokens <= 4 ? 4 : tokens <= 8 ? 2 : 1;
  const auto hand_out = [&](int k, float4 v) {
    const uint2 packed = make_uint2(pack_bf16(v.x, v.y), pack_bf16(v.z, v.w));
    bf16* const here = &merged[k][part * kColumns + lane * 4];
#pragma unroll
    for (int peer = 0; peer < kParts; ++peer)
      *reinterpret_cast<uint2*>(cluster.map_shared_rank(here, peer)) = packed;
  };
  if (const int k = warp / ways; k < tokens) {
    const int row = static_cast<int>((first + k) % a.T) * a.H + h;
    const int64_t slot = int64_t{row / kMlaTileRows} * a.slots + first_slot[k];
    const float* const values =
        a.values + (slot * kMlaTileRows + row % kMlaTileRows) * kMlaRank + part * kColumns + lane * 4;
    float4 sum = {0, 0, 0, 0};
#pragma unroll 8
    for (int i = warp % ways; i < slot_count[k]; i += ways) {
      const float4 v = __ldcs(reinterpret_cast<const float4*>(values + int64_t{i} * kMlaTileRows * kMlaRank));
      const float weight = weights[k * a.groups + i];
      sum.x += weight * v.x, sum.y += weight * v.y, sum.z += weight * v.z, sum.w += weight * v.w;
    }
    if (ways == 1)
      hand_out(k, sum);
    else
      *reinterpret_cast<float4*>(&parts[warp][lane * 4]) = sum;
  }
  if (ways > 1) {
    __syncthreads();
    if (warp < tokens) {
      float4 sum = {0, 0, 0, 0};
      for (int i = 0; i < ways; ++i) {
        const float4 v = *reinterpret_cast<const float4*>(&parts[warp * ways + i][lane * 4]);
        sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
      }
      hand_out(warp, sum);
    }
  }
  cluster.sync();

  // Rows of `merged` past the last token are whatever was there: an mma row only reaches its own output row.
  float sum[4] = {};
  const bf16* const x = &merged[lane / 4][quarter * kQuarter + lane % 4 * 8];
#pragma unroll
  for (int i = 0; i < kQuarter / 32; ++i) {
    const uint4 low = *reinterpret_cast<const uint4*>(x + i * 32);
    const uint4 high = *reinterpret_cast<const uint4*>(x + 8 * kStride + i * 32);
    mma_16x8x16(sum, {low.x, high.x, low.y, high.y}, {w[i].x, w[i].y});
    mma_16x8x16(sum, {low.z, high.z, low.w, high.w}, {w[i].z, w[i].w});
  }
  float4* const quarters = reinterpret_cast<float4*>(parts);  // free since cluster.sync
  quarters[warp * 32 + lane] = make_float4(sum[0], sum[1], sum[2], sum[3]);
  __syncthreads();
  if (quarter == 0) {
#pragma unroll
    for (int i = 1; i < 4; ++i) {
      const float4 other = quarters[(warp + 4 * i) * 32 + lane];
      sum[0] += other.x, sum[1] += other.y, sum[2] += other.z, sum[3] += other.w;
    }
    const uint32_t packed[2] = {pack_bf16(sum[0], sum[1]), pack_bf16(sum[2], sum[3])};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int k = lane / 4 + 8 * r;
      if (k >= tokens) continue;
      const int64_t b = (first + k) / a.T, t = (first + k) % a.T;
      const int column = h * kMlaValue + part * kOutputs + outputs + lane % 4 * 2;
      *reinterpret_cast<uint32_t*>(a.out + b * a.out_batch + t * a.out_token + column) = packed[r];
    }
  }
}

}  // namespace

void mla_merge_cuda(const Mla<Gpu>& args, const MlaPartials& partials, const MlaSplitPlan& plan,
                    cudaStream_t stream) {
  Merge a;
  a.kv_b = as_bf16(args.kv_b.data);
  a.values = partials.values.data, a.stats = reinterpret_cast<const float2*>(partials.stats.data);
  a.lengths = args.lengths.data, a.out = as_bf16(args.out.data);
  a.out_batch = args.out.stride[0], a.out_token = args.out.stride[1];
  a.B = static_cast<int>(args.q.size[0]), a.T = static_cast<int>(args.q.size[1]);
  a.H = args.heads, a.N = args.nope_dim;
  a.groups = plan.groups, a.slots = plan.slots;

  // Weights are read once for each token group: as many tokens a group as leave four blocks a multiprocessor.
  const int64_t tokens = int64_t{a.B} * a.T;
  a.block_tokens = static_cast<int>(
      std::clamp<int64_t>(tokens * a.H * kParts / (4 * multiprocessors()), 1, kMostTokens));
  const dim3 grid(kParts, a.H, static_cast<unsigned>((tokens + a.block_tokens - 1) / a.block_tokens));
  const size_t shared_bytes = (a.block_tokens * a.groups + a.B + 1) * sizeof(float);
  launch(mla_merge_kernel, grid, kWarps * 32, shared_bytes, stream, "mla_merge", a);
}

}  // namespace kdabench
