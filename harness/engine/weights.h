#pragma once
// Where every tensor of a checkpoint goes. One list of named tensors drives loading, seeded random weights, the check
// for missing, extra and misshapen tensors, and the parameter count.

#include <string>
#include <utility>
#include <vector>

#include "kernels/base/arena.h"
#include "kernels/base/types.h"

namespace kdabench {

// How a tensor starts when no checkpoint gives it (reference: the paper's section 5.1 and its public layer code).
struct Init {
  enum Kind { kOnes, kNormal, kALog, kDtBias } kind = kNormal;
  float stddev = 0.02f;                  // HF's initializer_range
  static Init ones() { return {kOnes, 0}; }
  static Init normal(float stddev = 0.02f) { return {kNormal, stddev}; }
  static Init a_log() { return {kALog, 0}; }      // log of uniform (1, 16)
  static Init dt_bias() { return {kDtBias, 0}; }  // inverse softplus of log-uniform [0.001, 0.1]: decides whether KDA learns
};

// Part of a tensor's matrix form, [first row, first column], and where it lives. Exactly one of the views counts.
template <class Weight>
struct WeightPiece {
  int64_t row = 0, column = 0;
  View<Weight, 2> weight;
  View<float, 2> f32;
  bool is_f32 = false;
  int64_t rows() const { return is_f32 ? f32.size[0] : weight.size[0]; }
  int64_t columns() const { return is_f32 ? f32.size[1] : weight.size[1]; }
};

template <class Weight>
struct WeightTensor {
  std::vector<std::string> names;        // the first is ours; any of them may be in a checkpoint
  std::vector<int64_t> shape;            // as in the checkpoint
  Init init;
  std::vector<WeightPiece<Weight>> pieces;
  int64_t count() const {
    int64_t n = 1;
    for (const int64_t s : shape) n *= s;
    return n;
  }
  // The matrix form: the first dimension against the rest; a tensor with a leading 1 is one row, and so is a vector.
  int64_t columns() const { return shape.size() == 1 ? shape[0] : count() / shape[0]; }
};

// Takes storage from the arena and records the names. Run once with a measuring arena to size the block.
template <class Weight>
class WeightBuilder {
 public:
  explicit WeightBuilder(Arena& arena) : arena_(arena) {}

  View<Weight, 2> matrix(int64_t rows, int64_t columns) { return arena_.take<Weight>(rows, columns); }
  View<Weight, 1> vector(int64_t n) { return arena_.take<Weight>(n); }
  View<float, 1> vector_f32(int64_t n) { return arena_.take<float>(n); }
  View<Weight, 3> stack(int64_t n, int64_t rows, int64_t columns) { return arena_.take<Weight>(n, rows, columns); }

  void name(std::vector<std::string> names, std::vector<int64_t> shape, Init init,
            std::vector<WeightPiece<Weight>> pieces) {
    tensors_.push_back({std::move(names), std::move(shape), init, std::move(pieces)});
  }
  void name(std::string name_, std::vector<int64_t> shape, Init init, View<Weight, 2> to) {
    name({std::move(name_)}, std::move(shape), init, {{0, 0, to, {}, false}});
  }
  void name(std::string name_, std::vector<int64_t> shape, Init init, View<Weight, 1> to) {
    name(std::move(name_), std::move(shape), init, View<Weight, 2>(to.data, {1, to.size[0]}));
  }
  void name_f32(std::string name_, std::vector<int64_t> shape, Init init, View<float, 1> to) {
    name({std::move(name_)}, std::move(shape), init, {{0, 0, {}, View<float, 2>(to.data, {1, to.size[0]}), true}});
  }

  std::vector<WeightTensor<Weight>>& tensors() { return tensors_; }

 private:
  Arena& arena_;
  std::vector<WeightTensor<Weight>> tensors_;
};

}  // namespace kdabench
