// KDA and GDN on the CPU: the chunkwise form against the recurrence, float against double, the contract written out
// once more, and laws that need no reference.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/gdn/gdn.h"
#include "kernels/kda/kda.h"
#include "kernels/kda/state_rounding.h"
#include "kernels/problems.h"
#include "suites/bounds.h"
#include "tests/compare.h"

namespace kdabench {
namespace {

constexpr int64_t kTokens[] = {1, 3, 16, 63, 64, 65, 130, 257};

struct Case {
  const char* name;
  DeltaShape shape;
};

// Every gate with every beta would repeat itself; these are the combinations in which something can go wrong.
std::vector<Case> ugly_cases() {
  const DeltaShape base{.batch = 3, .heads = 3, .key_dim = 32, .value_dim = 48};
  std::vector<Case> cases;
  const auto add = [&](const char* name, auto&& change) {
    DeltaShape shape = base;
    change(shape);
    cases.push_back({name, shape});
  };
  add("mild", [](DeltaShape&) {});
  add("fresh", [](DeltaShape& s) { s.fresh = true; });
  add("strided rows", [](DeltaShape& s) { s.padding = 8; });
  add("no decay", [](DeltaShape& s) { s.gate = GateKind::kZero; });
  add("no decay, beta near 1, one key", [](DeltaShape& s) {
    s.gate = GateKind::kZero, s.beta = BetaKind::kNearOne, s.duplicated_keys = true;
  });
  add("weak decay, one key", [](DeltaShape& s) { s.gate = GateKind::kWeak, s.duplicated_keys = true; });
  add("strong decay", [](DeltaShape& s) { s.gate = GateKind::kStrong; });
  add("unbounded decay", [](DeltaShape& s) { s.gate = GateKind::kUnbounded; });
  add("unbounded decay, beta near 1, one key", [](DeltaShape& s) {
    s.gate = GateKind::kUnbounded, s.beta = BetaKind::kNearOne, s.duplicated_keys = true;
  });
  add("beta near 0", [](DeltaShape& s) { s.beta = BetaKind::kNearZero; });
  add("beta near 0 or 1", [](DeltaShape& s) { s.beta = BetaKind::kMixed, s.gate = GateKind::kWeak; });
  add("bounded gate", [](DeltaShape& s) { s.lower_bound = -5; });
  add("one gate a head", [](DeltaShape& s) { s.gate_dim = 1; });
  add("one unbounded gate a head", [](DeltaShape& s) { s.gate_dim = 1, s.gate = GateKind::kUnbounded; });
  add("odd sizes, wide convolution", [](DeltaShape& s) { s.key_dim = 13, s.value_dim = 7, s.conv_width = 6; });
  return cases;
}

template <class A, class B>
void expect_close(const DeltaProblem<A>& got, const DeltaProblem<B>& want, double bound, uint64_t seed) {
  const DeltaShape& s = want.shape;
  const int64_t channels = 2 * s.heads * s.key_dim + s.heads * s.value_dim;
  // A head over all sequences: once everything else is forgotten, one token reads (q . k) v, and where q . k cancels to
  // 1e-3 the output norm's eps decides. Such rows are small, and ill-conditioned only in themselves.
  EXPECT_TRUE(close("out", got.out, want.out, {"bthv", {s.batch, s.tokens, s.heads, s.value_dim}, "h"}, bound, seed));
  EXPECT_TRUE(close("state", got.state, want.state, {"bhvk", {s.batch, s.heads, s.value_dim, s.key_dim}, "bh"}, bound,
                    seed));
  EXPECT_TRUE(close("conv_state", got.conv_state, want.conv_state, {"bcw", {s.batch, channels, s.conv_width - 1}, "b"},
                    0, seed));
}

TEST(Problems, TheUnboundedGateOverflowsTheInverseOfAChunksDecay) {
  auto p = recurrence_problem({.tokens = 64, .gate = GateKind::kUnbounded}, fresh_seed());
  const auto g = p.args().g;
  double least = 0, most_in_one = 0;
  for (int64_t d = 0; d < g.size[3]; ++d) {
    double sum = 0;
    for (int64_t t = 0; t < 64; ++t) sum += g(0, t, 0, d), most_in_one = std::min(most_in_one, g(0, t, 0, d));
    least = std::min(least, sum);
  }
  EXPECT_LT(most_in_one, -20);
  EXPECT_LT(least, -200);  // exp(88) is the largest float
}

TEST(Kda, ChunkwiseEqualsRecurrent) {
  const uint64_t seed = fresh_seed();
  for (Case c : ugly_cases())
    for (const int64_t tokens : kTokens) {
      SCOPED_TRACE(testing::Message() << c.name << ", T = " << tokens);
      c.shape.tokens = tokens;
      auto want = delta_problem(c.shape, seed), got = want.as<Cpu<double>>();
      delta_rule_cpu(want.args());
      delta_rule_chunked_cpu(got.args());
      expect_close(got, want, bounds::kDouble, seed);
    }
}

TEST(Kda, FloatMatchesTheTruth) {
  const uint64_t seed = fresh_seed();
  for (Case c : ugly_cases())
    for (const int64_t tokens : kTokens) {
      SCOPED_TRACE(testing::Message() << c.name << ", T = " << tokens);
      c.shape.tokens = tokens;
      auto want = delta_problem(c.shape, seed);
      auto recurrent = want.as<Cpu<float>>(), chunked = want.as<Cpu<float>>();
      delta_rule_cpu(want.args());
      delta_rule_cpu(recurrent.args());
      delta_rule_chunked_cpu(chunked.args());
      expect_close(recurrent, want, bounds::kDeltaFloat, seed);
      expect_close(chunked, want, bounds::kDeltaFloat, seed);
    }
}

// A state in bf16 is one before and after, and tokens at once are tokens one by one, to the last bit.
TEST(Kda, ABf16StateIsRoundedAfterEveryToken) {
  const uint64_t seed = fresh_seed();
  for (const StateType type : {StateType::kBf16, StateType::kBf16Stochastic}) {
    const DeltaShape shape{.batch = 2, .tokens = 40, .heads = 3, .key_dim = 32, .value_dim = 48, .gate = GateKind::kWeak,
                           .state = type};
    auto at_once = delta_problem<Cpu<float>>(shape, seed), one_by_one = at_once, full = at_once;
    delta_rule_cpu(at_once.args());
    const auto whole = one_by_one.args();
    std::vector<int32_t> lengths = one_by_one.lengths;
    for (int64_t t = 0; t < shape.tokens; ++t) {
      auto part = whole;
      part.qkv = whole.qkv.slice(1, t, 1), part.gate = whole.gate.slice(1, t, 1), part.beta = whole.beta.slice(1, t, 1);
      part.out_gate = whole.out_gate.slice(1, t, 1), part.out = whole.out.slice(1, t, 1);
      part.lengths = View<const int32_t, 1>(lengths.data(), {shape.batch});
      delta_rule_cpu(part);
      for (int32_t& length : lengths) ++length;
    }
    const auto same = [](Bf16 a, Bf16 b) { return a.bits == b.bits; };
    EXPECT_TRUE(std::equal(at_once.state_bf16.begin(), at_once.state_bf16.end(), one_by_one.state_bf16.begin(), same));
    EXPECT_EQ(at_once.out, one_by_one.out);

    // It is the fp32 state but for its roundings, and it is not the fp32 state.
    full.shape.state = StateType::kAccum;
    for (const Bf16 x : full.state_bf16) full.state.push_back(to_float(x));
    delta_rule_cpu(full.args());
    const Axes axes{"bhvk", {shape.batch, shape.heads, shape.value_dim, shape.key_dim}, "bh"};
    EXPECT_TRUE(close("state", at_once.state_bf16, full.state, axes, 0.03, seed));
    EXPECT_FALSE(close("state", at_once.state_bf16, full.state, axes, 1e-3, seed));
  }
}

// What nearest rounding loses for ever arrives in the mean.
TEST(Kda, StochasticRoundingIsUnbiased) {
  double sum = 0;
  constexpr int kTokens = 1 << 16;
  const float x = 1 + 0x1p-11f;               // a sixteenth of the way to the next bf16 number
  EXPECT_EQ(to_float(to_bf16(x)), 1.f);
  for (int t = 0; t < kTokens; ++t) {
    const uint32_t bits = rounding_bits(rounding_seed(t, 3), 77);
    for (const uint32_t random : {bits, bits >> 16}) {
      const float up = to_float(to_bf16_stochastic(x, random)), down = to_float(to_bf16_stochastic(-x, random));
      EXPECT_TRUE(up == 1.f || up == 1 + 0x1p-7f);
      EXPECT_EQ(up, -down);
      sum += up - 1.0;
    }
  }
  const double share = sum / (2 * kTokens) / 0x1p-7;  // of the roundings upwards; deviation 7e-4
  EXPECT_NEAR(share, 1.0 / 16, 4e-3);
  EXPECT_TRUE(std::isnan(to_float(to_bf16_stochastic(std::numeric_limits<float>::quiet_NaN(), 0xffff))));
  EXPECT_EQ(to_float(to_bf16_stochastic(std::numeric_limits<float>::infinity(), 0xffff)),
            std::numeric_limits<float>::infinity());
}

// kernels/kda/kda.h line by line for one head, with none of the library's helpers.
void contract_written_out(DeltaProblem<Cpu<double>>& p, int64_t b, int64_t h) {
  const auto a = p.args();
  const int64_t T = p.shape.tokens, H = a.heads, K = a.key_dim, V = a.value_dim, W = p.shape.conv_width;
  const auto logistic = [](double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); };
  const auto convolved = [&](int64_t t, int64_t channel) {
    std::vector<double> inputs;  // all there ever were, oldest first
    for (int64_t i = 0; i < W - 1; ++i) inputs.push_back(a.conv_state(b, channel, i));
    for (int64_t i = 0; i <= t; ++i) inputs.push_back(a.qkv(b, i, channel));
    double sum = 0;
    for (int64_t i = 0; i < W; ++i) sum += a.conv(channel, W - 1 - i) * inputs[inputs.size() - 1 - i];
    return sum * logistic(sum);
  };
  const auto unit = [&](int64_t t, int64_t first) {
    std::vector<double> x(K);
    for (int64_t i = 0; i < K; ++i) x[i] = convolved(t, first + i);
    const double length = std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 1e-6));
    for (double& value : x) value /= length;
    return x;
  };
  std::vector<std::vector<double>> S(K, std::vector<double>(V));  // [K, V], as the paper has it
  for (int64_t i = 0; i < K; ++i)
    for (int64_t j = 0; j < V; ++j) S[i][j] = a.state(b, h, j, i);
  for (int64_t t = 0; t < T; ++t) {
    const auto q = unit(t, h * K), k = unit(t, H * K + h * K);
    const double beta = logistic(a.beta(b, t, h));
    for (int64_t i = 0; i < K; ++i) {
      const int64_t channel = a.gate_dim == 1 ? h : h * K + i;
      const double x = a.gate(b, t, channel) + a.dt_bias(channel), rate = std::exp(double(a.a_log(h)));
      const double g = a.lower_bound < 0 ? a.lower_bound * logistic(rate * x) : -rate * std::log(1 + std::exp(x));
      for (double& s : S[i]) s *= std::exp(g);
    }
    std::vector<double> o(V, 0);
    for (int64_t j = 0; j < V; ++j) {
      double recalled = 0;
      for (int64_t i = 0; i < K; ++i) recalled += S[i][j] * k[i];
      const double v = convolved(t, 2 * H * K + h * V + j);
      for (int64_t i = 0; i < K; ++i) S[i][j] += k[i] * beta * (v - recalled);
      for (int64_t i = 0; i < K; ++i) o[j] += S[i][j] * q[i] / std::sqrt(double(K));
    }
    const double mean = std::inner_product(o.begin(), o.end(), o.begin(), 0.0) / V;
    for (int64_t j = 0; j < V; ++j)
      a.out(b, t, h * V + j) =
          o[j] / std::sqrt(mean + a.norm_eps) * a.norm_weight(j) * logistic(a.out_gate(b, t, h * V + j));
  }
  for (int64_t i = 0; i < K; ++i)
    for (int64_t j = 0; j < V; ++j) a.state(b, h, j, i) = S[i][j];
}

