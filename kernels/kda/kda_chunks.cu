// KDA and GDN prefill, first of two: what a chunk of 64 tokens does on its own, whatever state it meets.
//
//   Math     Eq. 6 and 7 and Appendix C of the paper. With G the cumulative log decay inside the chunk:
//              L[i, j] = beta_i sum_d k_i k_j exp(G_i - G_j), j < i      A[i, j] = the same with q_i, no beta, j <= i
//              X = (I + L)^-1                                            W = X (beta Gamma k)       U = X (beta v)
//            Exponents are differences of a later and an earlier G, never positive. In the 16 x 16 blocks on the diagonal
//            they are taken element by element in fp32. In a block below the diagonal both factors are decays around the
//            token before its rows, G_i - G_ref and G_ref - G_j, so that the sum is a product of bf16 matrices.
//   Work     8 warps: convolution, norm and gate by rows of 8 tokens; diagonal blocks by rows; the 6 others one a warp;
//            X by forward substitution in the diagonal blocks and block by block below them, fp32; W and U by 16 columns.
//   Grid     (chunks, H, B).
//   Cost     1.2 KB written and 1 KB read a token and head (K = V = 128).
//   Uses     sm_90a, K = V = 128: USES_CHUNKS
//   Limits   K = V in {64, 128}, G in {1, K}, conv width 4. Tokens behind the end of a sequence are zeros with no decay.
//   Checked  tests/cuda/test_kda_cuda.cpp, bounds in suites/bounds.h.

#include "kernels/kda/kda_cuda.cuh"

namespace kdabench::kda {
namespace {

using device::mma_16x8x16;
using device::pack_bf16;

constexpr int kWarps = 8;
constexpr int kRows = kChunk / kWarps;  // tokens of a warp where work is by rows

// Error 2^-22 (PTX manual); results below 2^-126 are 0.
__device__ inline float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

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
  __device__ float2 k_pair(int i, int channel) const { return *reinterpret_cast<const float2*>(&k[i][channel]); }
  // Two elements of X as the sum of two bf16. One is not enough: where keys repeat and little is forgotten, all of X
  // next to the diagonal is nearly -1, is rounded the same way, and the errors of a chunk's tokens add up.
  __device__ void x_pair(uint32_t& high, uint32_t& low, int i, int j) const {
    const float2 pair = *reinterpret_cast<const float2*>(&x[i][j]);
    high = pack_bf16(pair.x, pair.y);
    low = pack_bf16(pair.x - __uint_as_float(high << 16), pair.y - __uint_as_float(high & 0xffff0000u));
  }
};

// silu(short_conv) of kRows tokens from t0 on, of N channels; tokens behind the end give anything finite.
template <int N>
__device__ inline void convolve(const DeltaRule<Gpu>& a, int64_t b, int64_t t0, int64_t channel, float (&y)[kRows][N]) {
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
      y[r][n] = device::silu(sum);
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

// Fills beta and G. Ends before a barrier that the caller has yet to pass.
template <int K, bool kScalarGate>
__device__ inline void sum_gates(const DeltaRule<Gpu>& a, Shared<K, kScalarGate>& s, int64_t b, int h, int64_t t0) {
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
    if (warp > 0) return;
    float g[2];  // of tokens 2 lane and 2 lane + 1
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t t = t0 + 2 * lane + i;
      g[i] = t < T ? log_decay(__bfloat162float(gate[t * a.gate.stride[1] + h]) + a.dt_bias.data[h], rate, bound) : 0.f;
    }
    float sum = g[0] + g[1];
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const float before = __shfl_up_sync(0xffffffffu, sum, offset);
      if (lane >= offset) sum += before;
    }
    s.g[0][2 * lane] = kLog2E * (sum - g[1]);
    s.g[0][2 * lane + 1] = kLog2E * sum;
  } else {
    const int64_t channel = int64_t{h} * K + lane * N;
    const Floats<N> bias = load_floats<N>(a.dt_bias.data + channel);
    Bits<N> logits[kRows] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      if (t0 + first + r < T) logits[r] = load_bits<N>(gate + (t0 + first + r) * a.gate.stride[1] + channel);
    Floats<N> sums[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const float g = log_decay(from_bits(logits[r].at[n]) + bias.at[n], rate, bound);
        sums[r].at[n] = (r > 0 ? sums[r - 1].at[n] : 0.f) + (t0 + first + r < T ? kLog2E * g : 0.f);
      }
    float* const of_warps = &s.x[0][0];
    store_floats<N>(of_warps + warp * K + lane * N, sums[kRows - 1]);
    __syncthreads();
    Floats<N> before = {};
    for (int w = 0; w < warp; ++w) {
      const Floats<N> sum = load_floats<N>(of_warps + w * K + lane * N);
#pragma unroll
      for (int n = 0; n < N; ++n) before.at[n] += sum.at[n];
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int n = 0; n < N; ++n) sums[r].at[n] += before.at[n];
      store_floats<N>(&s.g[first + r][lane * N], sums[r]);
    }
  }
}

