#pragma once
// A session of a transformer: caches and states of B sequences, the workspace, and the loop around forward passes.
// Rows need not be equally long.

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "harness/engine/ragged.h"
#include "harness/engine/snapshot.h"
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
  for (const int64_t t : {2, 4, 5, 8, 16, 64, 128, 256, 512, 1024})
    if (t < o.forward_tokens) lengths.insert(t);
  for (const int64_t t : lengths)
    for (const int64_t rows : std::set<int64_t>{1, o.batch}) {  // rows of different lengths take the mixers one by one
      const ArenaScope scope(workspace);
      const Tokens tokens{{{0, rows, t, 0}}, buffers.lengths, o.capacity};
      transformer.forward(backend, workspace, s, tokens, buffers.ids.slice(0, 0, rows * t),
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
    set_lengths(std::vector<int64_t>(options_.batch, 0));
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
      const float unit = 1.f / std::sqrt(static_cast<float>(std::max<int64_t>(1, config_.linear_head_dim)));
      if (layer.recurrent.size[0] > 0)  // unit keys times unit values: entries of about 1 / sqrt(K)
        backend_.fill_normal_exact(
            View<Accum, 2>(layer.recurrent.data, {layer.recurrent.size[0], layer.recurrent.count() / layer.recurrent.size[0]}),
            random_stream(seed, name + " state"), unit);
      if (layer.recurrent_bf16.size[0] > 0)
        backend_.fill_normal(View<Bf16, 2>(layer.recurrent_bf16.data, {1, layer.recurrent_bf16.count()}),
                             random_stream(seed, name + " state"), unit);
    }
    set_lengths(std::vector<int64_t>(options_.batch, context));
    std::vector<int32_t> next(options_.batch);
    for (int64_t b = 0; b < options_.batch; ++b)
      next[b] = static_cast<int32_t>(random_bits(random_stream(seed, "next"), b) % config_.vocab_size);
    set_next(next);
    backend_.synchronize();
  }

  std::vector<float> forward(std::span<const int32_t> ids, Logits logits, std::span<const int32_t> experts) override {
    const int64_t B_ = options_.batch, T = tokens_each(ids), vocabulary = config_.vocab_size;
    require(logits != Logits::kAll || options_.all_logits, "session: opened without all_logits.");
    require_room(std::vector<int64_t>(B_, T), experts);
    require_known(ids);

    std::vector<float> out(logits == Logits::kAll ? B_ * T * vocabulary : 0);
    std::vector<int32_t> piece;
    for (int64_t first = 0; first < T; first += options_.forward_tokens) {
      const int64_t t = std::min(options_.forward_tokens, T - first);
      cut(ids, first, t, piece);
      const ArenaScope scope(arena_);
      const bool last = first + t == T;
      const Logits wanted = logits == Logits::kAll ? logits : last ? Logits::kLast : Logits::kNone;
      const View<Accum, 2> rows = pass({{0, B_, t, 0}}, piece, wanted, experts);
      if (logits == Logits::kAll) {
        std::vector<Accum> block(B_ * t * vocabulary);
        backend_.download(block.data(), View<const Accum, 2>(rows));
        for (int64_t b = 0; b < B_; ++b)
          std::transform(block.begin() + b * t * vocabulary, block.begin() + (b + 1) * t * vocabulary,
                         out.begin() + (b * T + first) * vocabulary, [](Accum x) { return static_cast<float>(x); });
      }
    }
    return logits == Logits::kLast ? last_logits() : out;
  }

  void append(std::span<const std::vector<int32_t>> rows, std::span<const int32_t> experts) override {
    require(static_cast<int64_t>(rows.size()) == options_.batch, "session: wanted ", options_.batch,
            " rows of token ids (the batch), found ", rows.size(), ".");
    std::vector<int64_t> lengths;
    for (const std::vector<int32_t>& row : rows) {
      require_known(row);
      lengths.push_back(static_cast<int64_t>(row.size()));
    }
    require_room(lengths, experts);
    const std::vector<std::vector<RowPart>> passes = ragged_passes(lengths, options_.forward_tokens);
    std::vector<int32_t> piece;
    for (size_t i = 0; i < passes.size(); ++i) {
      piece.clear();
      for (const RowPart& part : passes[i]) {
        const auto from = rows[part.row].begin() + part.first;
        piece.insert(piece.end(), from, from + part.tokens);
      }
      const ArenaScope scope(arena_);
      pass(segments_of(passes[i]), piece, i + 1 == passes.size() ? Logits::kLast : Logits::kNone, experts);
    }
  }

  std::unique_ptr<Snapshot> save(int64_t row) override {
    require_row(row);
    return std::make_unique<RowSnapshot<B>>(transformer_, backend_, state_, row, lengths_[row]);
  }

  void restore(const Snapshot& snapshot, std::span<const int64_t> rows) override {
    const auto* const saved = dynamic_cast<const RowSnapshot<B>*>(&snapshot);
    require(saved && saved->of(transformer_), "session: the snapshot belongs to another model.");
    require(saved->length() <= options_.capacity, "session: the snapshot holds ", saved->length(),
            " tokens, the capacity is ", options_.capacity, ".");
    std::vector<int64_t> lengths = lengths_;
    for (const int64_t row : rows) {
      require_row(row);
      saved->copy_to(backend_, state_, row);
      lengths[row] = saved->length();
    }
    set_lengths(lengths);
  }

  DecodeSamples decode(int64_t steps) override {
    require_room(std::vector<int64_t>(options_.batch, steps), {});
    backend_.slowdown = options_.slowdown;
    DecodeSamples samples = backend_.time_steps(steps, graph_, state_.next, [&] {
      const ArenaScope scope(arena_);
      transformer_.forward(backend_, arena_, state_, one_each(), state_.next, Logits::kLast);
      step_experts_ = transformer_.chosen_experts();
    });
    experts_ = step_experts_;                // a replayed graph writes where its capture did
    for (int64_t& length : lengths_) length += steps;
    kernels_ = graph_.kernels;
    return samples;
  }

  DecodeSamples prefill(std::span<const int32_t> ids, const std::function<void(int64_t)>& after_pass) override {
    const int64_t T = tokens_each(ids);
    require_known(ids);
    reset();
    require_room(std::vector<int64_t>(options_.batch, T), {});
    backend_.slowdown = options_.slowdown;
    kernels_ = {};
    std::vector<int32_t> piece;
    return backend_.time_once(kernels_, state_.next, [&] {
      for (int64_t first = 0; first < T; first += options_.forward_tokens) {
        const int64_t t = std::min(options_.forward_tokens, T - first);
        cut(ids, first, t, piece);
        const ArenaScope scope(arena_);
        pass({{0, options_.batch, t, 0}}, piece, first + t == T ? Logits::kLast : Logits::kNone, {});
        if (after_pass) after_pass(first + t);
      }
    });
  }

  const StepKernels& kernels() const override { return kernels_; }

  StepParts breakdown(int64_t steps) override {
    const std::vector<int64_t> end = lengths_;
    std::vector<int64_t> begin = end;
    for (int64_t& length : begin) {
      require(steps >= 1 && steps <= length, "session: ", steps, " steps to take apart, ", length, " tokens cached.");
      length -= steps;
    }
    // The experts of the last step throughout: with parts left out, values and so the routing would change, and with
    // it the bytes that the experts take.
    transformer_.keep_routing = experts_.size() == step_experts_.size() && !step_experts_.empty();
    struct Restore {
      bool& flag;
      ~Restore() { flag = false; }
    } const restore{transformer_.keep_routing};
    const StepParts parts = backend_.time_parts(
        steps, state_.next, [&] { set_lengths(begin); },
        [&] {
          const ArenaScope scope(arena_);
          transformer_.forward(backend_, arena_, state_, one_each(), state_.next, Logits::kLast);
        });
    set_lengths(end);
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

  int64_t length() const override { return *std::max_element(lengths_.begin(), lengths_.end()); }
  int64_t length(int64_t row) const override {
    require_row(row);
    return lengths_[row];
  }

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
  // T of ids [B, T].
  int64_t tokens_each(std::span<const int32_t> ids) const {
    const int64_t B_ = options_.batch, T = static_cast<int64_t>(ids.size()) / B_;
    require(T >= 1 && T * B_ == static_cast<int64_t>(ids.size()), "session: wanted a multiple of ", B_,
            " token ids (the batch), found ", ids.size(), ".");
    return T;
  }

  // Columns [first, first + count) of ids [B, T].
  void cut(std::span<const int32_t> ids, int64_t first, int64_t count, std::vector<int32_t>& piece) const {
    const int64_t T = static_cast<int64_t>(ids.size()) / options_.batch;
    piece.resize(options_.batch * count);
    for (int64_t b = 0; b < options_.batch; ++b)
      std::copy_n(ids.begin() + b * T + first, count, piece.begin() + b * count);
  }

  // One pass over `ids`, segment by segment. What it returns lives as long as the caller's arena scope.
  View<Accum, 2> pass(std::vector<Segment> segments, const std::vector<int32_t>& ids, Logits logits,
                      std::span<const int32_t> experts) {
    const auto count = static_cast<int64_t>(ids.size());
    backend_.upload(View<int32_t, 2>(ids_.data, {1, count}), ids.data());
    int64_t context = 0;
    for (const Segment& segment : segments)
      for (int64_t row = segment.first_row; row < segment.first_row + segment.rows; ++row)
        context = std::max(context, lengths_[row] += segment.tokens);
    const View<Accum, 2> rows =
        transformer_.forward(backend_, arena_, state_, Tokens{std::move(segments), state_.lengths, context},
                             ids_.slice(0, 0, count), logits, experts);
    experts_ = transformer_.chosen_experts();
    backend_.synchronize();                  // `ids` may change
    return rows;
  }

  // A decode step. The bound is the capacity, not the length: a captured step is replayed while the context grows.
  Tokens one_each() const { return {{{0, options_.batch, 1, 0}}, state_.lengths, options_.capacity}; }

  void require_row(int64_t row) const {
    require(row >= 0 && row < options_.batch, "session: row ", row, " is none of its ", options_.batch, ".");
  }
  void require_known(std::span<const int32_t> ids) const {
    for (const int32_t id : ids)
      require(id >= 0 && id < config_.vocab_size, "token id ", id, " is outside the vocabulary of ", config_.vocab_size,
              ".");
  }
  void require_room(const std::vector<int64_t>& more, std::span<const int32_t> experts) const {
    for (size_t row = 0; row < more.size(); ++row) {
      require(lengths_[row] + more[row] <= options_.capacity, "session: ", more[row], " tokens do not fit behind ",
              lengths_[row], "; the capacity is ", options_.capacity, ".");
      require(experts.empty() || more[row] <= options_.forward_tokens,
              "session: given experts need a single pass of at most ", options_.forward_tokens, " tokens.");
    }
  }

  void set_lengths(std::vector<int64_t> wanted) {
    lengths_ = std::move(wanted);
    const std::vector<int32_t> lengths(lengths_.begin(), lengths_.end());
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
  std::vector<int64_t> lengths_;             // tokens cached, what the device holds in state_.lengths
  std::vector<View<int32_t, 2>> experts_, step_experts_;
  typename B::Graph graph_;
  StepKernels kernels_;                      // of the last decode steps or prefill
};

}  // namespace kdabench
