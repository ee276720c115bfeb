// KDA and GDN decode: one token for every sequence, everything between the projections in one kernel.
//
//   Math     kernels/kda/kda.h; the truth is delta_rule_cpu<double>. With S the old state and d = exp g, o =
//            S^T (d q) + (k . q) e, e = beta (v - S^T (d k)): both sums run over the old state, so one
//            reduction serves both and the state is updated as it is stored.
//   Work     A thread convolves one channel of q or k and one of v; q, k and the decay go round the block once.
//            A warp owns V / (8 kSplit) rows of one head's state and a lane K / 32 channels of each: a row is
//            one coalesced access. Loads of 8 rows are in flight before anything is computed, and where a head
//            has several blocks before the kernels in front have finished. Lane r keeps v and o of row r.
//   Low rank Where the gates are still products of a low rank, a head's blocks share the rows of both weights, which
//            lie in registers before the wait. The decays go round the cluster; a block needs its own output gates only.
//   Grid     (kSplit H, B) blocks of 8 warps; the kSplit blocks of a head are a cluster, which shares sum o^2
//            for the norm. The last cluster barrier is also what orders the update of conv_state after its
//            readers.
//   Cost     8 B H K V bytes (4 with a bf16 state), about 8 B H K V flops, and 2 K (H G + H V) bytes of low-rank weights
//            (with G = 1: 2 K H V): bandwidth is the floor. H = 32 on one H200, CUDA graph: see kernels/README.md.
//   Uses     sm_90a, K = V = 128: at most 128 registers, no spills, 1.6 KB shared, 5.8 with a low rank
//            (tests/check_registers.py). Low rank, KDA, fp32: 116 registers, or 84 with four blocks a head, which beside a
//            block of kernels/chain is what a multiprocessor has.
//   Limits   K = V in {64, 128}, G in {1, K}, conv width 4; low rank K, two or four blocks a head.
//   Checked  tests/cuda/test_kda_cuda.cpp, bounds in suites/bounds.h.

#include <cooperative_groups.h>

#include "kernels/kda/kda_cuda.cuh"

namespace kdabench::kda {
namespace {

constexpr int kWarps = 8;
// Blocks of a multiprocessor: a third takes 80 registers a thread, too few for fp32 rows and for random bits.
template <StateType kType>
constexpr int kBlocks = kType == StateType::kBf16 ? 3 : 2;
// Larger fp32 states than this pass through the L2 as other data does; all others leave it first (measured both ways).
constexpr int64_t kStreamedBytes = 96 << 20;

// One channel before and after the short convolution.
struct Channel {
  Bits<kConvWidth> taps;
  uint16_t inputs[kConvWidth];  // oldest first; the last one is the current token