// q decayed from the start of the chunk, k to its end, and the decay of the whole chunk.
template <int K, bool kScalarGate>
__device__ inline void store_decayed(const Shared<K, kScalarGate>& s, const Chunked& out, int64_t tile) {
  constexpr int N = K / 32;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  bf16* const q_out = device::as_bf16(out.q.data) + tile * kChunk * K + lane * N;
  bf16* const k_out = device::as_bf16(out.k.data) + tile * kChunk * K + lane * N;
  bf16* const k_low_out = device::as_bf16(out.k_low.data) + tile * kChunk * K + lane * N;
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
    store_bits<N>(q_out + i * K, q_bits);
    store_bits<N>(k_out + i * K, k_bits);
    store_bits<N>(k_low_out + i * K, k_low_bits);
  }
  if (threadIdx.x < K) out.decay.data[tile * K + threadIdx.x] = exp2_of(s.decay_at(kChunk - 1, threadIdx.x));
}

// Row i of the diagonal 16 x 16 blocks of L and A, one element of each a lane.
template <int K, bool kScalarGate>
__device__ inline void diagonal_row(Shared<K, kScalarGate>& s, bf16* a_out, int i, int lane) {
  constexpr int N = K / 32;
  const int first = i / kSubChunk * kSubChunk, last = i % kSubChunk;
  const Bits<N> q = load_bits<N>(&s.q[i][lane * N]);
  const Floats<N> k = load_floats<N>(&s.k[i][lane * N]);
  float g[N];
#pragma unroll
  for (int n = 0; n < N; ++n) g[n] = s.decay_at(i, lane * N + n);
  float sums[2 * kSubChunk];
#pragma unroll
  for (int j = 0; j < kSubChunk; ++j) {
    sums[j] = sums[kSubChunk + j] = 0;
    if (j > last) continue;  // the same for the whole warp
    const Floats<N> other = load_floats<N>(&s.k[first + j][lane * N]);
    const float decay = kScalarGate ? exp2_of(g[0] - s.decay_at(first + j, 0)) : 0.f;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float decayed =
          other.at[n] * (kScalarGate ? decay : exp2_of(g[n] - s.decay_at(first + j, lane * N + n)));
      sums[j] += k.at[n] * decayed;
      sums[kSubChunk + j] += from_bits(q.at[n]) * decayed;
    }
  }
  const float sum = transposed_sum<2 * kSubChunk>(sums, lane);
  const int j = lane % kSubChunk;
  if (lane < kSubChunk) s.x[i][first + j] = j < last ? s.beta[i] * sum : 0.f;
  else a_out[i * kChunk + first + j] = __float2bfloat16_rn(sum);
}

// The 16 x 16 block of L and A with rows from i0 and columns from j0 < i0.
template <int K, bool kScalarGate>
__device__ inline void block_below(Shared<K, kScalarGate>& s, bf16* a_out, int i0, int j0, int lane) {
  const int g = lane / 4, t = lane % 4;
  float l[2][4] = {}, a[2][4] = {};
#pragma unroll 2
  for (int d0 = 0; d0 < K; d0 += 16) {
    uint32_t of_k[4], of_q[4], of_j[2][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int d = d0 + 8 * half + 2 * t;
      const float2 reference = s.decay_pair(i0 - 1, d);
#pragma unroll
      for (int rows = 0; rows < 2; ++rows) {
        const int i = i0 + 8 * rows + g, j = j0 + 8 * rows + g;
        const float2 at_i = s.decay_pair(i, d), at_j = s.decay_pair(j, d), k_i = s.k_pair(i, d), k_j = s.k_pair(j, d);
        const float2 q_i = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&s.q[i][d]));
        const float2 since = {exp2_of(at_i.x - reference.x), exp2_of(at_i.y - reference.y)};
        of_k[2 * half + rows] = pack_bf16(k_i.x * since.x, k_i.y * since.y);
        of_q[2 * half + rows] = pack_bf16(q_i.x * since.x, q_i.y * since.y);
        of_j[rows][half] =
            pack_bf16(k_j.x * exp2_of(reference.x - at_j.x), k_j.y * exp2_of(reference.y - at_j.y));
      }
    }
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      mma_16x8x16(l[n], of_k, of_j[n]);
      mma_16x8x16(a[n], of_q, of_j[n]);
    }
  }
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int rows = 0; rows < 2; ++rows) {
      const int i = i0 + 8 * rows + g, j = j0 + 8 * n + 2 * t;
      s.x[i][j] = s.beta[i] * l[n][2 * rows];
      s.x[i][j + 1] = s.beta[i] * l[n][2 * rows + 1];
      *reinterpret_cast<uint32_t*>(a_out + i * kChunk + j) = pack_bf16(a[n][2 * rows], a[n][2 * rows + 1]);
    }
}

