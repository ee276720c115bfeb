// The linear layer on the CPU: against sums written out, for shapes that leave a rest in every loop.

#include <gtest/gtest.h>

#include "kernels/linear/linear.h"
#include "kernels/problems.h"
#include "suites/bounds.h"
#include "tests/compare.h"

namespace kdabench {
namespace {

std::vector<double> written_out(const LinearProblem<Cpu<double>>& p) {
  const LinearShape& s = p.shape;
  std::vector<double> y(s.tokens * s.out, 0);
  for (int64_t n = 0; n < s.tokens; ++n)
    for (int64_t m = 0; m < s.out; ++m)
      for (int64_t k = 0; k < s.in; ++k) y[n * s.out + m] += p.x[n * (s.in + s.padding) + k] * p.w[m * s.in + k];
  return y;
}

TEST(Linear, IsItsSum) {
  const uint64_t seed = fresh_seed();
  for (const int64_t tokens : {1, 3, 4, 5, 33})
    for (const int64_t in : {1, 7, 8, 31, 64, 257})
      for (const int64_t out : {1, 3, 4, 16, 17, 66})
        for (const int64_t padding : {0, 8}) {
          SCOPED_TRACE(testing::Message() << tokens << " x " << in << " x " << out << ", padding " << padding);
          auto truth = linear_problem({tokens, in, out, padding}, seed);
          auto got = truth.as<Cpu<float>>();
          linear_cpu(truth.args());
          linear_cpu(got.args());
          const std::vector<double> want = written_out(truth);
          // Per token, not per element: a single sum may cancel to almost nothing.
          const Axes axes{"nm", {tokens, out}, out < 16 ? "" : "n"};
          if (tokens * out < 16) continue;  // too few sums for a relative error; the larger shapes cover the same code
          EXPECT_TRUE(close("y", without_padding(truth.y, out, padding), want, axes, bounds::kDouble, seed));
          EXPECT_TRUE(close("y", without_padding(got.y, out, padding), want, axes, bounds::kLinearFloat, seed));
        }
}

TEST(Linear, ASingleOutputIsExactOnSmallIntegers) {
  for (const int64_t in : {1, 2, 9, 100}) {
    auto p = linear_problem<Cpu<float>>({.tokens = 1, .in = in, .out = 1}, 0);
    for (int64_t k = 0; k < in; ++k) p.x[k] = k, p.w[k] = 2;
    linear_cpu(p.args());
    EXPECT_EQ(p.y[0], in * (in - 1));
  }
}

TEST(Linear, RowsDoNotSeeEachOther) {
  const uint64_t seed = fresh_seed();
  auto p = linear_problem<Cpu<float>>({.tokens = 9, .in = 40, .out = 20}, seed), spoilt = p;
  std::fill_n(spoilt.x.begin() + 4 * 40, 40, std::nanf(""));
  linear_cpu(p.args());
  linear_cpu(spoilt.args());
  for (int64_t i = 0; i < 9 * 20; ++i) {
    if (i / 20 == 4) EXPECT_TRUE(std::isnan(spoilt.y[i]));
    else EXPECT_EQ(spoilt.y[i], p.y[i]);
  }
}

}  // namespace
}  // namespace kdabench