  __device__ void load_taps(const bf16* conv, int64_t channel) {
    taps = load_bits<kConvWidth>(conv + channel * kConvWidth);
  }
  __device__ void load_past(const bf16* state, int64_t channel) {
#pragma unroll
    for (int i = 0; i < kConvWidth - 1; ++i)
      inputs[i] = __bfloat16_as_ushort(state[channel * (kConvWidth - 1) + i]);
  }
  __device__ void load_now(const bf16* qkv, int64_t channel) {
    inputs[kConvWidth - 1] = __bfloat16_as_ushort(qkv[channel]);
  }
  __device__ float output() const {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kConvWidth; ++i) sum += from_bits(taps.at[i]) * from_bits(inputs[i]);
    return silu(sum);
  }
  __device__ void store_shifted(bf16* state, int64_t channel) const {
#pragma unroll
    for (int i = 0; i < kConvWidth - 1; ++i)
      state[channel * (kConvWidth - 1) + i] = __ushort_as_bfloat16(inputs[i + 1]);
  }
};

// One access of 4, 8 or 16 bytes; `stream`: gone from the caches first.
template <int kBytes>
struct Vector;
template <> struct Vector<4> { using Type = uint32_t; };
template <> struct Vector<8> { using Type = uint2; };
template <> struct Vector<16> { using Type = uint4; };

template <class T>
__device__ inline T load_state(const void* p, bool stream) {
  using V = typename Vector<sizeof(T)>::Type;
  const auto* const from = static_cast<const V*>(p);
  return __builtin_bit_cast(T, stream ? __ldcs(from) : *from);
}
template <class T>
__device__ inline void store_state(void* p, const T& x, bool stream) {
  using V = typename Vector<sizeof(T)>::Type;
  const V value = __builtin_bit_cast(V, x);
  if (stream) __stcs(static_cast<V*>(p), value);
  else *static_cast<V*>(p) = value;
}

// ---- a lane's N channels of one row of the state, as they lie in memory and as numbers ----------------------
template <StateType kType, int N>
struct Row {
  using Element = bf16;
  Words<N / 2> raw;
  __device__ void load(const bf16* p, bool stream) { raw = load_state<Words<N / 2>>(p, stream); }
  __device__ float at(int n) const {
    return __uint_as_float(n % 2 == 0 ? raw.at[n / 2] << 16 : raw.at[n / 2] & 0xffff0000u);
  }
  // Keeps the compiler from holding on to what `at` returned, which takes twice the registers.
  __device__ void forget_numbers() {
#pragma unroll
    for (uint32_t& word : raw.at) asm volatile("" : "+r"(word));
  }
  __device__ static void store(bf16* p, const float (&x)[N], uint32_t seed, uint32_t pair, bool stream) {
    Words<N / 2> words;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) words.at[i] = round_pair<kType>(x[2 * i], x[2 * i + 1], seed, pair + i);
    store_state(p, words, stream);
  }
};
template <int N>
struct Row<StateType::kAccum, N> {
  using Element = float;
  Floats<N> raw;
  __device__ void load(const float* p, bool stream) { raw = load_state<Floats<N>>(p, stream); }
  __device__ float at(int n) const { return raw.at[n]; }
  __device__ void forget_numbers() {}
  __device__ static void store(float* p, const float (&x)[N], uint32_t, uint32_t, bool stream) {
    Floats<N> row;
#pragma unroll
    for (int n = 0; n < N; ++n) row.at[n] = x[n];
    store_state(p, row, stream);
  }
};

// ---- products of a low rank, of a head shared by the kSplit blocks of its cluster, on the tensor cores -----------------
// A warp has kShare rows of either weight, those of the gate in front, on the M side of the mma; in its columns stand two
// vectors, the gate's in the even and the output gate's in the odd ones. A lane holds 8 neighbouring columns of every 32
// (linear/weight_stream.cuh) of row lane / 4, and of the row 8 further on.
template <int K, bool kScalarGate, int kSplit>
struct LowRankTile {
  static constexpr int kSteps = K / 32, kShare = K / (kWarps * kSplit), kGateRows = kScalarGate ? 0 : kShare;
  static constexpr int kTileRows = kGateRows + kShare, kHalves = kTileRows > 8 ? 2 : 1;
  uint4 w[kHalves][kSteps];

