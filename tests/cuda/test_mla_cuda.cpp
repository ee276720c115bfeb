// MLA on the GPU against the double truth of the same bf16 inputs: the absorbed kernels, the expanded one,
// and the laws that tie them together.

#include "kernels/mla/mla.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "suites/bounds.h"
#include "tests/compare.h"
#include "tests/cuda/device.h"

namespace kdabench {
namespace {

#define NEEDS_GPU() \
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU"

MlaShape shape(int heads, int nope_dim, int rope_dim, int value_dim, int rank) {
  MlaShape s;
  s.heads = heads, s.nope_dim = nope_dim, s.rope_dim = rope_dim, s.value_dim = value_dim, s.rank = rank;
  return s;
}
MlaShape big(int heads) { return shape(heads, 128, 64, 128, 512); }
MlaShape small(int heads) { return shape(heads, 64, 32, 64, 64); }
MlaShape odd(int heads) { return shape(heads, 64, 32, 64, 60); }  // a rank that no fast kernel takes

std::vector<int32_t> ragged(int64_t batch, int32_t step, int32_t wrap) {
  std::vector<int32_t> lengths;
  for (int64_t b = 0; b < batch; ++b) lengths.push_back(static_cast<int32_t>(b * step % wrap));
  return lengths;
}

std::string described(const MlaShape& s) {
  return text("B ", s.batch, " T ", s.tokens, " H ", s.heads, " R ", s.rank, " theta ", s.rope_theta,
              " context ", s.max_context());
}

double out_bound(const MlaShape& s) {
  return bounds::kMlaGpu + (s.query_scale > 1 ? bounds::kMlaGpuPerScale * s.query_scale : 0);
}

// The rows of the cache that the call wrote, [B, T, R + P]; all others must hold what they held before.
template <class Value>
std::vector<Value> new_rows(const MlaShape& s, const std::vector<int32_t>& lengths,
                            const std::vector<Value>& cache) {
  const int64_t row = s.rank + s.rope_dim, capacity = s.max_context() + s.spare_rows;
  std::vector<Value> rows;
  for (int64_t b = 0; b < s.batch; ++b) {
    const auto first = cache.begin() + (b * capacity + lengths[b]) * row;
    rows.insert(rows.end(), first, first + s.tokens * row);
  }
  return rows;
}

// extra_context loosens the host's bound on the context beyond what the lengths need.
void check_mla(const MlaShape& s, const char* kernel, int64_t extra_context = 0,
               MlaForm form = MlaForm::kAutomatic) {
  const uint64_t seed = fresh_seed();
  SCOPED_TRACE(described(s) + " seed " + std::to_string(seed));
  auto truth = mla_problem(s, seed);
  Mirror mirror(truth.as<Gpu>());
  auto args = mirror.args();
  args.max_context += extra_context, args.form = form;
  ASSERT_EQ(mla_cuda_unsupported(args), "");
  ASSERT_STREQ(mla_cuda_kernel(args), kernel);
  mla_cpu(truth.args());
  run_cuda([&](Arena& scratch, cudaStream_t stream) { mla_cuda(args, scratch, stream); });
  const MlaProblem<Gpu> got = mirror.download();
  EXPECT_TRUE(close("out", got.out, truth.out, {"bthv", {s.batch, s.tokens, s.heads, s.value_dim}, "bth"},
                    out_bound(s), seed));
  EXPECT_TRUE(close("cache", new_rows(s, got.lengths, got.cache), new_rows(s, got.lengths, truth.cache),
                    {"btr", {s.batch, s.tokens, s.rank + s.rope_dim}, "bt"}, bounds::kMlaGpuCache, seed));

  const int64_t row = s.rank + s.rope_dim, capacity = s.max_context() + s.spare_rows;
  int64_t touched = 0;
  for (int64_t i = 0; i < int64_t(got.cache.size()); ++i) {
    const int64_t b = i / row / capacity, position = i / row % capacity - got.lengths[b];
    if (position < 0 || position >= s.tokens) touched += got.cache[i].bits != mirror.host().cache[i].bits;
  }
  EXPECT_EQ(touched, 0) << "cache elements outside the new rows changed";
}

TEST(MlaCuda, DecodeAtEveryContext) {
  NEEDS_GPU();
  for (const int heads : {4, 32, 40})
    for (const int32_t context : {0, 1, 31, 32, 33, 62, 63, 64, 65, 4094, 4095, 20000}) {
      if (heads == 40 && context > 5000) continue;
      MlaShape s = big(heads);
      s.lengths = {context};
      check_mla(s, "split");
      if (heads > 4 || context > 5000) continue;
      for (MlaShape g : {small(heads), shape(3, 64, 32, 64, 192), shape(6, 40, 8, 24, 248)}) {
        g.lengths = {context};
        check_mla(g, "small");
      }
      MlaShape g = odd(heads);
      g.lengths = {context};
      check_mla(g, "generic");
    }
}

TEST(MlaCuda, DecodeOfRaggedBatches) {
  NEEDS_GPU();
  for (const int64_t batch : {4, 33})
    for (const int64_t tokens : {1, 2, 4})
      for (const float theta : {0.f, 10000.f}) {
        MlaShape s = big(batch == 4 ? 40 : 32);
        s.batch = batch, s.tokens = tokens, s.rope_theta = theta, s.padding = 64;
        s.lengths = ragged(batch, 67, 700);
        check_mla(s, "split");
        for (MlaShape g : {small(4), shape(4, 64, 32, 64, 192), odd(4)}) {
          g.batch = batch, g.tokens = tokens, g.rope_theta = theta, g.padding = 3;
          g.lengths = ragged(batch, 67, 700);
          check_mla(g, g.rank == 60 ? "generic" : "small");
        }
      }
}

TEST(MlaCuda, DecodeOfMoreSequencesThanMultiprocessors) {
  NEEDS_GPU();
  MlaShape s = big(32);
  s.batch = 256, s.lengths = ragged(256, 41, 300);
  check_mla(s, "split");
  s = small(4);
  s.batch = 600, s.lengths = ragged(600, 41, 300);
  check_mla(s, "small");
}

TEST(MlaCuda, OneLongSequenceAmongShortOnes) {
  NEEDS_GPU();
  MlaShape s = big(32);
  s.batch = 5, s.lengths = {0, 3, 9000, 31, 64};
  check_mla(s, "split");
  s = small(4);
  s.batch = 5, s.lengths = {0, 3, 9000, 31, 64};
  check_mla(s, "small");
}

TEST(MlaCuda, PrefillAtOffsets) {
  NEEDS_GPU();
  for (const bool is_big : {true, false})
    for (const int64_t tokens : {5, 63, 64, 65, 127, 128, 129, 300})
      for (const int32_t offset : {0, 7, 130})
        for (const float theta : {0.f, 10000.f}) {
          MlaShape s = is_big ? big(4) : small(4);
          s.tokens = tokens, s.rope_theta = theta, s.lengths = {offset}, s.padding = 8;
          check_mla(s, "expanded");
        }
}

TEST(MlaCuda, PrefillOfRaggedBatches) {
  NEEDS_GPU();
  for (const int64_t batch : {4, 33}) {
    MlaShape s = batch == 4 ? big(32) : small(4);
    s.batch = batch, s.tokens = 65, s.rope_theta = 10000, s.lengths = ragged(batch, 67, 300);
    check_mla(s, "expanded");
  }
}

TEST(MlaCuda, PrefillAcrossKeySegments) {
  NEEDS_GPU();
  for (const bool is_big : {true, false})
    for (const int32_t offset : {32500, 32768, 65600}) {  // segments are of 32768, of 8192 for fewer than 1024 queries
      if (is_big && offset > 32500) continue;
      MlaShape s = is_big ? big(2) : small(2);
      s.tokens = 300, s.rope_theta = 10000, s.lengths = {offset};
      check_mla(s, "expanded");
      if (is_big) continue;
      s.tokens = 150, s.batch = 2, s.lengths = {offset + 200, 0};
      check_mla(s, "expanded");
    }
  MlaShape s = small(2);
  s.tokens = 1056, s.rope_theta = 10000, s.lengths = {32300};
  check_mla(s, "expanded");
}

TEST(MlaCuda, PrefillOfOneToken) {
  NEEDS_GPU();
  for (const bool is_big : {true, false})
    for (const int32_t offset : {0, 1, 127, 128, 300}) {
      MlaShape s = is_big ? big(4) : small(4);
      s.batch = 2, s.lengths = {offset, 5};
      check_mla(s, "expanded", 0, MlaForm::kExpanded);
    }
}

// More tiles of queries than multiprocessors: blocks go on from one to the next.
TEST(MlaCuda, PrefillOfManyTiles) {
  NEEDS_GPU();
  for (const bool is_big : {true, false})
    for (const int32_t offset : {0, 77}) {
      MlaShape s = is_big ? big(40) : small(40);
      s.tokens = 600, s.lengths = {offset};
      check_mla(s, "expanded");
    }
}

TEST(MlaCuda, PrefillOfManyTokens) {
  NEEDS_GPU();
  for (const int32_t offset : {7, 7000}) {
    MlaShape s = big(2);
    s.tokens = 2100, s.lengths = {offset};
    check_mla(s, "expanded");
  }
}

TEST(MlaCuda, LooseContextBound) {
  NEEDS_GPU();
  for (const int64_t tokens : {1, 65}) {
    MlaShape s = big(4);
    s.batch = 2, s.tokens = tokens, s.lengths = {100, 3}, s.spare_rows = 20000;
    check_mla(s, tokens == 1 ? "split" : "expanded", s.spare_rows);
  }
}

TEST(MlaCuda, LargeScores) {
  NEEDS_GPU();
  for (const bool is_big : {true, false})
    for (const int64_t tokens : {1, 65}) {
      MlaShape s = is_big ? big(32) : small(4);
      s.tokens = tokens, s.lengths = {1000}, s.query_scale = 30;
      check_mla(s, tokens > 1 ? "expanded" : is_big ? "split" : "small");
    }
}

TEST(MlaCuda, AbsorbedEqualsExpanded) {
  NEEDS_GPU();
  for (const bool is_big : {true, false})
    for (const int64_t tokens : {1, 5, 65, 300}) {
      MlaShape s = is_big ? big(32) : small(4);
      s.batch = 2, s.tokens = tokens, s.rope_theta = 10000, s.lengths = {130, 0};
      const uint64_t seed = fresh_seed();
      SCOPED_TRACE(described(s));
      const auto problem = mla_problem<Gpu>(s, seed);
      std::vector<Bf16> outs[2];
      for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded}) {
        Mirror mirror(problem);
        auto args = mirror.args();
        args.form = form;
        run_cuda([&](Arena& scratch, cudaStream_t stream) { mla_cuda(args, scratch, stream); });
        outs[form == MlaForm::kExpanded] = mirror.download().out;
      }
      EXPECT_TRUE(close("absorbed against expanded", outs[0], outs[1],
                        {"bthv", {s.batch, s.tokens, s.heads, s.value_dim}, "bth"}, 1.5 * bounds::kMlaGpu,
                        seed));
    }
}

