#pragma once
// One row of a session, copied to memory of its own: [length, R + P] of every latent cache, the recurrent and
// convolution states, the next token and the last logits. A copy is exact, so that what follows is too.

#include <algorithm>
#include <memory>

#include "harness/engine/transformer.h"

namespace kdabench {

template <class B>
class RowSnapshot final : public Snapshot {
 public:
  using Types = typename B::Types;

  RowSnapshot(const Transformer<B>& transformer, B& backend, const SessionState<Types>& state, int64_t row,
              int64_t length)
      : transformer_(&transformer), length_(length) {
    Arena dry;
    place(dry, state);
    block_ = backend.allocate(dry.used_bytes(), "a snapshot of one sequence");
    Arena arena(block_.data(), dry.used_bytes());
    place(arena, state);
    copy_row(backend, saved_, 0, state, row);
  }

  bool of(const Transformer<B>& transformer) const { return transformer_ == &transformer; }
  int64_t length() const override { return length_; }
  void copy_to(B& backend, const SessionState<Types>& state, int64_t row) const { copy_row(backend, state, row, saved_, 0); }

 private:
  void place(Arena& arena, const SessionState<Types>& state) {
    saved_.layers = transformer_->allocate(arena, arena, 1, std::max<int64_t>(1, length_));
    saved_.next = arena.take<int32_t>(1);
    saved_.last_logits = arena.take<typename Types::Accum>(1, state.last_logits.size[1]);
  }

  // The contiguous entries of one row, as a matrix of a single row.
  template <class T, int N>
  static View<T, 2> entries(View<T, N> of, int64_t row, int64_t count) {
    return View<T, 2>(of.data + row * of.stride[0], {1, count});
  }
  template <class T, int N>
  static void copy(B& backend, View<T, N> to, int64_t to_row, View<T, N> from, int64_t from_row, int64_t count) {
    if (count > 0) backend.copy(entries(to, to_row, count), View<const T, 2>(entries(from, from_row, count)));
  }

  void copy_row(B& backend, const SessionState<Types>& to, int64_t to_row, const SessionState<Types>& from,
                int64_t from_row) const {
    const auto each_row = [](const auto& view) { return view.size[0] > 0 ? view.count() / view.size[0] : 0; };
    for (size_t i = 0; i < to.layers.size(); ++i) {
      const MixerState<Types>&a = to.layers[i], &b = from.layers[i];
      copy(backend, a.cache, to_row, b.cache, from_row, length_ * a.cache.size[2]);
      copy(backend, a.conv, to_row, b.conv, from_row, each_row(a.conv));
      copy(backend, a.recurrent, to_row, b.recurrent, from_row, each_row(a.recurrent));
      copy(backend, a.recurrent_bf16, to_row, b.recurrent_bf16, from_row, each_row(a.recurrent_bf16));
    }
    copy(backend, to.next, to_row, from.next, from_row, 1);
    copy(backend, to.last_logits, to_row, from.last_logits, from_row, to.last_logits.size[1]);
  }

  const Transformer<B>* transformer_;
  int64_t length_;
  typename B::Memory block_;
  SessionState<Types> saved_;
};

}  // namespace kdabench
