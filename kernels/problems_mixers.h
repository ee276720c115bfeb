#pragma once
// The seeded inputs of the token mixers: KDA and GDN (one operation), the delta recurrence alone, and MLA.

#include <cmath>

#include "kernels/base/problem.h"
#include "kernels/kda/kda.h"
#include "kernels/mla/mla.h"

namespace kdabench {

// ---- KDA and GDN --------------------------------------------------------------------------------------------------

enum class GateKind {
  kZero,       // g = 0: nothing is forgotten
  kWeak,       // about -1e-3 a token
  kMild,       // about -0.3
  kStrong,     // about -5
  kUnbounded,  // per channel and token one of 0, -1e-3, -0.3, -5, -20, -24: what overflows exp(-cumsum g)
};
enum class BetaKind { kMiddle, kNearZero, kNearOne, kMixed };  // logits N(0, 1); -12; +12; either

struct DeltaShape {
  int64_t batch = 1, tokens = 1;
  int heads = 2, key_dim = 64, value_dim = 64;
  int gate_dim = 0;  // 0: key_dim (KDA); 1: GDN
  int conv_width = 4;
  GateKind gate = GateKind::kMild;
  BetaKind beta = BetaKind::kMiddle;
  bool duplicated_keys = false;  // every token of a head has the same key
  bool fresh = false;            // zero state and conv_state: the first call of a sequence
  float lower_bound = 0;
  int64_t padding = 0;           // of the strided rows, in elements
  StateType state = StateType::kAccum;
  bool low_rank = false;         // of rank K, as LowRankDeltaRule has them: `gate` (G = K) and `out_gate` are products
  int gates() const { return gate_dim == 0 ? key_dim : gate_dim; }
};

// The raw gate logit that, with a_log = 0 and no bias, gives a decay of the asked kind.
inline float draw_gate(GateKind kind, uint64_t stream, int64_t i) {
  const float normal = random_normal(stream, i);
  switch (kind) {
    case GateKind::kZero: return -1000;  // softplus underflows to 0 in double too
    case GateKind::kWeak: return -6.9f + 0.5f * normal;
    case GateKind::kMild: return -1 + normal;
    case GateKind::kStrong: return 5 + normal;
    case GateKind::kUnbounded: break;
  }
  constexpr float kLogits[] = {-1000, -6.9f, -1, 5, 20, 24};
  return kLogits[random_bits(stream ^ 0x5bd1e995, i) % 6];
}

inline float draw_beta(BetaKind kind, uint64_t stream, int64_t i) {
  switch (kind) {
    case BetaKind::kMiddle: return random_normal(stream, i);
    case BetaKind::kNearZero: return -12;
    case BetaKind::kNearOne: return 12;
    case BetaKind::kMixed: break;
  }
  return random_bits(stream, i) & 1 ? 12.0f : -12.0f;
}

template <class Types>
struct DeltaProblem : ProblemBase<DeltaProblem, Types> {
  using Act = typename Types::Act;
  using Weight = typename Types::Weight;
  DeltaShape shape;
  std::vector<Act> qkv, gate, beta, out_gate;
  std::vector<Weight> conv, norm_weight;
  std::vector<float> a_log, dt_bias;
  std::vector<Act> conv_state, out;
  std::vector<typename Types::Accum> state;  // empty when the state is kept in bf16
  std::vector<Bf16> state_bf16;
  std::vector<int32_t> lengths;              // [B], tokens before
  std::vector<Act> gate_low, out_gate_low;   // empty unless low_rank
  std::vector<Weight> gate_up, out_gate_up;

  template <class Visit, class... P>
  static void fields(Visit&& visit, P&... p) {
    visit("gate_low", p.gate_low...);
    visit("gate_up", p.gate_up...);
    visit("out_gate_low", p.out_gate_low...);
    visit("out_gate_up", p.out_gate_up...);
    visit("qkv", p.qkv...);
    visit("gate", p.gate...);
    visit("beta", p.beta...);
    visit("out_gate", p.out_gate...);
    visit("conv", p.conv...);
    visit("norm_weight", p.norm_weight...);
    visit("a_log", p.a_log...);
    visit("dt_bias", p.dt_bias...);
    visit("conv_state", p.conv_state...);
    visit("state", p.state...);
    visit("state_bf16", p.state_bf16...);
    visit("lengths", p.lengths...);
    visit("out", p.out...);
  }