// (I + L)^-1 of one diagonal block, in place, by one warp: lane j holds column j.
template <int K, bool kScalarGate>
__device__ inline void invert_diagonal(Shared<K, kScalarGate>& s, int first, int lane) {
  float column[kSubChunk];
#pragma unroll
  for (int i = 0; i < kSubChunk; ++i) {
    float sum = i == lane ? 1.f : 0.f;
#pragma unroll
    for (int j = 0; j < i; ++j) sum -= s.x[first + i][first + j] * column[j];
    column[i] = sum;
  }
  __syncwarp();
  if (lane < kSubChunk)
#pragma unroll
    for (int i = 0; i < kSubChunk; ++i) s.x[first + i][first + lane] = column[i];
}

// The blocks below the diagonal: X[I, J] = -X[I, I] sum over J <= M < I of L[I, M] X[M, J], for I = 1, 2, 3.
template <int K, bool kScalarGate>
__device__ inline void invert_below(Shared<K, kScalarGate>& s) {
  const int r = threadIdx.x / kSubChunk, c = threadIdx.x % kSubChunk;  // 256 threads: one element of a block each
#pragma unroll
  for (int block = 1; block < kChunk / kSubChunk; ++block) {
    const int i0 = block * kSubChunk;
#pragma unroll
    for (int j0 = 0; j0 < i0; j0 += kSubChunk) {
      float sum = 0;
#pragma unroll 16
      for (int m = j0; m < i0; ++m) sum += s.x[i0 + r][m] * s.x[m][j0 + c];
      s.y[r][j0 + c] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int j0 = 0; j0 < i0; j0 += kSubChunk) {
      float sum = 0;
#pragma unroll
      for (int m = 0; m < kSubChunk; ++m) sum -= s.x[i0 + r][i0 + m] * s.y[m][j0 + c];  // zeros above the diagonal
      s.x[i0 + r][j0 + c] = sum;
    }
    __syncthreads();
  }
}

// 16 columns of -W = -X (beta Gamma k).
template <int K, bool kScalarGate>
__device__ inline void store_w(const Shared<K, kScalarGate>& s, bf16* w_out, int d0, int lane) {
  const int g = lane / 4, t = lane % 4;
  uint32_t right[kChunk / 16][2][2];
#pragma unroll
  for (int step = 0; step < kChunk / 16; ++step)
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = 16 * step + 8 * half + 2 * t, d = d0 + 8 * n + g;
        right[step][n][half] = pack_bf16(-s.beta[i] * s.k[i][d] * exp2_of(s.decay_at(i, d)),
                                         -s.beta[i + 1] * s.k[i + 1][d] * exp2_of(s.decay_at(i + 1, d)));
      }
#pragma unroll
  for (int m = 0; m < kChunk / 16; ++m) {
    float c[2][4] = {};
#pragma unroll
    for (int step = 0; step <= m; ++step) {
      const int i = 16 * m + g, j = 16 * step + 2 * t;
      uint32_t high[4], low[4];
#pragma unroll
      for (int part = 0; part < 4; ++part) s.x_pair(high[part], low[part], i + part % 2 * 8, j + part / 2 * 8);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        mma_16x8x16(c[n], high, right[step][n]);
        mma_16x8x16(c[n], low, right[step][n]);
      }
    }
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int rows = 0; rows < 2; ++rows)
        *reinterpret_cast<uint32_t*>(w_out + (16 * m + 8 * rows + g) * K + d0 + 8 * n + 2 * t) =
            pack_bf16(c[n][2 * rows], c[n][2 * rows + 1]);
  }
}

// 16 rows of U^T = (beta v)^T X^T.
template <int K, bool kScalarGate>
__device__ inline void store_u(const Shared<K, kScalarGate>& s, bf16* u_out, int v0, int lane) {
  const int g = lane / 4, t = lane % 4;
  uint32_t left[kChunk / 16][4];
#pragma unroll
  for (int step = 0; step < kChunk / 16; ++step)
    device::ldmatrix4_trans(left[step], &s.q[16 * step + lane / 16 * 8 + lane % 8][v0 + lane / 8 % 2 * 8]);
#pragma unroll
  for (int n = 0; n < kChunk / 8; ++n) {
    float c[4] = {};
#pragma unroll
    for (int step = 0; step <= n / 2; ++step) {
      uint32_t high[2], low[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) s.x_pair(high[half], low[half], 8 * n + g, 16 * step + 8 * half + 2 * t);
      mma_16x8x16(c, left[step], high);
      mma_16x8x16(c, left[step], low);
    }
#pragma unroll
    for (int rows = 0; rows < 2; ++rows)
      *reinterpret_cast<uint32_t*>(u_out + (v0 + 8 * rows + g) * kChunk + 8 * n + 2 * t) =
          pack_bf16(c[2 * rows], c[2 * rows + 1]);
  }
}

