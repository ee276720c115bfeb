// KDA and GDN prefill, first of two: what a chunk of 64 tokens does on its own, whatever state it meets.
//
//   Math     Eq. 6 and 7 and Appendix C of the paper. With G the cumulative log decay inside the chunk:
//              L[i, j] = beta_i sum_d k_i k_j exp(G_i - G_j), j < i
//              A[i, j] = the same with q_i and without beta, j <= i
//              X = (I + L)^-1      W = X (beta Gamma k)      U = X (beta v)
//            Exponents are differences of a later and an earlier G, never positive. In the 16 x 16 blocks on
//            the diagonal they are taken element by element in fp32. In a block below the diagonal both
//            factors are decays around the token before its rows, G_i - G_ref and G_ref - G_j, so that the
//            sum is a product of bf16 matrices.
//   Work     8 warps: convolution, norm and gate by rows of 8 tokens; diagonal blocks by rows; the 6 others
//            one a warp; X by forward substitution in the diagonal blocks and block by block below them,
//            fp32; W and U by 16 columns.
//   Grid     (chunks, H, B).
//   Cost     1.5 KB written and 1 KB read a token and head (K = V = 128), but instructions are what it takes:
//            85 thousand a chunk, 0.73 ms for T = 8192, H = 32 (Nsight Compute, H200).
//   Uses     sm_90a, K = V = 128: 128 registers, no spills, 108,800 bytes shared: two blocks
//            a multiprocessor.
//   Limits   K = V in {64, 128}, G in {1, K}, conv width 4. Tokens behind the end of a sequence are zeros
//            with no decay.
//   Checked  tests/cuda/test_kda_cuda.cpp, bounds in suites/bounds.h.

#include "kernels/kda/kda_prefill_inputs.cuh"

namespace kdabench::kda {
namespace {

using device::mma_16x8x16;
using device::pack_bf16;

// Row i of the diagonal 16 x 16 blocks of L and A, one element of each a lane.
template <int K, bool kScalarGate>
__device__ inline void diagonal_row(Shared<K, kScalarGate>& s, Tile<K>& out, int i, int lane) {
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
  else out.a[i][first + j] = __float2bfloat16_rn(sum);
}

// The 16 x 16 block of L and A with rows from i0 and columns from j0 < i0.
template <int K, bool kScalarGate>
__device__ inline void block_below(Shared<K, kScalarGate>& s, Tile<K>& out, int i0, int j0, int lane) {
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
        const float2 at_i = s.decay_pair(i, d), at_j = s.decay_pair(j, d), k_i = s.k_pair(i, d),
                     k_j = s.k_pair(j, d);
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
      *reinterpret_cast<uint32_t*>(&out.a[i][j]) = pack_bf16(a[n][2 * rows], a[n][2 * rows + 1]);
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
  const int r = threadIdx.x / kSubChunk,
            c = threadIdx.x % kSubChunk;  // 256 threads: one element of a block each
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
      for (int m = 0; m < kSubChunk; ++m)
        sum -= s.x[i0 + r][i0 + m] * s.y[m][j0 + c];  // zeros above the diagonal
      s.x[i0 + r][j0 + c] = sum;
    }
    __syncthreads();
  }
}

// 16 columns of -W = -X (beta Gamma k).
template <int K, bool kScalarGate>
__device__ inline void store_w(const Shared<K, kScalarGate>& s, Tile<K>& out, int d0, int lane) {
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
      for (int part = 0; part < 4; ++part)
        s.x_pair(high[part], low[part], i + part % 2 * 8, j + part / 2 * 8);
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
        *reinterpret_cast<uint32_t*>(&out.minus_w[16 * m + 8 * rows + g][d0 + 8 * n + 2 * t]) =
            pack_bf16(c[n][2 * rows], c[n][2 * rows + 1]);
  }
}

// 16 rows of U^T = (beta v)^T X^T.
template <int K, bool kScalarGate>
__device__ inline void store_u(const Shared<K, kScalarGate>& s, Tile<K>& out, int v0, int lane) {
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
      for (int half = 0; half < 2; ++half)
        s.x_pair(high[half], low[half], 8 * n + g, 16 * step + 8 * half + 2 * t);
      mma_16x8x16(c, left[step], high);
      mma_16x8x16(c, left[step], low);
    }
