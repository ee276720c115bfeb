// Embedding, RMSNorm, SwiGLU's product, running lengths and greedy sampling on the CPU.

#include <gtest/gtest.h>

#include "kernels/pointwise/pointwise.h"
#include "kernels/problems.h"
#include "kernels/sampling/sampling.h"
#include "suites/bounds.h"
#include "tests/compare.h"

namespace kdabench {
namespace {

TEST(Embed, CopiesTheRowOfEveryId) {
  const uint64_t seed = fresh_seed();
  for (const int64_t tokens : {1, 2, 33}) {
    auto p = embed_problem<Cpu<float>>({.tokens = tokens, .width = 37}, seed);
    embed_cpu(p.args());
    for (int64_t n = 0; n < tokens; ++n)
      for (int64_t i = 0; i < 37; ++i) ASSERT_EQ(p.residual[n * 37 + i], p.table[p.ids[n] * 37 + i]) << n << " " << i;
  }
}

const NormShape kNormShapes[] = {
    {.tokens = 1, .width = 64},
    {.tokens = 33, .width = 100},
    {.tokens = 5, .width = 1},
    {.tokens = 4, .width = 96, .with_delta = false},
    {.tokens = 4, .width = 96, .padding = 8},
    {.tokens = 600, .width = 130, .scale = 1e4f},
};

TEST(AddRmsNorm, FloatMatchesTheTruth) {
  const uint64_t seed = fresh_seed();
  for (const NormShape& s : kNormShapes) {
    SCOPED_TRACE(testing::Message() << s.tokens << " x " << s.width);
    auto want = norm_problem(s, seed);
    auto got = want.as<Cpu<float>>();
    add_rms_norm_cpu(want.args());
    add_rms_norm_cpu(got.args());
    const Axes axes{"nd", {s.tokens, s.width}, "n"};
    EXPECT_TRUE(close("out", got.out, want.out, axes, bounds::kPointwiseFloat, seed));
    EXPECT_TRUE(close("residual", without_padding(got.residual, s.width, s.padding),
                      without_padding(want.residual, s.width, s.padding), axes, bounds::kPointwiseFloat, seed));
  }
}

TEST(AddRmsNorm, AddsAndNormalises) {
  const uint64_t seed = fresh_seed();
  for (const NormShape& s : kNormShapes) {
    SCOPED_TRACE(testing::Message() << s.tokens << " x " << s.width);
    auto p = norm_problem(s, seed);
    const auto before = p;
    add_rms_norm_cpu(p.args());
    for (int64_t n = 0; n < s.tokens; ++n) {
      const int64_t row = n * (s.width + s.padding);
      double squares = 0;
      for (int64_t i = 0; i < s.width; ++i) {
        const double sum = before.residual[row + i] + (s.with_delta ? before.delta[n * s.width + i] : 0);
        ASSERT_EQ(p.residual[row + i], sum);
        squares += sum * sum;
      }
      for (int64_t i = 0; i < s.width; ++i)
        ASSERT_NEAR(p.out[n * s.width + i],
                    p.residual[row + i] / std::sqrt(squares / s.width + double(1e-5f)) * p.weight[i], 1e-11);
    }
  }
}

TEST(SiluMul, MatchesTheFormula) {
  const uint64_t seed = fresh_seed();
  for (const SiluShape s : {SiluShape{1, 64}, {7, 33}, {600, 48}}) {
    auto want = silu_problem(s, seed);
    auto truth = want, got_in_double = want;
    auto got = want.as<Cpu<float>>();
    for (int64_t n = 0; n < s.tokens; ++n)
      for (int64_t i = 0; i < s.hidden; ++i) {
        const double gate = want.gate_up[n * 2 * s.hidden + i], up = want.gate_up[n * 2 * s.hidden + s.hidden + i];
        truth.out[n * s.hidden + i] = gate * (0.5 + 0.5 * std::tanh(gate / 2)) * up;
      }
    silu_mul_cpu(want.args());
    silu_mul_cpu(got.args());
    const Axes axes{"ni", {s.tokens, s.hidden}, "n"};
    EXPECT_TRUE(close("out", want.out, truth.out, axes, bounds::kDouble, seed));
    EXPECT_TRUE(close("out", got.out, want.out, axes, bounds::kPointwiseFloat, seed));
  }
}

TEST(SiluMul, FarGatesNeitherOverflowNorLeak) {
  std::vector<float> gate_up = {-1000, 1000, 2, 3}, out(2, std::nanf(""));
  silu_mul_cpu(SiluMul<Cpu<float>>{View<float, 2>(gate_up.data(), {1, 4}), View<float, 2>(out.data(), {1, 2})});
  EXPECT_EQ(out[0], 0);
  EXPECT_EQ(out[1], 3000);
}

TEST(Advance, AddsToEveryLength) {
  std::vector<int32_t> lengths = {0, 63, 1 << 20};
  advance_cpu({View<int32_t, 1>(lengths.data(), {3}), 5});
  EXPECT_EQ(lengths, (std::vector<int32_t>{5, 68, (1 << 20) + 5}));
}

TEST(Argmax, TakesTheLowestOfTheLargest) {
  const uint64_t seed = fresh_seed();
  for (const ArgmaxShape s : {ArgmaxShape{1, 1}, {33, 1000}, {3, 12345}}) {
    auto p = argmax_problem<Cpu<float>>(s, seed);
    argmax_cpu(p.args());
    for (int64_t b = 0; b < s.batch; ++b) {
      const auto row = p.logits.begin() + b * s.vocabulary;
      EXPECT_EQ(p.ids[b], std::max_element(row, row + s.vocabulary) - row) << "row " << b << ", seed " << seed;
    }
    if (s.batch > 1) {
      EXPECT_EQ(p.ids[1], 0) << "a constant row";
    }
  }
}

}  // namespace
}  // namespace kdabench
