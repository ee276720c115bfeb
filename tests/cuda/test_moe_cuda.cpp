// The mixture of experts on the GPU against the fp64 truth from the same bf16 inputs, on all three paths: up to 8
// tokens, few tokens an expert, many.

#include <algorithm>

#include "kernels/moe/moe.h"
#include "suites/bounds.h"
#include "tests/cuda/device.h"

namespace kdabench {
namespace {

// Each token's (expert, weight) pairs by expert: two scores that are nearly equal may change places.
template <class Problem>
std::vector<std::pair<int32_t, double>> sorted_choice(const Problem& p, int64_t n) {
  const int k = p.shape.top_k;
  std::vector<std::pair<int32_t, double>> out;
  for (int j = 0; j < k; ++j) out.push_back({p.expert_ids[n * k + j], p.expert_weights[n * k + j]});
  std::sort(out.begin(), out.end());
  return out;
}

void expect_moe(const MoeShape& s) {
  SCOPED_TRACE(text(s.tokens, " tokens, width ", s.width, ", hidden ", s.hidden, ", ", s.experts, " + ", s.shared,
                    " experts, top ", s.top_k, ", routing ", static_cast<int>(s.routing)));
  const uint64_t seed = fresh_seed();
  auto truth = moe_problem(s, seed);
  Mirror mirror(truth.as<Gpu>());
  ASSERT_EQ(moe_cuda_unsupported(mirror.args()), "");
  moe_cpu(truth.args());
  run_cuda([&](Arena& scratch, cudaStream_t stream) { moe_cuda(mirror.args(), scratch, stream); });
  const auto got = mirror.download();
  for (int64_t n = 0; n < s.tokens; ++n) {
    const auto ours = sorted_choice(got, n), theirs = sorted_choice(truth, n);
    for (int j = 0; j < s.top_k; ++j) {
      ASSERT_EQ(ours[j].first, theirs[j].first) << "token " << n << ", seed " << seed;
      ASSERT_NEAR(ours[j].second, theirs[j].second, bounds::kRouteWeight * theirs[j].second) << "seed " << seed;
    }
  }
  EXPECT_TRUE(close("out", got.out, truth.out, {"nd", {s.tokens, s.width}, "n"}, bounds::kMoeCuda, seed));
}

TEST(MoeCuda, MatchesTruthOnEveryPath) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 2, 4, 5, 8, 9, 16, 33, 64, 200})
    expect_moe({.tokens = tokens, .width = 256, .hidden = 128, .experts = 32, .shared = 1, .top_k = 4});
}

TEST(MoeCuda, MatchesTruthAtTheRealWidths) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 3, 8, 12, 40, 300, 620})
    expect_moe({.tokens = tokens, .width = 2304, .hidden = 1024, .experts = 16, .shared = 1, .top_k = 8});
}

TEST(MoeCuda, TakesOddShapes) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 4, 7, 11, 150}) {
    expect_moe({.tokens = tokens, .width = 48, .hidden = 16, .experts = 8, .shared = 0, .top_k = 2});
    expect_moe({.tokens = tokens, .width = 144, .hidden = 80, .experts = 300, .shared = 2, .top_k = 12});
    expect_moe({.tokens = tokens, .width = 64, .hidden = 48, .experts = 5, .shared = 3, .top_k = 5});
    expect_moe({.tokens = tokens, .width = 32, .hidden = 32, .experts = 1000, .shared = 1, .top_k = 32});
  }
}

// Rows that are cut into segments: of gate and up, of down; and rows that fill a piece alone.
TEST(MoeCuda, TakesWideRows) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {2, 8, 20}) {
    expect_moe({.tokens = tokens, .width = 4624, .hidden = 32, .experts = 6, .shared = 1, .top_k = 2});
    expect_moe({.tokens = tokens, .width = 64, .hidden = 2560, .experts = 6, .shared = 0, .top_k = 2});
    expect_moe({.tokens = tokens, .width = 64, .hidden = 5136, .experts = 6, .shared = 0, .top_k = 3});
  }
}

TEST(MoeCuda, RoutesAllTokensToTheSameExperts) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 4, 8, 20, 100, 700})
    expect_moe({.tokens = tokens, .width = 128, .hidden = 64, .experts = 64, .shared = 1, .top_k = 4,
                .routing = Routing::kSkewed});
}

TEST(MoeCuda, TakesTheLowestIndicesOnATie) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 4, 8, 20, 300})
    expect_moe({.tokens = tokens, .width = 128, .hidden = 64, .experts = 64, .shared = 1, .top_k = 8,
                .routing = Routing::kTied});
}

TEST(MoeCuda, WeightsExpertsAsAsked) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {2, 6, 20})
    for (const bool renormalize : {false, true})
      for (const bool biased : {false, true})
        expect_moe({.tokens = tokens, .width = 64, .hidden = 32, .experts = 16, .shared = 1, .top_k = 3, .scale = 1.5f,
                    .renormalize = renormalize, .biased_weights = biased});
}

// The order in which tokens reach an expert's list varies from run to run; the result must not.
TEST(MoeCuda, IsDeterministic) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {3, 8, 40, 900}) {
    const MoeShape s{.tokens = tokens, .width = 256, .hidden = 128, .experts = 64, .shared = 1, .top_k = 8,
                     .clear_choice = false};
    Mirror mirror(moe_problem<Gpu>(s, 11));
    std::vector<Bf16> first;
    for (int round = 0; round < 3; ++round) {
      run_cuda([&](Arena& scratch, cudaStream_t stream) { moe_cuda(mirror.args(), scratch, stream); });
      const auto out = mirror.download().out;
      if (round == 0) first = out;
      for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i].bits, first[i].bits) << tokens << " tokens, at " << i;
    }
  }
}

// What compute-sanitizer's racecheck can follow: it cannot run cuBLAS (scripts/gpu_check.sh), whose products the router
// takes from 9 tokens on. Chain, few tokens, 8 and 16 a chunk, tiles.
TEST(MoeCuda, SmallestShapes) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 3, 7, 8})
    for (const int top_k : {2, 4, 7})
      expect_moe({.tokens = tokens, .width = 48, .hidden = 32, .experts = 8, .shared = 1, .top_k = top_k});
}

TEST(MoeCuda, SaysWhatItCannotRun) {
  Moe<Gpu> args = moe_problem<Gpu>({.width = 40, .hidden = 32}, 1).args();
  EXPECT_NE(moe_cuda_unsupported(args).find("multiples of 16"), std::string::npos);
}

}  // namespace
}  // namespace kdabench
