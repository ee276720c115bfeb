// A chain of products against the same operations launched one by one, which the tests of each folder hold against the
// truth; and single products and experts in a chain against the truth itself.

#include <cmath>
#include <string>
#include <vector>

#include "kernels/base/kernel_log.h"
#include "kernels/chain/chain.h"
#include "suites/bounds.h"
#include "tests/cuda/device.h"

namespace kdabench {
namespace {

struct BlockShape {
  int64_t read, width, hidden, experts, shared, out;
  int top_k;
  Routing routing = Routing::kSpread;
};

// What stands between two mixers: output projection, norm, experts, norm, the next input projection.
struct Block {
  Block(const BlockShape& s, uint64_t seed)
      : first(linear_problem<Gpu>({.in = s.read, .out = s.width}, seed)),
        norm(norm_problem<Gpu>({.width = s.width}, seed + 1)),
        moe(moe_problem<Gpu>({.width = s.width, .hidden = s.hidden, .experts = s.experts, .shared = s.shared,
                              .top_k = s.top_k, .routing = s.routing}, seed + 2)),
        next_norm(norm_problem<Gpu>({.width = s.width}, seed + 3)),
        next(linear_problem<Gpu>({.in = s.width, .out = s.out}, seed + 4)) {}

  Mirror<LinearProblem<Gpu>> first;
  Mirror<NormProblem<Gpu>> norm;
  Mirror<MoeProblem<Gpu>> moe;
  Mirror<NormProblem<Gpu>> next_norm;
  Mirror<LinearProblem<Gpu>> next;

  // linear(args), norm(args), moe(args), for each operation in turn.
  template <class Visit>
  void each(Visit&& visit) {
    const auto product = first.args();
    visit(product);
    auto adding = norm.args();
    adding.delta = product.y;
    visit(adding);
    auto experts = moe.args();
    experts.x = adding.out;
    visit(experts);
    auto again = next_norm.args();
    again.delta = experts.out, again.residual = adding.residual;
    visit(again);
    auto last = next.args();
    last.x = again.out;
    visit(last);
  }
};

template <class... Call>
struct Overloaded : Call... {
  using Call::operator()...;
};

void expect_same(const BlockShape& s, int runs = 1) {
  SCOPED_TRACE(text(s.read, " to ", s.width, ", hidden ", s.hidden, ", ", s.experts, " + ", s.shared, " experts, top ",
                    s.top_k, ", to ", s.out));
  const uint64_t seed = fresh_seed();
  Block separate(s, seed), chained(s, seed);
  run_cuda([&](Arena& scratch, cudaStream_t stream) {
    separate.each(Overloaded{
        [&](const Linear<Gpu>& a) { linear_cuda(a, scratch, stream); },
        [&](const AddRmsNorm<Gpu>& a) { if (!scratch.measuring()) add_rms_norm_cuda(a, stream); },
        [&](const Moe<Gpu>& a) { moe_cuda(a, scratch, stream); }});
  });
  const auto run_chained = [&](Block& block) {
    run_cuda([&](Arena& scratch, cudaStream_t stream) {
      Chain chain;
      block.each(Overloaded{[&](const Moe<Gpu>& a) { ASSERT_TRUE(chain.add(a, scratch)); },
                            [&](const auto& a) { if (!scratch.measuring()) { ASSERT_TRUE(chain.add(a)); } }});
      if (!scratch.measuring()) chain.launch(stream);
      EXPECT_TRUE(chain.empty() || scratch.measuring());
    });
  };
  run_chained(chained);
  // A chain leaves nothing behind for the next, and whoever is handed a group computes the same bits.
  for (int again = 0; again < runs; ++again) {
    Block other(s, seed);
    run_chained(other);
    const auto a = other.next.download().y, b = chained.next.download().y;
    for (size_t i = 0; i < a.size(); ++i) ASSERT_EQ(a[i].bits, b[i].bits) << "at " << i << ", run " << again << ", seed " << seed;
  }
  const auto got = chained.moe.download(), want = separate.moe.download();
  EXPECT_EQ(got.expert_ids, want.expert_ids) << "seed " << seed;
  const auto same = [&](const char* name, const auto& ours, const auto& theirs) {
    EXPECT_TRUE(close(name, ours, theirs, {"d", {int64_t(ours.size())}, ""}, bounds::kMoeCuda, seed));
  };
  same("first", chained.first.download().y, separate.first.download().y);
  same("norm", chained.norm.download().out, separate.norm.download().out);
  same("residual", chained.norm.download().residual, separate.norm.download().residual);
  same("experts", got.out, want.out);
  same("weights", got.expert_weights, want.expert_weights);
  same("next norm", chained.next_norm.download().out, separate.next_norm.download().out);
  same("next", chained.next.download().y, separate.next.download().y);
}

TEST(ChainCuda, IsWhatSeparateLaunchesAre) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  expect_same({.read = 512, .width = 256, .hidden = 128, .experts = 32, .shared = 1, .out = 300, .top_k = 4});
  expect_same({.read = 64, .width = 48, .hidden = 16, .experts = 8, .shared = 0, .out = 8, .top_k = 2});
  expect_same({.read = 72, .width = 64, .hidden = 48, .experts = 5, .shared = 3, .out = 37, .top_k = 5});
  expect_same({.read = 128, .width = 128, .hidden = 64, .experts = 64, .shared = 1, .out = 64, .top_k = 4,
               .routing = Routing::kSkewed});
  expect_same({.read = 128, .width = 128, .hidden = 64, .experts = 64, .shared = 1, .out = 64, .top_k = 8,
               .routing = Routing::kTied});
}

TEST(ChainCuda, IsWhatSeparateLaunchesAreAtLargeShapes) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  expect_same({.read = 4096, .width = 2304, .hidden = 1024, .experts = 16, .shared = 1, .out = 1257, .top_k = 8}, 8);
  expect_same({.read = 4096, .width = 144, .hidden = 80, .experts = 300, .shared = 2, .out = 5000, .top_k = 12});
  expect_same({.read = 32, .width = 32, .hidden = 32, .experts = 1000, .shared = 1, .out = 1, .top_k = 32});
  expect_same({.read = 9216, .width = 3072, .hidden = 512, .experts = 40, .shared = 1, .out = 700, .top_k = 6});
}

