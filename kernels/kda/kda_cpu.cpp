// KDA and GDN on the CPU: the recurrence (the truth for T = double) and the chunkwise form of the paper (Eq. 2-9).
//
//   Math     kernels/kda/kda.h. Chunkwise, with the rows of a chunk r, i, and decay(i -> r) = exp of the sum of g over
//            tokens i + 1 .. r, per key channel:
//              L[r, i]   = beta_r sum_d k_r k_i decay(i -> r)        i < r
//              A[r, i]   = sum_d q_r k_i decay(i -> r)               i <= r
//              Vn        = (I + L)^-1 diag(beta) (V - (decay(0 -> r) K) S)      Eq. 6 and 7 at once, by substitution
//              O         = (decay(0 -> r) Q) S + A Vn                           Eq. 9
//              S         = diag(decay(0 -> C)) S + (decay(i -> C) K)^T Vn       Eq. 8
//   Numerics Decays are running products of exp(g) <= 1, never quotients: nothing overflows however strong the gate,
//            and no difference of two long sums loses digits. Inside a sub-chunk of 16 tokens keys are decayed row by
//            row; keys of earlier sub-chunks have been brought to the sub-chunk's start: their products are plain GEMMs.
//   Work     One (sequence, head) a thread; the state of [V, K] is traversed along K.
//   Checked  tests/test_kda.cpp: chunkwise against recurrent, float against double, GDN's own form, laws.

#include "kernels/kda/kda.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/cpu_math.h"
#include "kernels/kda/state_rounding.h"
#include "kernels/linear/gemm_cpu.h"

namespace kdabench {
namespace {

constexpr int64_t kChunk = 64, kSubChunk = 16;

// exp(g) per key channel of token t; a single gate (GDN) is repeated over the channels.
template <class T>
void decay_of(const DeltaRecurrence<T>& args, int64_t b, int64_t t, int64_t h, T* decay) {
  const int64_t K = args.k.size[3], G = args.g.size[3];
  for (int64_t d = 0; d < G; ++d) decay[d] = std::exp(args.g(b, t, h, d));
  if (G == 1) std::fill_n(decay + 1, K - 1, decay[0]);
}

// One row of a head's state, [K], as it is kept after the token at `position`.
template <class T>
void keep_row(StateType type, int32_t position, int64_t h, int64_t v, T* row, int64_t K) {
  if (type == StateType::kAccum) return;
  const uint32_t seed = rounding_seed(position, static_cast<int>(h));
  for (int64_t i = 0; i < K; ++i) {
    const auto x = static_cast<float>(row[i]);
    if (type == StateType::kBf16) {
      row[i] = to_float(to_bf16(x));
    } else {
      const int64_t element = v * K + i;
      const uint32_t bits = rounding_bits(seed, static_cast<uint32_t>(element / 2));
      row[i] = to_float(to_bf16_stochastic(x, element % 2 == 0 ? bits : bits >> 16));
    }
  }
}
template <class T>
int32_t position_of(const DeltaRecurrence<T>& args, int64_t b, int64_t t) {
  return static_cast<int32_t>((args.lengths ? args.lengths(b) : 0) + t);
}

template <class T>
void recurrent_head(const DeltaRecurrence<T>& args, int64_t b, int64_t h) {
  const int64_t tokens = args.q.size[1], K = args.k.size[3], V = args.v.size[3];
  const T scale = 1 / std::sqrt(T(K));
  std::vector<T> decay(K);
  for (int64_t t = 0; t < tokens; ++t) {
    decay_of(args, b, t, h, decay.data());
    const T *const q = &args.q(b, t, h, 0), *const k = &args.k(b, t, h, 0), *const a = decay.data();
    const T beta = args.beta(b, t, h);
    for (int64_t j = 0; j < V; ++j) {
      T* const state = &args.state(b, h, j, 0);
      T recalled = 0, read = 0;
#pragma omp simd reduction(+ : recalled)
      for (int64_t i = 0; i < K; ++i) {
        state[i] *= a[i];
        recalled += state[i] * k[i];
      }
      const T correction = beta * (args.v(b, t, h, j) - recalled);
#pragma omp simd reduction(+ : read)
      for (int64_t i = 0; i < K; ++i) {
        state[i] += correction * k[i];
        read += state[i] * q[i];
      }
      args.out(b, t, h, j) = scale * read;
      keep_row(args.state_type, position_of(args, b, t), h, j, state, K);
    }
  }
}

// One head's chunk. Rows of the [C, K] arrays are tokens of the chunk.
template <class T>
class Chunk {
 public:
  Chunk(const DeltaRecurrence<T>& args, int64_t b, int64_t h)
      : args_(args), b_(b), h_(h), K(args.k.size[3]), V(args.v.size[3]), scale_(1 / std::sqrt(T(K))),
        q_(kChunk * K), k_(kChunk * K), key_(kChunk * K), carried_(K), lower_(kChunk * kChunk),
        attend_(kChunk * kChunk), value_(kChunk * V), read_(kChunk * V) {}

