// KDA and GDN on the GPU: every path against the double truth, and laws that need no reference.

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/kda/kda.h"
#include "kernels/problems.h"
#include "suites/bounds.h"
#include "tests/compare.h"
#include "tests/cuda/device.h"

namespace kdabench {
namespace {

struct Case {
  const char* name;
  DeltaShape shape;
};

std::vector<Case> ugly_cases() {
  std::vector<Case> cases;
  const auto add = [&](const char* name, auto&& change) {
    DeltaShape shape{.batch = 2, .heads = 3};
    change(shape);
    cases.push_back({name, shape});
  };
  add("no decay", [](DeltaShape& s) { s.gate = GateKind::kZero; });
  add("no decay, beta near 1", [](DeltaShape& s) { s.gate = GateKind::kZero, s.beta = BetaKind::kNearOne; });
  add("no decay, beta near 1, one key", [](DeltaShape& s) {
    s.gate = GateKind::kZero, s.beta = BetaKind::kNearOne, s.duplicated_keys = true;
  });
  add("weak decay, one key", [](DeltaShape& s) { s.gate = GateKind::kWeak, s.duplicated_keys = true; });
  add("weak decay, beta near 0 or 1",
      [](DeltaShape& s) { s.gate = GateKind::kWeak, s.beta = BetaKind::kMixed; });
  add("mild decay, strided rows", [](DeltaShape& s) { s.padding = 8; });
  add("mild decay, beta near 0, fresh", [](DeltaShape& s) { s.beta = BetaKind::kNearZero, s.fresh = true; });
  add("strong decay", [](DeltaShape& s) { s.gate = GateKind::kStrong; });
  add("unbounded decay", [](DeltaShape& s) { s.gate = GateKind::kUnbounded; });
  add("unbounded decay, beta near 1, one key", [](DeltaShape& s) {
    s.gate = GateKind::kUnbounded, s.beta = BetaKind::kNearOne, s.duplicated_keys = true;
  });
  add("bounded gate", [](DeltaShape& s) { s.lower_bound = -5; });
  return cases;
}

struct Bounds {
  double out, state;
};
Bounds decode_bounds(const DeltaShape& s) {
  const bool bf16 = s.state != StateType::kAccum;
  return {bounds::kBf16Once, bf16 ? bounds::kDeltaDecodeStateBf16 : bounds::kDeltaDecodeState};
}
Bounds prefill_bounds(const DeltaShape& s) {
  const double kept = s.state == StateType::kAccum ? 0 : bounds::kBf16Once;  // another neighbour of what was rounded
  if (s.duplicated_keys) return {bounds::kDeltaOneKey, bounds::kDeltaOneKey + kept};
  return {bounds::kDeltaPrefillOut, bounds::kDeltaPrefillState + kept};
}
constexpr StateType kStateTypes[] = {StateType::kAccum, StateType::kBf16, StateType::kBf16Stochastic};

// In every head, few elements of a bf16 state are another number than the truth's.
void expect_few_neighbours(const std::vector<Bf16>& got, const std::vector<Bf16>& want, int64_t head_size, uint64_t seed) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t head = 0; head < got.size(); head += head_size) {
    int64_t others = 0;
    for (size_t i = head; i < head + head_size; ++i) others += to_float(got[i]) != to_float(want[i]);
    EXPECT_LE(others, bounds::kDeltaNeighbours * head_size)
        << "state (seed " << seed << "): head " << head / head_size << " of all sequences";
  }
}

template <class Want>
void expect_close(const DeltaProblem<Gpu>& got, const DeltaProblem<Want>& want, const Bounds& bound) {
  const DeltaShape& s = want.shape;
  const int64_t channels = 2 * s.heads * s.key_dim + s.heads * s.value_dim;
  // Two tokens of a head may both be what q . k leaves of terms of either sign: 0.014 +- 0.0002 of 1 when q and k are bf16.
  // Six heads together are not.
  const Axes out{"bthv", {s.batch, s.tokens, s.heads, s.value_dim}, s.tokens == 2 ? "" : "bh"};
  const Axes state{"bhvk", {s.batch, s.heads, s.value_dim, s.key_dim}, "bh"};
  const Axes conv{"bcw", {s.batch, channels, s.conv_width - 1}, "b"};
  EXPECT_TRUE(close("out", got.out, want.out, out, bound.out, want.seed));
  if (s.state == StateType::kAccum)
    EXPECT_TRUE(close("state", got.state, want.state, state, bound.state, want.seed));
  else EXPECT_TRUE(close("state", got.state_bf16, want.state_bf16, state, bound.state, want.seed));
  if (s.state != StateType::kAccum && s.tokens == 1)
    expect_few_neighbours(got.state_bf16, want.state_bf16, s.value_dim * s.key_dim, want.seed);
  EXPECT_TRUE(close("conv_state", got.conv_state, want.conv_state, conv, 0, want.seed));
}

