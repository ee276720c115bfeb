// Seeded numbers, bf16 rounding, and what problems.h promises about its draws.

#include <gtest/gtest.h>

#include <set>

#include "kernels/base/fill.h"
#include "kernels/problems.h"
#include "tests/compare.h"

namespace kdabench {
namespace {

TEST(Random, IsTheSameEverywhereAndAlways) {  // seeds are stored in reports: these values may never change
  EXPECT_EQ(random_stream(1, "x"), 0x27a406b23259e758ull);
  EXPECT_EQ(random_bits(0, 0), 0xe220a8397b1dcdafull);  // splitmix64's first output for seed 0
  EXPECT_EQ(random_normal(0, 0), 0x1.6dbcc6p+0f);
  EXPECT_NE(random_stream(1, "x"), random_stream(2, "x"));
  EXPECT_NE(random_stream(1, "x"), random_stream(1, "y"));
}

TEST(Random, HasItsMoments) {
  const uint64_t seed = fresh_seed(), stream = random_stream(seed, "moments");
  constexpr int64_t kCount = 1 << 20;
  double mean = 0, square = 0, fourth = 0, uniform = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const double x = random_normal(stream, i), u = random_uniform(stream, i);
    ASSERT_TRUE(u > 0 && u < 1);
    mean += x, square += x * x, fourth += x * x * x * x, uniform += u;
  }
  // Six standard errors of each mean: a false alarm in 1e9 runs.
  EXPECT_NEAR(mean / kCount, 0, 6e-3) << "seed " << seed;
  EXPECT_NEAR(square / kCount, 1, 9e-3) << "seed " << seed;
  EXPECT_NEAR(fourth / kCount, 2.7, 0.05) << "seed " << seed;  // 3 - 1.2 / 4: four uniforms, not quite a normal
  EXPECT_NEAR(uniform / kCount, 0.5, 2e-3) << "seed " << seed;
}

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(to_bf16(1).bits, 0x3f80);
  EXPECT_EQ(to_float(to_bf16(1 + 0x1p-8f)), 1);                          // a tie goes to the even neighbour, below
  EXPECT_EQ(to_float(to_bf16(1 + 3 * 0x1p-8f)), 1 + 0x1p-6f);            // and above
  EXPECT_EQ(to_float(to_bf16(1 + 0x1p-8f + 0x1p-20f)), 1 + 0x1p-7f);     // just over the tie
  EXPECT_EQ(to_float(to_bf16(-0.0f)), 0);
  EXPECT_TRUE(std::isinf(to_float(to_bf16(std::numeric_limits<float>::max()))));
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::bit_cast<float>(0x7f800001u)))));  // would round to infinity
}

TEST(FillNormal, CountsElementsNotMemory) {
  const uint64_t stream = random_stream(fresh_seed(), "w");
  std::vector<float> dense(5 * 12, -1), strided(5 * 20, -1);
  std::vector<double> truth(5 * 12);
  fill_normal_cpu<float>({View<float, 2>(dense.data(), {5, 12}), stream, 0.02f}, true);
  fill_normal_cpu<float>({padded(strided.data(), 5, 12, 8), stream, 0.02f}, true);
  fill_normal_cpu<double>({View<double, 2>(truth.data(), {5, 12}), stream, 0.02f}, true);
  for (int64_t i = 0; i < 60; ++i) {
    EXPECT_EQ(dense[i], to_float(to_bf16(0.02f * random_normal(stream, i))));
    EXPECT_EQ(dense[i], truth[i]);
    EXPECT_EQ(dense[i], strided[i / 12 * 20 + i % 12]);
  }
  EXPECT_EQ(strided[12], -1);
  fill_normal_cpu<float>({View<float, 2>(dense.data(), {5, 12}), stream, 0.02f}, false);
  EXPECT_EQ(dense[7], 0.02f * random_normal(stream, 7));
}

