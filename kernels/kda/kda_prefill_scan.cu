// KDA and GDN prefill, second of two: the chunks of a sequence one after another.
//
//   Math     Eq. 8 and 9 of the paper, all transposed (S is [V, K] in memory too):
//              N = U^T - S W^T                  what the chunk's tokens write, [V, C]
//              o = S (Gamma q)^T + N A^T        [V, C]
//              S <- S diag(Gamma_C) + N k'      k' is k decayed to the end of the chunk
//   Work     A warp owns 16 value rows: its part of S stays in fp32 accumulators for the whole sequence and,
//            like N, is itself the left operand of the next product, rounded to bf16. Warps share the right
//            operands in shared memory (two stages, bulk copies) and nothing else.
//   Grid     (V / (16 kWarps), H, B) blocks of kWarps warps.
//   Cost     4 K V + C V / 2 tensor-core multiply-adds and 1.5 KB read a token and head (K = V = 128).
//            A sequence is serial: 2 us a chunk of 64 tokens, 0.26 ms for T = 8192 (Nsight Compute, H200).
//   Uses     sm_90a, K = V = 128: 202 registers, no spills, 195,584 bytes shared with 8 warps.
//   Limits   As kda_prefill_chunks.cu. Writes o before its norm, and the last inputs of the short
//            convolution.
//   Checked  tests/cuda/test_kda_cuda.cpp, bounds in suites/bounds.h.

#include <cstddef>

#include "kernels/base/bulk_copy.cuh"
#include "kernels/kda/kda_cuda.cuh"

namespace kdabench::kda {
namespace {

using device::mma_16x8x16;
using device::pack_bf16;

// A stage holds the rows of u that the block needs, and the rest of the tile as it is.
template <int K, int kValues>
__device__ inline void load_stage(Tile<K, kValues>& stage, const Tile<K>& tile, int first_value,
                                  device::CopyBarrier* loaded) {
  constexpr int kBytes = sizeof stage, kBytesOfU = sizeof stage.u, kRest = kBytes - kBytesOfU;
  static_assert(offsetof(Tile<K>, u) == kRest);
  device::expect_bytes(loaded, kBytes);
  device::copy_part(&stage, &tile, kRest, loaded);
  device::copy_part(&stage.u, &tile.u[first_value], kBytesOfU, loaded);
}

// Two right operands (k = 16, n = 8 each, side by side in n) of a matrix stored as [n, k].
__device__ inline void load_right(uint32_t (&r)[4], const bf16* corner, int row_stride, int lane) {
  device::ldmatrix4(r, corner + (lane / 16 * 8 + lane % 8) * row_stride + lane / 8 % 2 * 8);
}
// The same of a matrix stored as [k, n].
__device__ inline void load_right_trans(uint32_t (&r)[4], const bf16* corner, int row_stride, int lane) {
  device::ldmatrix4_trans(r, corner + (lane / 8 % 2 * 8 + lane % 8) * row_stride + lane / 16 * 8);
}
__device__ inline void multiply_pair(float (&left)[4], float (&right)[4], const uint32_t (&a)[4],
                                     const uint32_t (&b)[4]) {
  const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
  mma_16x8x16(left, a, b0);
  mma_16x8x16(right, a, b1);
}
// Two accumulators side by side as the left operand of the next product.
__device__ inline void as_left(uint32_t (&a)[4], const float (&c0)[4], const float (&c1)[4]) {
  a[0] = pack_bf16(c0[0], c0[1]), a[1] = pack_bf16(c0[2], c0[3]);
  a[2] = pack_bf16(c1[0], c1[1]), a[3] = pack_bf16(c1[2], c1[3]);
}

// The last W - 1 inputs of this head's channels, oldest first. The chunks' kernel, their only reader, has
// finished.
template <int K>
__device__ inline void update_conv_state(const DeltaRule<Gpu>& a, int64_t b, int h) {
  constexpr int kPast = kConvWidth - 1;
  const int64_t T = a.qkv.size[1], heads = a.heads;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < 3 * K; i += gridDim.x * blockDim.x) {
    const int64_t channel = i / K * heads * K + int64_t{h} * K + i % K;
    const Bf16* const x = a.qkv.data + b * a.qkv.stride[0] + channel;
    Bf16* const state = a.conv_state.data + b * a.conv_state.stride[0] + channel * kPast;
    Bf16 next[kPast];
#pragma unroll
    for (int tap = 0; tap < kPast; ++tap) {
      const int64_t t = T - kPast + tap;
      next[tap] = t >= 0 ? x[t * a.qkv.stride[1]] : state[kPast + t];
    }
#pragma unroll
    for (int tap = 0; tap < kPast; ++tap) state[tap] = next[tap];
  }
}

// Two neighbouring channels of the state.
__device__ inline float2 load_pair(const float* p) { return *reinterpret_cast<const float2*>(p); }
__device__ inline float2 load_pair(const bf16* p) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(p));
}
template <StateType kType>
__device__ inline void store_pair(float* p, float x, float y, uint32_t, uint32_t) {
  *reinterpret_cast<float2*>(p) = {x, y};
}
template <StateType kType>
__device__ inline void store_pair(bf16* p, float x, float y, uint32_t seed, uint32_t pair) {
  *reinterpret_cast<uint32_t*>(p) = round_pair<kType>(x, y, seed, pair);
}