// The problem in pieces of so many tokens; what is left over is the last piece.
DeltaProblem<Gpu> run_in_pieces(const DeltaProblem<Gpu>& problem, const std::vector<int64_t>& pieces) {
  Mirror mirror(problem);
  const auto whole = mirror.args();
  const int64_t T = whole.qkv.size[1];
  for (int64_t t = 0, i = 0; t < T; ++i) {
    const int64_t n = i < int64_t(pieces.size()) ? std::min(pieces[i], T - t) : T - t;
    auto part = whole;
    part.qkv = whole.qkv.slice(1, t, n), part.gate = whole.gate.slice(1, t, n);
    part.beta = whole.beta.slice(1, t, n), part.out_gate = whole.out_gate.slice(1, t, n);
    part.out = whole.out.slice(1, t, n);
    if (t > 0) {
      std::vector<int32_t> lengths = problem.lengths;
      for (int32_t& length : lengths) length += static_cast<int32_t>(t);
      check(cudaMemcpy(mirror.pointer(mirror.host().lengths), lengths.data(), lengths.size() * sizeof(int32_t),
                       cudaMemcpyHostToDevice), "upload lengths");
    }
    run_cuda([&](Arena& scratch, cudaStream_t stream) { delta_rule_cuda(part, scratch, stream); });
    t += n;
  }
  return mirror.download();
}
DeltaProblem<Gpu> run_whole(const DeltaProblem<Gpu>& problem) { return run_in_pieces(problem, {}); }

void expect_truth(const DeltaShape& shape, uint64_t seed) {
  SCOPED_TRACE(testing::Message() << "B = " << shape.batch << ", T = " << shape.tokens << ", H = "
                                  << shape.heads << ", K = " << shape.key_dim << ", G = " << shape.gates()
                                  << ", state " << static_cast<int>(shape.state));
  auto want = delta_problem(shape, seed);
  const auto got = run_whole(want.as<Gpu>());
  // A bf16 state is rounded after every token by the recurrence, after the last one by prefill.
  if (shape.tokens > 1 && shape.state != StateType::kAccum) delta_rule_chunked_cpu(want.args());
  else delta_rule_cpu(want.args());
  expect_close(got, want, shape.tokens == 1 ? decode_bounds(shape) : prefill_bounds(shape));
}

TEST(KdaCuda, MatchesTheTruth) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  const uint64_t seed = fresh_seed();
  for (Case c : ugly_cases())
    for (const int dim : {64, 128})
      for (const int gates : {dim, 1})
        for (const int64_t tokens : {1, 2, 15, 16, 17, 63, 64, 65, 130, 257}) {
          SCOPED_TRACE(c.name);
          c.shape.tokens = tokens, c.shape.key_dim = c.shape.value_dim = dim, c.shape.gate_dim = gates;
          expect_truth(c.shape, seed);
        }
}

TEST(KdaCuda, MatchesTheTruthWithABf16State) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  const uint64_t seed = fresh_seed();
  for (Case c : ugly_cases())
    for (const int dim : {64, 128})
      for (const int gates : {dim, 1})
        for (const StateType type : {StateType::kBf16, StateType::kBf16Stochastic})
          for (const int64_t tokens : {1, 2, 63, 130}) {
            SCOPED_TRACE(c.name);
            c.shape.tokens = tokens, c.shape.key_dim = c.shape.value_dim = dim, c.shape.gate_dim = gates;
            c.shape.state = type;
            expect_truth(c.shape, seed);
          }
}