  void run(int64_t first, int64_t count) {
    std::fill(carried_.begin(), carried_.end(), T(1));
    for (int64_t start = 0; start < count; start += kSubChunk)
      sub_chunk(first, start, std::min(kSubChunk, count - start));

    T* const state = &args_.state(b_, h_, 0, 0);
    gemm_cpu<T>(count, V, K, k_.data(), K, state, K, value_.data(), V);  // (decay(0 -> r) k_r) S
    gemm_cpu<T>(count, V, K, q_.data(), K, state, K, read_.data(), V);
    for (int64_t r = 0; r < count; ++r) {
      T* const value = &value_[r * V];
      const T beta = args_.beta(b_, first + r, h_);
      for (int64_t j = 0; j < V; ++j) value[j] = beta * (args_.v(b_, first + r, h_, j) - value[j]);
      for (int64_t i = 0; i < r; ++i) add_scaled(value, -beta * lower_[r * kChunk + i], &value_[i * V], V);
    }
    for (int64_t r = 0; r < count; ++r) {
      T* const read = &read_[r * V];
      for (int64_t i = 0; i <= r; ++i) add_scaled(read, attend_[r * kChunk + i], &value_[i * V], V);
      for (int64_t j = 0; j < V; ++j) args_.out(b_, first + r, h_, j) = scale_ * read[j];
    }
    for (int64_t j = 0; j < V; ++j) {
      T* const row = state + j * K;
      for (int64_t d = 0; d < K; ++d) row[d] *= carried_[d];
      for (int64_t i = 0; i < count; ++i) add_scaled(row, value_[i * V + j], &key_[i * K], K);
    }
  }

 private:
  // Rows [start, start + count) of L and A, and the decayed q, k of these rows. On return key_[i] is k_i decayed to the
  // end of this sub-chunk for every i so far, and carried_ the decay from the chunk's start.
  void sub_chunk(int64_t first, int64_t start, int64_t count) {
    std::vector<T> within(K, T(1)), decay(K);  // decay from the sub-chunk's start to row r
    for (int64_t r = start; r < start + count; ++r) {
      const T *const q = &args_.q(b_, first + r, h_, 0), *const k = &args_.k(b_, first + r, h_, 0);
      decay_of(args_, b_, first + r, h_, decay.data());
      for (int64_t d = 0; d < K; ++d) {
        within[d] *= decay[d];
        q_[r * K + d] = q[d] * within[d];
        k_[r * K + d] = k[d] * within[d];
        key_[r * K + d] = k[d];
      }
      for (int64_t i = start; i < r; ++i) {
        T* const key = &key_[i * K];
        for (int64_t d = 0; d < K; ++d) key[d] *= decay[d];
        lower_[r * kChunk + i] = dot(k, key, K);
        attend_[r * kChunk + i] = dot(q, key, K);
      }
      attend_[r * kChunk + r] = dot(q, k, K);
    }
    // Against earlier sub-chunks, whose keys stand at this one's start.
    gemm_cpu<T>(count, start, K, &k_[start * K], K, key_.data(), K, &lower_[start * kChunk], kChunk);
    gemm_cpu<T>(count, start, K, &q_[start * K], K, key_.data(), K, &attend_[start * kChunk], kChunk);

    for (int64_t r = start; r < start + count; ++r)
      for (int64_t d = 0; d < K; ++d) {
        q_[r * K + d] *= carried_[d];
        k_[r * K + d] *= carried_[d];
      }
    for (int64_t i = 0; i < start; ++i)
      for (int64_t d = 0; d < K; ++d) key_[i * K + d] *= within[d];
    for (int64_t d = 0; d < K; ++d) carried_[d] *= within[d];
  }

