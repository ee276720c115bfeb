#pragma once
// The model around its mixers: embedding, pre-norm blocks of mixer and feed-forward, final norm, untied head, greedy
// sampling (paper section 4). One forward pass serves prefill (T > 1) and decode (T = 1), on every backend.

#include <memory>
#include <string>
#include <vector>

#include "harness/engine/mixers.h"
#include "harness/engine/model.h"
#include "harness/engine/nvtx.h"
#include "kernels/moe/moe.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/sampling/sampling.h"

namespace kdabench {

// A SwiGLU feed-forward layer: dense, or a mixture of experts.
template <class Weight>
struct FeedForward {
  bool dense = true;
  View<Weight, 2> gate_up, down;             // dense: [2 I, D], [D, I]
  View<Weight, 2> router;                    // experts: see kernels/moe/moe.h
  View<float, 1> bias;
  View<Weight, 3> expert_gate_up, expert_down;

  FeedForward(WeightBuilder<Weight>& w, const ModelConfig& c, const std::string& prefix, int64_t layer)
      : dense(c.is_dense(layer)) {
    const int64_t D = c.hidden_size;
    if (dense) {
      const int64_t I = c.intermediate_size;
      gate_up = w.matrix(2 * I, D);
      down = w.matrix(D, I);
      // the released checkpoint says mlp.*, transformers saves block_sparse_moe.*
      const auto both = [&](const char* name) {
        return std::vector<std::string>{prefix + "mlp." + name, prefix + "block_sparse_moe." + name};
      };
      w.name(both("gate_proj.weight"), {I, D}, Init::normal(), {{0, 0, gate_up.slice(0, 0, I), {}, false}});
      w.name(both("up_proj.weight"), {I, D}, Init::normal(), {{0, 0, gate_up.slice(0, I, I), {}, false}});
      w.name(both("down_proj.weight"), {D, I}, Init::normal(), {{0, 0, down, {}, false}});
      return;
    }
    const int64_t E = c.num_experts, S = c.num_shared_experts, I = c.moe_intermediate_size;
    const std::string moe = prefix + "block_sparse_moe.";
    router = w.matrix(E, D);
    w.name(moe + "gate.weight", {E, D}, Init::normal(), router);
    bias = w.vector_f32(E);
    w.name_f32(moe + "gate.e_score_correction_bias", {E}, Init::normal(0.01f), bias);
    expert_gate_up = w.stack(E + S, 2 * I, D);
    expert_down = w.stack(E + S, D, I);
    const auto gate_of = [&](int64_t e) { return matrix_of(expert_gate_up, e).slice(0, 0, I); };
    const auto up_of = [&](int64_t e) { return matrix_of(expert_gate_up, e).slice(0, I, I); };
    for (int64_t e = 0; e < E; ++e) {
      const std::string expert = moe + "experts." + std::to_string(e) + ".";
      w.name(expert + "w1.weight", {I, D}, Init::normal(), gate_of(e));
      w.name(expert + "w3.weight", {I, D}, Init::normal(), up_of(e));
      w.name(expert + "w2.weight", {D, I}, Init::normal(), matrix_of(expert_down, e));
    }
    if (S == 0) return;
    std::vector<WeightPiece<Weight>> gates, ups, downs;  // a shared FFN of width S I is S experts of width I
    for (int64_t s = 0; s < S; ++s) {
      gates.push_back({s * I, 0, gate_of(E + s), {}, false});
      ups.push_back({s * I, 0, up_of(E + s), {}, false});
      downs.push_back({0, s * I, matrix_of(expert_down, E + s), {}, false});
    }
    const std::string shared = moe + "shared_experts.";
    w.name({shared + "gate_proj.weight"}, {S * I, D}, Init::normal(), gates);
    w.name({shared + "up_proj.weight"}, {S * I, D}, Init::normal(), ups);
    w.name({shared + "down_proj.weight"}, {D, S * I}, Init::normal(), downs);
  }

 private:
  static View<Weight, 2> matrix_of(View<Weight, 3> stack, int64_t i) {
    return View<Weight, 2>(stack.slice(0, i, 1).data, {stack.size[1], stack.size[2]});
  }
};

// What a session holds between passes, on the device.
template <class Types>
struct SessionState {
  std::vector<MixerState<Types>> layers;
  View<int32_t, 1> lengths;                  // [B]
  View<int32_t, 1> next;                     // [B], the token each row feeds next
  View<typename Types::Accum, 2> last_logits;  // [B, vocabulary]
};

template <class B>
class Transformer {
 public:
  using Types = typename B::Types;
  using Act = typename Types::Act;
  using Weight = typename Types::Weight;
  using Accum = typename Types::Accum;