// A norm, a product, a norm that adds it to the same residual, a product.
struct TwoNorms {
  TwoNorms(int64_t width, uint64_t seed)
      : norm(norm_problem<Gpu>({.width = width}, seed)), again(norm_problem<Gpu>({.width = width}, seed + 1)),
        first(linear_problem<Gpu>({.in = width, .out = width}, seed + 2)),
        second(linear_problem<Gpu>({.in = width, .out = 40}, seed + 3)) {}

  Mirror<NormProblem<Gpu>> norm, again;
  Mirror<LinearProblem<Gpu>> first, second;

  template <class Visit>
  void each(Visit&& visit) {
    const auto one = norm.args();
    auto product = first.args(), last = second.args();
    auto other = again.args();
    product.x = one.out, other.residual = one.residual, other.delta = product.y, last.x = other.out;
    visit(one), visit(product), visit(other), visit(last);
  }
};

TEST(ChainCuda, NormsGoOnFromOneResidual) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t width : {64, 1000, 2304}) {
    SCOPED_TRACE(text("width ", width));
    const uint64_t seed = fresh_seed();
    TwoNorms separate(width, seed), chained(width, seed);
    run_cuda([&](Arena& scratch, cudaStream_t stream) {
      separate.each(Overloaded{
          [&](const Linear<Gpu>& a) { linear_cuda(a, scratch, stream); },
          [&](const AddRmsNorm<Gpu>& a) { if (!scratch.measuring()) add_rms_norm_cuda(a, stream); }});
    });
    run_cuda([&](Arena& scratch, cudaStream_t stream) {
      if (scratch.measuring()) return;
      Chain chain;
      chained.each([&](const auto& a) { ASSERT_TRUE(chain.add(a)); });
      chain.launch(stream);
    });
    const auto same = [&](const char* name, const auto& ours, const auto& theirs) {
      EXPECT_TRUE(close(name, ours, theirs, {"d", {int64_t(ours.size())}, ""}, bounds::kMoeCuda, seed));
    };
    same("first", chained.first.download().y, separate.first.download().y);
    same("residual", chained.norm.download().residual, separate.norm.download().residual);
    same("second norm", chained.again.download().out, separate.again.download().out);
    same("second", chained.second.download().y, separate.second.download().y);
  }
}