  const DeltaRecurrence<T>& args_;
  const int64_t b_, h_, K, V;
  const T scale_;
  std::vector<T> q_, k_;      // [C, K] decayed from the chunk's start to their own row
  std::vector<T> key_;        // [C, K] decayed from their own row to the last sub-chunk's end
  std::vector<T> carried_;    // [K]
  std::vector<T> lower_;      // [C, C] L without beta
  std::vector<T> attend_;     // [C, C] A
  std::vector<T> value_;      // [C, V] Vn
  std::vector<T> read_;       // [C, V]
};

template <class T>
void chunked_head(const DeltaRecurrence<T>& args, int64_t b, int64_t h) {
  const int64_t tokens = args.q.size[1];
  Chunk<T> chunk(args, b, h);
  for (int64_t first = 0; first < tokens; first += kChunk) chunk.run(first, std::min(kChunk, tokens - first));
  const int64_t K = args.k.size[3];
  for (int64_t j = 0; j < args.v.size[3]; ++j)
    keep_row(args.state_type, position_of(args, b, tokens - 1), h, j, &args.state(b, h, j, 0), K);
}

// ---- what stands around the recurrence ----------------------------------------------------------------------------

// q, k, v after convolution and normalisation, the log decay, and beta: [B, T, H, .] each.
template <class T>
struct Prepared {
  std::vector<T> q, k, v, g, beta, out;
};

// silu of the short convolution for one token: channels [first, first + count) into `into`.
template <class T>
void convolve(const DeltaRule<Cpu<T>>& args, int64_t b, int64_t t, int64_t first, int64_t count, T* into) {
  const int64_t width = args.conv.size[1], past = width - 1;
  for (int64_t c = 0; c < count; ++c) {
    T sum = 0;
    for (int64_t tap = 0; tap < width; ++tap) {
      const int64_t from = t - past + tap;  // before the call: in conv_state, whose last column is token -1
      const T input = from >= 0 ? args.qkv(b, from, first + c) : args.conv_state(b, first + c, past + from);
      sum += args.conv(first + c, tap) * input;
    }
    into[c] = silu(sum);
  }
}

template <class T>
void normalise(T* x, int64_t n) {
  const T scale = 1 / std::sqrt(dot(x, x, n) + T(1e-6));
  for (int64_t i = 0; i < n; ++i) x[i] *= scale;
}

template <class T>
Prepared<T> prepare(const DeltaRule<Cpu<T>>& args) {
  const int64_t B = args.qkv.size[0], tokens = args.qkv.size[1];
  const int64_t H = args.heads, K = args.key_dim, V = args.value_dim, G = args.gate_dim, rows = B * tokens;
  Prepared<T> p;
  p.q.resize(rows * H * K), p.k.resize(rows * H * K), p.v.resize(rows * H * V);
  p.g.resize(rows * H * G), p.beta.resize(rows * H), p.out.resize(rows * H * V);
#pragma omp parallel for collapse(3) if (rows * H * (K + V) * 16 > kWorthThreads)
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t h = 0; h < H; ++h) {
        const int64_t row = (b * tokens + t) * H + h;
        convolve(args, b, t, h * K, K, &p.q[row * K]);
        convolve(args, b, t, (H + h) * K, K, &p.k[row * K]);
        convolve(args, b, t, 2 * H * K + h * V, V, &p.v[row * V]);
        normalise(&p.q[row * K], K);
        normalise(&p.k[row * K], K);
        const T rate = std::exp(T(args.a_log(h)));
        for (int64_t d = 0; d < G; ++d) {
          const T gate = args.gate(b, t, h * G + d) + args.dt_bias(h * G + d);
          p.g[row * G + d] = args.lower_bound < 0 ? args.lower_bound * sigmoid(rate * gate) : -rate * softplus(gate);
        }
        p.beta[row] = sigmoid(args.beta(b, t, h));
      }
  return p;
}

// Keeps the last W - 1 inputs, of this call or, when it is short, of earlier ones.
template <class T>
void update_conv_state(const DeltaRule<Cpu<T>>& args) {
  const int64_t tokens = args.qkv.size[1], past = args.conv_state.size[2];
  for (int64_t b = 0; b < args.qkv.size[0]; ++b)
    for (int64_t c = 0; c < args.qkv.size[2]; ++c)
      for (int64_t i = 0; i < past; ++i) {  // ascending: the element moved from is not overwritten yet
        const int64_t from = tokens - past + i;
        args.conv_state(b, c, i) = from >= 0 ? args.qkv(b, from, c) : args.conv_state(b, c, past + from);
      }
}

template <class T>
void write_out(const DeltaRule<Cpu<T>>& args, const Prepared<T>& p) {
  const int64_t B = args.out.size[0], tokens = args.out.size[1], H = args.heads, V = args.value_dim;
#pragma omp parallel for collapse(3) if (B * tokens * H * V * 16 > kWorthThreads)
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t h = 0; h < H; ++h) {
        const T* const read = &p.out[((b * tokens + t) * H + h) * V];
        const T scale = 1 / std::sqrt(dot(read, read, V) / V + args.norm_eps);
        for (int64_t j = 0; j < V; ++j)
          args.out(b, t, h * V + j) = read[j] * scale * args.norm_weight(j) * sigmoid(args.out_gate(b, t, h * V + j));
      }
}

