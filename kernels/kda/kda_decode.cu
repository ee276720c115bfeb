// KDA and GDN decode: one token for every sequence, everything between the projections in one kernel.
//
//   Math     kernels/kda/kda.h; the truth is delta_rule_cpu<double>. With S the old state and d = exp g, o =
//            S^T (d q) + (k . q) e, e = beta (v - S^T (d k)): both sums run over the old state, so one
//            reduction serves both and the state is updated as it is stored.
//   Work     A warp owns V / (8 kSplit) rows of one head's state and a lane K / 32 channels of each: a row is
//            one coalesced access. Loads of 8 rows are in flight before anything is computed. Every warp
//            computes q, k and the decay for itself, which costs less than handing them round a block. Lane r
//            keeps v and o of row r.
//   Grid     (kSplit H, B) blocks of 8 warps; the kSplit blocks of a head are a cluster, which shares sum o^2
//            for the norm. The second cluster barrier is also what orders the update of conv_state after its
//            readers.
//   Cost     8 B H K V bytes, about 8 B H K V flops: bandwidth is the floor. H = 32 on one H200, CUDA graph:
//            B = 64 71 us (3.8 TB/s of state), B = 16 19 us.
//   Uses     sm_90a, K = V = 128: at most 116 registers, no spills, 64 bytes shared (ptxas, nvcc 13.0).
//   Limits   K = V in {64, 128}, G in {1, K}, conv width 4.
//   Checked  tests/cuda/test_kda_cuda.cpp, bounds in suites/bounds.h.

#include <cooperative_groups.h>

#include "kernels/kda/kda_cuda.cuh"

namespace kdabench::kda {
namespace {

constexpr int kWarps = 8;

// N channels of one head before and after the short convolution.
template <int N>
struct Conv {
  Bits<N> weights[kConvWidth];        // [N, W]
  Bits<N> past[kConvWidth - 1], now;  // [N, W - 1], [N]

  __device__ void load_weights(const bf16* conv, int64_t channel) {
#pragma unroll
    for (int i = 0; i < kConvWidth; ++i) weights[i] = load_bits<N>(conv + channel * kConvWidth + i * N);
  }
  __device__ void load_past(const bf16* state, int64_t channel) {
#pragma unroll
    for (int i = 0; i < kConvWidth - 1; ++i)
      past[i] = load_bits<N>(state + channel * (kConvWidth - 1) + i * N);
  }
  __device__ void load_now(const bf16* qkv, int64_t channel) { now = load_bits<N>(qkv + channel); }
  __device__ uint16_t weight_bits(int n, int tap) const {
    const int i = n * kConvWidth + tap;
    return weights[i / N].at[i % N];
  }
  __device__ uint16_t input_bits(int n, int tap) const {
    const int i = n * (kConvWidth - 1) + tap;
    return tap == kConvWidth - 1 ? now.at[n] : past[i / N].at[i % N];
  }
  __device__ float output(int n) const {
    float sum = 0;
#pragma unroll
    for (int tap = 0; tap < kConvWidth; ++tap)
      sum += from_bits(weight_bits(n, tap)) * from_bits(input_bits(n, tap));
    return silu(sum);
  }
  // What the next token finds in `past`, [N, W - 1].
  struct Shifted {
    Bits<N> at[kConvWidth - 1];
    __device__ void store(bf16* state, int64_t channel) const {
#pragma unroll
      for (int i = 0; i < kConvWidth - 1; ++i) store_bits<N>(state + channel * (kConvWidth - 1) + i * N, at[i]);
    }
  };
  __device__ Shifted shifted() const {
    Shifted next;
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int tap = 0; tap < kConvWidth - 1; ++tap) {
        const int i = n * (kConvWidth - 1) + tap;
        next.at[i / N].at[i % N] = input_bits(n, tap + 1);
      }
    return next;
  }
};

// ---- a lane's N channels of one row of the state, as they lie in memory and as numbers ----------------------
template <StateType kType, int N>
struct Row {
  using Element = bf16;
  Words<N / 2> raw;
  __device__ void load(const bf16* p) { raw = *reinterpret_cast<const Words<N / 2>*>(p); }
  __device__ float at(int n) const {
    return __uint_as_float(n % 2 == 0 ? raw.at[n / 2] << 16 : raw.at[n / 2] & 0xffff0000u);
  }
  // Keeps the compiler from holding on to what `at` returned, which takes twice the registers.
  __device__ void forget_numbers() {
#pragma unroll
    for (uint32_t& word : raw.at) asm volatile("" : "+r"(word));
  }
  __device__ static void store(bf16* p, const float (&x)[N], uint32_t seed, uint32_t pair) {
    Words<N / 2> words;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) words.at[i] = round_pair<kType>(x[2 * i], x[2 * i + 1], seed, pair + i);
    *reinterpret_cast<Words<N / 2>*>(p) = words;
  }
};
template <int N>
struct Row<StateType::kAccum, N> {
  using Element = float;
  Floats<N> raw;
  __device__ void load(const float* p) { raw = load_floats<N>(p); }
  __device__ float at(int n) const { return raw.at[n]; }
  __device__ void forget_numbers() {}
  __device__ static void store(float* p, const float (&x)[N], uint32_t, uint32_t) {
    Floats<N> row;
#pragma unroll
    for (int n = 0; n < N; ++n) row.at[n] = x[n];
    store_floats<N>(p, row);
  }
};