// Three products and two norms, wired by a test.
struct Wired {
  Wired(int64_t width, uint64_t seed)
      : norm(norm_problem<Gpu>({.width = width}, seed)), again(norm_problem<Gpu>({.width = width}, seed + 1)),
        first(linear_problem<Gpu>({.in = width, .out = width}, seed + 2)),
        second(linear_problem<Gpu>({.in = width, .out = width}, seed + 3)),
        third(linear_problem<Gpu>({.in = width, .out = width}, seed + 4)) {}

  Mirror<NormProblem<Gpu>> norm, again;
  Mirror<LinearProblem<Gpu>> first, second, third;

  // What nobody has written is NaN, here a number of its own.
  std::vector<std::vector<float>> all() {
    std::vector<std::vector<float>> values;
    const auto keep = [&](const auto& from) {
      values.emplace_back();
      for (const auto x : from) values.back().push_back(std::isnan(to_float(x)) ? 1e6f : to_float(x));
    };
    for (auto* m : {&norm, &again}) keep(m->download().out), keep(m->download().residual);
    for (auto* m : {&first, &second, &third}) keep(m->download().y);
    return values;
  }
};

// each(wired, visit): the operations in turn.
template <class Each>
void expect_wired(const char* what, Each&& each) {
  for (const int64_t width : {64, 1000, 2304}) {
    SCOPED_TRACE(text(what, ", width ", width));
    const uint64_t seed = fresh_seed();
    Wired separate(width, seed);
    run_cuda([&](Arena& scratch, cudaStream_t stream) {
      each(separate, Overloaded{[&](const Linear<Gpu>& a) { linear_cuda(a, scratch, stream); },
                                [&](const AddRmsNorm<Gpu>& a) { if (!scratch.measuring()) add_rms_norm_cuda(a, stream); }});
    });
    const auto want = separate.all();
    for (int run = 0; run < 8; ++run) {
      Wired chained(width, seed);
      run_cuda([&](Arena& scratch, cudaStream_t stream) {
        if (scratch.measuring()) return;
        std::vector<std::string> launched;
        const KernelLog log([&](const KernelLaunch& launch) { launched.emplace_back(launch.name); });
        Chain chain;
        each(chained, [&](const auto& a) { ASSERT_TRUE(chain.add(a)); });
        chain.launch(stream);
        ASSERT_EQ(launched.size(), 1u);
        EXPECT_TRUE(launched[0].starts_with("chain")) << launched[0];
      });
      const auto got = chained.all();
      for (size_t i = 0; i < want.size(); ++i)
        ASSERT_TRUE(close(text("result ", i).c_str(), got[i], want[i], {"d", {int64_t(got[i].size())}, ""},
                          bounds::kMoeCuda, seed));
    }
  }
}

TEST(ChainCuda, ReadsWhatItHasWritten) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  expect_wired("a product of a product", [](Wired& w, auto&& visit) {
    auto second = w.second.args();
    second.x = w.first.args().y;
    visit(w.first.args()), visit(second);
  });
  expect_wired("products that have nothing to do with each other", [](Wired& w, auto&& visit) {
    visit(w.first.args()), visit(w.second.args()), visit(w.third.args());
  });
  expect_wired("a norm's result, a product later", [](Wired& w, auto&& visit) {
    auto first = w.first.args(), third = w.third.args();
    first.x = third.x = w.norm.args().out;
    visit(w.norm.args()), visit(first), visit(w.second.args()), visit(third);
  });
  expect_wired("what was added, read again and written over", [](Wired& w, auto&& visit) {
    auto norm = w.norm.args();
    auto second = w.second.args(), third = w.third.args();
    norm.delta = w.first.args().y, second.x = w.first.args().y, third.x = norm.out, third.y = w.first.args().y;
    visit(w.first.args()), visit(norm), visit(second), visit(third);
  });
  expect_wired("what was added, written over", [](Wired& w, auto&& visit) {
    auto norm = w.norm.args();
    auto second = w.second.args(), third = w.third.args();
    norm.delta = w.first.args().y, second.x = norm.out, second.y = w.first.args().y, third.x = second.y;
    visit(w.first.args()), visit(norm), visit(second), visit(third);
  });
}