TEST(Kda, IsItsContract) {
  const uint64_t seed = fresh_seed();
  for (Case c : ugly_cases())
    for (const int64_t tokens : {1, 2, 5}) {
      SCOPED_TRACE(testing::Message() << c.name << ", T = " << tokens);
      c.shape.tokens = tokens;
      auto want = delta_problem(c.shape, seed), got = want.as<Cpu<double>>();
      for (int64_t b = 0; b < c.shape.batch; ++b)
        for (int64_t h = 0; h < c.shape.heads; ++h) contract_written_out(want, b, h);
      delta_rule_cpu(got.args());
      want.conv_state = got.conv_state;  // tested by splitting
      expect_close(got, want, bounds::kDouble, seed);
    }
}

// One call per piece; state and conv_state carry over.
template <class T>
void run_in_pieces(DeltaProblem<Cpu<T>>& p, const std::vector<int64_t>& pieces, bool chunked) {
  int64_t first = 0;
  for (const int64_t count : pieces) {
    auto a = p.args();
    a.qkv = a.qkv.slice(1, first, count);
    a.gate = a.gate.slice(1, first, count);
    a.beta = a.beta.slice(1, first, count);
    a.out_gate = a.out_gate.slice(1, first, count);
    a.out = a.out.slice(1, first, count);
    if (chunked && count > 1) delta_rule_chunked_cpu(a);
    else delta_rule_cpu(a);
    first += count;
  }
  ASSERT_EQ(first, p.shape.tokens);
}

