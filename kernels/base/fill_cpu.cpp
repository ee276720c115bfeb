// Seeded contents on the CPU; see kernels/base/fill.h.

#include "kernels/base/fill.h"

namespace kdabench {

template <class T>
void fill_normal_cpu(const FillNormal<T>& args, bool round_to_bf16) {
  const int64_t rows = args.out.size[0], width = args.out.size[1];
#pragma omp parallel for
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < width; ++i) {
      const float value = args.stddev * random_normal(args.random, row * width + i);
      if constexpr (std::is_same_v<T, Bf16>) args.out(row, i) = to_bf16(value);
      else args.out(row, i) = round_to_bf16 ? to_float(to_bf16(value)) : value;
    }
}

template void fill_normal_cpu(const FillNormal<float>&, bool);
template void fill_normal_cpu(const FillNormal<double>&, bool);
template void fill_normal_cpu(const FillNormal<Bf16>&, bool);

}  // namespace kdabench