template <int K, int kWarps, StateType kType>
__global__ void __launch_bounds__(32 * kWarps, 1)
    kda_scan_kernel(const __grid_constant__ DeltaRule<Gpu> a, const __grid_constant__ Chunked chunked) {
  using Stage = Tile<K, 16 * kWarps>;
  constexpr int V = K, kTiles = K / 8, kTokens = kChunk / 8, kRow = Stage::kRow, kSquare = Stage::kSquare;
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  auto* const stages = reinterpret_cast<Stage*>(shared_bytes);
  __shared__ device::CopyBarrier loaded[2];

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, h = blockIdx.y;
  const int first_value = blockIdx.x * 16 * kWarps, value = warp * 16;  // of the block; of the warp inside it
  const int64_t b = blockIdx.z, T = a.out.size[1];
  const auto* const tiles =
      reinterpret_cast<const Tile<K>*>(chunked.tiles) + (b * gridDim.y + h) * chunked.chunks;
  device::let_next_start();
  device::wait_for_previous();

  if (threadIdx.x == 0) {
    device::init_copy_barrier(loaded, 1), device::init_copy_barrier(loaded + 1, 1);
    device::publish_copy_barriers();
    load_stage(stages[0], tiles[0], first_value, loaded);
  }
  update_conv_state<K>(a, b, h);

  // c[0..1] is (row g, channels 2 t..) of 8 channels, c[2..3] is row g + 8.
  auto* const state = state_of<kType>(a, b, h) + int64_t{first_value + value + g} * K + 2 * t;
  float S[kTiles][4];
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int rows = 0; rows < 2; ++rows) {
      const float2 pair = load_pair(state + rows * 8 * K + 8 * n);
      S[n][2 * rows] = pair.x, S[n][2 * rows + 1] = pair.y;
    }

  __syncthreads();  // the barriers are there
  for (int chunk = 0; chunk < chunked.chunks; ++chunk) {
    const Stage& s = stages[chunk % 2];
    if (threadIdx.x == 0 && chunk + 1 < chunked.chunks)
      load_stage(stages[(chunk + 1) % 2], tiles[chunk + 1], first_value, loaded + (chunk + 1) % 2);
    device::await_copy(loaded + chunk % 2, chunk / 2 % 2);

    float written[kTokens][4], o[kTokens][4];
#pragma unroll
    for (int n = 0; n < kTokens; ++n)
#pragma unroll
      for (int rows = 0; rows < 2; ++rows) {
        const float2 u = __bfloat1622float2(
            *reinterpret_cast<const __nv_bfloat162*>(&s.u[value + 8 * rows + g][8 * n + 2 * t]));
        written[n][2 * rows] = u.x, written[n][2 * rows + 1] = u.y;
        o[n][2 * rows] = o[n][2 * rows + 1] = 0;
      }
#pragma unroll
    for (int step = 0; step < K / 16; ++step) {
      uint32_t left[4], right[4];
      as_left(left, S[2 * step], S[2 * step + 1]);
#pragma unroll
      for (int n = 0; n < kTokens; n += 2) {
        load_right(right, &s.minus_w[8 * n][16 * step], kRow, lane);
        multiply_pair(written[n], written[n + 1], left, right);
        load_right(right, &s.q[8 * n][16 * step], kRow, lane);
        multiply_pair(o[n], o[n + 1], left, right);
      }
    }
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const float2 decay = *reinterpret_cast<const float2*>(&s.decay[8 * n + 2 * t]);
      S[n][0] *= decay.x, S[n][1] *= decay.y, S[n][2] *= decay.x, S[n][3] *= decay.y;
    }
