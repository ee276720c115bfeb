// Mixture of experts on the CPU, against a dense sum over all experts with a mask, written from the contract alone.

#include <gtest/gtest.h>

#include <numeric>

#include "kernels/moe/moe.h"
#include "kernels/problems.h"
#include "suites/bounds.h"
#include "tests/compare.h"

namespace kdabench {
namespace {

struct Case {
  const char* name;
  MoeShape shape;
};

std::vector<Case> ugly_cases() {
  const MoeShape base{.tokens = 33, .width = 40, .hidden = 24, .experts = 16, .shared = 1, .top_k = 4};
  std::vector<Case> cases;
  const auto add = [&](const char* name, auto&& change) {
    MoeShape shape = base;
    change(shape);
    cases.push_back({name, shape});
  };
  add("spread", [](MoeShape&) {});
  add("one token", [](MoeShape& s) { s.tokens = 1; });
  add("more tokens than are gathered at once", [](MoeShape& s) { s.tokens = 1100; });
  add("all tokens to the same experts", [](MoeShape& s) { s.routing = Routing::kSkewed; });
  add("all scores tied", [](MoeShape& s) { s.routing = Routing::kTied; });
  add("biased weights", [](MoeShape& s) { s.biased_weights = true; });
  add("not renormalised", [](MoeShape& s) { s.renormalize = false, s.scale = 1; });
  add("no shared expert", [](MoeShape& s) { s.shared = 0; });
  add("two shared experts", [](MoeShape& s) { s.shared = 2; });
  add("every expert chosen", [](MoeShape& s) { s.top_k = 16; });
  add("one expert chosen", [](MoeShape& s) { s.top_k = 1; });
  add("one expert there is", [](MoeShape& s) { s.experts = 1, s.top_k = 1; });
  add("odd sizes", [](MoeShape& s) { s.width = 37, s.hidden = 69, s.experts = 11; });
  add("wide", [](MoeShape& s) { s.tokens = 2, s.width = 200, s.hidden = 130, s.experts = 64, s.top_k = 8; });
  return cases;
}

double logistic(double x) { return 0.5 + 0.5 * std::tanh(x / 2); }

// A silu-gated expert on one row.
std::vector<double> expert(const MoeProblem<Cpu<double>>& p, int64_t e, const double* x) {
  const int64_t D = p.shape.width, I = p.shape.hidden;
  std::vector<double> hidden(I), out(D, 0);
  const auto row = [&](int64_t r) { return std::inner_product(x, x + D, &p.gate_up[(e * 2 * I + r) * D], 0.0); };
  for (int64_t i = 0; i < I; ++i) hidden[i] = row(i) * logistic(row(i)) * row(I + i);
  for (int64_t d = 0; d < D; ++d)
    for (int64_t i = 0; i < I; ++i) out[d] += p.down[(e * D + d) * I + i] * hidden[i];
  return out;
}

// Expert by expert over all tokens; an expert is a token's when fewer than top_k others go before it.
void dense_with_a_mask(MoeProblem<Cpu<double>>& p) {
  const MoeShape& s = p.shape;
  std::fill(p.out.begin(), p.out.end(), 0.0);
  for (int64_t n = 0; n < s.tokens; ++n) {
    const double* const x = &p.x[n * s.width];
    std::vector<double> score(s.experts), choice(s.experts), weight(s.experts, 0);
    for (int64_t e = 0; e < s.experts; ++e) {
      score[e] = logistic(std::inner_product(x, x + s.width, &p.router[e * s.width], 0.0));
      choice[e] = score[e] + p.bias[e];
    }
    double sum = 0;
    for (int64_t e = 0; e < s.experts; ++e) {
      int before = 0;
      for (int64_t other = 0; other < s.experts; ++other)
        before += choice[other] > choice[e] || (choice[other] == choice[e] && other < e);
      if (before >= s.top_k) continue;
      weight[e] = s.biased_weights ? choice[e] : score[e];
      sum += weight[e];
      p.expert_ids[n * s.top_k + before] = e;
    }
    for (int64_t e = 0; e < s.experts + s.shared; ++e) {
      const double w = e >= s.experts ? 1 : weight[e] / (s.renormalize ? sum : 1) * s.scale;
      const std::vector<double> y = expert(p, e, x);
      for (int64_t d = 0; d < s.width; ++d) p.out[n * s.width + d] += w * y[d];
    }
    for (int j = 0; j < s.top_k; ++j)
      p.expert_weights[n * s.top_k + j] =
          weight[p.expert_ids[n * s.top_k + j]] / (s.renormalize ? sum : 1) * s.scale;
  }
}

TEST(Moe, IsADenseSumWithAMask) {
  const uint64_t seed = fresh_seed();
  for (const Case& c : ugly_cases()) {
    SCOPED_TRACE(c.name);
    auto want = moe_problem(c.shape, seed), got = want;
    auto in_float = want.as<Cpu<float>>();
    dense_with_a_mask(want);
    moe_cpu(got.args());
    moe_cpu(in_float.args());
    const Axes out{"nd", {c.shape.tokens, c.shape.width}, "n"};
    const Axes chosen{"nj", {c.shape.tokens, c.shape.top_k}, "n"};
    EXPECT_EQ(got.expert_ids, want.expert_ids) << "seed " << seed;
    EXPECT_EQ(in_float.expert_ids, want.expert_ids) << "seed " << seed;
    EXPECT_TRUE(
        close("expert_weights", got.expert_weights, want.expert_weights, chosen, bounds::kPointwiseFloat, seed));
    EXPECT_TRUE(close("out", got.out, want.out, out, bounds::kDouble, seed));
    EXPECT_TRUE(close("out", in_float.out, want.out, out, bounds::kMoeFloat, seed));
  }
}

TEST(Moe, RoutingAloneChoosesTheSame) {
  const uint64_t seed = fresh_seed();
  for (const Case& c : ugly_cases()) {
    SCOPED_TRACE(c.name);
    auto whole = moe_problem<Cpu<float>>(c.shape, seed), alone = whole;
    moe_cpu(whole.args());
    route_cpu(alone.args());
    EXPECT_EQ(whole.expert_ids, alone.expert_ids);
    EXPECT_EQ(whole.expert_weights, alone.expert_weights);
    EXPECT_TRUE(std::isnan(alone.out[0]));
  }
}

TEST(Moe, SkewedAndTiedRoutingChooseTheFirstExperts) {
  for (const Routing routing : {Routing::kSkewed, Routing::kTied}) {
    auto p = moe_problem<Cpu<float>>({.tokens = 9, .experts = 16, .top_k = 4, .routing = routing}, fresh_seed());
    moe_cpu(p.args());
    for (int64_t n = 0; n < 9; ++n) {
      std::vector<int32_t> ids(p.expert_ids.begin() + 4 * n, p.expert_ids.begin() + 4 * n + 4);
      if (routing == Routing::kSkewed) std::sort(ids.begin(), ids.end());
      EXPECT_EQ(ids, (std::vector<int32_t>{0, 1, 2, 3}));
    }
  }
}

TEST(Moe, ExpertsNobodyChoseAreNeverRead) {
  auto p = moe_problem<Cpu<float>>({.tokens = 5, .experts = 8, .top_k = 2, .routing = Routing::kSkewed}, fresh_seed());
  const int64_t per_expert = 2 * p.shape.hidden * p.shape.width;
  std::fill(p.gate_up.begin() + 2 * per_expert, p.gate_up.begin() + 8 * per_expert, std::nanf(""));
  moe_cpu(p.args());
  for (const float x : p.out) ASSERT_FALSE(std::isnan(x));
}

TEST(Moe, TokensDoNotSeeEachOther) {
  const uint64_t seed = fresh_seed();
  auto all = moe_problem<Cpu<float>>({.tokens = 20, .experts = 16, .top_k = 4}, seed);
  const auto drawn = all;
  moe_cpu(all.args());
  for (int64_t n = 0; n < 20; ++n) {
    auto p = drawn;
    auto a = p.args();
    a.x = a.x.slice(0, n, 1);
    a.out = a.out.slice(0, n, 1);
    a.expert_ids = a.expert_ids.slice(0, n, 1);
    a.expert_weights = a.expert_weights.slice(0, n, 1);
    moe_cpu(a);
    const std::vector<float> alone(p.out.begin() + n * 64, p.out.begin() + (n + 1) * 64);
    const std::vector<float> among(all.out.begin() + n * 64, all.out.begin() + (n + 1) * 64);
    EXPECT_TRUE(close("out", alone, among, {"d", {64}, ""}, bounds::kMoeFloat, seed));
  }
}

}  // namespace
}  // namespace kdabench