// A sequence gives the same bits alone and in company.
TEST(KdaCuda, RoundingDoesNotDependOnTheRow) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  const auto problem = delta_problem<Gpu>({.batch = 3, .heads = 4, .key_dim = 128, .value_dim = 128,
                                           .state = StateType::kBf16Stochastic}, fresh_seed());
  const auto together = run_whole(problem);
  Mirror mirror(problem);
  const auto all = mirror.args();
  for (const int64_t b : {2, 0, 1}) {
    auto row = all;
    row.qkv = all.qkv.slice(0, b, 1), row.gate = all.gate.slice(0, b, 1), row.beta = all.beta.slice(0, b, 1);
    row.out_gate = all.out_gate.slice(0, b, 1), row.out = all.out.slice(0, b, 1);
    row.conv_state = all.conv_state.slice(0, b, 1), row.state_bf16 = all.state_bf16.slice(0, b, 1);
    row.lengths = all.lengths.slice(0, b, 1);
    run_cuda([&](Arena& scratch, cudaStream_t stream) { delta_rule_cuda(row, scratch, stream); });
  }
  const auto alone = mirror.download();
  EXPECT_TRUE(std::equal(alone.state_bf16.begin(), alone.state_bf16.end(), together.state_bf16.begin(),
                         [](Bf16 a, Bf16 b) { return a.bits == b.bits; }));
}

// Reading states before the wait changes nothing where the kernel in front has other ones.
TEST(KdaCuda, StatesAtRestMayBeReadEarly) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const StateType type : kStateTypes)
    for (const auto& [B, H] : {std::pair{1, 32}, {2, 32}, {9, 32}, {40, 32}}) {
      const DeltaShape shape{.batch = B, .heads = H, .key_dim = 128, .value_dim = 128, .state = type};
      const auto first = delta_problem<Gpu>(shape, fresh_seed()), second = delta_problem<Gpu>(shape, fresh_seed());
      std::vector<DeltaProblem<Gpu>> got;
      for (const bool early : {false, true}) {
        Mirror a(first), b(second);
        run_cuda([&](Arena& scratch, cudaStream_t stream) {
          for (int step = 0; step < 6; ++step)
            for (auto args : {a.args(), b.args()}) {
              args.states_at_rest = early;
              delta_rule_cuda(args, scratch, stream);
            }
        });
        got.push_back(a.download()), got.push_back(b.download());
      }
      for (const int i : {0, 1}) {
        const auto same = [](Bf16 x, Bf16 y) { return x.bits == y.bits; };
        EXPECT_EQ(got[i].state, got[i + 2].state) << "B = " << B;
        EXPECT_TRUE(std::equal(got[i].state_bf16.begin(), got[i].state_bf16.end(), got[i + 2].state_bf16.begin(), same));
        EXPECT_TRUE(std::equal(got[i].out.begin(), got[i].out.end(), got[i + 2].out.begin(), same)) << "B = " << B;
      }
    }
}

// Few, several and many states take different grids, in decode and in prefill.
TEST(KdaCuda, AnyNumberOfSequencesAndHeads) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  const uint64_t seed = fresh_seed();
  for (const int gates : {128, 1})
    for (const auto& [B, H] : {std::pair{1, 1}, {33, 1}, {33, 3}, {1, 32}, {10, 32}, {33, 32}})
      for (const int64_t tokens : {1, 2, 70})
        expect_truth(
            {.batch = B, .tokens = tokens, .heads = H, .key_dim = 128, .value_dim = 128, .gate_dim = gates},
            seed);
  for (const int dim : {64, 128})
    for (const StateType type : kStateTypes)
      for (const auto& [B, H] : {std::pair{1, 17}, {1, 33}, {2, 32}, {4, 33}, {5, 32}, {255, 2}, {256, 3}})
        expect_truth({.batch = B, .heads = H, .key_dim = dim, .value_dim = dim, .state = type}, seed);
}

TEST(KdaCuda, AThousandTokens) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  const uint64_t seed = fresh_seed();
  for (const GateKind gate : {GateKind::kZero, GateKind::kWeak, GateKind::kMild, GateKind::kUnbounded})
    for (const bool one_key : {false, true})
      expect_truth({.tokens = 1000, .heads = 5, .key_dim = 128, .value_dim = 128, .gate = gate,
                    .beta = BetaKind::kMixed, .duplicated_keys = one_key},
                   seed);
}

