#pragma once
// A session of a transformer: caches and states of B sequences, the workspace, and the loop around forward passes.

#include <algorithm>
#include <cmath>
#include <set>

#include "harness/engine/transformer.h"
#include "kernels/base/random.h"

namespace kdabench {

// Bytes of the three blocks a session takes, counted by the code that will run in them.
struct SessionSize {
  int64_t cache = 0, state = 0, workspace = 0;
};

template <class Types>
struct SessionBuffers {                      // persistent part of the workspace
  View<int32_t, 1> ids, lengths, next;
  View<typename Types::Accum, 2> last_logits;
  SessionBuffers(Arena& arena, const ModelConfig& config, const SessionOptions& o)
      : ids(arena.take<int32_t>(o.batch * o.forward_tokens)), lengths(arena.take<int32_t>(o.batch)),
        next(arena.take<int32_t>(o.batch)),
        last_logits(arena.take<typename Types::Accum>(o.batch, config.vocab_size)) {}
};

template <class B>
SessionSize measure_session(Transformer<B>& transformer, B& backend, const ModelConfig& config,
                            const SessionOptions& o) {
  Arena cache, state, workspace;
  SessionState<typename B::Types> s;
  s.layers = transformer.allocate(cache, state, o.batch, o.capacity);
  const SessionBuffers<typename B::Types> buffers(workspace, config, o);
  s.lengths = buffers.lengths, s.next = buffers.next, s.last_logits = buffers.last_logits;
  // T = 1 and the longest pass; between them, kernels switch form (absorbed or expanded, GEMV or GEMM), so small T too
  std::set<int64_t> lengths = {1, o.forward_tokens};
  for (const int64_t t : {2, 4, 5, 8, 16, 64})
    if (t < o.forward_tokens) lengths.insert(t);
  for (const int64_t t : lengths) {
    const ArenaScope scope(workspace);
    const Tokens tokens{o.batch, t, buffers.lengths, o.capacity};
    transformer.forward(backend, workspace, s, tokens, buffers.ids.slice(0, 0, o.batch * t),
                        o.all_logits ? Logits::kAll : Logits::kLast);
  }
  return {cache.peak_bytes(), state.peak_bytes(), workspace.peak_bytes()};
}

template <class B>
class TransformerSession final : public Session {
 public:
  using Types = typename B::Types;
  using Act = typename Types::Act;
  using Accum = typename Types::Accum;

  TransformerSession(Transformer<B>& transformer, B& backend, const ModelConfig& config, const SessionOptions& options)
      : transformer_(transformer), backend_(backend), config_(config), options_(options) {
    const SessionSize size = measure_session(transformer, backend, config, options);
    const std::optional<int64_t> before = backend.free_bytes();
    cache_block_ = backend.allocate(size.cache, "the latent caches");
    state_block_ = backend.allocate(size.state, "the recurrent states");
    const std::optional<int64_t> after = backend.free_bytes();
    if (before && after) driver_cache_bytes_ = *before - *after;
    workspace_block_ = backend.allocate(size.workspace, "activations");
    Arena cache(cache_block_.data(), size.cache), state(state_block_.data(), size.state);
    state_.layers = transformer.allocate(cache, state, options.batch, options.capacity);
    cache_bytes_ = cache.used_bytes();
    state_bytes_ = state.used_bytes();
    arena_ = Arena(workspace_block_.data(), size.workspace);
    const SessionBuffers<Types> buffers(arena_, config, options);
    ids_ = buffers.ids;
    state_.lengths = buffers.lengths;
    state_.next = buffers.next;
    state_.last_logits = buffers.last_logits;
    reset();
  }

  void reset() override {
    // the caches keep their old rows: what lies beyond the lengths is never read
    backend_.zero(state_block_.data(), state_bytes_);
    set_length(0);
    set_next(std::vector<int32_t>(options_.batch, 0));
  }

