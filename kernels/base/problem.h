#pragma once
// What all seeded problems share (see kernels/problems.h): the base class, and drawing values.

#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>
#include <vector>

#include "kernels/base/random.h"
#include "kernels/base/types.h"
#include "kernels/base/view.h"

namespace kdabench {

// What all problems can do; a problem adds its vectors, their one list `fields`, and `args_at`.
template <template <class> class Problem, class Types>
struct ProblemBase {
  uint64_t seed = 0;

  template <class Visit>
  void visit_buffers(Visit&& visit) {
    Problem<Types>::fields(visit, self());
  }

  template <class Other>
  Problem<Other> as() const {
    Problem<Other> to;
    to.seed = seed;
    to.shape = self().shape;
    const auto convert = [](const char*, const auto& from, auto& into) {
      using To = typename std::remove_reference_t<decltype(into)>::value_type;
      into.reserve(from.size());
      for (const auto x : from) {
        if constexpr (std::is_integral_v<To>) into.push_back(x);
        else if constexpr (std::is_same_v<To, Bf16>) into.push_back(to_bf16(static_cast<float>(to_float(x))));
        else into.push_back(static_cast<To>(to_float(x)));
      }
    };
    Problem<Types>::fields(convert, self(), to);
    return to;
  }

  auto args() {
    return self().args_at([](auto& vector) { return vector.data(); });
  }

 private:
  Problem<Types>& self() { return static_cast<Problem<Types>&>(*this); }
  const Problem<Types>& self() const { return static_cast<const Problem<Types>&>(*this); }
};

// ---- drawing ------------------------------------------------------------------------------------------------------

inline float bf16_rounded(float x) { return to_float(to_bf16(x)); }

template <class T>
T stored(float x) {
  if constexpr (std::is_same_v<T, Bf16>) return to_bf16(x);
  else return static_cast<T>(x);
}

// value(i) for the i-th element of a dense [rows, width] tensor, rounded to bf16; NaN behind every row.
template <class T, class Value>
std::vector<T> draw(int64_t rows, int64_t width, int64_t padding, Value&& value) {
  std::vector<T> out(rows * (width + padding), stored<T>(std::numeric_limits<float>::quiet_NaN()));
#pragma omp parallel for
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < width; ++i)
      out[row * (width + padding) + i] = stored<T>(bf16_rounded(value(row * width + i)));
  return out;
}

// The same without rounding: for what is fp32 on every backend (states, a_log, biases).
template <class T, class Value>
std::vector<T> draw_exact(int64_t count, Value&& value) {
  std::vector<T> out(count);
  for (int64_t i = 0; i < count; ++i) out[i] = stored<T>(value(i));
  return out;
}

template <class T>
std::vector<T> poison(int64_t count) {
  return std::vector<T>(count, stored<T>(std::numeric_limits<float>::quiet_NaN()));
}

// Normal values of one named stream.
struct Normal {
  uint64_t stream;
  float stddev;
  Normal(uint64_t seed, std::string_view name, float stddev_ = 1)
      : stream(random_stream(seed, name)), stddev(stddev_) {}
  float operator()(int64_t i) const { return stddev * random_normal(stream, i); }
};

// [outer, rows, width] with `padding` unused elements behind every row.
template <class T>
View<T, 3> padded(T* data, int64_t outer, int64_t rows, int64_t width, int64_t padding) {
  View<T, 3> view(data, {outer, rows, width + padding});
  view.size[2] = width;
  return view;
}
template <class T>
View<T, 2> padded(T* data, int64_t rows, int64_t width, int64_t padding) {
  View<T, 2> view(data, {rows, width + padding});
  view.size[1] = width;
  return view;
}

}  // namespace kdabench