#pragma unroll
    for (int rows = 0; rows < 2; ++rows)
      *reinterpret_cast<uint32_t*>(&out.u[v0 + 8 * rows + g][8 * n + 2 * t]) =
          pack_bf16(c[2 * rows], c[2 * rows + 1]);
  }
}

template <int K, bool kScalarGate>
__global__ void __launch_bounds__(32 * kWarps, 2)
    kda_chunks_kernel(const __grid_constant__ DeltaRule<Gpu> a, const __grid_constant__ Chunked chunked) {
  constexpr int V = K, N = K / 32;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  auto& s = *reinterpret_cast<Shared<K, kScalarGate>*>(shared_bytes);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = warp * kRows, h = blockIdx.y;
  const int64_t b = blockIdx.z, t0 = int64_t{blockIdx.x} * kChunk;
  auto& out = reinterpret_cast<Tile<K>*>(chunked.tiles)[(b * gridDim.y + h) * gridDim.x + blockIdx.x];
  const int64_t valid = a.qkv.size[1] - (t0 + first);
  const int64_t channel = int64_t{h} * K + lane * N;  // of q; those of k and v are H K and 2 H K behind
  device::let_next_start();
  device::wait_for_previous();

  prefetch_rows<K>(a, b, h, t0 + first);
  sum_gates(a, s, b, h, t0);
  // One copy of the code for q, k and v: unrolled, the kernel outgrows the instruction cache.
  Bits<N> values[kRows];  // beta v, until q has been used
#pragma unroll 1
  for (int part = 0; part < 3; ++part) {
    float y[kRows][N];
    convolve<N>(a, b, t0 + first, channel + int64_t{part} * a.heads * K, y);
    if (part < 2) normalise<N>(y, valid, part == 0 ? rsqrtf(static_cast<float>(K)) : 1.f);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      Bits<N> rounded;
      Floats<N> row;
      const float factor = part == 2 ? s.beta[first + r] : 1.f;  // beta is 0 behind the end
#pragma unroll
      for (int n = 0; n < N; ++n) rounded.at[n] = round_to_bits(factor * y[r][n]), row.at[n] = y[r][n];
      if (part == 0) store_bits<N>(&s.q[first + r][lane * N], rounded);
      else if (part == 1) store_floats<N>(&s.k[first + r][lane * N], row);
      else values[r] = rounded;
    }
  }
  __syncthreads();

  store_decayed(s, out);
  // Row i costs i % 16 + 1 steps: a warp takes i and 15 - i of every block, which is the same for all warps.
#pragma unroll 1
  for (int r = 0; r < kRows; ++r)
    diagonal_row(s, out, r / 2 * kSubChunk + (r % 2 == 0 ? warp : kSubChunk - 1 - warp), lane);
  if (warp < 6) {  // (1, 0) (2, 0) (2, 1) (3, 0) (3, 1) (3, 2)
    const int block = warp < 1 ? 1 : warp < 3 ? 2 : 3, other = warp - block * (block - 1) / 2;
    block_below(s, out, block * kSubChunk, other * kSubChunk, lane);
  }
  __syncthreads();

  if (warp < kChunk / kSubChunk) invert_diagonal(s, warp * kSubChunk, lane);
#pragma unroll
  for (int r = 0; r < kRows; ++r) store_bits<N>(&s.q[first + r][lane * N], values[r]);
  __syncthreads();
  invert_below(s);

  for (int unit = warp; unit < (K + V) / 16; unit += kWarps) {
    if (unit < K / 16) store_w(s, out, unit * 16, lane);
    else store_u(s, out, unit * 16 - K, lane);
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
  if (args.key_dim == 128)
    scalar ? run<128, true>(args, tiles, stream) : run<128, false>(args, tiles, stream);
  else scalar ? run<64, true>(args, tiles, stream) : run<64, false>(args, tiles, stream);
}

}  // namespace kdabench::kda
