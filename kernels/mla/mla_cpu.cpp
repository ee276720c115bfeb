// MLA on the CPU, in both forms.
//
//   Math     kernels/mla/mla.h.
//   Work     New rows enter the cache first. Then one (sequence, head) a thread, queries in blocks of 64 against all
//            rows they may see. Absorbed: the queries are brought into the latent space and the cache is read as it is.
//            Expanded: this head's keys and values are computed once from the cache and serve all queries.
//   Checked  tests/test_mla.cpp: float against double, absorbed against expanded, a naive softmax, split calls.

#include "kernels/mla/mla.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/cpu_math.h"
#include "kernels/linear/gemm_cpu.h"

namespace kdabench {
namespace {

constexpr int64_t kQueriesAtOnce = 64;

// Rotates interleaved pairs (2 i, 2 i + 1). Angles in double: at position 1e6 a float angle has lost all its fraction.
template <class T>
void rotate(T* x, int64_t n, int64_t position, double theta) {
  for (int64_t i = 0; i + 1 < n; i += 2) {
    const double angle = position * std::pow(theta, -double(i) / n);
    const T c = std::cos(angle), s = std::sin(angle), even = x[i], odd = x[i + 1];
    x[i] = even * c - odd * s;
    x[i + 1] = even * s + odd * c;
  }
}

template <class T>
void append_to_cache(const Mla<Cpu<T>>& args) {
  const int64_t B = args.kv_a.size[0], tokens = args.kv_a.size[1], R = args.rank, P = args.rope_dim;
#pragma omp parallel for collapse(2) if (B * tokens * R > kWorthThreads)
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t position = args.lengths(b) + t;
      assert(position < args.cache.size[1] && position < args.max_context);
      const T* const from = &args.kv_a(b, t, 0);
      T* const row = &args.cache(b, position, 0);
      const T scale = 1 / std::sqrt(dot(from, from, R) / R + args.kv_norm_eps);
      for (int64_t i = 0; i < R; ++i) row[i] = from[i] * scale * args.kv_norm(i);
      std::copy_n(from + R, P, row + R);
      if (args.rope_theta > 0) rotate(row + R, P, position, args.rope_theta);
    }
}

// In place, over the first n entries; the maximum is subtracted, so nothing overflows.
template <class T>
void softmax(T* x, int64_t n) {
  const T most = *std::max_element(x, x + n);
  T sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - most);
  for (int64_t i = 0; i < n; ++i) x[i] /= sum;
}

// out[t] = softmax(query[t] . key[s]) value[s] over s < seen + t, for a block of queries that are already scaled.
template <class T>
void attend(int64_t queries, int64_t seen, const T* query, int64_t width, const T* key, int64_t key_stride,
            const T* value, int64_t value_stride, int64_t value_width, T* out) {
  const int64_t rows = seen + queries - 1;  // what the last query sees; earlier ones ignore the excess
  std::vector<T> scores(queries * rows);
  gemm_cpu<T>(queries, rows, width, query, width, key, key_stride, scores.data(), rows);
  for (int64_t t = 0; t < queries; ++t) {
    T* const weights = &scores[t * rows];
    softmax(weights, seen + t);
    std::fill_n(out + t * value_width, value_width, T(0));
    for (int64_t s = 0; s < seen + t; ++s)
      add_scaled(out + t * value_width, weights[s], value + s * value_stride, value_width);
  }
}

// The queries [first, first + count) of head h, scaled by 1 / sqrt(N + P), their rope channels rotated.
template <class T>
std::vector<T> head_queries(const Mla<Cpu<T>>& args, int64_t b, int64_t h, int64_t first, int64_t count) {
  const int64_t N = args.nope_dim, P = args.rope_dim, width = N + P;
  const T scale = 1 / std::sqrt(T(width));
  std::vector<T> out(count * width);
  for (int64_t t = 0; t < count; ++t) {
    T* const q = &out[t * width];
    std::copy_n(&args.q(b, first + t, h * width), width, q);
    if (args.rope_theta > 0) rotate(q + N, P, args.lengths(b) + first + t, args.rope_theta);
    for (int64_t i = 0; i < width; ++i) q[i] *= scale;
  }
  return out;
}