TEST(Kda, SplittingASequenceAnywhereChangesNothing) {
  const uint64_t seed = fresh_seed();
  const DeltaShape shape{.batch = 2, .tokens = 130, .heads = 2, .key_dim = 16, .value_dim = 16,
                         .gate = GateKind::kUnbounded};
  auto whole = delta_problem(shape, seed);
  const auto untouched = whole;
  delta_rule_chunked_cpu(whole.args());
  const std::vector<std::vector<int64_t>> splits = {
      {1, 129}, {2, 128}, {3, 127}, {1, 1, 1, 127}, {2, 1, 127}, {63, 67}, {64, 66}, {65, 65}, {129, 1},
      std::vector<int64_t>(130, 1), std::vector<int64_t>(65, 2)};
  for (const auto& pieces : splits)
    for (const bool chunked : {false, true}) {
      SCOPED_TRACE(testing::Message() << pieces.size() << " pieces, the first of " << pieces[0] << " tokens");
      auto p = untouched;
      run_in_pieces(p, pieces, chunked);
      expect_close(p, whole, bounds::kDouble, seed);
    }
}

TEST(Kda, ConvStateIsTheLastInputs) {
  const uint64_t seed = fresh_seed();
  for (const int64_t tokens : {1, 2, 3, 4, 9}) {
    auto p = delta_problem({.tokens = tokens}, seed);
    const auto before = p;
    delta_rule_cpu(p.args());
    const int64_t channels = p.args().qkv.size[2];
    for (int64_t c = 0; c < channels; ++c) {
      std::vector<double> inputs(before.conv_state.begin() + 3 * c, before.conv_state.begin() + 3 * c + 3);
      for (int64_t t = 0; t < tokens; ++t) inputs.push_back(before.qkv[t * channels + c]);
      for (int i = 0; i < 3; ++i)
        ASSERT_EQ(p.conv_state[3 * c + i], inputs[inputs.size() - 3 + i]) << "T " << tokens << " c " << c << " i " << i;
    }
  }
}