  // `gate` and `out_gate`: the warp's first rows.
  __device__ void load(const bf16* gate, const bf16* out_gate, int lane) {
#pragma unroll
    for (int i = 0; i < kHalves; ++i) {
      const int row = i * 8 + lane / 4;
      const bf16* const from = row < kGateRows ? gate + row * K : out_gate + (row - kGateRows) * K;
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        w[i][s] = make_uint4(0, 0, 0, 0);
        if (row >= kTileRows) continue;
        const device::Bf16x8 v = device::load_stream(from + s * 32 + lane % 4 * 8);
        w[i][s] = *reinterpret_cast<const uint4*>(&v);
      }
    }
  }
  // x: the lane's first 8 numbers of the vector that the parity of lane / 4 says; the next are 32 numbers on. `gate` of row
  // lane / 4 where there is one, `out_gate` of row lane.
  __device__ void multiply(const uint4* x, int lane, float& gate, float& out_gate) const {
    float sums[2][4] = {};
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const uint4 low = w[0][s], high = kHalves > 1 ? w[kHalves - 1][s] : make_uint4(0, 0, 0, 0), v = x[4 * s];
      device::mma_16x8x16(sums[0], {low.x, high.x, low.y, high.y}, {v.x, v.y});
      device::mma_16x8x16(sums[1], {low.z, high.z, low.w, high.w}, {v.z, v.w});
    }
    gate = sums[0][0] + sums[1][0];
    constexpr int kOdd = kHalves > 1 ? 3 : 1, kFirst = kHalves > 1 ? 0 : kGateRows;
    out_gate = __shfl_sync(0xffffffffu, sums[0][kOdd] + sums[1][kOdd], (kFirst + lane) % 8 * 4);
  }
};