// The attention alone: q as it is drawn, 32 heads of [N + P], serves as latent queries of rank and rope channels.
TEST(MlaCuda, LatentAttentionAlone) {
  NEEDS_GPU();
  for (const int64_t tokens : {1, 2})
    for (const auto& lengths : std::vector<std::vector<int32_t>>{{0}, {62}, {63}, {64}, {4094}, {0, 1, 9000, 31, 64}}) {
      MlaShape s = shape(32, 512, 64, 128, 512);
      s.batch = lengths.size(), s.tokens = tokens, s.lengths = lengths;
      const uint64_t seed = fresh_seed();
      SCOPED_TRACE(described(s) + " seed " + std::to_string(seed));
      auto problem = mla_problem(s, seed);
      const int64_t row = s.rank + s.rope_dim, capacity = s.max_context() + s.spare_rows, H = s.heads;
      for (int64_t b = 0; b < s.batch; ++b)  // new rows are the caller's
        for (int64_t i = 0; i < tokens * row; ++i)
          problem.cache[(b * capacity + lengths[b]) * row + i] = problem.kv_a[b * tokens * row + i];
      Mirror mirror(problem.as<Gpu>());
      const auto latent = [&]<class Types>(const Mla<Types>& all, auto* out) {
        MlaLatent<Types> a;
        a.query = {all.q.data, {s.batch, tokens, H, row}};
        a.cache = all.cache, a.lengths = all.lengths, a.max_context = all.max_context;
        a.scale = 1 / std::sqrt(192.f);
        a.out = {out, {s.batch, tokens, H, s.rank}};
        return a;
      };
      std::vector<double> want(s.batch * tokens * H * s.rank);
      std::vector<Bf16> got(want.size());
      const DeviceMemory memory(got.size() * sizeof(Bf16), "latents");
      check(cudaMemset(memory.data(), 0xff, memory.bytes()), "poison the output");
      const auto args = latent(mirror.args(), static_cast<Bf16*>(memory.data()));
      ASSERT_EQ(mla_latent_cuda_unsupported(args), "");
      mla_latent_cpu(latent(problem.args(), want.data()));
      run_cuda([&](Arena& scratch, cudaStream_t stream) { mla_latent_cuda(args, scratch, stream); });
      check(cudaMemcpy(got.data(), memory.data(), memory.bytes(), cudaMemcpyDeviceToHost), "download");
      EXPECT_TRUE(close("latent", got, want, {"bthr", {s.batch, tokens, H, s.rank}, "bth"}, bounds::kMlaGpu, seed));
    }
}