TEST(Kda, WithEqualChannelsIsGatedDeltaNet) {
  const uint64_t seed = fresh_seed();
  for (const GateKind gate : {GateKind::kZero, GateKind::kWeak, GateKind::kMild, GateKind::kStrong,
                              GateKind::kUnbounded})
    for (const bool duplicated : {false, true}) {
      SCOPED_TRACE(testing::Message() << "gate " << int(gate) << ", duplicated keys " << duplicated);
      DeltaShape shape{.batch = 2, .tokens = 70, .heads = 2, .key_dim = 24, .value_dim = 16, .gate_dim = 1,
                       .gate = gate, .duplicated_keys = duplicated};
      auto gdn = recurrence_problem(shape, seed);
      auto one_gate = gdn, one_gate_chunked = gdn;
      auto equal = gdn;  // KDA proper: the gate of the head on each of its channels
      equal.shape.gate_dim = 0;
      equal.g.clear();
      for (const double g : gdn.g) equal.g.insert(equal.g.end(), shape.key_dim, g);
      auto equal_chunked = equal;

      gdn_recurrence_cpu(gdn.args());
      delta_recurrence_cpu(one_gate.args());
      delta_chunked_cpu(one_gate_chunked.args());
      delta_recurrence_cpu(equal.args());
      delta_chunked_cpu(equal_chunked.args());
      for (const auto* p : {&one_gate, &one_gate_chunked, &equal, &equal_chunked}) {
        EXPECT_TRUE(close("out", p->out, gdn.out, {"bthv", {2, 70, 2, 16}, "bh"}, bounds::kDouble, seed));
        EXPECT_TRUE(close("state", p->state, gdn.state, {"bhvk", {2, 2, 16, 24}, "bh"}, bounds::kDouble, seed));
      }
    }
}