template <int K, bool kScalarGate, int kSplit, StateType kType, bool kLowRank>
__device__ __forceinline__ void decode(const LowRankDeltaRule<Gpu>& args) {
  const DeltaRule<Gpu>& a = args.rule;
  constexpr int V = K, N = K / 32;
  constexpr int kRows = V / (kWarps * kSplit), kBatch = kRows < 8 ? kRows : 8, kBatches = kRows / kBatch;
  using StateRow = Row<kType, N>;
  const auto cluster = cooperative_groups::this_cluster();
  __shared__ float partial[kSplit][kWarps];
  __shared__ float q_and_k[2 * K], decay[K];

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int h = blockIdx.x / kSplit, part = blockIdx.x % kSplit;
  const int64_t b = blockIdx.y, heads = a.heads;
  // A thread convolves one channel of q or k, and for its row one of v.
  const int mine = static_cast<int>(threadIdx.x) % (2 * K);
  const int64_t qk_channel = (mine < K ? 0 : heads * K) + int64_t{h} * K + mine % K;
  const int first_row = (part * kWarps + warp) * kRows;
  const bool has_row = lane < kRows;
  const int64_t row = int64_t{h} * V + first_row + (has_row ? lane : 0), v_channel = 2 * heads * K + row;
  // Of a low rank, a warp's rows are also those of its share of the gate.
  using Tile = LowRankTile<K, kScalarGate, kSplit>;
  const bool has_gate = kLowRank ? lane / 4 < Tile::kShare : static_cast<int>(threadIdx.x) < K;
  const int gate_channel = kLowRank ? first_row + (has_gate ? lane / 4 : 0) : mine % K;

  // Weights, which are written by no kernel, may be read before the kernels in front have finished, and so may states
  // at rest. Where blocks outnumber the multiprocessors that only delays the weights.
  Channel qk, v_in;
  const bf16* conv = device::as_bf16(a.conv.data);
  qk.load_taps(conv, qk_channel);
  v_in.load_taps(conv, v_channel);
  const float log_rate = a.a_log.data[h], bias = a.dt_bias.data[kScalarGate ? h : h * K + gate_channel];
  const float norm_weight = to_float(a.norm_weight.data[first_row + (has_row ? lane : 0)]);
  auto* const state = state_of<kType>(a, b, h) + int64_t{first_row} * K + lane * N;
  bf16* const conv_state = device::as_bf16(a.conv_state.data) + b * a.conv_state.stride[0];
  StateRow rows[kRows];
  const bool stream = kType != StateType::kAccum ||
                      int64_t{gridDim.x} * gridDim.y / kSplit * int64_t{sizeof(StateRow)} * 32 * V <= kStreamedBytes;
  const auto load_states = [&] {
#pragma unroll
    for (int i = 0; i < kBatch; ++i) rows[i].load(state + i * K, stream);
    qk.load_past(conv_state, qk_channel);
    v_in.load_past(conv_state, v_channel);
  };
  const bool early = kSplit > 1 && a.states_at_rest;
  if (early) load_states();
  Tile tile;
  if constexpr (kLowRank) {
    const int64_t first = (int64_t{h} * K + first_row) * K;
    tile.load(kScalarGate ? nullptr : device::as_bf16(args.gate.w.data) + first,
              device::as_bf16(args.out_gate.w.data) + first, lane);
  }
  if constexpr (kSplit > 1)
    cluster.barrier_arrive();  // waited for below: the others' shared memory exists by then

  // With four blocks a head the kernel behind may start while this one still waits: 0.6 % of a step, measured with the chain
  // behind (kernels/README.md, row 5i). Elsewhere not before the wait: 0.5 us slower at B = 1, since this kernel's own reads
  // then wait behind those of the next.
  constexpr bool kEarly = kLowRank && kSplit == 4;
  if constexpr (kEarly) device::let_next_start();
  device::wait_for_previous();
  if constexpr (!kEarly) device::let_next_start();

  const bf16* const qkv = device::as_bf16(a.qkv.data) + b * a.qkv.stride[0];
  qk.load_now(qkv, qk_channel);
  v_in.load_now(qkv, v_channel);
  uint4 low;  // a lane 8 numbers: the first K / 8 lanes of what the gate is made of, the next of the output gate's
  if constexpr (kLowRank) {
    const LowRank<Gpu>& from = kScalarGate || lane >= K / 8 ? args.out_gate : args.gate;
    low = *reinterpret_cast<const uint4*>(device::as_bf16(from.x.data) + b * from.x.stride[0] + lane % (K / 8) * 8);
  }
  const float beta_logit = to_float(a.beta.data[b * a.beta.stride[0] + h]);
  float gate = 0, out_gate = 0;
  if constexpr (kScalarGate || !kLowRank)
    gate = to_float(a.gate.data[b * a.gate.stride[0] + (kScalarGate ? h : h * K + gate_channel)]);
  if constexpr (!kLowRank) out_gate = to_float(a.out_gate.data[b * a.out_gate.stride[0] + row]);
  uint32_t seed = 0;
  if constexpr (kType == StateType::kBf16Stochastic)
    seed = rounding_seed(a.lengths.data[b], h) + static_cast<uint32_t>(first_row * K + lane * N) / 2 * kRoundingPair;
  if (!early) load_states();

  if constexpr (kLowRank) {
    __shared__ uint4 vectors[kWarps][K / 4];
    if (lane < K / 4) vectors[warp][lane] = low;
    __syncwarp();
    float product;
    tile.multiply(vectors[warp] + lane / 4 % 2 * (K / 8) + lane % 4, lane, product, out_gate);
    if constexpr (!kScalarGate) gate = product;
  }
  const float rate = expf(log_rate), v = v_in.output(), out_scale = norm_weight * device::sigmoid(out_gate);
  float d[N], k[N], qq = 0, kk = 0, kq = 0;
  if (threadIdx.x < 2 * K) q_and_k[mine] = qk.output();
  const auto decay_of = [&] { return exp_of(log_decay(gate + bias, rate, a.lower_bound)); };
  if constexpr (kScalarGate) {
    d[0] = decay_of();
    __syncthreads();
  } else if constexpr (kLowRank) {  // every block of the head needs all of its decays; four lanes have the same one
    const float decayed = decay_of();
    cluster.barrier_wait();
    if (has_gate && lane % 4 < kSplit) *cluster.map_shared_rank(&decay[gate_channel], lane % 4) = decayed;
    cluster.barrier_arrive();
    cluster.barrier_wait();
  } else {
    if (has_gate) decay[gate_channel] = decay_of();
    __syncthreads();
  }
  const auto q_raw = load_floats<N>(q_and_k + lane * N), k_raw = load_floats<N>(q_and_k + K + lane * N);
#pragma unroll
  for (int n = 0; n < N; ++n) {
    d[n] = kScalarGate ? d[0] : decay[lane * N + n];
    qq += q_raw.at[n] * q_raw.at[n], kk += k_raw.at[n] * k_raw.at[n], kq += k_raw.at[n] * q_raw.at[n];
  }
  qq = device::warp_sum(qq), kk = device::warp_sum(kk), kq = device::warp_sum(kq);
  const float q_scale = rsqrtf(qq + kNormEpsilon) * rsqrtf(static_cast<float>(K)),
              k_scale = rsqrtf(kk + kNormEpsilon), beta = device::sigmoid(beta_logit);
  kq *= q_scale * k_scale;
  float dq[N], dk[N];
#pragma unroll
  for (int n = 0; n < N; ++n)
    k[n] = k_raw.at[n] * k_scale, dk[n] = d[n] * k[n], dq[n] = d[n] * q_raw.at[n] * q_scale;

  constexpr int kSpan = 32 / (2 * kBatch);  // neighbouring lanes that hold the same sum
  float o = 0, error = 0;                   // error: of row lane / kSpan of the batch, in the lower half of the lanes
  const auto update = [&](int batch) {
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      StateRow& s = rows[batch * kBatch + i];
      s.forget_numbers();
      const float e = __shfl_sync(0xffffffffu, error, i * kSpan);
      float next[N];
#pragma unroll
      for (int n = 0; n < N; ++n) next[n] = s.at(n) * d[n] + k[n] * e;
      const int at = (batch * kBatch + i) * K;
      StateRow::store(state + at, next, seed, at / 2, stream);
    }
  };