// A score far above all before it, in a later tile: the reference of the exponents must follow.
TEST(MlaCuda, ScoresThatGrow) {
  NEEDS_GPU();
  for (const int32_t context : {300, 9000}) {
    MlaShape s = big(32);
    s.lengths = {context}, s.query_scale = 30;
    const uint64_t seed = fresh_seed();
    SCOPED_TRACE(described(s) + " seed " + std::to_string(seed));
    auto truth = mla_problem(s, seed);
    for (int64_t t = 0; t < context; ++t)  // every tile ten times larger than the one before, up to 1
      for (int64_t i = 0; i < s.rank + s.rope_dim; ++i) {
        double& x = truth.cache[t * (s.rank + s.rope_dim) + i];
        x = to_float(to_bf16(static_cast<float>(x * std::pow(10., std::min<int64_t>(0, t / 64 - 3)))));
      }
    Mirror mirror(truth.as<Gpu>());
    mla_cpu(truth.args());
    run_cuda([&](Arena& scratch, cudaStream_t stream) { mla_cuda(mirror.args(), scratch, stream); });
    EXPECT_TRUE(close("out", mirror.download().out, truth.out, {"bthv", {1, 1, s.heads, s.value_dim}, "bth"},
                      out_bound(s), seed));
  }
}

TEST(MlaCuda, CapturedGraphFollowsTheLengths) {
  NEEDS_GPU();
  MlaShape s = big(32);
  s.batch = 3, s.lengths = {2000, 0, 95}, s.spare_rows = 8;
  const uint64_t seed = fresh_seed();
  auto truth = mla_problem(s, seed);
  Mirror mirror(truth.as<Gpu>());
  auto args = mirror.args();
  args.max_context += s.spare_rows;

  Arena measure;
  mla_cuda(args, measure, nullptr);
  const DeviceMemory memory(measure.peak_bytes(), "scratch");
  Arena scratch(memory.data(), memory.bytes());
  const Stream stream = make_stream();
  cudaGraph_t graph;
  cudaGraphExec_t ready;
  check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeGlobal), "begin a capture");
  mla_cuda(args, scratch, stream.get());
  check(cudaStreamEndCapture(stream.get(), &graph), "end a capture");
  check(cudaGraphInstantiate(&ready, graph, 0), "instantiate a graph");

  for (int step = 0; step < s.spare_rows; ++step) {
    check(cudaMemcpy(mirror.pointer(mirror.host().lengths), truth.lengths.data(), s.batch * sizeof(int32_t),
                     cudaMemcpyHostToDevice),
          "upload lengths");
    check(cudaGraphLaunch(ready, stream.get()), "launch a graph");
    check(cudaStreamSynchronize(stream.get()), "run a graph");
    auto want = truth.args();
    want.max_context += s.spare_rows;
    mla_cpu(want);
    EXPECT_TRUE(close("out", mirror.download().out, truth.out,
                      {"bthv", {s.batch, 1, s.heads, s.value_dim}, "bth"}, out_bound(s), seed))
        << "step " << step;
    for (int32_t& length : truth.lengths) ++length;
  }
  cudaGraphExecDestroy(ready);
  cudaGraphDestroy(graph);
}

