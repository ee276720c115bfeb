#pragma once
// y[n, m] <- sum_k x[n, k] w[m, k] on one thread: the inner loop of every CPU operation that has weights.
//
// Both operands are contiguous in k, so a register tile of 4 x 4 inner products loads 8 vectors for 16 multiply-adds.
// The vectors are explicit (GCC and Clang extension), because a sum of floats may not be reordered by the compiler.

#include <cstdint>
#include <cstring>

namespace kdabench {

namespace gemm_detail {

inline constexpr int64_t kVectorBytes = 32;

template <class T>
struct Vector {
  typedef T Type __attribute__((vector_size(kVectorBytes)));
  static constexpr int64_t kLanes = kVectorBytes / sizeof(T);
};

template <class T>
typename Vector<T>::Type load(const T* from) {
  typename Vector<T>::Type v;
  std::memcpy(&v, from, sizeof v);  // unaligned
  return v;
}

template <int Rows, int Columns, class T>
void tile(int64_t K, const T* x, int64_t x_stride, const T* w, int64_t w_stride, T* y, int64_t y_stride) {
  using Vec = typename Vector<T>::Type;
  constexpr int64_t kLanes = Vector<T>::kLanes;
  Vec sums[Rows][Columns] = {};
  int64_t k = 0;
  for (; k + kLanes <= K; k += kLanes) {
    Vec weights[Columns];
    for (int m = 0; m < Columns; ++m) weights[m] = load(w + m * w_stride + k);
    for (int n = 0; n < Rows; ++n) {
      const Vec input = load(x + n * x_stride + k);
      for (int m = 0; m < Columns; ++m) sums[n][m] += input * weights[m];
    }
  }
  for (int n = 0; n < Rows; ++n)
    for (int m = 0; m < Columns; ++m) {
      T sum = 0;
      for (int64_t lane = 0; lane < kLanes; ++lane) sum += sums[n][m][lane];
      for (int64_t rest = k; rest < K; ++rest) sum += x[n * x_stride + rest] * w[m * w_stride + rest];
      y[n * y_stride + m] = sum;
    }
}

template <int Rows, class T>
void row_band(int64_t M, int64_t K, const T* x, int64_t x_stride, const T* w, int64_t w_stride, T* y,
              int64_t y_stride) {
  int64_t m = 0;
  for (; m + 4 <= M; m += 4) tile<Rows, 4>(K, x, x_stride, w + m * w_stride, w_stride, y + m, y_stride);
  for (; m < M; ++m) tile<Rows, 1>(K, x, x_stride, w + m * w_stride, w_stride, y + m, y_stride);
}

}  // namespace gemm_detail

// x [N, K], w [M, K], y [N, M], with the given distances between rows.
template <class T>
void gemm_cpu(int64_t N, int64_t M, int64_t K, const T* x, int64_t x_stride, const T* w, int64_t w_stride, T* y,
              int64_t y_stride) {
  // Rows of w in blocks that stay in the first-level cache while all rows of x pass over them.
  constexpr int64_t kBlock = 16;
  for (int64_t first = 0; first < M; first += kBlock) {
    const int64_t block = M - first < kBlock ? M - first : kBlock;
    const T* const weights = w + first * w_stride;
    int64_t n = 0;
    for (; n + 4 <= N; n += 4)
      gemm_detail::row_band<4>(block, K, x + n * x_stride, x_stride, weights, w_stride, y + n * y_stride + first,
                               y_stride);
    for (; n < N; ++n)
      gemm_detail::row_band<1>(block, K, x + n * x_stride, x_stride, weights, w_stride, y + n * y_stride + first,
                               y_stride);
  }
}

}  // namespace kdabench