  void fill_random(int64_t context, uint64_t seed) override {
    require(context <= options_.capacity, "session: wanted a context of ", context, " tokens, its capacity is ",
            options_.capacity, ".");
    for (size_t i = 0; i < state_.layers.size(); ++i) {
      const MixerState<Types>& layer = state_.layers[i];
      const std::string name = text("layer ", i);
      if (layer.cache.size[0] > 0 && context > 0)
        for (int64_t b = 0; b < options_.batch; ++b)
          backend_.fill_normal(View<Act, 2>(&layer.cache(b, 0, 0), {context, layer.cache.size[2]}),
                               random_stream(seed, text(name, " cache ", b)), 1.f);
      if (layer.conv.size[0] > 0)
        backend_.fill_normal(View<Act, 2>(layer.conv.data, {layer.conv.size[0], layer.conv.count() / layer.conv.size[0]}),
                             random_stream(seed, name + " conv"), 1.f);
      if (layer.recurrent.size[0] > 0)  // unit keys times unit values: entries of about 1 / sqrt(K)
        backend_.fill_normal_exact(
            View<Accum, 2>(layer.recurrent.data, {layer.recurrent.size[0], layer.recurrent.count() / layer.recurrent.size[0]}),
            random_stream(seed, name + " state"), 1.f / std::sqrt(static_cast<float>(layer.recurrent.size[3])));
    }
    set_length(context);
    std::vector<int32_t> next(options_.batch);
    for (int64_t b = 0; b < options_.batch; ++b)
      next[b] = static_cast<int32_t>(random_bits(random_stream(seed, "next"), b) % config_.vocab_size);
    set_next(next);
    backend_.synchronize();
  }

  std::vector<float> forward(std::span<const int32_t> ids, Logits logits, std::span<const int32_t> experts) override {
    const int64_t B_ = options_.batch, T = static_cast<int64_t>(ids.size()) / B_, vocabulary = config_.vocab_size;
    require(T >= 1 && T * B_ == static_cast<int64_t>(ids.size()), "session: wanted a multiple of ", B_,
            " token ids (the batch), found ", ids.size(), ".");
    require(length_ + T <= options_.capacity, "session: ", T, " tokens do not fit behind ", length_, "; the capacity is ",
            options_.capacity, ".");
    require(logits != Logits::kAll || options_.all_logits, "session: opened without all_logits.");
    require(experts.empty() || T <= options_.forward_tokens, "session: given experts need a single pass of at most ",
            options_.forward_tokens, " tokens.");
    for (const int32_t id : ids)
      require(id >= 0 && id < vocabulary, "token id ", id, " is outside the vocabulary of ", vocabulary, ".");

    std::vector<float> out(logits == Logits::kAll ? B_ * T * vocabulary : 0);
    std::vector<int32_t> piece;
    for (int64_t first = 0; first < T; first += options_.forward_tokens) {
      const int64_t t = std::min(options_.forward_tokens, T - first);
      piece.resize(B_ * t);
      for (int64_t b = 0; b < B_; ++b) std::copy_n(ids.begin() + b * T + first, t, piece.begin() + b * t);
      backend_.upload(View<int32_t, 2>(ids_.data, {1, B_ * t}), piece.data());
      const ArenaScope scope(arena_);
      const Tokens tokens{B_, t, state_.lengths, length_ + t};
      const bool last = first + t == T;
      const Logits wanted = logits == Logits::kAll ? logits : last ? Logits::kLast : Logits::kNone;
      const View<Accum, 2> rows =
          transformer_.forward(backend_, arena_, state_, tokens, ids_.slice(0, 0, B_ * t), wanted, experts);
      experts_ = transformer_.chosen_experts();
      length_ += t;
      if (logits == Logits::kAll) {
        std::vector<Accum> block(B_ * t * vocabulary);
        backend_.download(block.data(), View<const Accum, 2>(rows));
        for (int64_t b = 0; b < B_; ++b)
          std::transform(block.begin() + b * t * vocabulary, block.begin() + (b + 1) * t * vocabulary,
                         out.begin() + (b * T + first) * vocabulary, [](Accum x) { return static_cast<float>(x); });
      }
      backend_.synchronize();                // `piece` is reused
    }
    return logits == Logits::kLast ? last_logits() : out;
  }

