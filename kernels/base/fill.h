#pragma once
// Seeded random contents, bit-identical on both devices: element i of the logical (dense, row-major) tensor is
// stddev * random_normal(stream, i), whatever the row stride.

#include "kernels/base/random.h"
#include "kernels/base/types.h"
#include "kernels/base/view.h"

namespace kdabench {

template <class T>
struct FillNormal {
  View<T, 2> out;         // rows may be strided
  uint64_t random;        // from random_stream(seed, name)
  float stddev;
};

// T = float, double or Bf16. With round_to_bf16 the values are those a bf16 tensor holds: the same weights on every device.
template <class T> void fill_normal_cpu(const FillNormal<T>& args, bool round_to_bf16);
void fill_normal_cuda(const FillNormal<Bf16>& args, cudaStream_t stream);
void fill_normal_cuda(const FillNormal<float>& args, cudaStream_t stream);

}  // namespace kdabench
