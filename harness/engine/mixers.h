#pragma once
// The token mixers behind one interface: KDA and GDN (the delta rule with a gate per channel or per head) and MLA. A
// mixer owns its projections; norms, feed-forward, embedding and head are shared by all architectures (transformer.h).

#include <memory>
#include <string>
#include <vector>

#include "harness/engine/parts.h"
#include "harness/engine/registry.h"
#include "harness/engine/weights.h"
#include "kernels/kda/kda.h"
#include "kernels/linear/linear.h"
#include "kernels/mla/mla.h"

namespace kdabench {

// What one layer remembers of every sequence. A mixer uses its own part.
template <class Types>
struct MixerState {
  View<typename Types::Act, 3> cache;        // [B, capacity, R + P]   MLA's latent cache
  View<typename Types::Act, 3> conv;         // [B, channels, W - 1]   delta rule
  View<typename Types::Accum, 4> recurrent;  // [B, H, V, K]           delta rule
  View<Bf16, 4> recurrent_bf16;              // [B, H, V, K]           instead, where the config keeps bf16
};

// Neighbouring rows of a session with equally many new tokens, which stand together in a pass, batch-major.
struct Segment {
  int64_t first_row = 0, rows = 0;           // of the session
  int64_t tokens = 0;                        // new, of each of these rows
  int64_t first_token = 0;                   // where they begin in the pass
  int64_t count() const { return rows * tokens; }
};

// The new tokens of a pass, N in all. What works on single tokens takes them together; what looks along a sequence
// takes a segment at a time, so that rows of different lengths need no padding.
struct Tokens {
  std::vector<Segment> segments;             // in the order of rows and of tokens
  View<int32_t, 1> lengths;                  // [B], on the device: tokens cached before
  int64_t max_context = 0;                   // host's bound on lengths + new tokens
  int64_t count() const { return segments.back().first_token + segments.back().count(); }
};

// The rows of a segment in [N, columns], with any row stride, as [rows, tokens, columns].
template <class T>
View<T, 3> by_sequence(View<T, 2> all, const Segment& segment) {
  const View<T, 2> part = all.slice(0, segment.first_token, segment.count());
  View<T, 3> view;
  view.data = part.data;
  view.size[0] = segment.rows, view.size[1] = segment.tokens, view.size[2] = part.size[1];
  view.stride[0] = segment.tokens * part.stride[0], view.stride[1] = part.stride[0], view.stride[2] = 1;
  return view;
}

// A segment's rows of what is kept for all rows of the session.
template <class T, int N>
View<T, N> of_rows(View<T, N> all, const Segment& segment) {
  return all.slice(0, segment.first_row, segment.rows);
}

// Rows that start at multiples of 64 numbers, so that a slice of a wide projection still has 16-byte aligned rows.
template <class T>
View<T, 2> take_rows(Arena& arena, int64_t rows, int64_t columns) {
  return arena.take<T>(rows, (columns + 63) / 64 * 64).slice(1, 0, columns);
}

template <class B>
class Mixer {
 public:
  using Types = typename B::Types;
  using Act = typename Types::Act;
  using Weight = typename Types::Weight;

  virtual ~Mixer() = default;
  virtual MixerState<Types> allocate(Arena& cache, Arena& state, int64_t batch, int64_t capacity) const = 0;
  // x [N, D], normalised; out [N, D], what is added to the residual stream.
  virtual void forward(B& backend, Arena& arena, const Tokens& tokens, View<const Act, 2> x,
                       const MixerState<Types>& state, View<Act, 2> out) const = 0;
};

// KDA or GDN. The input projection is one matrix, rows [q | k | v | g_a | f_a (KDA) or a (GDN) | beta], so that a
// decode step streams it in one pass. GDN keeps the convolutions, the output gate and its low rank: only the forget
// gate differs (design rule: a difference between models is the mixer's gate and nothing else).
template <class B>
class DeltaMixer final : public Mixer<B> {
 public:
  using typename Mixer<B>::Types;
  using typename Mixer<B>::Act;
  using typename Mixer<B>::Weight;