// What compute-sanitizer follows in seconds (scripts/gpu_check.sh): every kernel, the split ones with two tiles a
// sequence, an empty stretch and a new row in a tile of its own; at most 8 keys to expand, so that none is cuBLAS'.
TEST(MlaCuda, SmallestShapes) {
  NEEDS_GPU();
  for (const float theta : {0.f, 10000.f}) {
    MlaShape s = big(4);
    s.batch = 3, s.lengths = {127, 0, 64}, s.rope_theta = theta, s.spare_rows = 1;
    check_mla(s, "split");
    s.tokens = 2;
    check_mla(s, "split", 1);
    for (MlaShape p : {big(2), small(2)}) {
      p.tokens = 5, p.lengths = {3}, p.rope_theta = theta, p.spare_rows = 0;
      check_mla(p, "expanded");
    }
    MlaShape g = small(2);
    g.batch = 2, g.lengths = {9, 0}, g.rope_theta = theta;
    check_mla(g, "small");
    g.rank = 60;
    check_mla(g, "generic");
  }
}

// These two ask no device.
TEST(MlaCuda, NamesItsKernels) {
  Mla<Gpu> a = mla_problem<Gpu>(big(32), 1).args();
  const auto with = [&](int64_t tokens, MlaForm form) {
    Mla<Gpu> b = a;
    b.q.size[1] = tokens, b.form = form;
    return std::string(mla_cuda_kernel(b));
  };
  EXPECT_EQ(with(1, MlaForm::kAutomatic), "split");
  EXPECT_EQ(with(kMlaAbsorbedTokens, MlaForm::kAutomatic), "split");
  EXPECT_EQ(with(kMlaAbsorbedTokens + 1, MlaForm::kAutomatic), "expanded");
  EXPECT_EQ(with(1, MlaForm::kExpanded), "expanded");
  EXPECT_EQ(with(100, MlaForm::kAbsorbed), "split");
  a = mla_problem<Gpu>(small(4), 1).args();
  EXPECT_EQ(with(1, MlaForm::kAutomatic), "small");
  EXPECT_EQ(with(100, MlaForm::kAutomatic), "expanded");
  a = mla_problem<Gpu>(odd(4), 1).args();
  EXPECT_EQ(with(1, MlaForm::kAutomatic), "generic");
}

TEST(MlaCuda, SaysWhatItCannotDo) {
  MlaShape s = small(4);
  s.nope_dim = 48, s.tokens = 5;
  auto problem = mla_problem<Gpu>(s, 1);
  EXPECT_NE(mla_cuda_unsupported(problem.args()).find("(128, 64, 128)"), std::string::npos);
  EXPECT_STREQ(mla_cuda_kernel(problem.args()), "none");
  Arena measure;
  EXPECT_THROW(mla_cuda(problem.args(), measure, nullptr), Error);
  s = big(4);
  s.padding = 3;
  EXPECT_NE(mla_cuda_unsupported(mla_problem<Gpu>(s, 1).args()), "");
}

}  // namespace
}  // namespace kdabench