template <class T, class Run>
void delta_rule(const DeltaRule<Cpu<T>>& args, Run&& run) {
  const int64_t B = args.qkv.size[0], tokens = args.qkv.size[1];
  const int64_t H = args.heads, K = args.key_dim, V = args.value_dim, G = args.gate_dim;
  assert(args.qkv.size[2] == 2 * H * K + H * V && (G == K || G == 1));
  Prepared<T> p = prepare(args);
  std::vector<T> state;                       // of a bf16 state, while it is computed with
  const View<Bf16, 4> kept = args.state_bf16;
  const bool bf16 = args.state_type != StateType::kAccum;
  if (bf16) {
    assert(kept.count() == B * H * V * K && kept.stride[0] == H * V * K);  // dense, as every session's is
    state.resize(kept.count());
    std::transform(kept.data, kept.data + kept.count(), state.begin(), [](Bf16 x) { return T(to_float(x)); });
  }
  const DeltaRecurrence<T> core{View<T, 4>(p.q.data(), {B, tokens, H, K}), View<T, 4>(p.k.data(), {B, tokens, H, K}),
                                View<T, 4>(p.v.data(), {B, tokens, H, V}), View<T, 4>(p.g.data(), {B, tokens, H, G}),
                                View<T, 3>(p.beta.data(), {B, tokens, H}),
                                bf16 ? View<T, 4>(state.data(), {B, H, V, K}) : args.state,
                                View<T, 4>(p.out.data(), {B, tokens, H, V}), args.state_type, args.lengths};
  run(core);
  if (bf16)                                   // exact: what is kept is rounded already
    std::transform(state.begin(), state.end(), kept.data, [](T x) { return to_bf16(static_cast<float>(x)); });
  update_conv_state(args);
  write_out(args, p);
}

}  // namespace

template <class T>
void delta_recurrence_cpu(const DeltaRecurrence<T>& args) {
  const int64_t B = args.q.size[0], H = args.q.size[2];
#pragma omp parallel for collapse(2) if (args.q.size[1] * args.state.count() > kWorthThreads)
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h) recurrent_head(args, b, h);
}

template <class T>
void delta_chunked_cpu(const DeltaRecurrence<T>& args) {
  const int64_t B = args.q.size[0], H = args.q.size[2];
#pragma omp parallel for collapse(2) if (args.q.size[1] * args.state.count() > kWorthThreads)
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h) chunked_head(args, b, h);
}

template <class T>
void delta_rule_cpu(const DeltaRule<Cpu<T>>& args) {
  delta_rule(args, delta_recurrence_cpu<T>);
}

template <class T>
void delta_rule_chunked_cpu(const DeltaRule<Cpu<T>>& args) {
  delta_rule(args, delta_chunked_cpu<T>);
}

template void delta_recurrence_cpu(const DeltaRecurrence<float>&);
template void delta_recurrence_cpu(const DeltaRecurrence<double>&);
template void delta_chunked_cpu(const DeltaRecurrence<float>&);
template void delta_chunked_cpu(const DeltaRecurrence<double>&);
template void delta_rule_cpu(const DeltaRule<Cpu<float>>&);
template void delta_rule_cpu(const DeltaRule<Cpu<double>>&);
template void delta_rule_chunked_cpu(const DeltaRule<Cpu<float>>&);
template void delta_rule_chunked_cpu(const DeltaRule<Cpu<double>>&);

}  // namespace kdabench