#pragma unroll
    for (int step = 0; step < kChunk / 16; ++step) {
      uint32_t left[4], right[4];
      as_left(left, written[2 * step], written[2 * step + 1]);
#pragma unroll
      for (int n = 2 * step; n < kTokens; n += 2) {  // a token reads what it and earlier ones wrote
        load_right(right, &s.a[8 * n][16 * step], kSquare, lane);
        multiply_pair(o[n], o[n + 1], left, right);
      }
#pragma unroll
      for (int n = 0; n < kTiles; n += 2) {
        load_right_trans(right, &s.k[16 * step][8 * n], kRow, lane);
        multiply_pair(S[n], S[n + 1], left, right);
        load_right_trans(right, &s.k_low[16 * step][8 * n], kRow, lane);
        multiply_pair(S[n], S[n + 1], left, right);
      }
    }

    bf16* const out = device::as_bf16(a.out.data) + b * a.out.stride[0] + h * V + first_value + value + g;
#pragma unroll
    for (int n = 0; n < kTokens; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t token = int64_t{chunk} * kChunk + 8 * n + 2 * t + i % 2;
        if (token < T) out[token * a.out.stride[1] + i / 2 * 8] = __float2bfloat16_rn(o[n][i]);
      }
    device::fence_async_shared();
    __syncthreads();  // the stage may be overwritten
  }

  uint32_t seed = 0;  // of the last token
  if constexpr (kType == StateType::kBf16Stochastic)
    seed = rounding_seed(static_cast<int32_t>(a.lengths.data[b] + T - 1), h);
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int rows = 0; rows < 2; ++rows) {
      const int offset = rows * 8 * K + 8 * n;
      store_pair<kType>(state + offset, S[n][2 * rows], S[n][2 * rows + 1], seed,
                        ((first_value + value + g) * K + 2 * t + offset) / 2);
    }
}

template <int K, int kWarps, StateType kType>
void run(const DeltaRule<Gpu>& args, const Chunked& tiles, cudaStream_t stream) {
  const auto kernel = kda_scan_kernel<K, kWarps, kType>;
  const size_t bytes = 2 * sizeof(Tile<K, 16 * kWarps>);
  device::allow_shared(kernel, bytes, "kda_scan");
  device::launch(kernel, dim3(K / (16 * kWarps), args.heads, args.qkv.size[0]), dim3(32 * kWarps), bytes,
                 stream, "kda_scan", args, tiles);
}

template <StateType kType>
void launch_type(const DeltaRule<Gpu>& args, const Chunked& tiles, cudaStream_t stream) {
  // A block of 8 warps shares what it loads among all values of a head. With few heads, 4 warps a block put
  // each warp on a scheduler of its own.
  const int64_t heads = args.qkv.size[0] * args.heads;
  if (args.key_dim == 64) run<64, 4, kType>(args, tiles, stream);
  else if (2 * heads <= device::multiprocessors()) run<128, 4, kType>(args, tiles, stream);
  else run<128, 8, kType>(args, tiles, stream);
}

}  // namespace

void launch_scan(const DeltaRule<Gpu>& args, const Chunked& tiles, cudaStream_t stream) {
  switch (args.state_type) {
    case StateType::kAccum: return launch_type<StateType::kAccum>(args, tiles, stream);
    case StateType::kBf16: return launch_type<StateType::kBf16>(args, tiles, stream);
    case StateType::kBf16Stochastic: return launch_type<StateType::kBf16Stochastic>(args, tiles, stream);
  }
}

}  // namespace kdabench::kda
