#pragma once
// The first half of kda_prefill_chunks.cu, by rows of tokens: convolution, norm and gate of a chunk into
// shared memory.

#include "kernels/kda/kda_cuda.cuh"

namespace kdabench::kda {

using device::pack_bf16;

constexpr int kWarps = 8;
constexpr int kRows = kChunk / kWarps;  // tokens of a warp where work is by rows

// Rows are padded by 8 elements: fragments of 8 rows x 8 bytes then meet every bank once a half-warp.
template <int K, bool kScalarGate>
struct Shared {
  static constexpr int kRow = K + 8, kSquare = kChunk + 8;
  float k[kChunk][kRow];
  bf16 q[kChunk][kRow];        // then beta v
  float x[kChunk][kSquare];    // L, then its inverse in place; before that the gate's sums by warp
  float y[kSubChunk][3 * kSubChunk];
  float beta[kChunk];
  float g[kScalarGate ? 1 : kChunk][kScalarGate ? kChunk : kRow];  // G, in units of log 2

  __device__ float decay_at(int i, int channel) const { return kScalarGate ? g[0][i] : g[i][channel]; }
  __device__ float2 decay_pair(int i, int channel) const {
    if constexpr (kScalarGate) return {g[0][i], g[0][i]};
    else return *reinterpret_cast<const float2*>(&g[i][channel]);
  }
  __device__ float2 k_pair(int i, int channel) const {
    return *reinterpret_cast<const float2*>(&k[i][channel]);
  }
  // Two elements of X as the sum of two bf16. One is not enough: where keys repeat and little is forgotten,
  // all of X next to the diagonal is nearly -1, is rounded the same way, and the errors of a chunk's tokens
  // add up: 1.8e-2 of the output after 257 tokens of one key, 1.2e-2 with both.
  __device__ void x_pair(uint32_t& high, uint32_t& low, int i, int j) const {
    const float2 pair = *reinterpret_cast<const float2*>(&x[i][j]);
    high = pack_bf16(pair.x, pair.y);
    low = pack_bf16(pair.x - __uint_as_float(high << 16), pair.y - __uint_as_float(high & 0xffff0000u));
  }
};

// Asks for a warp's rows of q, k and v, which are read one after another, to be brought into L2 together.
template <int K>
__device__ inline void prefetch_rows(const DeltaRule<Gpu>& a, int64_t b, int h, int64_t t0) {
  constexpr int kPieces = K * sizeof(bf16) / 128;  // lines of a row
  for (int i = threadIdx.x % 32; i < 3 * kRows * kPieces; i += 32) {
    const int64_t t = t0 + i / kPieces % kRows, part = i / kPieces / kRows;
    const Bf16* const row = a.qkv.data + b * a.qkv.stride[0] + t * a.qkv.stride[1] +
                            (part * a.heads + h) * K + i % kPieces * 64;
    if (t < a.qkv.size[1]) asm volatile("prefetch.global.L2 [%0];" ::"l"(row));
  }
}

// silu(short_conv) of kRows tokens from t0 on, of N channels; tokens behind the end give anything finite.
template <int N>
__device__ inline void convolve(const DeltaRule<Gpu>& a, int64_t b, int64_t t0, int64_t channel,
                                float (&y)[kRows][N]) {
  constexpr int kPast = kConvWidth - 1;
  const int64_t T = a.qkv.size[1];
  const bf16* const x = device::as_bf16(a.qkv.data) + b * a.qkv.stride[0] + channel;
  const bf16* const state = device::as_bf16(a.conv_state.data) + b * a.conv_state.stride[0] + channel * kPast;
  Bits<N> window[kRows + kPast] = {};
#pragma unroll
  for (int i = 0; i < kRows + kPast; ++i) {
    const int64_t t = t0 - kPast + i;
    if (t >= 0 && t < T) window[i] = load_bits<N>(x + t * a.qkv.stride[1]);
    if (t < 0)
#pragma unroll
      for (int n = 0; n < N; ++n) window[i].at[n] = __bfloat16_as_ushort(state[n * kPast + kPast + t]);
  }
  Bits<N> taps[kConvWidth];  // [N, W]
#pragma unroll
  for (int i = 0; i < kConvWidth; ++i)
    taps[i] = load_bits<N>(device::as_bf16(a.conv.data) + channel * kConvWidth + i * N);
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int n = 0; n < N; ++n) {
      float sum = 0;
#pragma unroll
      for (int tap = 0; tap < kConvWidth; ++tap)
        sum += from_bits(taps[(n * kConvWidth + tap) / N].at[(n * kConvWidth + tap) % N]) *
               from_bits(window[r + tap].at[n]);
      y[r][n] = silu(sum);
    }
}

