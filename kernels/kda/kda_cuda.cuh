#pragma once
// What the CUDA kernels of the delta rule share: the gate, a lane's channels, and the intermediate results of
// prefill.

#include "kernels/base/device.cuh"
#include "kernels/kda/kda.h"
#include "kernels/kda/state_rounding.h"

namespace kdabench::kda {

using device::bf16;

constexpr int kConvWidth = 4;
constexpr int kChunk = 64;     // C, tokens
constexpr int kSubChunk = 16;  // tokens whose mutual decay is taken element by element
constexpr float kNormEpsilon = 1e-6f;
constexpr float kLog2E = 1.44269504088896f;

// exp underflows to 0 in fp32 below -104, so a stronger gate is the same gate. The limit keeps sums over a
// chunk small enough for fp32 to hold their differences to 1e-3, and infinities out of them.
constexpr float kStrongestGate = -128.f;

// ---- a lane's channels: a row of 128 (64) bf16 over a warp is 4 (2) consecutive elements a lane -----------
template <int N>
struct alignas(2 * N) Bits {  // N bf16, loaded and stored in one access
  uint16_t at[N];
};
template <int N>
__device__ inline Bits<N> load_bits(const bf16* p) {
  return *reinterpret_cast<const Bits<N>*>(p);
}
template <int N>
__device__ inline void store_bits(bf16* p, const Bits<N>& x) {
  *reinterpret_cast<Bits<N>*>(p) = x;
}
__device__ inline float from_bits(uint16_t x) { return __uint_as_float(uint32_t{x} << 16); }
__device__ inline uint16_t round_to_bits(float x) { return __bfloat16_as_ushort(__float2bfloat16_rn(x)); }

template <int N>
struct alignas(4 * N) Floats {
  float at[N];
};
template <int N>
__device__ inline Floats<N> load_floats(const float* p) {
  return *reinterpret_cast<const Floats<N>*>(p);
}
template <int N>
__device__ inline void store_floats(float* p, const Floats<N>& x) {
  *reinterpret_cast<Floats<N>*>(p) = x;
}

template <int N>
struct alignas(4 * N) Words {
  uint32_t at[N];
};

// The state of head h of sequence b.
template <StateType kType>
__device__ inline auto* state_of(const DeltaRule<Gpu>& a, int64_t b, int h) {
  if constexpr (kType == StateType::kAccum)
    return a.state.data + b * a.state.stride[0] + h * a.state.stride[1];
  else return device::as_bf16(a.state_bf16.data) + b * a.state_bf16.stride[0] + h * a.state_bf16.stride[1];
}

// Two channels as they are kept; `seed` and `pair`: see state_rounding.h.
template <StateType kType>
__device__ inline uint32_t round_pair(float x, float y, uint32_t seed, uint32_t pair) {
  if (kType == StateType::kBf16Stochastic && x + y == x + y) {  // NaN must not carry into a number
    const uint32_t random = rounding_bits(seed, pair);
    return __byte_perm(__float_as_uint(x) + (random & 0xffffu), __float_as_uint(y) + (random >> 16), 0x7632);
  }
  return device::pack_bf16(x, y);
}

// ---- reductions -------------------------------------------------------------------------------------------
// Element i of `x` is summed over the warp; lane l returns the sum of element l / (32 / N). Halving the
// number of elements with every exchange takes N shuffles and a few instead of 5 N. Recursive, so that `x`
// stays in registers.
template <int N, int kOffset = 16>
__device__ inline float transposed_sum(float* x, int lane) {
  if constexpr (N > 1) {
    const bool upper = lane & kOffset;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      const float send = upper ? x[i] : x[i + N / 2], keep = upper ? x[i + N / 2] : x[i];
      x[i] = keep + __shfl_xor_sync(0xffffffffu, send, kOffset);
    }
    return transposed_sum<N / 2, kOffset / 2>(x, lane);
  } else {
    return device::warp_sum<2 * kOffset>(x[0]);
  }
}

// ---- pointwise math -------------------------------------------------------------------------------------
// Error 2^-22 (PTX manual); results below 2^-126 are 0.
__device__ inline float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float exp_of(float x) { return exp2_of(kLog2E * x); }

// __fdividef: 2 ulp, and 0 for a divisor above 2^126, which is right here.
__device__ inline float silu(float x) { return __fdividef(x, 1.f + exp_of(-x)); }

// log(1 + e^x) = max(x, 0) + log(1 + e), e = e^-|x| <= 1, and log(1 + e) = 2 atanh(e / (2 + e)) as a series:
// the first term left out is 1.4e-7 of the sum. Relative errors matter: those of a weak gate add up over a
// whole sequence.
__device__ inline float softplus(float x) {
  const float e = exp_of(-fabsf(x)), s = __fdividef(e, 2.f + e), s2 = s * s;
  const float series =
      1.f + s2 * (1.f / 3 + s2 * (1.f / 5 + s2 * (1.f / 7 + s2 * (1.f / 9 + s2 * (1.f / 11)))));
  return fmaxf(x, 0.f) + 2.f * s * series;
}

// Natural log of the decay; `rate` is exp(a_log).
__device__ inline float log_decay(float x, float rate, float lower_bound) {
  const float g = lower_bound < 0 ? __fdividef(lower_bound, 1.f + exp_of(-rate * x)) : -rate * softplus(x);
  return fmaxf(g, kStrongestGate);
}

// ---- what the kernels of prefill hand on ------------------------------------------------------------------
// One tile for every (b, h, chunk), chunks of a head in order. Its layout is that of shared memory in
// kda_prefill_scan.cu, so that a tile is one bulk copy: rows are padded by 16 bytes for ldmatrix to meet no
// bank twice. Gamma is the decay since the start of the chunk.
template <int K, int kValues = K>
struct Tile {
  static constexpr int kRow = K + 8, kSquare = kChunk + 8;
  bf16 minus_w[kChunk][kRow];  // -M (Gamma k)
  bf16 q[kChunk][kRow];        // Gamma q / sqrt(K)
  bf16 k[kChunk][kRow];        // k decayed to the end of the chunk, rounded
  // What the rounding left. An error of k points along no later key: no prediction ever corrects it, and what
  // one key writes again and again would drift away as sqrt(T), 1.5e-2 of the state after 257 tokens.
  bf16 k_low[kChunk][kRow];
  bf16 a[kChunk][kSquare];  // decayed q k^T / sqrt(K); not written above the diagonal blocks of 16
  float decay[K];           // Gamma of the last token
  alignas(16) bf16 u[kValues][kSquare];  // M v, transposed
};
struct Chunked {
  unsigned char* tiles;  // Tile<K>[B, H, chunks]
  int chunks;            // of a sequence
};

void launch_decode(const DeltaRule<Gpu>& args, cudaStream_t stream);
void launch_low_rank_decode(const LowRankDeltaRule<Gpu>& args, cudaStream_t stream);
bool two_blocks_a_head(const DeltaRule<Gpu>& args);  // in decode
void launch_chunks(const DeltaRule<Gpu>& args, const Chunked& tiles, cudaStream_t stream);
void launch_scan(const DeltaRule<Gpu>& args, const Chunked& tiles, cudaStream_t stream);

}  // namespace kdabench::kda