template <int K, bool kScalarGate, int kSplit, StateType kType>
__global__ void __cluster_dims__(kSplit, 1, 1) __launch_bounds__(32 * kWarps, 2)
    kda_decode_kernel(const __grid_constant__ DeltaRule<Gpu> a) {
  constexpr int V = K, N = K / 32;
  constexpr int kRows = V / (kWarps * kSplit), kBatch = kRows < 8 ? kRows : 8, kBatches = kRows / kBatch;
  constexpr int kAhead = kType == StateType::kAccum && kRows > 8 ? 8 : kRows;  // rows there are registers for
  using StateRow = Row<kType, N>;
  const auto cluster = cooperative_groups::this_cluster();
  __shared__ float partial[kSplit][kWarps];

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int h = blockIdx.x / kSplit, part = blockIdx.x % kSplit;
  const int64_t b = blockIdx.y, heads = a.heads;
  const int64_t q_channel = int64_t{h} * K + lane * N, k_channel = q_channel + heads * K;
  const int first_row = (part * kWarps + warp) * kRows;
  const bool has_row = lane < kRows;
  const int64_t row = int64_t{h} * V + first_row + (has_row ? lane : 0), v_channel = 2 * heads * K + row;

  // States at rest, and weights, which are written by no kernel, may be read before the kernels in front have
  // finished.
  auto* const state = state_of<kType>(a, b, h) + int64_t{first_row} * K + lane * N;
  bf16* const conv_state = device::as_bf16(a.conv_state.data) + b * a.conv_state.stride[0];
  StateRow rows[kRows];
  Conv<N> q_conv, k_conv;
  Conv<1> v_conv;
  const auto load_states = [&] {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) rows[i].load(state + i * K);
    q_conv.load_past(conv_state, q_channel);
    k_conv.load_past(conv_state, k_channel);
    v_conv.load_past(conv_state, v_channel);
  };
  const bf16* conv = device::as_bf16(a.conv.data);
  q_conv.load_weights(conv, q_channel);
  k_conv.load_weights(conv, k_channel);
  v_conv.load_weights(conv, v_channel);
  const float rate = expf(a.a_log.data[h]);
  Floats<N> bias;
  if constexpr (kScalarGate) bias.at[0] = a.dt_bias.data[h];
  else bias = load_floats<N>(a.dt_bias.data + q_channel);
  const float norm_weight = to_float(a.norm_weight.data[first_row + (has_row ? lane : 0)]);
  if (a.states_at_rest) load_states();
  if constexpr (kSplit > 1)
    cluster.barrier_arrive();  // waited for below: the others' shared memory exists by then

  device::wait_for_previous();
  device::let_next_start();  // not before the wait: measured 0.5 us slower at B = 1 (CUDA graph, H200)

  if (!a.states_at_rest) load_states();
  const bf16* const qkv = device::as_bf16(a.qkv.data) + b * a.qkv.stride[0];
  q_conv.load_now(qkv, q_channel);
  k_conv.load_now(qkv, k_channel);
  v_conv.load_now(qkv, v_channel);
  const bf16* const gate = device::as_bf16(a.gate.data) + b * a.gate.stride[0];
  Bits<N> gate_bits;
  if constexpr (kScalarGate) gate_bits.at[0] = __bfloat16_as_ushort(gate[h]);
  else gate_bits = load_bits<N>(gate + q_channel);
  const float beta = device::sigmoid(to_float(a.beta.data[b * a.beta.stride[0] + h]));
  const float out_gate = to_float(a.out_gate.data[b * a.out_gate.stride[0] + row]);
  uint32_t seed = 0;
  if constexpr (kType == StateType::kBf16Stochastic) seed = rounding_seed(a.lengths.data[b], h);

  const float v = v_conv.output(0);
  const auto v_shifted = v_conv.shifted();
  const auto qk_shifted = warp == 1 ? k_conv.shifted() : q_conv.shifted();  // written by two warps, below
  float q[N], k[N], d[N], qq = 0, kk = 0, kq = 0;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    q[n] = q_conv.output(n), k[n] = k_conv.output(n);
    d[n] = kScalarGate && n > 0
               ? d[0]
               : exp_of(log_decay(from_bits(gate_bits.at[n]) + bias.at[n], rate, a.lower_bound));
    qq += q[n] * q[n], kk += k[n] * k[n], kq += k[n] * q[n];
  }
  qq = device::warp_sum(qq), kk = device::warp_sum(kk), kq = device::warp_sum(kq);
  const float q_scale = rsqrtf(qq + kNormEpsilon) * rsqrtf(static_cast<float>(K)),
              k_scale = rsqrtf(kk + kNormEpsilon);
  kq *= q_scale * k_scale;
  float dq[N], dk[N];
