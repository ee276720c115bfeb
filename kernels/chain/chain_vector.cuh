#pragma once
// The vector of a phase: brought to shared memory, normalised on the way where that is asked for, and multiplied.

#include "kernels/base/device.cuh"
#include "kernels/chain/chain_parts.h"

namespace kdabench::device {

constexpr int kNormPacks = (kChainNormWidth + 4 * kChainThreads - 1) / (4 * kChainThreads);

// x <- the phase's vector as bf16; of a norm, `kept` <- the new residual, for block 0 to write. What other blocks have
// written in this launch is read from the L2.
__device__ void stage(const ChainPhase& p, bf16* x, float* kept, float* partial) {
  if (p.input == ChainInput::kGlobal) {
    const int chunks = p.columns / 8;
    const int start = static_cast<int>(blockIdx.x * 61u % static_cast<unsigned>(chunks));  // see stage_rows
    for (int c = threadIdx.x; c < chunks; c += kChainThreads) {
      const int at = c + start < chunks ? c + start : c + start - chunks;
      reinterpret_cast<uint4*>(x)[at] = __ldcg(reinterpret_cast<const uint4*>(p.x) + at);
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
    reinterpret_cast<uint2*>(x)[at] = out;
    if (blockIdx.x == 0) {
      reinterpret_cast<uint2*>(p.norm_out)[at] = out;
      reinterpret_cast<float4*>(kept)[at] = v[j];
    }
  }
}

// The products of one vector with one or two rows of `columns` numbers in shared memory, in every lane. A row is read
// as 32 lanes of 8 numbers; in m16n8k16, with the vector read the same way on the N side, entry (g, g) of the result is
// what lanes 4 g .. 4 g + 3 would have summed, and (g + 8, g) the same of a second row. The rest of the result is not
// used: the tensor cores have nothing else to do, and a step of 512 bytes costs 4 instructions instead of 26.
template <int Rows>
struct Dots {
  float acc[2][4] = {};

  __device__ void step(const uint4& low, const uint4& high, const uint4& x) {
    const uint32_t a0[4] = {low.x, high.x, low.y, high.y}, a1[4] = {low.z, high.z, low.w, high.w};
    const uint32_t b0[2] = {x.x, x.y}, b1[2] = {x.z, x.w};
    mma_16x8x16(acc[0], a0, b0);
    mma_16x8x16(acc[1], a1, b1);
  }
  __device__ void add(const bf16* w, int stride, const bf16* x, int columns) {
    constexpr int kAtOnce = 4;
    const int lane = threadIdx.x % 32;
    const auto load = [](const bf16* p) { return *reinterpret_cast<const uint4*>(p); };
    const uint4 zero = make_uint4(0, 0, 0, 0);
    w += lane * 8, x += lane * 8;
    int k = 0;
#pragma unroll 1
    for (; k + 256 * kAtOnce <= columns; k += 256 * kAtOnce) {
      uint4 low[kAtOnce], high[kAtOnce], v[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        low[i] = load(w + k + 256 * i), v[i] = load(x + k + 256 * i);
        high[i] = Rows > 1 ? load(w + stride + k + 256 * i) : zero;
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) step(low[i], high[i], v[i]);
    }
#pragma unroll 1
    for (; k < columns; k += 256) {
      const bool inside = k + lane * 8 < columns;
      const uint4 low = inside ? load(w + k) : zero, v = inside ? load(x + k) : zero;
      step(low, Rows > 1 && inside ? load(w + stride + k) : zero, v);
    }
  }
  __device__ float total(int row) const {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const float even = acc[0][2 * row] + acc[1][2 * row], odd = acc[0][2 * row + 1] + acc[1][2 * row + 1];
    return warp_sum(t == g / 2 ? (g % 2 ? odd : even) : 0.f);
  }
};

}  // namespace kdabench::device