  DeltaMixer(WeightBuilder<Weight>& w, const ModelConfig& c, const std::string& prefix, bool per_channel)
      : H(c.linear_num_heads), K(c.linear_head_dim), G(per_channel ? c.linear_head_dim : 1), D(c.hidden_size),
        W(c.short_conv_kernel_size), eps_(static_cast<float>(c.rms_norm_eps)),
        lower_bound_(static_cast<float>(c.gate_lower_bound)), state_type_(parse_state_dtype(c.state_dtype)) {
    const int64_t key = H * K, rank = K, gate = per_channel ? rank : H;
    in_ = w.matrix(3 * key + rank + gate + H, D);
    int64_t row = 0;
    const auto input = [&](const char* name, int64_t rows) {
      w.name(prefix + name, {rows, D}, Init::normal(), in_.slice(0, row, rows));
      row += rows;
      return row - rows;
    };
    input("q_proj.weight", key);
    input("k_proj.weight", key);
    input("v_proj.weight", key);
    g_column_ = input("g_a_proj.weight", rank);
    f_column_ = input(per_channel ? "f_a_proj.weight" : "a_proj.weight", gate);
    beta_column_ = input("b_proj.weight", H);

    conv_ = w.matrix(3 * key, W);
    for (int i = 0; i < 3; ++i)
      w.name(prefix + "qkv"[i] + "_conv1d.weight", {key, 1, W}, Init::normal(0.29f), conv_.slice(0, i * key, key));
    a_log_ = w.vector_f32(H);
    w.name_f32(prefix + "A_log", {1, 1, H, 1}, Init::a_log(), a_log_);
    dt_bias_ = w.vector_f32(H * G);
    w.name_f32(prefix + "dt_bias", {H * G}, Init::dt_bias(), dt_bias_);
    if (per_channel) {
      f_b_ = w.matrix(key, rank);
      w.name(prefix + "f_b_proj.weight", {key, rank}, Init::normal(), f_b_);
    }
    g_b_ = w.matrix(key, rank);
    w.name(prefix + "g_b_proj.weight", {key, rank}, Init::normal(), g_b_);
    norm_ = w.vector(K);
    w.name(prefix + "o_norm.weight", {K}, Init::ones(), norm_);
    out_ = w.matrix(D, key);
    w.name(prefix + "o_proj.weight", {D, key}, Init::normal(), out_);
  }

  MixerState<Types> allocate(Arena&, Arena& state, int64_t batch, int64_t) const override {
    MixerState<Types> s;
    if (state_type_ == StateType::kAccum)
      s.recurrent = state.take<typename Types::Accum>(batch, H, K, K);
    else
      s.recurrent_bf16 = state.take<Bf16>(batch, H, K, K);
    s.conv = state.take<Act>(batch, 3 * H * K, W - 1);
    return s;
  }

  void forward(B& backend, Arena& arena, const Tokens& tokens, View<const Act, 2> x, const MixerState<Types>& state,
               View<Act, 2> out) const override {
    const ArenaScope scope(arena);
    const int64_t N = tokens.count(), key = H * K;
    const View<Act, 2> in = take_rows<Act>(arena, N, in_.size[0]);
    backend.linear(Linear<Types>{x, in_, in}, arena);

    const View<Act, 2> gate = G > 1 ? arena.take<Act>(N, key) : in.slice(1, f_column_, H);
    const View<Act, 2> out_gate = arena.take<Act>(N, key), read = arena.take<Act>(N, key);
    const View<Act, 2> out_gate_low = in.slice(1, g_column_, K), gate_low = in.slice(1, f_column_, G > 1 ? K : H);
    const auto rule_of = [&](const Segment& segment) {
      DeltaRule<Types> args;
      args.conv = conv_;
      args.a_log = a_log_;
      args.dt_bias = dt_bias_;
      args.norm_weight = norm_;
      args.norm_eps = eps_;
      args.lower_bound = lower_bound_;
      args.state_type = state_type_;
      args.states_at_rest = true;            // a pass touches a row's states once, and passes do not overlap
      args.heads = static_cast<int>(H);
      args.key_dim = args.value_dim = static_cast<int>(K);
      args.gate_dim = static_cast<int>(G);
      args.qkv = by_sequence(in.slice(1, 0, 3 * key), segment);
      args.gate = by_sequence(gate, segment);
      args.beta = by_sequence(in.slice(1, beta_column_, H), segment);
      args.out_gate = by_sequence(out_gate, segment);
      args.conv_state = of_rows(state.conv, segment);
      if (state_type_ == StateType::kAccum) args.state = of_rows(state.recurrent, segment);
      else args.state_bf16 = of_rows(state.recurrent_bf16, segment);
      args.lengths = of_rows(tokens.lengths, segment);
      args.out = by_sequence(read, segment);
      return args;
    };
    const auto multiplied_within = [&](const Segment& segment) {
      LowRankDeltaRule<Types> args{rule_of(segment), {}, {by_sequence(out_gate_low, segment), g_b_}};
      if (G > 1) args.gate = {by_sequence(gate_low, segment), f_b_};
      return backend.low_rank_delta_rule(args, arena);
    };
    if (tokens.segments.size() != 1 || !multiplied_within(tokens.segments[0])) {
      const PartScope part(backend.linear_part, Part::kRecurrence);
      const Linear<Types> to_out_gate{out_gate_low, g_b_, out_gate};
      if (G > 1) backend.linear_pair(LinearPair<Types>{Linear<Types>{gate_low, f_b_, gate}, to_out_gate}, arena);
      else backend.linear(to_out_gate, arena);
      for (const Segment& segment : tokens.segments) backend.delta_rule(rule_of(segment), arena);
    }
    backend.linear(Linear<Types>{read, out_, out}, arena);
  }