#pragma unroll
  for (int n = 0; n < N; ++n) k[n] *= k_scale, dk[n] = d[n] * k[n], dq[n] = d[n] * q[n] * q_scale;

#pragma unroll
  for (int i = kAhead; i < kRows; ++i) rows[i].load(state + i * K);
  constexpr int kSpan = 32 / (2 * kBatch);  // neighbouring lanes that hold the same sum
  float o = 0, errors[kBatches];            // of row lane / kSpan of the batch, in the lower half of the lanes
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
    errors[batch] = beta * (v_row - sum);
    const float o_row = __shfl_sync(0xffffffffu, sum, 16 + lane % kBatch * kSpan) +
                        kq * __shfl_sync(0xffffffffu, errors[batch], lane % kBatch * kSpan);
    if (lane / kBatch == batch) o = o_row;
  }

  // Handed round before anything is stored: the arrival at a cluster's barrier waits for stores in flight.
  const float square = device::warp_sum(has_row ? o * o : 0.f);
  if constexpr (kSplit > 1) {
    cluster.barrier_wait();
    if (lane < kSplit) *cluster.map_shared_rank(&partial[part][warp], lane) = square;
    cluster.barrier_arrive();
  } else {
    if (lane == 0) partial[0][warp] = square;
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    rows[i].forget_numbers();
    const float e = __shfl_sync(0xffffffffu, errors[i / kBatch], i % kBatch * kSpan);
    float next[N];
#pragma unroll
    for (int n = 0; n < N; ++n) next[n] = rows[i].at(n) * d[n] + k[n] * e;
    StateRow::store(state + i * K, next, seed, ((first_row + i) * K + lane * N) / 2);
  }
  if (has_row) v_shifted.store(conv_state, v_channel);  // read by this lane alone

  if constexpr (kSplit > 1) cluster.barrier_wait();
  else __syncthreads();
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kSplit * kWarps; ++i) sum += partial[i / kWarps][i % kWarps];
  const float inverse = rsqrtf(sum / V + a.norm_eps);
  if (has_row)
    a.out.data[b * a.out.stride[0] + row] = to_bf16(o * inverse * norm_weight * device::sigmoid(out_gate));

  if (part == 0 && warp < 2) qk_shifted.store(conv_state, warp == 0 ? q_channel : k_channel);  // all have read it
}

template <int K, bool kScalarGate, StateType kType>
void launch_split(const DeltaRule<Gpu>& args, cudaStream_t stream) {
  const int64_t B = args.qkv.size[0], H = args.heads, states = B * H, chip = device::multiprocessors();
  const auto run = [&](auto* kernel, int split, const char* name) {
    device::launch(kernel, dim3(split * H, B), dim3(32 * kWarps), 0, stream, name, args);
  };
  // Few heads: two blocks a head, so that more multiprocessors have some. Many: one, and no cluster to wait for.
  if (states <= chip) run(kda_decode_kernel<K, kScalarGate, 2, kType>, 2, "kda_decode_2_blocks");
  else run(kda_decode_kernel<K, kScalarGate, 1, kType>, 1, "kda_decode_1_block");
}

template <StateType kType>
void launch_type(const DeltaRule<Gpu>& args, cudaStream_t stream) {
  const bool scalar = args.gate_dim == 1;
  if (args.key_dim == 128)
    scalar ? launch_split<128, true, kType>(args, stream) : launch_split<128, false, kType>(args, stream);
  else scalar ? launch_split<64, true, kType>(args, stream) : launch_split<64, false, kType>(args, stream);
}

}  // namespace

void launch_decode(const DeltaRule<Gpu>& args, cudaStream_t stream) {
  switch (args.state_type) {
    case StateType::kAccum: return launch_type<StateType::kAccum>(args, stream);
    case StateType::kBf16: return launch_type<StateType::kBf16>(args, stream);
    case StateType::kBf16Stochastic: return launch_type<StateType::kBf16Stochastic>(args, stream);
  }
}

}  // namespace kdabench::kda