// Rows to unit length times `scale`; 0 behind the end.
template <int N>
__device__ inline void normalise(float (&y)[kRows][N], int64_t valid, float scale) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    float sum = 0;
#pragma unroll
    for (int n = 0; n < N; ++n) sum += y[r][n] * y[r][n];
    const float factor = r < valid ? scale * rsqrtf(device::warp_sum(sum) + kNormEpsilon) : 0.f;
#pragma unroll
    for (int n = 0; n < N; ++n) y[r][n] *= factor;
  }
}

// Fills beta, which all threads may read when it returns, and G, which takes another barrier.
template <int K, bool kScalarGate>
__device__ inline void sum_gates(const DeltaRule<Gpu>& a, Shared<K, kScalarGate>& s, int64_t b, int h,
                                 int64_t t0) {
  constexpr int N = K / 32;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = warp * kRows;
  const int64_t T = a.qkv.size[1];
  const bf16* const gate = device::as_bf16(a.gate.data) + b * a.gate.stride[0];
  const float rate = expf(a.a_log.data[h]) , bound = a.lower_bound;
  if (threadIdx.x < kChunk) {
    const int64_t t = t0 + threadIdx.x;
    const Bf16* const beta = a.beta.data + b * a.beta.stride[0] + t * a.beta.stride[1] + h;
    s.beta[threadIdx.x] = t < T ? device::sigmoid(to_float(*beta)) : 0.f;
  }
  if constexpr (kScalarGate) {
    float g[2];  // of tokens 2 lane and 2 lane + 1
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t t = t0 + 2 * lane + i;
      g[i] =
          t < T ? log_decay(__bfloat162float(gate[t * a.gate.stride[1] + h]) + a.dt_bias.data[h], rate, bound)
                : 0.f;
    }
    float sum = g[0] + g[1];
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const float before = __shfl_up_sync(0xffffffffu, sum, offset);
      if (lane >= offset) sum += before;
    }
    if (warp == 0) {
      s.g[0][2 * lane] = kLog2E * (sum - g[1]);
      s.g[0][2 * lane + 1] = kLog2E * sum;
    }
    __syncthreads();
  } else {
    const int64_t channel = int64_t{h} * K + lane * N;
    const Floats<N> bias = load_floats<N>(a.dt_bias.data + channel);
    Bits<N> logits[kRows] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      if (t0 + first + r < T) logits[r] = load_bits<N>(gate + (t0 + first + r) * a.gate.stride[1] + channel);
    Floats<N> sum = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const float g = log_decay(from_bits(logits[r].at[n]) + bias.at[n], rate, bound);
        sum.at[n] += t0 + first + r < T ? kLog2E * g : 0.f;
      }
      store_floats<N>(&s.g[first + r][lane * N], sum);
    }
    float* const of_warps = &s.x[0][0];
    store_floats<N>(of_warps + warp * K + lane * N, sum);
    __syncthreads();
    Floats<N> before = {};
    for (int w = 0; w < warp; ++w) {
      const Floats<N> of_warp = load_floats<N>(of_warps + w * K + lane * N);
#pragma unroll
      for (int n = 0; n < N; ++n) before.at[n] += of_warp.at[n];
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      sum = load_floats<N>(&s.g[first + r][lane * N]);
#pragma unroll
      for (int n = 0; n < N; ++n) sum.at[n] += before.at[n];
      store_floats<N>(&s.g[first + r][lane * N], sum);
    }
  }
}

// q decayed from the start of the chunk, k to its end, and the decay of the whole chunk.
template <int K, bool kScalarGate>
__device__ inline void store_decayed(const Shared<K, kScalarGate>& s, Tile<K>& out) {
  constexpr int N = K / 32;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float last[N];
#pragma unroll
  for (int n = 0; n < N; ++n) last[n] = s.decay_at(kChunk - 1, lane * N + n);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int i = warp * kRows + r;
    const Bits<N> q = load_bits<N>(&s.q[i][lane * N]);
    const Floats<N> k = load_floats<N>(&s.k[i][lane * N]);
    Bits<N> q_bits, k_bits, k_low_bits;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float g = s.decay_at(i, lane * N + n);
      q_bits.at[n] = round_to_bits(from_bits(q.at[n]) * exp2_of(g));
      const float k_last = k.at[n] * exp2_of(last[n] - g);
      k_bits.at[n] = round_to_bits(k_last);
      k_low_bits.at[n] = round_to_bits(k_last - from_bits(k_bits.at[n]));
    }
    store_bits<N>(&out.q[i][lane * N], q_bits);
    store_bits<N>(&out.k[i][lane * N], k_bits);
    store_bits<N>(&out.k_low[i][lane * N], k_low_bits);
  }
  if (threadIdx.x < K) out.decay[threadIdx.x] = exp2_of(s.decay_at(kChunk - 1, threadIdx.x));
}

}  // namespace kdabench::kda