  Transformer(WeightBuilder<Weight>& w, const ModelConfig& config, const Layout& layout)
      : config_(config), eps_(static_cast<float>(config.rms_norm_eps)) {
    const int64_t D = config.hidden_size, vocabulary = config.vocab_size;
    embedding_ = w.matrix(vocabulary, D);
    w.name("model.embed_tokens.weight", {vocabulary, D}, Init::normal(), embedding_);
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
      const std::string prefix = "model.layers." + std::to_string(i) + ".";
      const auto norm = [&](const char* name) {
        const View<Weight, 1> weight = w.vector(D);
        w.name(prefix + name, {D}, Init::ones(), weight);
        return weight;
      };
      const View<Weight, 1> input_norm = norm("input_layernorm.weight"), post_norm = norm("post_attention_layernorm.weight");
      layers_.push_back({input_norm, post_norm, make_mixer<B>(layout[i], w, config, prefix + "self_attn."),
                         FeedForward<Weight>(w, config, prefix, i),
                         std::string(mixer_name(layout[i])) + " layer " + std::to_string(i)});
    }
    norm_ = w.vector(D);
    w.name("model.norm.weight", {D}, Init::ones(), norm_);
    head_ = w.matrix(vocabulary, D);
    w.name("lm_head.weight", {vocabulary, D}, Init::normal(), head_);
  }

  std::vector<MixerState<Types>> allocate(Arena& cache, Arena& state, int64_t batch, int64_t capacity) const {
    std::vector<MixerState<Types>> states;
    for (const Layer& layer : layers_) states.push_back(layer.mixer->allocate(cache, state, batch, capacity));
    return states;
  }