TEST(KdaCuda, PiecesOfASequenceGiveTheWhole) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int gates : {128, 1}) {
    auto want = delta_problem({.batch = 2, .tokens = 130, .heads = 3, .key_dim = 128, .value_dim = 128,
                               .gate_dim = gates, .gate = GateKind::kWeak},
                              fresh_seed());
    const auto bf16 = want.as<Gpu>();
    delta_rule_cpu(want.args());
    for (const std::vector<int64_t>& pieces :
         {std::vector<int64_t>{64}, {1}, {2}, {63, 1}, {129}, {17, 1, 1, 2, 3, 80}}) {
      SCOPED_TRACE(testing::Message() << "the first piece has " << pieces[0] << " tokens");
      expect_close(run_in_pieces(bf16, pieces), want, prefill_bounds(want.shape));
    }
    // Token by token, as in decoding: the state is never rounded.
    expect_close(run_in_pieces(bf16, std::vector<int64_t>(130, 1)), want, decode_bounds(want.shape));
  }
  for (const StateType type : {StateType::kBf16, StateType::kBf16Stochastic}) {
    auto want = delta_problem({.batch = 2, .tokens = 130, .heads = 3, .key_dim = 128, .value_dim = 128,
                               .gate = GateKind::kWeak, .state = type}, fresh_seed());
    const auto bf16 = want.as<Gpu>();
    delta_rule_cpu(want.args());             // rounds after every token
    expect_close(run_in_pieces(bf16, std::vector<int64_t>(130, 1)), want,
                 {bounds::kDeltaPrefillOut, bounds::kDeltaDecodeStateBf16Long});
  }
}

TEST(KdaCuda, EqualGatesAreOneGate) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 65, 200}) {
    const DeltaShape shape{.batch = 2, .tokens = tokens, .heads = 3, .key_dim = 128, .value_dim = 128, .gate_dim = 1,
                           .gate = GateKind::kUnbounded};
    const auto one = delta_problem<Gpu>(shape, fresh_seed());
    auto equal = one;
    equal.shape.gate_dim = 128;
    const auto repeat = [](auto& values) {
      auto repeated = values;
      repeated.clear();
      for (const auto x : values) repeated.insert(repeated.end(), 128, x);
      values = repeated;
    };
    repeat(equal.gate), repeat(equal.dt_bias);
    expect_close(run_whole(equal), run_whole(one), tokens == 1 ? decode_bounds(shape) : prefill_bounds(shape));
  }
}

// What the engine does in decoding; also, nothing depends on the order in which blocks run.
TEST(KdaCuda, AGraphGivesTheSameBits) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 150}) {
    const auto problem = delta_problem<Gpu>(
        {.batch = 3, .tokens = tokens, .heads = 4, .key_dim = 128, .value_dim = 128}, fresh_seed());
    const auto want = run_whole(problem);
    Mirror mirror(problem);
    run_cuda([&](Arena& scratch, cudaStream_t stream) {
      if (scratch.measuring()) return delta_rule_cuda(mirror.args(), scratch, stream);
      cudaGraph_t graph;
      cudaGraphExec_t executable;
      check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin a capture");
      delta_rule_cuda(mirror.args(), scratch, stream);
      check(cudaStreamEndCapture(stream, &graph), "end a capture");
      check(cudaGraphInstantiate(&executable, graph), "instantiate a graph");
      check(cudaGraphLaunch(executable, stream), "launch a graph");
      check(cudaStreamSynchronize(stream), "run a graph");
      cudaGraphExecDestroy(executable);
      cudaGraphDestroy(graph);
    });
    const auto got = mirror.download();
    const auto same = [](auto a, auto b) { return a.bits == b.bits; };
    EXPECT_EQ(got.state, want.state) << "T = " << tokens;
    EXPECT_TRUE(std::equal(got.out.begin(), got.out.end(), want.out.begin(), same)) << "T = " << tokens;
    EXPECT_TRUE(std::equal(got.conv_state.begin(), got.conv_state.end(), want.conv_state.begin(), same));
  }
}

// ---- gates whose products of a low rank the decode kernel takes along ------------------------------------------------