#pragma unroll
  for (int batch = 0; batch < kBatches; ++batch) {
    float sums[2 * kBatch];  // S^T (d k) of every row, then S^T (d q)
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      sums[i] = sums[kBatch + i] = 0;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const float s = rows[batch * kBatch + i].at(n);
        sums[i] += s * dk[n], sums[kBatch + i] += s * dq[n];
      }
    }
    const float sum = transposed_sum<2 * kBatch>(sums, lane);
    const float v_row = __shfl_sync(0xffffffffu, v, batch * kBatch + lane / kSpan % kBatch);
    error = beta * (v_row - sum);
    const float o_row = __shfl_sync(0xffffffffu, sum, 16 + lane % kBatch * kSpan) +
                        kq * __shfl_sync(0xffffffffu, error, lane % kBatch * kSpan);
    if (lane / kBatch == batch) o = o_row;
    if constexpr (kSplit == 1) {
      if (batch + 1 < kBatches)
#pragma unroll
        for (int i = 0; i < kBatch; ++i)
          rows[(batch + 1) * kBatch + i].load(state + ((batch + 1) * kBatch + i) * K, stream);
      update(batch);
    }
  }

  const float square = device::warp_sum(has_row ? o * o : 0.f);
  if constexpr (kSplit > 1) {
    static_assert(kBatches == 1);
    if constexpr (kScalarGate || !kLowRank) cluster.barrier_wait();
    if (lane < kSplit) *cluster.map_shared_rank(&partial[part][warp], lane) = square;
    cluster.barrier_arrive();  // before anything is stored: it waits for stores in flight
    update(0);
  } else {
    if (lane == 0) partial[0][warp] = square;
    if (threadIdx.x < 2 * K) qk.store_shifted(conv_state, qk_channel);  // read by this thread alone
  }
  if (has_row) v_in.store_shifted(conv_state, v_channel);  // read by this lane alone
  if constexpr (kSplit > 1) cluster.barrier_wait();
  else __syncthreads();
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kSplit * kWarps; ++i) sum += partial[i / kWarps][i % kWarps];
  const float inverse = rsqrtf(sum / V + a.norm_eps);
  if (has_row)
    a.out.data[b * a.out.stride[0] + row] = to_bf16(o * inverse * out_scale);

  if (kSplit > 1 && part == 0 && threadIdx.x < 2 * K) qk.store_shifted(conv_state, qk_channel);  // all have read it
}

