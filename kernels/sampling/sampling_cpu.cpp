// Greedy sampling on the CPU; see kernels/sampling/sampling.h.

#include "kernels/sampling/sampling.h"

namespace kdabench {

template <class T>
void argmax_cpu(const Argmax<Cpu<T>>& args) {
  const int64_t B = args.logits.size[0], vocabulary = args.logits.size[1];
#pragma omp parallel for if (B > 1)
  for (int64_t b = 0; b < B; ++b) {
    int32_t best = 0;
    for (int64_t v = 1; v < vocabulary; ++v)
      if (args.logits(b, v) > args.logits(b, best)) best = static_cast<int32_t>(v);
    args.ids(b) = best;
  }
}

template void argmax_cpu(const Argmax<Cpu<float>>&);
template void argmax_cpu(const Argmax<Cpu<double>>&);

}  // namespace kdabench
