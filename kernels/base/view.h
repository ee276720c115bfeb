#pragma once
// A non-owning N-dimensional view: pointer, sizes, strides. Passed by value, also to kernels.

#include <cassert>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "kernels/base/types.h"

namespace kdabench {

template <class T, int N>
struct View {
  T* data = nullptr;
  int64_t size[N] = {};
  int64_t stride[N] = {};  // in elements; the last one is 1 unless a contract says otherwise

  View() = default;

  // Contiguous, row-major.
  View(T* data_, std::initializer_list<int64_t> sizes) : data(data_) {
    assert(sizes.size() == N);
    int i = 0;
    for (const int64_t s : sizes) size[i++] = s;
    int64_t step = 1;
    for (int d = N - 1; d >= 0; --d) {
      stride[d] = step;
      step *= size[d];
    }
  }

  operator View<const T, N>() const
    requires(!std::is_const_v<T>)
  {
    View<const T, N> v;
    v.data = data;
    for (int d = 0; d < N; ++d) v.size[d] = size[d], v.stride[d] = stride[d];
    return v;
  }

  template <class... Index>
  KDABENCH_HD T& operator()(Index... index) const {
    static_assert(sizeof...(Index) == N);
    const int64_t at[N] = {static_cast<int64_t>(index)...};
    int64_t offset = 0;
    for (int d = 0; d < N; ++d) offset += at[d] * stride[d];
    return data[offset];
  }

  int64_t count() const {
    int64_t n = 1;
    for (int d = 0; d < N; ++d) n *= size[d];
    return n;
  }

  // Elements [first, first + n) of dimension `dim`, the others whole.
  View slice(int dim, int64_t first, int64_t n) const {
    assert(first >= 0 && n >= 0 && first + n <= size[dim]);
    View v = *this;
    if (v.data) v.data += first * stride[dim];  // a measuring arena hands out null views
    v.size[dim] = n;
    return v;
  }

  explicit operator bool() const { return data != nullptr; }
};

}  // namespace kdabench