template <int K, bool kScalarGate>
__global__ void __launch_bounds__(32 * kWarps, 2)
    kda_chunks_kernel(const __grid_constant__ DeltaRule<Gpu> a, const __grid_constant__ Chunked out) {
  constexpr int V = K, N = K / 32;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  auto& s = *reinterpret_cast<Shared<K, kScalarGate>*>(shared_bytes);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = warp * kRows, h = blockIdx.y;
  const int64_t b = blockIdx.z, t0 = int64_t{blockIdx.x} * kChunk;
  const int64_t tile = (b * gridDim.y + h) * gridDim.x + blockIdx.x, valid = a.qkv.size[1] - (t0 + first);
  const int64_t q_channel = int64_t{h} * K + lane * N, k_channel = q_channel + int64_t{a.heads} * K;
  const int64_t v_channel = int64_t{2} * a.heads * K + int64_t{h} * V + lane * N;
  device::wait_for_previous();
  device::let_next_start();

  sum_gates(a, s, b, h, t0);
  {
    float y[kRows][N];
    convolve<N>(a, b, t0 + first, q_channel, y);
    normalise<N>(y, valid, rsqrtf(static_cast<float>(K)));
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      Bits<N> bits;
#pragma unroll
      for (int n = 0; n < N; ++n) bits.at[n] = round_to_bits(y[r][n]);
      store_bits<N>(&s.q[first + r][lane * N], bits);
    }
    convolve<N>(a, b, t0 + first, k_channel, y);
    normalise<N>(y, valid, 1.f);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      Floats<N> row;
#pragma unroll
      for (int n = 0; n < N; ++n) row.at[n] = y[r][n];
      store_floats<N>(&s.k[first + r][lane * N], row);
    }
  }
  __syncthreads();

  store_decayed(s, out, tile);
  bf16* const a_out = device::as_bf16(out.a.data) + tile * kChunk * kChunk;
  // Row i costs i % 16 + 1 steps: a warp takes i and 15 - i of every block, which is the same for all warps.
#pragma unroll 1
  for (int block = 0; block < kChunk; block += kSubChunk) {
    diagonal_row(s, a_out, block + warp, lane);
    diagonal_row(s, a_out, block + kSubChunk - 1 - warp, lane);
  }
  if (warp < 6) {  // (1, 0) (2, 0) (2, 1) (3, 0) (3, 1) (3, 2)
    const int block = warp < 1 ? 1 : warp < 3 ? 2 : 3, other = warp - block * (block - 1) / 2;
    block_below(s, a_out, block * kSubChunk, other * kSubChunk, lane);
  }
  __syncthreads();

  if (warp < kChunk / kSubChunk) invert_diagonal(s, warp * kSubChunk, lane);
  {
    float y[kRows][N];
    convolve<N>(a, b, t0 + first, v_channel, y);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      Bits<N> bits;  // beta is 0 behind the end
#pragma unroll
      for (int n = 0; n < N; ++n) bits.at[n] = round_to_bits(s.beta[first + r] * y[r][n]);
      store_bits<N>(&s.q[first + r][lane * N], bits);
    }
  }
  __syncthreads();
  invert_below(s);

  for (int unit = warp; unit < (K + V) / 16; unit += kWarps) {
    if (unit < K / 16) store_w(s, device::as_bf16(out.minus_w.data) + tile * kChunk * K, unit * 16, lane);
    else store_u(s, device::as_bf16(out.u.data) + tile * V * kChunk, unit * 16 - K, lane);
  }
}

template <int K, bool kScalarGate>
void run(const DeltaRule<Gpu>& args, const Chunked& tiles, cudaStream_t stream) {
  const auto kernel = kda_chunks_kernel<K, kScalarGate>;
  const size_t bytes = sizeof(Shared<K, kScalarGate>);
  device::allow_shared(kernel, bytes, "kda_chunks");
  device::launch(kernel, dim3(tiles.chunks, args.heads, args.qkv.size[0]), dim3(32 * kWarps), bytes, stream,
                 "kda_chunks", args, tiles);
}

}  // namespace

void launch_chunks(const DeltaRule<Gpu>& args, const Chunked& tiles, cudaStream_t stream) {
  const bool scalar = args.gate_dim == 1;
  if (args.key_dim == 128) scalar ? run<128, true>(args, tiles, stream) : run<128, false>(args, tiles, stream);
  else scalar ? run<64, true>(args, tiles, stream) : run<64, false>(args, tiles, stream);
}

}  // namespace kdabench::kda
