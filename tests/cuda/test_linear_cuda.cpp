// Linear layers on the GPU against the fp64 truth from the same bf16 inputs: GEMV and cuBLASLt, bf16 and fp32 out.

#include "kernels/linear/linear.h"
#include "suites/bounds.h"
#include "tests/cuda/device.h"

namespace kdabench {
namespace {

void expect_linear(const LinearShape& s) {
  SCOPED_TRACE(text(s.tokens, " x ", s.in, " by ", s.out, ", rows padded by ", s.padding));
  const uint64_t seed = fresh_seed();
  auto truth = linear_problem(s, seed);
  Mirror mirror(truth.as<Gpu>());
  linear_cpu(truth.args());
  run_cuda([&](Arena& scratch, cudaStream_t stream) {
    linear_cuda(mirror.args(), scratch, stream);
    linear_cuda(mirror.host().logits_at([&](auto& v) { return mirror.pointer(v); }), scratch, stream);
  });
  const auto got = mirror.download();
  const auto want = without_padding(truth.y, s.out, s.padding);
  // a row of one or a few outputs may cancel; then the error is held against all rows together
  const Axes axes{"nm", {s.tokens, s.out}, s.out >= 16 ? "n" : ""};
  EXPECT_TRUE(close("y", without_padding(got.y, s.out, s.padding), want, axes, bounds::kBf16Once, seed));
  EXPECT_TRUE(close("logits", without_padding(got.logits, s.out, s.padding), want, axes, bounds::kSumCuda, seed));
}

TEST(LinearCuda, MatchesTruthForFewTokens) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 2, 3, 7, 8, 9, 16})
    for (const auto& [in, out] : {std::pair<int64_t, int64_t>{2304, 288}, {128, 500}, {1024, 1}, {4096, 37}, {64, 8}})
      expect_linear({.tokens = tokens, .in = in, .out = out});
}

TEST(LinearCuda, MatchesTruthForManyTokens) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {17, 64, 130})
    for (const auto& [in, out] : {std::pair<int64_t, int64_t>{2304, 288}, {128, 512}, {4096, 40}})
      expect_linear({.tokens = tokens, .in = in, .out = out});
}

TEST(LinearCuda, TakesStridedAndUnalignedRows) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 5, 33}) {
    expect_linear({.tokens = tokens, .in = 256, .out = 96, .padding = 32});
    expect_linear({.tokens = tokens, .in = 256, .out = 96, .padding = 3});
    expect_linear({.tokens = tokens, .in = 72, .out = 19, .padding = 5});  // 19 is no multiple of 8
  }
  for (const int64_t tokens : {1, 6}) expect_linear({.tokens = tokens, .in = 61, .out = 19, .padding = 2});
}

// Alike and small: one launch; otherwise two.
TEST(LinearCuda, TakesPairs) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 4, 6})
    for (const auto& [in, out] : {std::pair<int64_t, int64_t>{128, 500}, {128, 496}, {2304, 256}}) {
      const uint64_t seed = fresh_seed();
      auto first = linear_problem({.tokens = tokens, .in = in, .out = out}, seed);
      auto second = linear_problem({.tokens = tokens, .in = 128, .out = 500}, seed + 1);
      Mirror first_mirror(first.as<Gpu>()), second_mirror(second.as<Gpu>());
      linear_cpu(first.args()), linear_cpu(second.args());
      run_cuda([&](Arena& scratch, cudaStream_t stream) {
        linear_pair_cuda({first_mirror.args(), second_mirror.args()}, scratch, stream);
      });
      const Axes first_axes{"nm", {tokens, out}, "n"}, second_axes{"nm", {tokens, 500}, "n"};
      EXPECT_TRUE(close("first", first_mirror.download().y, first.y, first_axes, bounds::kBf16Once, seed));
      EXPECT_TRUE(close("second", second_mirror.download().y, second.y, second_axes, bounds::kBf16Once, seed));
    }
}

// What compute-sanitizer's racecheck can follow: it cannot run cuBLAS (scripts/gpu_check.sh).
TEST(LinearCuda, SmallestShapes) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 3, 8})
    for (const auto& [in, out] : {std::pair<int64_t, int64_t>{128, 40}, {2560, 24}, {61, 5}})
      expect_linear({.tokens = tokens, .in = in, .out = out, .padding = in % 8});
}

TEST(LinearCuda, TakesNoTokens) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  Mirror mirror(linear_problem<Gpu>({.tokens = 1}, 1));
  auto args = mirror.args();
  args.x = args.x.slice(0, 0, 0), args.y = args.y.slice(0, 0, 0);
  run_cuda([&](Arena& scratch, cudaStream_t stream) { linear_cuda(args, scratch, stream); });
}

// A graph of both kinds of products gives what the direct calls give: nothing allocates or synchronises.
TEST(LinearCuda, CanBeCaptured) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t tokens : {1, 64}) {
    Mirror direct(linear_problem<Gpu>({.tokens = tokens, .in = 512, .out = 256}, 7));
    Mirror captured(linear_problem<Gpu>({.tokens = tokens, .in = 512, .out = 256}, 7));
    run_cuda([&](Arena& scratch, cudaStream_t stream) { linear_cuda(direct.args(), scratch, stream); });
    run_cuda([&](Arena& scratch, cudaStream_t stream) {
      if (scratch.measuring()) return linear_cuda(captured.args(), scratch, stream);
      cudaGraph_t graph;
      cudaGraphExec_t executable;
      check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin a capture");
      linear_cuda(captured.args(), scratch, stream);
      check(cudaStreamEndCapture(stream, &graph), "end a capture");
      check(cudaGraphInstantiate(&executable, graph, 0), "instantiate a graph");
      check(cudaGraphLaunch(executable, stream), "launch a graph");
      check(cudaStreamSynchronize(stream), "run a graph");
      cudaGraphExecDestroy(executable);
      cudaGraphDestroy(graph);
    });
    const auto a = direct.download().y, b = captured.download().y;
    for (size_t i = 0; i < a.size(); ++i) ASSERT_EQ(a[i].bits, b[i].bits) << "at " << i;
  }
}

}  // namespace
}  // namespace kdabench