// A quarter of the multiprocessors: as many heads have four blocks each, four times as many have two.
int64_t quarter_chip() {
  int count = 0;
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0), "count multiprocessors");
  return count / 4;
}
LowRankDeltaRule<Gpu> low_rank_args(Mirror<DeltaProblem<Gpu>>& mirror) {
  return mirror.host().low_rank_args_at([&](auto& vector) { return mirror.pointer(vector); });
}
// The problem as the kernel gets it: the products that it must not read are NaN.
DeltaProblem<Gpu> without_products(DeltaProblem<Gpu> problem) {
  if (problem.shape.gates() > 1) problem.gate = poison<Bf16>(int64_t(problem.gate.size()));
  problem.out_gate = poison<Bf16>(int64_t(problem.out_gate.size()));
  return problem;
}
DeltaProblem<Gpu> run_low_rank(const DeltaProblem<Gpu>& problem, bool early = false) {
  Mirror mirror(without_products(problem));
  run_cuda([&](Arena& scratch, cudaStream_t stream) {
    if (scratch.measuring()) return;
    LowRankDeltaRule<Gpu> args = low_rank_args(mirror);
    args.rule.states_at_rest = early;
    low_rank_delta_rule_cuda(args, stream);
  });
  return mirror.download();
}
bool same_bits(const DeltaProblem<Gpu>& a, const DeltaProblem<Gpu>& b) {
  const auto same = [](const std::vector<Bf16>& x, const std::vector<Bf16>& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](Bf16 p, Bf16 q) { return p.bits == q.bits; });
  };
  return a.state == b.state && same(a.state_bf16, b.state_bf16) && same(a.out, b.out) && same(a.conv_state, b.conv_state);
}

TEST(KdaCuda, LowRankGatesMatchTheTruth) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  const uint64_t seed = fresh_seed();
  for (Case c : ugly_cases())
    for (const int dim : {64, 128})
      for (const int gates : {dim, 1})
        for (const StateType type : kStateTypes)
          for (const auto& [B, heads] : {std::pair{2, 3}, {1, 1}, {1, 0}, {2, 0}, {4, 0}}) {
            const int H = heads > 0 ? heads : static_cast<int>(quarter_chip());
            if (H > 3 && c.shape.gate != GateKind::kUnbounded && c.shape.padding == 0) continue;
            SCOPED_TRACE(testing::Message() << c.name << ", B = " << B << ", H = " << H << ", K = " << dim << ", G = "
                                            << gates << ", state " << static_cast<int>(type));
            DeltaShape& s = c.shape;
            s.low_rank = true, s.batch = B, s.heads = H, s.key_dim = s.value_dim = dim, s.gate_dim = gates, s.state = type;
            auto want = delta_problem(s, seed);
            const auto got = run_low_rank(want.as<Gpu>(), B == 2);
            delta_rule_cpu(want.args());
            expect_close(got, want, decode_bounds(s));
          }
}

// A sequence gives the same bits alone and in company, and again, with its states read early or not.
TEST(KdaCuda, LowRankGatesGiveTheSameBits) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int gates : {128, 1})
    for (const StateType type : kStateTypes) {
      const auto problem = delta_problem<Gpu>({.batch = 3, .heads = 4, .key_dim = 128, .value_dim = 128,
                                               .gate_dim = gates, .state = type, .low_rank = true}, fresh_seed());
      const auto together = run_low_rank(problem);
      EXPECT_TRUE(same_bits(run_low_rank(problem, true), together)) << "G = " << gates;
      Mirror mirror(without_products(problem));
      for (const int64_t b : {2, 0, 1}) {
        auto row = low_rank_args(mirror);
        auto& r = row.rule;
        r.qkv = r.qkv.slice(0, b, 1), r.gate = r.gate.slice(0, b, 1), r.beta = r.beta.slice(0, b, 1);
        r.out_gate = r.out_gate.slice(0, b, 1), r.out = r.out.slice(0, b, 1), r.lengths = r.lengths.slice(0, b, 1);
        r.conv_state = r.conv_state.slice(0, b, 1);
        if (type == StateType::kAccum) r.state = r.state.slice(0, b, 1);
        else r.state_bf16 = r.state_bf16.slice(0, b, 1);
        if (gates > 1) row.gate.x = row.gate.x.slice(0, b, 1);
        row.out_gate.x = row.out_gate.x.slice(0, b, 1);
        run_cuda([&](Arena& scratch, cudaStream_t stream) {
          if (!scratch.measuring()) low_rank_delta_rule_cuda(row, stream);
        });
      }
      EXPECT_TRUE(same_bits(mirror.download(), together)) << "G = " << gates;
    }
}