  template <class Base>
  DeltaRule<Types> args_at(Base&& base) {
    const DeltaShape& s = shape;
    const int64_t B = s.batch, T = s.tokens, H = s.heads, K = s.key_dim, V = s.value_dim, G = s.gates();
    const int64_t channels = 2 * H * K + H * V;
    DeltaRule<Types> a;
    a.qkv = padded(base(qkv), B, T, channels, s.padding);
    a.gate = padded(base(gate), B, T, H * G, s.padding);
    a.beta = padded(base(beta), B, T, H, s.padding);
    a.out_gate = padded(base(out_gate), B, T, H * V, s.padding);
    a.conv = View<Weight, 2>(base(conv), {channels, s.conv_width});
    a.a_log = View<float, 1>(base(a_log), {H});
    a.dt_bias = View<float, 1>(base(dt_bias), {H * G});
    a.norm_weight = View<Weight, 1>(base(norm_weight), {V});
    a.norm_eps = 1e-5f;
    a.lower_bound = s.lower_bound;
    a.conv_state = View<Act, 3>(base(conv_state), {B, channels, s.conv_width - 1});
    a.state_type = s.state;
    if (s.state == StateType::kAccum) a.state = View<typename Types::Accum, 4>(base(state), {B, H, V, K});
    else a.state_bf16 = View<Bf16, 4>(base(state_bf16), {B, H, V, K});
    a.lengths = View<int32_t, 1>(base(lengths), {B});
    a.out = View<Act, 3>(base(out), {B, T, H * V});
    a.heads = s.heads, a.key_dim = s.key_dim, a.value_dim = s.value_dim, a.gate_dim = s.gates();
    return a;
  }
  template <class Base>
  LowRankDeltaRule<Types> low_rank_args_at(Base&& base) {
    const int64_t B = shape.batch, H = shape.heads, K = shape.key_dim, V = shape.value_dim, padding = shape.padding;
    LowRankDeltaRule<Types> a{args_at(base), {}, {}};
    if (shape.gates() > 1)
      a.gate = {padded(base(gate_low), B, 1, K, padding), View<Weight, 2>(base(gate_up), {H * K, K})};
    a.out_gate = {padded(base(out_gate_low), B, 1, K, padding), View<Weight, 2>(base(out_gate_up), {H * V, K})};
    return a;
  }
};

// Gates of a low rank, [rows, channels]: logit(channel) and, of either sign, what 127 small terms and two large ones that
// cancel leave. `product` is exact in double.
template <class Act, class Weight, class Logit>
void draw_low_rank(std::vector<Act>& low, std::vector<Weight>& up, std::vector<Act>& product, int64_t rows,
                   int64_t channels, int64_t rank, int64_t padding, uint64_t seed, Logit&& logit) {
  const Normal x(seed, "low"), w(seed, "up", 0.02f), large(seed, "large");
  low = draw<Act>(rows, rank, padding, [&](int64_t i) { return i % rank == 0 ? 1 : i % rank < 3 ? 8 : x(i); });
  up = draw<Weight>(channels, rank, 0, [&](int64_t i) {
    const int64_t channel = i / rank, r = i % rank;
    return r == 0 ? logit(channel) : r == 1 ? large(channel) : r == 2 ? -large(channel) : w(i);
  });
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t channel = 0; channel < channels; ++channel) {
      double sum = 0;
      for (int64_t r = 0; r < rank; ++r)
        sum += double(to_float(low[row * (rank + padding) + r])) * to_float(up[channel * rank + r]);
      Act& to = product[row * (channels + padding) + channel];
      if constexpr (std::is_same_v<Act, Bf16>) to = to_bf16(static_cast<float>(sum));
      else to = static_cast<Act>(sum);
    }
}