template <int K, bool kScalarGate, int kSplit, StateType kType>
__global__ void __cluster_dims__(kSplit, 1, 1) __launch_bounds__(32 * kWarps, kBlocks<kType>)
    kda_decode_kernel(const __grid_constant__ LowRankDeltaRule<Gpu> args) {
  decode<K, kScalarGate, kSplit, kType, false>(args);
}

template <int K, bool kScalarGate, int kSplit, StateType kType>
__global__ void __cluster_dims__(kSplit, 1, 1) __launch_bounds__(32 * kWarps, 2)
    kda_decode_low_rank_kernel(const __grid_constant__ LowRankDeltaRule<Gpu> args) {
  decode<K, kScalarGate, kSplit, kType, true>(args);
}

template <int K, bool kScalarGate, StateType kType, bool kLowRank>
void launch_split(const LowRankDeltaRule<Gpu>& args, cudaStream_t stream) {
  const auto run = [&](auto* kernel, int split, const char* name) {
    device::launch(kernel, dim3(split * args.rule.heads, args.rule.qkv.size[0]), dim3(32 * kWarps), 0, stream, name,
                   args);
  };
  if constexpr (kLowRank) {
    if (4 * args.rule.qkv.size[0] * args.rule.heads <= device::multiprocessors())
      run(kda_decode_low_rank_kernel<K, kScalarGate, 4, kType>, 4, "kda_decode_low_rank_4_blocks");
    else run(kda_decode_low_rank_kernel<K, kScalarGate, 2, kType>, 2, "kda_decode_low_rank_2_blocks");
  } else {
    if (two_blocks_a_head(args.rule)) run(kda_decode_kernel<K, kScalarGate, 2, kType>, 2, "kda_decode_2_blocks");
    else run(kda_decode_kernel<K, kScalarGate, 1, kType>, 1, "kda_decode_1_block");
  }
}

template <StateType kType, bool kLowRank>
void launch_type(const LowRankDeltaRule<Gpu>& args, cudaStream_t stream) {
  const bool scalar = args.rule.gate_dim == 1;
  if (args.rule.key_dim == 128)
    scalar ? launch_split<128, true, kType, kLowRank>(args, stream)
           : launch_split<128, false, kType, kLowRank>(args, stream);
  else
    scalar ? launch_split<64, true, kType, kLowRank>(args, stream)
           : launch_split<64, false, kType, kLowRank>(args, stream);
}

template <bool kLowRank>
void launch_any(const LowRankDeltaRule<Gpu>& args, cudaStream_t stream) {
  switch (args.rule.state_type) {
    case StateType::kAccum: return launch_type<StateType::kAccum, kLowRank>(args, stream);
    case StateType::kBf16: return launch_type<StateType::kBf16, kLowRank>(args, stream);
    case StateType::kBf16Stochastic: return launch_type<StateType::kBf16Stochastic, kLowRank>(args, stream);
  }
}

}  // namespace

// Few heads: two blocks a head, so that more multiprocessors have some. Many: one, and no cluster to wait for. With a low
// rank, four where they fit: weights and states that are read while the kernel in front still runs then take as much
// from each multiprocessor as from any other, where all have equal shares of that kernel.
bool two_blocks_a_head(const DeltaRule<Gpu>& args) {
  return args.qkv.size[0] * args.heads <= device::multiprocessors();
}

void launch_decode(const DeltaRule<Gpu>& args, cudaStream_t stream) { launch_any<false>({args, {}, {}}, stream); }
void launch_low_rank_decode(const LowRankDeltaRule<Gpu>& args, cudaStream_t stream) { launch_any<true>(args, stream); }

}  // namespace kdabench::kda
