// Mixture of experts on the CPU.
//
//   Math     kernels/moe/moe.h, in the precision of T throughout; only the caller's expert_weights are rounded to fp32.
//   Work     Tokens are sorted by expert; then (hit expert, slice of its channels) pairs are shared among the threads,
//            once for gate and up and once for down. Experts that no token chose are never read.
//   Checked  tests/test_moe.cpp, against a dense sum over all experts.

#include "kernels/moe/moe.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/base/cpu_math.h"
#include "kernels/linear/gemm_cpu.h"

namespace kdabench {
namespace {

// weights[n, j] for tokens [first, first + count), in T.
template <class T>
std::vector<T> route(const Moe<Cpu<T>>& args, int64_t first, int64_t count) {
  const int64_t E = args.router.size[0], D = args.router.size[1];
  const int64_t top_k = args.top_k;
  assert(top_k >= 1 && top_k <= E);
  std::vector<T> weights(count * top_k);
#pragma omp parallel for if (count > 1 && count * E * D > kWorthThreads)
  for (int64_t n = 0; n < count; ++n) {
    std::vector<T> score(E);
    gemm_cpu<T>(1, E, D, &args.x(first + n, 0), D, args.router.data, D, score.data(), E);
    for (T& s : score) s = sigmoid(s);
    std::vector<int32_t> order(E);
    std::iota(order.begin(), order.end(), 0);
    const auto choice = [&](int32_t e) { return score[e] + args.bias(e); };
    if (args.given_experts)
      for (int64_t j = 0; j < top_k; ++j) order[j] = args.expert_ids(first + n, j);
    else std::partial_sort(order.begin(), order.begin() + top_k, order.end(), [&](int32_t a, int32_t b) {
      return choice(a) > choice(b) || (choice(a) == choice(b) && a < b);
    });
    T* const chosen = &weights[n * top_k];
    T sum = 0;
    for (int64_t j = 0; j < top_k; ++j) {
      chosen[j] = args.biased_weights ? choice(order[j]) : score[order[j]];
      sum += chosen[j];
    }
    for (int64_t j = 0; j < top_k; ++j) {
      if (args.renormalize) chosen[j] /= sum + T(1e-20);
      chosen[j] *= args.scale;
      args.expert_ids(first + n, j) = order[j];
      args.expert_weights(first + n, j) = static_cast<float>(chosen[j]);
    }
  }
  return weights;
}

// A run of pairs (token, place among the token's experts) that share one expert.
struct Group {
  int64_t expert, first, count;
};

template <class T>
void experts(const Moe<Cpu<T>>& args, int64_t first, int64_t count, const std::vector<T>& weights) {
  const int64_t E = args.router.size[0], S = args.gate_up.size[0] - E;
  const int64_t D = args.x.size[1], I = args.down.size[2], top_k = args.top_k, places = top_k + S;

  // Pairs sorted by expert. pair_at[n, j] is where token n's j-th expert went; shared experts come last.
  std::vector<int64_t> start(E + S + 1, 0), pair_at(count * places), token_of(count * places);
  const auto expert_at = [&](int64_t n, int64_t j) {
    return j < top_k ? args.expert_ids(first + n, j) : E + j - top_k;
  };
  for (int64_t n = 0; n < count; ++n)
    for (int64_t j = 0; j < places; ++j) ++start[expert_at(n, j) + 1];
  std::partial_sum(start.begin(), start.end(), start.begin());
  std::vector<Group> groups;
  for (int64_t e = 0; e < E + S; ++e)
    if (start[e + 1] > start[e]) groups.push_back({e, start[e], start[e + 1] - start[e]});
  for (int64_t n = 0; n < count; ++n)
    for (int64_t j = 0; j < places; ++j) {
      const int64_t pair = start[expert_at(n, j)]++;
      pair_at[n * places + j] = pair;
      token_of[pair] = n;
    }

  const int64_t pairs = count * places;
  std::vector<T> x(pairs * D), hidden(pairs * I), result(pairs * D);
  for (int64_t pair = 0; pair < pairs; ++pair)
    std::copy_n(&args.x(first + token_of[pair], 0), D, &x[pair * D]);

  constexpr int64_t kSlice = 64;  // channels a thread takes at a time
  const int64_t up_slices = (I + kSlice - 1) / kSlice, down_slices = (D + kSlice - 1) / kSlice;
#pragma omp parallel if (pairs * D * I > kWorthThreads)
  {
#pragma omp for collapse(2) schedule(dynamic)
    for (size_t g = 0; g < groups.size(); ++g)
      for (int64_t slice = 0; slice < up_slices; ++slice) {
        const Group group = groups[g];
        const int64_t channel = slice * kSlice, width = std::min(kSlice, I - channel);
        std::vector<T> gate(group.count * width), up(group.count * width);
        const T* const rows = &x[group.first * D];
        gemm_cpu<T>(group.count, width, D, rows, D, &args.gate_up(group.expert, channel, 0), D, gate.data(), width);
        gemm_cpu<T>(group.count, width, D, rows, D, &args.gate_up(group.expert, I + channel, 0), D, up.data(), width);
        for (int64_t p = 0; p < group.count; ++p)
          for (int64_t i = 0; i < width; ++i)
            hidden[(group.first + p) * I + channel + i] = silu(gate[p * width + i]) * up[p * width + i];
      }
#pragma omp for collapse(2) schedule(dynamic)
    for (size_t g = 0; g < groups.size(); ++g)
      for (int64_t slice = 0; slice < down_slices; ++slice) {
        const Group group = groups[g];
        const int64_t channel = slice * kSlice, width = std::min(kSlice, D - channel);
        gemm_cpu<T>(group.count, width, I, &hidden[group.first * I], I, &args.down(group.expert, channel, 0), I,
                    &result[group.first * D + channel], D);
      }
    // Summed in the order of the token's experts, whatever thread was first: results do not depend on timing.
#pragma omp for
    for (int64_t n = 0; n < count; ++n) {
      T* const out = &args.out(first + n, 0);
      std::fill_n(out, D, T(0));
      for (int64_t j = 0; j < places; ++j) {
        const T weight = j < top_k ? weights[n * top_k + j] : T(1);
        add_scaled(out, weight, &result[pair_at[n * places + j] * D], D);
      }
    }
  }
}

constexpr int64_t kTokensAtOnce = 512;  // bounds the buffers of gathered rows

}  // namespace

template <class T>
void route_cpu(const Moe<Cpu<T>>& args) {
  route(args, 0, args.x.size[0]);
}

template <class T>
void moe_cpu(const Moe<Cpu<T>>& args) {
  const int64_t N = args.x.size[0];
  for (int64_t first = 0; first < N; first += kTokensAtOnce) {
    const int64_t count = std::min(kTokensAtOnce, N - first);
    const std::vector<T> weights = route(args, first, count);
    experts(args, first, count, weights);
  }
}

template void route_cpu(const Moe<Cpu<float>>&);
template void route_cpu(const Moe<Cpu<double>>&);
template void moe_cpu(const Moe<Cpu<float>>&);
template void moe_cpu(const Moe<Cpu<double>>&);

}  // namespace kdabench