template <class Types = Cpu<double>>
DeltaProblem<Types> delta_problem(const DeltaShape& s, uint64_t seed) {
  using Act = typename Types::Act;
  using Weight = typename Types::Weight;
  const int64_t B = s.batch, T = s.tokens, H = s.heads, K = s.key_dim, V = s.value_dim, G = s.gates();
  const int64_t channels = 2 * H * K + H * V, rows = B * T, past = s.conv_width - 1;
  const Normal input(seed, "qkv"), before(seed, "conv_state"), state(seed, "state", 0.1f);
  const uint64_t gates = random_stream(seed, "gate"), betas = random_stream(seed, "beta");
  // A duplicated key is the same pre-convolution input at every token, those before the call included.
  const auto is_key = [&](int64_t channel) { return s.duplicated_keys && channel >= H * K && channel < 2 * H * K; };

  DeltaProblem<Types> p;
  p.seed = seed;
  p.shape = s;
  p.qkv = draw<Act>(rows, channels, s.padding, [&](int64_t i) {
    const int64_t channel = i % channels;
    return is_key(channel) ? input(i / channels / T * channels + channel) : input(channels * B + i);
  });
  p.gate = draw<Act>(rows, H * G, s.padding, [&](int64_t i) { return draw_gate(s.gate, gates, i); });
  p.beta = draw<Act>(rows, H, s.padding, [&](int64_t i) { return draw_beta(s.beta, betas, i); });
  p.out_gate = draw<Act>(rows, H * V, s.padding, Normal(seed, "out_gate"));
  if (s.low_rank) {
    if (G > 1)
      draw_low_rank(p.gate_low, p.gate_up, p.gate, rows, H * G, K, s.padding, random_stream(seed, "gate products"),
                    [&](int64_t i) { return draw_gate(s.gate, gates, i); });
    draw_low_rank(p.out_gate_low, p.out_gate_up, p.out_gate, rows, H * V, K, s.padding,
                  random_stream(seed, "output gate products"), Normal(seed, "out_gate"));
  }
  p.conv = draw<Weight>(channels, s.conv_width, 0, Normal(seed, "conv", 0.5f));
  p.norm_weight = draw<Weight>(1, V, 0, [n = Normal(seed, "norm_weight", 0.2f)](int64_t i) { return 1 + n(i); });
  p.a_log = draw_exact<float>(H, Normal(seed, "a_log", 0.1f));
  p.dt_bias = draw_exact<float>(H * G, Normal(seed, "dt_bias", 0.1f));
  p.conv_state = draw<Act>(B * channels, past, 0, [&](int64_t i) {
    if (s.fresh) return 0.0f;
    const int64_t b = i / (channels * past), channel = i / past % channels;
    return is_key(channel) ? input(b * channels + channel) : before(i);
  });
  const auto state_at = [&](int64_t i) { return s.fresh ? 0.0f : state(i); };
  if (s.state == StateType::kAccum) p.state = draw_exact<typename Types::Accum>(B * H * V * K, state_at);
  else p.state_bf16 = draw_exact<Bf16>(B * H * V * K, state_at);
  for (int64_t b = 0; b < B; ++b) p.lengths.push_back(s.fresh ? 0 : static_cast<int32_t>(1000 + 7 * b));
  p.out = poison<Act>(rows * H * V);
  return p;
}

// The recurrence alone; Types is Cpu<float> or Cpu<double>. Values are rounded to float, not to bf16.
template <class Types>
struct RecurrenceProblem : ProblemBase<RecurrenceProblem, Types> {
  using T = typename Types::Act;
  DeltaShape shape;
  std::vector<T> q, k, v, g, beta, state, out;

  template <class Visit, class... P>
  static void fields(Visit&& visit, P&... p) {
    visit("q", p.q...);
    visit("k", p.k...);
    visit("v", p.v...);
    visit("g", p.g...);
    visit("beta", p.beta...);
    visit("state", p.state...);
    visit("out", p.out...);
  }

  template <class Base>
  DeltaRecurrence<T> args_at(Base&& base) {
    const int64_t B = shape.batch, N = shape.tokens, H = shape.heads, K = shape.key_dim, V = shape.value_dim;
    return {View<T, 4>(base(q), {B, N, H, K}),     View<T, 4>(base(k), {B, N, H, K}),
            View<T, 4>(base(v), {B, N, H, V}),     View<T, 4>(base(g), {B, N, H, shape.gates()}),
            View<T, 3>(base(beta), {B, N, H}),     View<T, 4>(base(state), {B, H, V, K}),
            View<T, 4>(base(out), {B, N, H, V})};
  }
};

template <class Types = Cpu<double>>
RecurrenceProblem<Types> recurrence_problem(const DeltaShape& s, uint64_t seed) {
  using T = typename Types::Act;
  const int64_t B = s.batch, N = s.tokens, H = s.heads, K = s.key_dim, V = s.value_dim, G = s.gates();
  const uint64_t gates = random_stream(seed, "g"), betas = random_stream(seed, "beta");
  const auto unit = [&](std::string_view name, bool same_every_token) {
    const Normal normal(seed, name);
    std::vector<T> out(B * N * H * K);
    for (int64_t row = 0; row < B * N * H; ++row) {
      const int64_t source = same_every_token ? row / (N * H) * N * H + row % H : row;
      double sum = 0;
      for (int64_t i = 0; i < K; ++i) sum += double(normal(source * K + i)) * normal(source * K + i);
      for (int64_t i = 0; i < K; ++i) out[row * K + i] = stored<T>(float(normal(source * K + i) / std::sqrt(sum)));
    }
    return out;
  };
  const auto softplus = [](double x) { return x > 20 ? x : std::log1p(std::exp(x)); };

  RecurrenceProblem<Types> p;
  p.seed = seed;
  p.shape = s;
  p.q = unit("q", false);
  p.k = unit("k", s.duplicated_keys);
  p.v = draw_exact<T>(B * N * H * V, Normal(seed, "v"));
  p.g = draw_exact<T>(B * N * H * G, [&](int64_t i) { return float(-softplus(draw_gate(s.gate, gates, i))); });
  p.beta = draw_exact<T>(B * N * H, [&](int64_t i) { return float(1 / (1 + std::exp(-draw_beta(s.beta, betas, i)))); });
  const Normal state(seed, "state", 0.1f);
  p.state = draw_exact<T>(B * H * V * K, [&](int64_t i) { return s.fresh ? 0 : state(i); });
  p.out = poison<T>(B * N * H * V);
  return p;
}

