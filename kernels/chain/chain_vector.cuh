#pragma once
// The vector of a phase: brought to shared memory, normalised on the way where that is asked for, and multiplied.

#include "kernels/chain/chain_choose.cuh"
#include "kernels/chain/chain_parts.h"
#include "kernels/chain/chain_post.cuh"

namespace kdabench::device {

constexpr int kNormPacks = (kChainNormWidth + 4 * kChainThreads - 1) / (4 * kChainThreads);

// block_sum of the warps that multiply.
__device__ inline float warps_sum(float x, float* partial) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  x = warp_sum(x);
  meet();  // partial may still be read by the call before
  if (lane == 0) partial[warp] = x;
  meet();
  return warp_sum(lane < kChainWarps ? partial[lane] : 0.f);
}

// x <- the phase's vector as bf16, in the order in which Dot wants it: of every four words the middle two change places.
// What is posted is looked at all at once, and again where it was not there. What other blocks have written in this launch
// is read from the L2.
__device__ void stage_vector(const ChainPhase& p, bf16* x) {
  constexpr int kAtOnce = 4;
  const int chunks = p.columns / 8;
  const int start = static_cast<int>(blockIdx.x * 61u % static_cast<unsigned>(chunks));  // see stage_rows
  const auto place = [&](int c) { return c + start < chunks ? c + start : c + start - chunks; };
  for (int first = threadIdx.x; first < chunks; first += kAtOnce * kChainThreads) {
    uint4 v[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const int c = first + j * kChainThreads, at = place(c < chunks ? c : first);
      v[j] = p.polled < 0 ? __ldcg(reinterpret_cast<const uint4*>(p.x) + at) : look_at_eight(p.polled + 8 * at);
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const int c = first + j * kChainThreads, at = place(c < chunks ? c : first);
      while (p.polled >= 0 && !there(v[j])) v[j] = look_at_eight(p.polled + 8 * at);
      reinterpret_cast<uint4*>(x)[at] = make_uint4(v[j].x, v[j].z, v[j].y, v[j].w);
    }
  }
}

// The same of a norm's result; `kept` <- the new residual, which a later norm of the chain goes on from.
__device__ void stage_norm(const ChainPhase& p, bf16* x, float* kept, float* partial) {
  float4 v[kNormPacks];
  uint2 weight[kNormPacks], delta[kNormPacks];
#pragma unroll
  for (int j = 0; j < kNormPacks; ++j) {
    const int at = j * kChainThreads + threadIdx.x;
    v[j] = make_float4(0, 0, 0, 0), weight[j] = delta[j] = make_uint2(0, 0);
    if (4 * at >= p.columns) continue;
    v[j] = p.keeps ? reinterpret_cast<const float4*>(kept)[at] : __ldcg(reinterpret_cast<const float4*>(p.residual) + at);
    weight[j] = __ldg(reinterpret_cast<const uint2*>(p.norm_weight) + at);
    if (p.polled >= 0) delta[j] = look_at_four(p.polled + 4 * at);
    else if (p.delta) delta[j] = __ldcg(reinterpret_cast<const uint2*>(p.delta) + at);
  }
#pragma unroll
  for (int j = 0; j < kNormPacks; ++j) {
    const int at = j * kChainThreads + threadIdx.x;
    while (p.polled >= 0 && 4 * at < p.columns && !there(delta[j])) delta[j] = look_at_four(p.polled + 4 * at);
  }
  const auto low = [](uint32_t pair) { return __uint_as_float(pair << 16); };
  const auto high = [](uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); };
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kNormPacks; ++j) {
    v[j].x += low(delta[j].x), v[j].y += high(delta[j].x), v[j].z += low(delta[j].y), v[j].w += high(delta[j].y);
    sum += v[j].x * v[j].x + v[j].y * v[j].y + v[j].z * v[j].z + v[j].w * v[j].w;
  }
  const float factor = 1.f / sqrtf(warps_sum(sum, partial) / p.columns + p.eps);
#pragma unroll
  for (int j = 0; j < kNormPacks; ++j) {
    const int at = j * kChainThreads + threadIdx.x;
    if (4 * at >= p.columns) continue;
    const uint2 out =
        make_uint2(pack_bf16(v[j].x * (factor * low(weight[j].x)), v[j].y * (factor * high(weight[j].x))),
                   pack_bf16(v[j].z * (factor * low(weight[j].y)), v[j].w * (factor * high(weight[j].y))));
    uint32_t* const words = reinterpret_cast<uint32_t*>(x) + at / 2 * 4 + at % 2;
    words[0] = out.x, words[2] = out.y;
    reinterpret_cast<float4*>(kept)[at] = v[j];
    if (blockIdx.x == 0) reinterpret_cast<uint2*>(p.norm_out)[at] = out;
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

// What a lane has of the product of a row and the vector. A row's four words w0 .. w3 of a lane are an A operand of
// m16n8k16 as they come: w0, w2 in row g, w1, w3 in row g + 8. With the vector's words v0, v2 on the N side, entry (g, g)
// of the result is what lanes 4 g .. 4 g + 3 have of w0 v0 + w2 v2, and with v1, v3 entry (g + 8, g) is the rest. The
// other entries are not used: the tensor cores have nothing else to do, and a step of 512 bytes costs 3 instructions
// instead of 26. kApart sums side by side, so that fewer products wait for each other.
template <int kApart>
class Dot {
 public:
  template <int kSteps>
  __device__ void add(const Slice<kSteps>& row, const Slice<kSteps>& vector) {
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const uint4 &w = row.word[i], &v = vector.word[i];
      mma_16x8x16(low_[i % kApart], {w.x, w.y, w.z, w.w}, {v.x, v.y});
      mma_16x8x16(high_[i % kApart], {w.x, w.y, w.z, w.w}, {v.z, v.w});
    }
  }
  __device__ float mine() const {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kApart; ++i)
      sum += threadIdx.x / 4 % 2 ? low_[i][1] + high_[i][3] : low_[i][0] + high_[i][2];
    return sum;
  }

 private:
  float low_[kApart][4] = {}, high_[kApart][4] = {};
};
// In lane 0. The diagonal lies in lanes 0, 4, 9, 13, 18, 22, 27 and 31, which three exchanges add up.
__device__ inline float sum_of_dots(float mine) {
#pragma unroll
  for (const int other : {4, 9, 18}) mine += __shfl_xor_sync(0xffffffffu, mine, other);
  return mine;
}

}  // namespace kdabench::device