TEST(Kda, WithoutDecayAndWithBetaOneWhatWasWrittenIsReadBack) {
  const uint64_t seed = fresh_seed();
  for (const bool chunked : {false, true}) {
    auto p = recurrence_problem({.batch = 2, .tokens = 100, .gate = GateKind::kZero}, seed);
    p.q = p.k;
    std::fill(p.beta.begin(), p.beta.end(), 1.0);
    chunked ? delta_chunked_cpu(p.args()) : delta_recurrence_cpu(p.args());
    for (double& x : p.out) x *= 8;  // undo the 1 / sqrt(K)
    EXPECT_TRUE(close("out", p.out, p.v, {"bthv", {2, 100, 2, 64}, "bh"}, bounds::kUnitKeys, seed));
  }
}

TEST(Kda, ForgetsEverythingUnderAnOverwhelmingGate) {
  const uint64_t seed = fresh_seed();
  auto p = recurrence_problem({.tokens = 66}, seed);
  std::fill(p.g.begin(), p.g.end(), -1000.0);
  auto fresh = p;
  std::fill(fresh.state.begin(), fresh.state.end(), 0.0);
  delta_chunked_cpu(p.args());
  delta_recurrence_cpu(fresh.args());
  EXPECT_TRUE(close("out", p.out, fresh.out, {"bthv", {1, 66, 2, 64}, "bh"}, bounds::kDouble, seed));
  EXPECT_TRUE(close("state", p.state, fresh.state, {"bhvk", {1, 2, 64, 64}, "bh"}, bounds::kDouble, seed));
}

TEST(Kda, SequencesDoNotSeeEachOther) {
  const uint64_t seed = fresh_seed();
  for (const int64_t tokens : {1, 70}) {
    auto p = delta_problem<Cpu<float>>({.batch = 33, .tokens = tokens, .key_dim = 16, .value_dim = 16}, seed);
    auto spoilt = p;
    const int64_t per_sequence = 2 * 16 * 16, bad = 7;
    std::fill_n(spoilt.state.begin() + bad * per_sequence, per_sequence, std::numeric_limits<float>::quiet_NaN());
    delta_rule_chunked_cpu(p.args());
    delta_rule_chunked_cpu(spoilt.args());
    for (int64_t i = 0; i < int64_t(p.out.size()); ++i) {
      const bool in_bad = i / (tokens * 2 * 16) == bad;
      ASSERT_EQ(in_bad, std::isnan(spoilt.out[i])) << i;
      if (!in_bad) {
        ASSERT_EQ(p.out[i], spoilt.out[i]) << i;
      }
    }
  }
}

}  // namespace
}  // namespace kdabench
