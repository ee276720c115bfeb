#pragma once
// Scalar functions and inner products of the CPU backend, in the precision of T.

#include <cmath>
#include <cstdint>

namespace kdabench {

// exp(-x) may overflow to infinity, and 1 / infinity is the right answer.
template <class T>
T sigmoid(T x) {
  return 1 / (1 + std::exp(-x));
}

template <class T>
T silu(T x) {
  return x * sigmoid(x);
}

// Linear above 20, as the reference models have it.
template <class T>
T softplus(T x) {
  return x > 20 ? x : std::log1p(std::exp(x));
}

template <class T>
T dot(const T* a, const T* b, int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// y <- y + a x
template <class T>
void add_scaled(T* y, T a, const T* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

// Starting a parallel region costs microseconds, and milliseconds when the cores are shared; below this many
// multiplications (some 20 us) one thread is faster.
inline constexpr int64_t kWorthThreads = 1 << 18;

}  // namespace kdabench