TEST(ChainCuda, NormsMayStandAlone) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  expect_wired("behind all", [](Wired& w, auto&& visit) {
    auto norm = w.norm.args();
    norm.delta = w.first.args().y;
    visit(w.first.args()), visit(norm);
  });
  expect_wired("one behind another", [](Wired& w, auto&& visit) {
    auto norm = w.norm.args(), again = w.again.args();
    auto second = w.second.args(), third = w.third.args();
    norm.delta = w.first.args().y, again.residual = norm.residual, again.delta = w.first.args().y;
    second.x = norm.out, third.x = again.out;
    visit(w.first.args()), visit(norm), visit(again), visit(second), visit(third);
  });
  expect_wired("in front", [](Wired& w, auto&& visit) {
    auto again = w.again.args();
    auto first = w.first.args();
    again.residual = w.norm.args().residual, first.x = again.out;
    visit(w.norm.args()), visit(again), visit(first);
  });
}

TEST(ChainCuda, MultipliesOneToken) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const auto& [in, out] : {std::pair<int64_t, int64_t>{2304, 12576}, {4096, 2304}, {2304, 6720}, {9216, 2304},
                                {128, 500}, {1024, 1}, {14000, 37}, {8, 8}, {1000, 3000}, {2304, 50000}, {9216, 8000}}) {
    SCOPED_TRACE(text(in, " by ", out));
    const uint64_t seed = fresh_seed();
    auto truth = linear_problem({.in = in, .out = out}, seed);
    Mirror mirror(truth.as<Gpu>());
    linear_cpu(truth.args());
    run_cuda([&](Arena& scratch, cudaStream_t stream) {
      if (scratch.measuring()) return;
      Chain chain;
      ASSERT_TRUE(chain.add(mirror.args()));
      ASSERT_TRUE(chain.add(mirror.host().logits_at([&](auto& v) { return mirror.pointer(v); })));
      chain.launch(stream);
    });
    const auto got = mirror.download();
    const Axes axes{"m", {out}, ""};
    EXPECT_TRUE(close("y", got.y, truth.y, axes, bounds::kBf16Once, seed));
    EXPECT_TRUE(close("logits", got.logits, truth.y, axes, bounds::kSumCuda, seed));
  }
}

TEST(ChainCuda, RefusesWhatItCannotRun) {
  const Linear<Gpu> odd = linear_problem<Gpu>({.in = 60, .out = 4}, 1).args();
  const Linear<Gpu> two = linear_problem<Gpu>({.tokens = 2}, 1).args();
  auto one = norm_problem<Gpu>({.width = 64}, 1), another = norm_problem<Gpu>({.width = 64}, 2);
  const AddRmsNorm<Gpu> norm = one.args();
  const AddRmsNorm<Gpu> wide = norm_problem<Gpu>({.width = 8192}, 1).args();
  Chain chain;
  EXPECT_FALSE(chain.add(odd));
  EXPECT_FALSE(chain.add(two));
  EXPECT_FALSE(chain.add(wide));
  EXPECT_TRUE(chain.empty());
  EXPECT_TRUE(chain.add(norm));
  EXPECT_FALSE(chain.empty());
  EXPECT_FALSE(chain.add(another.args())) << "a norm of another residual";
}

TEST(ChainCuda, TakesNormsOfOneResidual) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  auto one = norm_problem<Gpu>({.width = 64}, 1), another = norm_problem<Gpu>({.width = 64}, 2);
  const AddRmsNorm<Gpu> norm = one.args();
  auto weights = linear_problem<Gpu>({.in = 64, .out = 4}, 1);
  Linear<Gpu> behind = weights.args();
  behind.x = norm.out;
  Chain chain;
  EXPECT_TRUE(chain.add(norm));
  EXPECT_TRUE(chain.add(behind));
  EXPECT_FALSE(chain.add(another.args()));
  EXPECT_TRUE(chain.add(norm));
}

}  // namespace
}  // namespace kdabench