  // Appends ids [N]. kNone stops before the head; kLast leaves the logits of each row's last position in
  // state.last_logits and their argmax in state.next; kAll does so too and returns [N, vocabulary], valid until the
  // arena is used again. `experts`, when not empty, is the routing, [MoE layers, N, top_k].
  View<Accum, 2> forward(B& backend, Arena& arena, SessionState<Types>& state, const Tokens& tokens,
                         View<const int32_t, 1> ids, Logits logits, std::span<const int32_t> experts = {}) {
    const int64_t N = tokens.count(), D = config_.hidden_size;
    // In front of all scratch, so that they outlive the pass: the report counts the experts actually hit.
    chosen_experts_.clear();
    for (const Layer& layer : layers_)
      if (!layer.ffn.dense) chosen_experts_.push_back(arena.take<int32_t>(N, config_.num_experts_per_token));
    moe_layer_ = 0;
    given_experts_ = experts;
    const View<Accum, 2> residual = arena.take<Accum>(N, D);
    const View<Act, 2> x = arena.take<Act>(N, D), delta = arena.take<Act>(N, D);
    backend.embed(Embed<Types>{ids, embedding_, residual}, arena);

    View<const Act, 2> pending;              // what the layer before still has to add to the residual stream
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      const NvtxRange range(layer.range.c_str());
      backend.add_rms_norm(AddRmsNorm<Types>{pending, residual, layer.input_norm, eps_, x}, arena);
      layer.mixer->forward(backend, arena, tokens, x, state.layers[i], delta);
      backend.add_rms_norm(AddRmsNorm<Types>{delta, residual, layer.post_norm, eps_, x}, arena);
      feed_forward(backend, arena, layer.ffn, x, delta);
      pending = delta;
    }
    for (const Segment& segment : tokens.segments)
      backend.advance(Advance{of_rows(tokens.lengths, segment), static_cast<int32_t>(segment.tokens)}, arena);
    if (logits == Logits::kNone) return {};
    const NvtxRange range("head");
    const PartScope part(backend.linear_part, Part::kHead);
    if (logits == Logits::kLast) {
      int64_t done = 0;                      // x is free again: its first rows take the last positions
      for (const Segment& segment : tokens.segments) {
        backend.add_rms_norm(AddRmsNorm<Types>{last_rows(pending, segment), last_rows(residual, segment), norm_, eps_,
                                               x.slice(0, done, segment.rows)}, arena);
        done += segment.rows;
      }
      done = 0;
      for (const Segment& run : runs(tokens)) {
        const View<Accum, 2> rows = of_rows(state.last_logits, run);
        backend.linear(Linear<Types, Accum>{x.slice(0, done, run.rows), head_, rows}, arena);
        backend.argmax(Argmax<Types>{rows, of_rows(state.next, run)}, arena);
        done += run.rows;
      }
      return state.last_logits;
    }
    backend.add_rms_norm(AddRmsNorm<Types>{pending, residual, norm_, eps_, x}, arena);
    const View<Accum, 2> all = arena.take<Accum>(N, config_.vocab_size);
    backend.linear(Linear<Types, Accum>{x, head_, all}, arena);
    for (const Segment& segment : tokens.segments)
      if (!arena.measuring())
        backend.copy(of_rows(state.last_logits, segment), View<const Accum, 2>(last_rows(all, segment)));
    for (const Segment& run : runs(tokens))
      backend.argmax(Argmax<Types>{of_rows(state.last_logits, run), of_rows(state.next, run)}, arena);
    return all;
  }

  // While set, a pass takes the routing that the pass before it in the same arena left behind.
  bool keep_routing = false;

  // Of the last pass, one a MoE layer: [N, top_k]. Valid until the arena is used again.
  const std::vector<View<int32_t, 2>>& chosen_experts() const { return chosen_experts_; }

 private:
  struct Layer {
    View<Weight, 1> input_norm, post_norm;
    std::unique_ptr<Mixer<B>> mixer;
    FeedForward<Weight> ffn;
    std::string range;
  };

  template <class T>
  static View<T, 2> last_rows(View<T, 2> rows, const Segment& segment) {
    View<T, 2> last = rows.slice(0, segment.first_token + segment.tokens - 1, 1);
    last.size[0] = segment.rows;
    last.stride[0] = segment.tokens * rows.stride[0];
    return last;
  }

  // Neighbouring rows together, whatever their number of tokens: the head is read once for each.
  static std::vector<Segment> runs(const Tokens& tokens) {
    std::vector<Segment> runs;
    for (const Segment& segment : tokens.segments)
      if (!runs.empty() && runs.back().first_row + runs.back().rows == segment.first_row)
        runs.back().rows += segment.rows;
      else
        runs.push_back({segment.first_row, segment.rows, 1, 0});
    return runs;
  }

  void feed_forward(B& backend, Arena& arena, const FeedForward<Weight>& ffn, View<const Act, 2> x, View<Act, 2> out) {
    const int64_t N = x.size[0];
    if (ffn.dense) {
      const ArenaScope scope(arena);
      const PartScope part(backend.linear_part, Part::kDense);
      const int64_t I = config_.intermediate_size;
      const View<Act, 2> gate_up = arena.take<Act>(N, 2 * I), product = arena.take<Act>(N, I);
      backend.linear(Linear<Types>{x, ffn.gate_up, gate_up}, arena);
      backend.silu_mul(SiluMul<Types>{gate_up, product}, arena);
      backend.linear(Linear<Types>{product, ffn.down, out}, arena);
      return;
    }
    Moe<Types> args;
    args.x = x;
    args.router = ffn.router;
    args.bias = ffn.bias;
    args.gate_up = ffn.expert_gate_up;
    args.down = ffn.expert_down;
    args.top_k = static_cast<int>(config_.num_experts_per_token);
    args.scale = static_cast<float>(config_.routed_scaling_factor);
    args.renormalize = config_.moe_renormalize;
    args.biased_weights = config_.hf_router;
    const ArenaScope scope(arena);
    args.expert_ids = chosen_experts_[moe_layer_];
    args.expert_weights = arena.take<float>(N, args.top_k);
    args.out = out;
    if (keep_routing) {
      args.given_experts = true;             // what the pass before left in expert_ids
    } else if (!given_experts_.empty()) {
      args.given_experts = true;
      const int32_t* const given = given_experts_.data() + moe_layer_ * N * args.top_k;
      if (!arena.measuring()) backend.upload(args.expert_ids, given);
    }
    ++moe_layer_;
    backend.moe(args, arena);
  }

  ModelConfig config_;
  float eps_;
  View<Weight, 2> embedding_, head_;
  View<Weight, 1> norm_;
  std::vector<Layer> layers_;
  std::vector<View<int32_t, 2>> chosen_experts_;
  std::span<const int32_t> given_experts_;
  size_t moe_layer_ = 0;                     // of the current pass
};

}  // namespace kdabench