// ---- MLA ----------------------------------------------------------------------------------------------------------

struct MlaShape {
  int64_t batch = 1, tokens = 1;
  int heads = 2, nope_dim = 32, rope_dim = 16, value_dim = 32, rank = 64;
  std::vector<int32_t> lengths;  // [batch], already cached; empty: all 0
  int64_t spare_rows = 5;        // of the cache, beyond max_context
  float rope_theta = 0;
  float query_scale = 1;         // 30: the softmax picks single tokens and overflows unless the maximum is subtracted
  int64_t padding = 0;
  MlaForm form = MlaForm::kAutomatic;

  int64_t max_context() const {
    int64_t longest = 0;
    for (const int32_t n : lengths) longest = n > longest ? n : longest;
    return longest + tokens;
  }
};

template <class Types>
struct MlaProblem : ProblemBase<MlaProblem, Types> {
  using Act = typename Types::Act;
  using Weight = typename Types::Weight;
  MlaShape shape;
  std::vector<Act> q, kv_a;
  std::vector<Weight> kv_norm, kv_b;
  std::vector<Act> cache, out;
  std::vector<int32_t> lengths;

  template <class Visit, class... P>
  static void fields(Visit&& visit, P&... p) {
    visit("q", p.q...);
    visit("kv_a", p.kv_a...);
    visit("kv_norm", p.kv_norm...);
    visit("kv_b", p.kv_b...);
    visit("cache", p.cache...);
    visit("lengths", p.lengths...);
    visit("out", p.out...);
  }

  template <class Base>
  Mla<Types> args_at(Base&& base) {
    const MlaShape& s = shape;
    const int64_t B = s.batch, T = s.tokens, H = s.heads, row = s.rank + s.rope_dim;
    Mla<Types> a;
    a.q = padded(base(q), B, T, H * (s.nope_dim + s.rope_dim), s.padding);
    a.kv_a = padded(base(kv_a), B, T, row, s.padding);
    a.kv_norm = View<Weight, 1>(base(kv_norm), {s.rank});
    a.kv_norm_eps = 1e-6f;
    a.kv_b = View<Weight, 2>(base(kv_b), {H * (s.nope_dim + s.value_dim), s.rank});
    a.cache = View<Act, 3>(base(cache), {B, s.max_context() + s.spare_rows, row});
    a.lengths = View<int32_t, 1>(base(lengths), {B});
    a.max_context = s.max_context();
    a.rope_theta = s.rope_theta;
    a.out = View<Act, 3>(base(out), {B, T, H * s.value_dim});
    a.heads = s.heads, a.nope_dim = s.nope_dim, a.rope_dim = s.rope_dim, a.value_dim = s.value_dim, a.rank = s.rank;
    a.form = s.form;
    return a;
  }
};

template <class Types = Cpu<double>>
MlaProblem<Types> mla_problem(const MlaShape& s, uint64_t seed) {
  using Act = typename Types::Act;
  using Weight = typename Types::Weight;
  const int64_t B = s.batch, T = s.tokens, H = s.heads, row = s.rank + s.rope_dim;
  const int64_t capacity = s.max_context() + s.spare_rows;
  MlaProblem<Types> p;
  p.seed = seed;
  p.shape = s;
  p.lengths = s.lengths.empty() ? std::vector<int32_t>(B, 0) : s.lengths;
  p.q = draw<Act>(B * T, H * (s.nope_dim + s.rope_dim), s.padding, Normal(seed, "q", s.query_scale));
  p.kv_a = draw<Act>(B * T, row, s.padding, Normal(seed, "kv_a"));
  p.kv_norm = draw<Weight>(1, s.rank, 0, [n = Normal(seed, "kv_norm", 0.2f)](int64_t i) { return 1 + n(i); });
  p.kv_b = draw<Weight>(H * (s.nope_dim + s.value_dim), s.rank, 0,
                        Normal(seed, "kv_b", 1 / std::sqrt(float(s.rank))));
  p.cache = draw<Act>(B * capacity, row, 0, [&, n = Normal(seed, "cache")](int64_t i) {
    const bool cached = i / row % capacity < p.lengths[i / row / capacity];
    return cached ? n(i) : std::numeric_limits<float>::quiet_NaN();
  });
  p.out = poison<Act>(B * T * H * s.value_dim);
  return p;
}

}  // namespace kdabench