template <class T>
void absorbed_head(const Mla<Cpu<T>>& args, int64_t b, int64_t h) {
  const int64_t tokens = args.q.size[1], N = args.nope_dim, P = args.rope_dim, V = args.value_dim, R = args.rank;
  const T* const w_uk = &args.kv_b(h * (N + V), 0);
  const T* const w_uv = w_uk + N * R;
  const T* const cache = &args.cache(b, 0, 0);
  for (int64_t first = 0; first < tokens; first += kQueriesAtOnce) {
    const int64_t count = std::min(kQueriesAtOnce, tokens - first);
    const std::vector<T> q = head_queries(args, b, h, first, count);
    std::vector<T> latent_query(count * (R + P), T(0)), latent(count * R);
    for (int64_t t = 0; t < count; ++t) {
      T* const into = &latent_query[t * (R + P)];
      for (int64_t i = 0; i < N; ++i) add_scaled(into, q[t * (N + P) + i], w_uk + i * R, R);
      std::copy_n(&q[t * (N + P) + N], P, into + R);
    }
    attend(count, args.lengths(b) + first + 1, latent_query.data(), R + P, cache, args.cache.stride[1], cache,
           args.cache.stride[1], R, latent.data());
    gemm_cpu<T>(count, V, R, latent.data(), R, w_uv, R, &args.out(b, first, h * V), args.out.stride[1]);
  }
}

template <class T>
void expanded_head(const Mla<Cpu<T>>& args, int64_t b, int64_t h) {
  const int64_t tokens = args.q.size[1], N = args.nope_dim, P = args.rope_dim, V = args.value_dim, R = args.rank;
  const int64_t context = args.lengths(b) + tokens, stride = args.cache.stride[1];
  const T* const w_uk = &args.kv_b(h * (N + V), 0);
  const T* const cache = &args.cache(b, 0, 0);
  std::vector<T> key(context * (N + P)), value(context * V), out(std::min(kQueriesAtOnce, tokens) * V);
  gemm_cpu<T>(context, N, R, cache, stride, w_uk, R, key.data(), N + P);
  gemm_cpu<T>(context, V, R, cache, stride, w_uk + N * R, R, value.data(), V);
  for (int64_t s = 0; s < context; ++s) std::copy_n(cache + s * stride + R, P, &key[s * (N + P) + N]);
  for (int64_t first = 0; first < tokens; first += kQueriesAtOnce) {
    const int64_t count = std::min(kQueriesAtOnce, tokens - first);
    const std::vector<T> q = head_queries(args, b, h, first, count);
    attend(count, args.lengths(b) + first + 1, q.data(), N + P, key.data(), N + P, value.data(), V, V, out.data());
    for (int64_t t = 0; t < count; ++t) std::copy_n(&out[t * V], V, &args.out(b, first + t, h * V));
  }
}

}  // namespace

template <class T>
void mla_cpu(const Mla<Cpu<T>>& args) {
  const int64_t B = args.q.size[0], tokens = args.q.size[1], H = args.heads;
  assert(args.q.size[2] == H * (args.nope_dim + args.rope_dim) && args.kv_a.size[2] == args.rank + args.rope_dim);
  append_to_cache(args);
  const bool absorbed = args.form == MlaForm::kAbsorbed || (args.form == MlaForm::kAutomatic && tokens == 1);
  const int64_t work = B * H * tokens * args.max_context * (args.rank + args.rope_dim);
#pragma omp parallel for collapse(2) schedule(dynamic) if (work > kWorthThreads)
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h) {
      if (absorbed) absorbed_head(args, b, h);
      else expanded_head(args, b, h);
    }
}

template <class T>
void mla_latent_cpu(const MlaLatent<Cpu<T>>& args) {
  const int64_t B = args.query.size[0], tokens = args.query.size[1], H = args.query.size[2];
  const int64_t row = args.query.size[3], R = args.out.size[3];
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t t = 0; t < tokens; ++t) {
        std::vector<T> q(&args.query(b, t, h, 0), &args.query(b, t, h, 0) + row);
        for (T& x : q) x *= args.scale;
        attend(1, args.lengths(b) + t + 1, q.data(), row, &args.cache(b, 0, 0), args.cache.stride[1],
               &args.cache(b, 0, 0), args.cache.stride[1], R, &args.out(b, t, h, 0));
      }
}

template void mla_latent_cpu(const MlaLatent<Cpu<float>>&);
template void mla_latent_cpu(const MlaLatent<Cpu<double>>&);
template void mla_cpu(const Mla<Cpu<float>>&);
template void mla_cpu(const Mla<Cpu<double>>&);

}  // namespace kdabench