// Every buffer as bits; NaN compares equal to itself.
template <class Problem>
std::vector<std::vector<double>> contents(Problem problem) {
  std::vector<std::vector<double>> out;
  problem.visit_buffers([&](const char*, auto& buffer) {
    auto& values = out.emplace_back();
    for (const auto x : buffer) {
      double value;
      if constexpr (std::is_integral_v<std::decay_t<decltype(x)>>) value = x;
      else value = to_float(x);
      values.push_back(std::isnan(value) ? -12345 : value);
    }
  });
  return out;
}

template <class Make>
void expect_one_draw(Make&& make) {
  const auto truth = make.template operator()<Cpu<double>>();
  const auto values = contents(truth);
  EXPECT_EQ(values, contents(truth.template as<Cpu<float>>()));
  EXPECT_EQ(values, contents(truth.template as<Gpu>()));
  EXPECT_EQ(values, contents(make.template operator()<Gpu>()));
  EXPECT_EQ(values, contents(truth.template as<Gpu>().template as<Cpu<double>>()));
}

TEST(Problems, EveryBackendSeesTheSameValues) {
  const uint64_t seed = fresh_seed();
  expect_one_draw([&]<class T> {
    return delta_problem<T>({.tokens = 5, .gate = GateKind::kUnbounded, .padding = 8}, seed);
  });
  expect_one_draw([&]<class T> { return mla_problem<T>({.batch = 2, .lengths = {0, 7}}, seed); });
  expect_one_draw([&]<class T> { return linear_problem<T>({.tokens = 3, .padding = 8}, seed); });
  expect_one_draw([&]<class T> { return moe_problem<T>({.tokens = 5}, seed); });
  expect_one_draw([&]<class T> { return embed_problem<T>({.tokens = 3}, seed); });
  expect_one_draw([&]<class T> { return norm_problem<T>({.tokens = 3}, seed); });
  expect_one_draw([&]<class T> { return silu_problem<T>({.tokens = 3}, seed); });
  expect_one_draw([&]<class T> { return argmax_problem<T>({.batch = 3}, seed); });
}

TEST(Problems, ADuplicatedKeyIsOneKeyAndOtherInputsDiffer) {
  auto p = recurrence_problem({.batch = 2, .tokens = 4, .duplicated_keys = true}, fresh_seed());
  const auto a = p.args();
  for (int64_t i = 0; i < 64; ++i) EXPECT_EQ(a.k(1, 0, 1, i), a.k(1, 3, 1, i));
  EXPECT_NE(a.k(0, 0, 0, 0), a.k(1, 0, 0, 0));
  EXPECT_NE(a.k(0, 0, 0, 0), a.k(0, 0, 1, 0));
  EXPECT_NE(a.q(0, 0, 0, 0), a.q(0, 1, 0, 0));
}

TEST(Problems, ArgsCanPointElsewhere) {
  auto p = delta_problem<Gpu>({.batch = 2, .tokens = 3}, fresh_seed());
  auto elsewhere = p;
  std::vector<std::pair<const void*, void*>> moved;  // what a mirror in device memory does
  elsewhere.visit_buffers([&, i = 0](const char*, auto& buffer) mutable {
    int k = 0;
    p.visit_buffers([&](const char*, auto& own) {
      if (k++ == i) moved.push_back({&own, buffer.data()});
    });
    ++i;
  });
  const auto a = p.args_at([&](auto& buffer) {
    for (const auto& [from, to] : moved)
      if (from == &buffer) return static_cast<decltype(buffer.data())>(to);
    return decltype(buffer.data())(nullptr);
  });
  EXPECT_EQ(a.qkv.data, elsewhere.qkv.data());
  EXPECT_EQ(a.state.data, elsewhere.state.data());
  EXPECT_EQ(a.qkv.stride[0], p.args().qkv.stride[0]);
}

}  // namespace
}  // namespace kdabench