// Step after step behind the kernel that makes its inputs, as in a model: nothing of it is read too early. States that are
// read early must be at rest: some kernel since has waited before it let the next one start, which this one does not with
// four blocks a head.
TEST(KdaCuda, LowRankGatesWaitForTheirInputs) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int B : {1, 4}) {
    const int heads = static_cast<int>(quarter_chip());
    const DeltaShape shape{.batch = B, .heads = heads, .key_dim = 128, .value_dim = 128, .low_rank = true};
    const auto first = delta_problem<Gpu>(shape, fresh_seed()), second = delta_problem<Gpu>(shape, fresh_seed());
    const auto between = delta_problem<Gpu>({.batch = 4, .heads = heads, .key_dim = 128, .value_dim = 128, .low_rank = true},
                                            fresh_seed());
    std::vector<DeltaProblem<Gpu>> got;
    for (const bool early : {false, true}) {
      Mirror a(without_products(first)), b(without_products(second)), waiting(without_products(between));
      run_cuda([&](Arena& scratch, cudaStream_t stream) {
        if (scratch.measuring()) return;
        // Each one's output gate is made of the other's output.
        auto one = low_rank_args(a), other = low_rank_args(b);
        const auto chain = [&](LowRankDeltaRule<Gpu>& to, const LowRankDeltaRule<Gpu>& from) {
          to.rule.states_at_rest = early;
          to.out_gate.x = from.rule.out.slice(2, 0, 128), to.gate.x = from.rule.out.slice(2, 128, 128);
        };
        low_rank_delta_rule_cuda(one, stream);
        chain(one, other), chain(other, one);
        for (int step = 0; step < 6; ++step) {
          low_rank_delta_rule_cuda(other, stream);
          low_rank_delta_rule_cuda(low_rank_args(waiting), stream);
          low_rank_delta_rule_cuda(one, stream);
        }
      });
      got.push_back(a.download()), got.push_back(b.download());
    }
    EXPECT_TRUE(same_bits(got[0], got[2]) && same_bits(got[1], got[3])) << "B = " << B;
  }
}

TEST(KdaCuda, SaysWhichLowRanksAreNotSupported) {
  const auto reason = [](const DeltaShape& shape, auto&& change) {
    auto problem = delta_problem<Gpu>(shape, 1);
    auto args = problem.low_rank_args_at([](auto& vector) { return vector.data(); });
    change(args);
    return low_rank_delta_rule_cuda_unsupported(args);
  };
  const auto nothing = [](auto&) {};
  EXPECT_NE(reason({.tokens = 2, .low_rank = true}, nothing).find("2 tokens"), std::string::npos);
  EXPECT_NE(reason({.key_dim = 96, .value_dim = 96, .low_rank = true}, nothing).find("{64, 128}"), std::string::npos);
  EXPECT_NE(reason({.padding = 4, .low_rank = true}, nothing).find("16 bytes"), std::string::npos);
  EXPECT_NE(reason({.low_rank = true}, [](auto& a) { a.gate.w = a.gate.w.slice(0, 0, 64); }), "");
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  const int heads = static_cast<int>(quarter_chip());
  EXPECT_EQ(reason({.heads = heads, .low_rank = true}, nothing), "");
  EXPECT_EQ(reason({.batch = 4, .heads = heads, .low_rank = true}, nothing), "");
  EXPECT_NE(reason({.batch = 3, .heads = heads, .low_rank = true}, nothing).find("one more"), std::string::npos);
  EXPECT_EQ(reason({.batch = 3, .heads = heads, .gate_dim = 1, .low_rank = true}, nothing), "");
  EXPECT_NE(reason({.batch = 5, .heads = heads, .low_rank = true}, nothing).find("beyond"), std::string::npos);
}

TEST(KdaCuda, SaysWhatIsNotSupported) {
  const auto reason = [](const DeltaShape& shape) {
    auto problem = delta_problem<Gpu>(shape, 1);
    return delta_rule_cuda_unsupported(problem.args());
  };
  EXPECT_EQ(reason({}), "");
  EXPECT_NE(reason({.key_dim = 96, .value_dim = 96}).find("{64, 128}"), std::string::npos);
  EXPECT_NE(reason({.key_dim = 64, .value_dim = 128}), "");
  EXPECT_NE(reason({.gate_dim = 2}), "");
  EXPECT_NE(reason({.conv_width = 3}).find("width 3"), std::string::npos);
  EXPECT_NE(reason({.padding = 1}).find("8 bytes"), std::string::npos);
}

}  // namespace
}  // namespace kdabench