  DecodeSamples decode(int64_t steps) override {
    require(length_ + steps <= options_.capacity, "session: ", steps, " steps do not fit behind ", length_,
            "; the capacity is ", options_.capacity, ".");
    // The bound is the capacity, not the length: a captured step is replayed while the context grows.
    DecodeSamples samples = backend_.time_steps(steps, graph_, state_.next, [&] {
      const ArenaScope scope(arena_);
      const Tokens tokens{options_.batch, 1, state_.lengths, options_.capacity};
      transformer_.forward(backend_, arena_, state_, tokens, state_.next, Logits::kLast);
      step_experts_ = transformer_.chosen_experts();
    });
    experts_ = step_experts_;                // a replayed graph writes where its capture did
    length_ += steps;
    return samples;
  }

  StepParts breakdown(int64_t steps) override {
    require(steps >= 1 && steps <= length_, "session: ", steps, " steps to take apart, ", length_, " tokens cached.");
    const int64_t end = length_;
    // The experts of the last step throughout: with a part left out, values and so the routing would change, and with
    // it the bytes that the experts take.
    transformer_.keep_routing = experts_.size() == step_experts_.size() && !step_experts_.empty();
    struct Restore {
      bool& flag;
      ~Restore() { flag = false; }
    } const restore{transformer_.keep_routing};
    const StepParts parts = backend_.time_parts(
        steps, state_.next, [&] { set_length(end - steps); },
        [&] {
          const ArenaScope scope(arena_);
          const Tokens tokens{options_.batch, 1, state_.lengths, options_.capacity};
          transformer_.forward(backend_, arena_, state_, tokens, state_.next, Logits::kLast);
        });
    set_length(end);
    return parts;
  }

  std::vector<int32_t> next_tokens() override {
    std::vector<int32_t> next(options_.batch);
    backend_.download(next.data(), View<const int32_t, 2>(state_.next.data, {1, options_.batch}));
    return next;
  }

  std::vector<float> last_logits() override {
    std::vector<Accum> block(state_.last_logits.count());
    backend_.download(block.data(), View<const Accum, 2>(state_.last_logits));
    return {block.begin(), block.end()};
  }

  int64_t length() const override { return length_; }

  std::vector<int32_t> chosen_experts() override {
    std::vector<int32_t> all;
    for (const View<int32_t, 2>& layer : experts_) {
      all.resize(all.size() + layer.count());
      backend_.download(all.data() + all.size() - layer.count(), View<const int32_t, 2>(layer));
    }
    return all;
  }

  std::optional<double> distinct_experts() override {
    if (experts_.empty()) return {};
    const std::vector<int32_t> all = chosen_experts();
    const size_t per_layer = all.size() / experts_.size();
    double sum = 0;
    for (auto layer = all.begin(); layer != all.end(); layer += per_layer)
      sum += static_cast<double>(std::set<int32_t>(layer, layer + per_layer).size());
    return sum / static_cast<double>(experts_.size());
  }

  SessionBytes bytes() const override { return {cache_bytes_, state_bytes_, arena_.capacity_bytes()}; }
  std::optional<int64_t> driver_cache_bytes() const override { return driver_cache_bytes_; }

 private:
  void set_length(int64_t length) {
    length_ = length;
    const std::vector<int32_t> lengths(options_.batch, static_cast<int32_t>(length));
    backend_.upload(View<int32_t, 2>(state_.lengths.data, {1, options_.batch}), lengths.data());
  }
  void set_next(const std::vector<int32_t>& next) {
    backend_.upload(View<int32_t, 2>(state_.next.data, {1, options_.batch}), next.data());
  }

  Transformer<B>& transformer_;
  B& backend_;
  const ModelConfig& config_;
  SessionOptions options_;
  typename B::Memory cache_block_, state_block_, workspace_block_;
  int64_t cache_bytes_ = 0, state_bytes_ = 0;
  std::optional<int64_t> driver_cache_bytes_;
  Arena arena_;
  View<int32_t, 1> ids_;
  SessionState<Types> state_;
  int64_t length_ = 0;
  std::vector<View<int32_t, 2>> experts_, step_experts_;
  typename B::Graph graph_;
};

}  // namespace kdabench
