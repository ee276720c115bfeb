// Gated DeltaNet by its transition matrix; see kernels/gdn/gdn.h.

#include "kernels/gdn/gdn.h"

#include <cmath>
#include <vector>

namespace kdabench {

template <class T>
void gdn_recurrence_cpu(const DeltaRecurrence<T>& args) {
  const int64_t B = args.q.size[0], tokens = args.q.size[1], H = args.q.size[2], K = args.k.size[3];
  const int64_t V = args.v.size[3];
  assert(args.g.size[3] == 1);
  std::vector<T> transition(K * K), row(K);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t t = 0; t < tokens; ++t) {
        const T forget = std::exp(args.g(b, t, h, 0)), beta = args.beta(b, t, h);
        for (int64_t i = 0; i < K; ++i)
          for (int64_t j = 0; j < K; ++j)
            transition[i * K + j] = forget * ((i == j) - beta * args.k(b, t, h, i) * args.k(b, t, h, j));
        for (int64_t v = 0; v < V; ++v) {
          for (int64_t j = 0; j < K; ++j) row[j] = beta * args.v(b, t, h, v) * args.k(b, t, h, j);
          for (int64_t i = 0; i < K; ++i)
            for (int64_t j = 0; j < K; ++j) row[j] += args.state(b, h, v, i) * transition[i * K + j];
          T read = 0;
          for (int64_t j = 0; j < K; ++j) {
            args.state(b, h, v, j) = row[j];
            read += row[j] * args.q(b, t, h, j);
          }
          args.out(b, t, h, v) = read / std::sqrt(T(K));
        }
      }
}

template void gdn_recurrence_cpu(const DeltaRecurrence<float>&);
template void gdn_recurrence_cpu(const DeltaRecurrence<double>&);

}  // namespace kdabench
