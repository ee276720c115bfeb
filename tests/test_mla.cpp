// MLA on the CPU: a naive softmax over expanded heads, absorbed against expanded, float against double, and laws.

#include <gtest/gtest.h>

#include <complex>

#include "kernels/mla/mla.h"
#include "kernels/problems.h"
#include "suites/bounds.h"
#include "tests/compare.h"

namespace kdabench {
namespace {

struct Case {
  const char* name;
  MlaShape shape;
};

std::vector<Case> ugly_cases() {
  const MlaShape base{.batch = 2, .tokens = 1, .heads = 3, .nope_dim = 24, .rope_dim = 8, .value_dim = 20, .rank = 40,
                      .lengths = {0, 65}};
  std::vector<Case> cases;
  const auto add = [&](const char* name, auto&& change) {
    MlaShape shape = base;
    change(shape);
    cases.push_back({name, shape});
  };
  add("the first token, and one later", [](MlaShape&) {});
  add("ragged lengths", [](MlaShape& s) { s.batch = 6, s.lengths = {0, 1, 63, 64, 65, 4095}; });
  add("a few tokens at ragged lengths", [](MlaShape& s) { s.batch = 4, s.tokens = 5, s.lengths = {0, 1, 63, 64}; });
  add("prefill from nothing", [](MlaShape& s) { s.batch = 1, s.tokens = 130, s.lengths = {}; });
  add("prefill behind a context", [](MlaShape& s) { s.tokens = 67, s.lengths = {130, 7}; });
  add("batch of 33", [](MlaShape& s) {
    s.batch = 33, s.lengths.clear();
    for (int b = 0; b < 33; ++b) s.lengths.push_back(b * 3);
  });
  add("rope", [](MlaShape& s) { s.rope_theta = 10000, s.tokens = 9; });
  add("peaked softmax", [](MlaShape& s) { s.query_scale = 30, s.tokens = 3; });
  add("strided rows", [](MlaShape& s) { s.padding = 8, s.tokens = 3; });
  add("no spare rows, odd sizes", [](MlaShape& s) {
    s.spare_rows = 0, s.nope_dim = 7, s.value_dim = 5, s.rank = 13, s.rope_dim = 2, s.rope_theta = 100;
  });
  return cases;
}

Axes out_axes(const MlaShape& s) { return {"bthv", {s.batch, s.tokens, s.heads, s.value_dim}, "bth"}; }

// The contract, one score at a time; the cache rows are appended as it says.
void naive(MlaProblem<Cpu<double>>& p) {
  const auto a = p.args();
  const int64_t N = a.nope_dim, P = a.rope_dim, V = a.value_dim, R = a.rank, H = a.heads;
  const auto rotate = [&](double* x, int64_t position) {
    if (a.rope_theta == 0) return;
    for (int64_t i = 0; i < P / 2; ++i) {
      const std::complex<double> turned = std::complex(x[2 * i], x[2 * i + 1]) *
                                          std::polar(1.0, position * std::pow(double(a.rope_theta), -2.0 * i / P));
      x[2 * i] = turned.real(), x[2 * i + 1] = turned.imag();
    }
  };
  for (int64_t b = 0; b < p.shape.batch; ++b)
    for (int64_t t = 0; t < p.shape.tokens; ++t) {
      const int64_t position = a.lengths(b) + t;
      double squares = 0;
      for (int64_t i = 0; i < R; ++i) squares += a.kv_a(b, t, i) * a.kv_a(b, t, i);
      for (int64_t i = 0; i < R; ++i)
        a.cache(b, position, i) = a.kv_a(b, t, i) / std::sqrt(squares / R + a.kv_norm_eps) * a.kv_norm(i);
      for (int64_t i = 0; i < P; ++i) a.cache(b, position, R + i) = a.kv_a(b, t, R + i);
      rotate(&a.cache(b, position, R), position);
      for (int64_t h = 0; h < H; ++h) {
        std::vector<double> q(N + P), weight(position + 1), out(V, 0);
        for (int64_t i = 0; i < N + P; ++i) q[i] = a.q(b, t, h * (N + P) + i);
        rotate(&q[N], position);
        double most = -1e300, sum = 0;
        for (int64_t s = 0; s <= position; ++s) {
          double score = 0;
          for (int64_t i = 0; i < N; ++i)
            for (int64_t r = 0; r < R; ++r) score += q[i] * a.kv_b(h * (N + V) + i, r) * a.cache(b, s, r);
          for (int64_t i = 0; i < P; ++i) score += q[N + i] * a.cache(b, s, R + i);
          weight[s] = score / std::sqrt(double(N + P));
          most = std::max(most, weight[s]);
        }
        for (double& w : weight) sum += w = std::exp(w - most);
        for (int64_t s = 0; s <= position; ++s)
          for (int64_t j = 0; j < V; ++j)
            for (int64_t r = 0; r < R; ++r)
              out[j] += weight[s] / sum * a.kv_b(h * (N + V) + N + j, r) * a.cache(b, s, r);
        for (int64_t j = 0; j < V; ++j) a.out(b, t, h * V + j) = out[j];
      }
    }
}

template <class A, class B>
void expect_close(const MlaProblem<A>& got, const MlaProblem<B>& want, double bound, uint64_t seed) {
  EXPECT_TRUE(close("out", got.out, want.out, out_axes(want.shape), bound, seed));
  // The cache, but for the rows that nobody has written.
  const int64_t row = want.shape.rank + want.shape.rope_dim;
  const int64_t capacity = want.shape.max_context() + want.shape.spare_rows;
  std::vector<double> got_rows, want_rows;
  for (int64_t b = 0; b < want.shape.batch; ++b)
    for (int64_t s = 0; s < capacity; ++s)
      for (int64_t i = 0; i < row; ++i) {
        const double g = to_float(got.cache[(b * capacity + s) * row + i]);
        const double w = to_float(want.cache[(b * capacity + s) * row + i]);
        if (s < want.lengths[b] + want.shape.tokens) got_rows.push_back(g), want_rows.push_back(w);
        else EXPECT_TRUE(std::isnan(g)) << "b=" << b << " s=" << s << " i=" << i << " is beyond the context";
      }
  const int64_t rows = want_rows.size() / row;
  EXPECT_TRUE(close("cache", got_rows, want_rows, {"si", {rows, row}, "s"}, bound, seed));
}

TEST(Mla, BothFormsAreTheNaiveSoftmax) {
  const uint64_t seed = fresh_seed();
  for (Case& c : ugly_cases()) {
    auto want = mla_problem(c.shape, seed);
    const auto drawn = want;
    naive(want);
    for (const MlaForm form : {MlaForm::kAutomatic, MlaForm::kAbsorbed, MlaForm::kExpanded}) {
      SCOPED_TRACE(testing::Message() << c.name << ", form " << int(form));
      auto in_double = drawn;
      in_double.shape.form = form;
      auto in_float = in_double.as<Cpu<float>>();
      mla_cpu(in_double.args());
      mla_cpu(in_float.args());
      expect_close(in_double, want, bounds::kDouble, seed);
      expect_close(in_float, want, c.shape.query_scale > 1 ? bounds::kMlaPeakedFloat : bounds::kMlaFloat, seed);
    }
  }
}

TEST(Mla, SplittingASequenceAnywhereChangesNothing) {
  const uint64_t seed = fresh_seed();
  for (const float theta : {0.0f, 10000.0f}) {
    auto whole = mla_problem({.batch = 2, .tokens = 70, .lengths = {0, 9}, .rope_theta = theta}, seed);
    const auto drawn = whole;
    mla_cpu(whole.args());
    for (const auto& pieces : std::vector<std::vector<int64_t>>{{1, 69}, {69, 1}, {64, 6}, {3, 63, 4},
                                                                std::vector<int64_t>(70, 1)}) {
      SCOPED_TRACE(testing::Message() << pieces.size() << " pieces, the first of " << pieces[0] << " tokens");
      auto p = drawn;
      int64_t first = 0;
      for (const int64_t count : pieces) {
        auto a = p.args();
        a.q = a.q.slice(1, first, count);
        a.kv_a = a.kv_a.slice(1, first, count);
        a.out = a.out.slice(1, first, count);
        mla_cpu(a);
        for (int32_t& length : p.lengths) length += count;
        first += count;
      }
      p.lengths = drawn.lengths;
      expect_close(p, whole, bounds::kDouble, seed);
    }
  }
}

TEST(Mla, AllKeysAlikeAverageTheValues) {
  const uint64_t seed = fresh_seed();
  auto p = mla_problem({.batch = 1, .tokens = 1, .heads = 1, .lengths = {99}}, seed);
  std::fill(p.q.begin(), p.q.end(), 0.0);  // every score is 0
  mla_cpu(p.args());
  const auto a = p.args();
  std::vector<double> want(a.value_dim, 0);
  for (int64_t s = 0; s < 100; ++s)
    for (int64_t j = 0; j < a.value_dim; ++j)
      for (int64_t r = 0; r < a.rank; ++r) want[j] += a.kv_b(a.nope_dim + j, r) * a.cache(0, s, r) / 100;
  EXPECT_TRUE(close("out", p.out, want, {"v", {a.value_dim}, ""}, bounds::kDouble, seed));
}

// With w_uk and w_uv the identity, latents are keys, values and outputs.
TEST(Mla, LatentAttentionIsMlaWithoutItsProducts) {
  const uint64_t seed = fresh_seed();
  MlaShape s{.batch = 3, .tokens = 2, .heads = 3, .nope_dim = 24, .rope_dim = 8, .value_dim = 24, .rank = 24,
             .lengths = {0, 63, 130}};
  auto p = mla_problem(s, seed);
  for (size_t i = 0; i < p.kv_b.size(); ++i) p.kv_b[i] = i / s.rank % s.rank == i % s.rank;
  mla_cpu(p.args());  // and writes the new rows
  const auto a = p.args();
  std::vector<double> out(p.out.size(), std::nan(""));
  MlaLatent<Cpu<double>> latent;
  latent.query = {a.q.data, {s.batch, s.tokens, s.heads, s.rank + s.rope_dim}};
  latent.cache = a.cache, latent.lengths = a.lengths, latent.max_context = a.max_context;
  latent.scale = 1 / std::sqrt(32.f);
  latent.out = {out.data(), {s.batch, s.tokens, s.heads, s.rank}};
  mla_latent_cpu(latent);
  EXPECT_TRUE(close("out", out, p.out, out_axes(s), 1e-7, seed));  // the scale is a float
}

TEST(Mla, SequencesDoNotSeeEachOther) {
  auto p = mla_problem<Cpu<float>>({.batch = 5, .tokens = 2, .lengths = {3, 1, 70, 4, 0}}, fresh_seed());
  auto spoilt = p;
  spoilt.cache[2 * p.cache.size() / 5] = std::nanf("");  // one number of sequence 2
  mla_cpu(p.args());
  mla_cpu(spoilt.args());
  for (size_t i = 0; i < p.out.size(); ++i) {
    if (i / (p.out.size() / 5) == 2) EXPECT_TRUE(std::isnan(spoilt.out[i])) << i;
    else EXPECT_EQ(spoilt.out[i], p.out[i]) << i;
  }
}

}  // namespace
}  // namespace kdabench
