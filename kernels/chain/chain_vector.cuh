#pragma once
// The vector of a phase: brought to shared memory, normalised on the way where that is asked for, and multiplied.

#include "kernels/base/device.cuh"
#include "kernels/chain/chain_parts.h"

namespace kdabench::device {

constexpr int kNormPacks = (kChainNormWidth + 4 * kChainThreads - 1) / (4 * kChainThreads);

// x <- the phase's vector as bf16, in the order in which Dot wants it: of every four words the middle two change
// places. Of a norm, `kept` <- the new residual, for block 0 to write. What other blocks have written in this launch is
// read from the L2.
__device__ void stage(const ChainPhase& p, bf16* x, float* kept, float* partial) {
  if (p.input == ChainInput::kGlobal) {
    const int chunks = p.columns / 8;
    const int start = static_cast<int>(blockIdx.x * 61u % static_cast<unsigned>(chunks));  // see stage_rows
    for (int c = threadIdx.x; c < chunks; c += kChainThreads) {
      const int at = c + start < chunks ? c + start : c + start - chunks;
      const uint4 v = __ldcg(reinterpret_cast<const uint4*>(p.x) + at);
      reinterpret_cast<uint4*>(x)[at] = make_uint4(v.x, v.z, v.y, v.w);
    }
    return;
  }
  float4 v[kNormPacks];
  uint2 weight[kNormPacks], delta[kNormPacks];
#pragma unroll
  for (int j = 0; j < kNormPacks; ++j) {
    const int at = j * kChainThreads + threadIdx.x;
    v[j] = make_float4(0, 0, 0, 0), weight[j] = delta[j] = make_uint2(0, 0);
    if (4 * at >= p.columns) continue;
    v[j] = __ldcg(reinterpret_cast<const float4*>(p.residual) + at);
    weight[j] = __ldg(reinterpret_cast<const uint2*>(p.norm_weight) + at);
    if (p.delta) delta[j] = __ldcg(reinterpret_cast<const uint2*>(p.delta) + at);
  }
  const auto low = [](uint32_t pair) { return __uint_as_float(pair << 16); };
  const auto high = [](uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); };
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kNormPacks; ++j) {
    v[j].x += low(delta[j].x), v[j].y += high(delta[j].x), v[j].z += low(delta[j].y), v[j].w += high(delta[j].y);
    sum += v[j].x * v[j].x + v[j].y * v[j].y + v[j].z * v[j].z + v[j].w * v[j].w;
  }
  const float factor = 1.f / sqrtf(block_sum(sum, partial) / p.columns + p.eps);
#pragma unroll
  for (int j = 0; j < kNormPacks; ++j) {
    const int at = j * kChainThreads + threadIdx.x;
    if (4 * at >= p.columns) continue;
    const uint2 out =
        make_uint2(pack_bf16(v[j].x * (factor * low(weight[j].x)), v[j].y * (factor * high(weight[j].x))),
                   pack_bf16(v[j].z * (factor * low(weight[j].y)), v[j].w * (factor * high(weight[j].y))));
    uint32_t* const words = reinterpret_cast<uint32_t*>(x) + at / 2 * 4 + at % 2;
    words[0] = out.x, words[2] = out.y;
    if (blockIdx.x == 0) {
      reinterpret_cast<uint2*>(p.norm_out)[at] = out;
      reinterpret_cast<float4*>(kept)[at] = v[j];
    }
  }
}

// What a lane has of up to 256 * kSteps numbers in shared memory: of every 256, the 8 from 8 * lane on. From `columns`
// on, a multiple of 8, there are zeros.
template <int kSteps>
struct Slice {
  uint4 word[kSteps];
  __device__ void load(const bf16* from, int columns) {
    from += threadIdx.x % 32 * 8, columns -= static_cast<int>(threadIdx.x % 32 * 8);
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
      word[i] = 256 * i < columns ? *reinterpret_cast<const uint4*>(from + 256 * i) : make_uint4(0, 0, 0, 0);
  }
};

// The product of a row in shared memory and the vector. A row's four words w0 .. w3 of a lane are an A operand of
// m16n8k16 as they come: w0, w2 in row g, w1, w3 in row g + 8. With the vector's words v0, v2 on the N side, entry
// (g, g) of the result is what lanes 4 g .. 4 g + 3 have of w0 v0 + w2 v2, and with v1, v3 entry (g + 8, g) is the
// rest. The other entries are not used: the tensor cores have nothing else to do, and a step of 512 bytes costs 3
// instructions instead of 26. Even and odd steps are summed apart, so that half as many products wait for each other.
class Dot {
 public:
  template <int kSteps>
  __device__ void add(const bf16* row, int columns, const Slice<kSteps>& vector) {
    row += threadIdx.x % 32 * 8, columns -= static_cast<int>(threadIdx.x % 32 * 8);
    constexpr int kAtOnce = 5;
#pragma unroll
    for (int first = 0; first < kSteps; first += kAtOnce) {
      uint4 w[kAtOnce];
#pragma unroll
      for (int i = first; i < min(first + kAtOnce, kSteps); ++i)
        w[i - first] = 256 * i < columns ? *reinterpret_cast<const uint4*>(row + 256 * i) : make_uint4(0, 0, 0, 0);
#pragma unroll
      for (int i = first; i < min(first + kAtOnce, kSteps); ++i) step(i % 2, w[i - first], vector.word[i]);
    }
  }
  // In lane 0. The diagonal lies in lanes 0, 4, 9, 13, 18, 22, 27 and 31, which three exchanges add up.
  __device__ float total() const {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 2; ++i)
      sum += threadIdx.x / 4 % 2 ? low_[i][1] + high_[i][3] : low_[i][0] + high_[i][2];
#pragma unroll
    for (const int other : {4, 9, 18}) sum += __shfl_xor_sync(0xffffffffu, sum, other);
    return sum;
  }

 private:
  __device__ void step(int odd, const uint4& w, const uint4& v) {
    const uint32_t a[4] = {w.x, w.y, w.z, w.w}, low[2] = {v.x, v.y}, high[2] = {v.z, v.w};
    mma_16x8x16(low_[odd], a, low);
    mma_16x8x16(high_[odd], a, high);
  }
  float low_[2][4] = {}, high_[2][4] = {};
};

}  // namespace kdabench::device
