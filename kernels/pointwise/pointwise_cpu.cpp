// Embedding, RMSNorm, SwiGLU's product and running lengths on the CPU; see kernels/pointwise/pointwise.h.

#include "kernels/pointwise/pointwise.h"

#include <cmath>

#include "kernels/base/cpu_math.h"

namespace kdabench {

template <class T>
void embed_cpu(const Embed<Cpu<T>>& args) {
  const int64_t N = args.residual.size[0], D = args.residual.size[1];
  for (int64_t n = 0; n < N; ++n) {
    const int32_t id = args.ids(n);
    assert(id >= 0 && id < args.table.size[0]);
    for (int64_t i = 0; i < D; ++i) args.residual(n, i) = args.table(id, i);
  }
}

template <class T>
void add_rms_norm_cpu(const AddRmsNorm<Cpu<T>>& args) {
  const int64_t N = args.residual.size[0], D = args.residual.size[1];
#pragma omp parallel for if (N * D > kWorthThreads)
  for (int64_t n = 0; n < N; ++n) {
    T* const residual = &args.residual(n, 0);
    if (args.delta) add_scaled(residual, T(1), &args.delta(n, 0), D);
    const T scale = 1 / std::sqrt(dot(residual, residual, D) / D + args.eps);
    T* const out = &args.out(n, 0);
    for (int64_t i = 0; i < D; ++i) out[i] = residual[i] * scale * args.weight(i);
  }
}

template <class T>
void silu_mul_cpu(const SiluMul<Cpu<T>>& args) {
  const int64_t N = args.out.size[0], I = args.out.size[1];
#pragma omp parallel for if (N * I * 16 > kWorthThreads)
  for (int64_t n = 0; n < N; ++n)
    for (int64_t i = 0; i < I; ++i) args.out(n, i) = silu(args.gate_up(n, i)) * args.gate_up(n, I + i);
}

void advance_cpu(const Advance& args) {
  for (int64_t b = 0; b < args.lengths.size[0]; ++b) args.lengths(b) += args.tokens;
}

template void embed_cpu(const Embed<Cpu<float>>&);
template void embed_cpu(const Embed<Cpu<double>>&);
template void add_rms_norm_cpu(const AddRmsNorm<Cpu<float>>&);
template void add_rms_norm_cpu(const AddRmsNorm<Cpu<double>>&);
template void silu_mul_cpu(const SiluMul<Cpu<float>>&);
template void silu_mul_cpu(const SiluMul<Cpu<double>>&);

}  // namespace kdabench