 private:
  int64_t H, K, G, D, W;                     // V = K in every released model
  int64_t g_column_, f_column_, beta_column_;
  float eps_, lower_bound_;
  StateType state_type_;
  View<Weight, 2> in_, conv_, f_b_, g_b_, out_;
  View<Weight, 1> norm_;
  View<float, 1> a_log_, dt_bias_;
};

// Multi-head latent attention. The input projection is one matrix, rows [q | kv_a].
template <class B>
class MlaMixer final : public Mixer<B> {
 public:
  using typename Mixer<B>::Types;
  using typename Mixer<B>::Act;
  using typename Mixer<B>::Weight;

  MlaMixer(WeightBuilder<Weight>& w, const ModelConfig& c, const std::string& prefix)
      : H(c.num_attention_heads), N(c.qk_nope_head_dim), P(c.qk_rope_head_dim), V(c.v_head_dim), R(c.kv_lora_rank),
        eps_(static_cast<float>(c.kv_norm_eps)), rope_theta_(static_cast<float>(c.rope_theta)) {
    const int64_t D = c.hidden_size, q = H * (N + P);
    in_ = w.matrix(q + R + P, D);
    w.name(prefix + "q_proj.weight", {q, D}, Init::normal(), in_.slice(0, 0, q));
    w.name(prefix + "kv_a_proj_with_mqa.weight", {R + P, D}, Init::normal(), in_.slice(0, q, R + P));
    norm_ = w.vector(R);
    w.name(prefix + "kv_a_layernorm.weight", {R}, Init::ones(), norm_);
    kv_b_ = w.matrix(H * (N + V), R);
    w.name(prefix + "kv_b_proj.weight", {H * (N + V), R}, Init::normal(), kv_b_);
    out_ = w.matrix(D, H * V);
    w.name(prefix + "o_proj.weight", {D, H * V}, Init::normal(), out_);
  }

  MixerState<Types> allocate(Arena& cache, Arena&, int64_t batch, int64_t capacity) const override {
    MixerState<Types> s;
    s.cache = cache.take<Act>(batch, capacity, R + P);
    return s;
  }

  void forward(B& backend, Arena& arena, const Tokens& tokens, View<const Act, 2> x, const MixerState<Types>& state,
               View<Act, 2> out) const override {
    const ArenaScope scope(arena);
    const int64_t q = H * (N + P);
    const View<Act, 2> in = take_rows<Act>(arena, tokens.count(), in_.size[0]);
    backend.linear(Linear<Types>{x, in_, in}, arena);
    const View<Act, 2> attended = arena.take<Act>(tokens.count(), H * V);
    Mla<Types> args;
    args.kv_norm = norm_;
    args.kv_norm_eps = eps_;
    args.kv_b = kv_b_;
    args.max_context = tokens.max_context;
    args.rope_theta = rope_theta_;
    args.heads = static_cast<int>(H);
    args.nope_dim = static_cast<int>(N);
    args.rope_dim = static_cast<int>(P);
    args.value_dim = static_cast<int>(V);
    args.rank = static_cast<int>(R);
    for (const Segment& segment : tokens.segments) {
      args.q = by_sequence(in.slice(1, 0, q), segment);
      args.kv_a = by_sequence(in.slice(1, q, R + P), segment);
      args.cache = of_rows(state.cache, segment);
      args.lengths = of_rows(tokens.lengths, segment);
      args.out = by_sequence(attended, segment);
      backend.mla(args, arena);
    }
    backend.linear(Linear<Types>{attended, out_, out}, arena);
  }

 private:
  int64_t H, N, P, V, R;
  float eps_, rope_theta_;
  View<Weight, 2> in_, kv_b_, out_;
  View<Weight, 1> norm_;
};

template <class B>
std::unique_ptr<Mixer<B>> make_mixer(MixerKind kind, WeightBuilder<typename B::Types::Weight>& weights,
                                     const ModelConfig& config, const std::string& prefix) {
  switch (kind) {
    case MixerKind::kKda: return std::make_unique<DeltaMixer<B>>(weights, config, prefix, true);
    case MixerKind::kGdn: return std::make_unique<DeltaMixer<B>>(weights, config, prefix, false);
    case MixerKind::kMla: return std::make_unique<MlaMixer<B>>(weights, config, prefix);
  }
  fail("unknown mixer kind ", static_cast<int>(kind), ".");
}

}  // namespace kdabench
