// The small operations on the GPU: random fill, embedding, RMSNorm, SwiGLU's product, lengths, argmax.

#include <array>

#include "kernels/base/fill.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/sampling/sampling.h"
#include "suites/bounds.h"
#include "tests/cuda/device.h"

namespace kdabench {
namespace {

TEST(PointwiseCuda, FillsAsTheCpuDoes) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  const uint64_t random = random_stream(fresh_seed(), "fill");
  for (const auto& [rows, columns, padding] :
       {std::array<int64_t, 3>{1, 1, 0}, {3, 13, 0}, {5, 64, 8}, {7, 37, 3}, {1, 100000, 0}, {300, 257, 0}}) {
    const int64_t stride = columns + padding;
    std::vector<float> want(rows * stride, -1.f), got_float(rows * stride);
    std::vector<Bf16> got(rows * stride);
    const auto view = [&](auto* data) { return padded(data, rows, columns, padding); };
    fill_normal_cpu(FillNormal<float>{view(want.data()), random, 0.3f}, /*round_to_bf16=*/false);
    const DeviceMemory floats(rows * stride * 4, "floats"), halves(rows * stride * 2, "halves");
    check(cudaMemset(floats.data(), 0xff, floats.bytes()), "poison");
    check(cudaMemset(halves.data(), 0xff, halves.bytes()), "poison");
    fill_normal_cuda(FillNormal<float>{view(static_cast<float*>(floats.data())), random, 0.3f}, nullptr);
    fill_normal_cuda(FillNormal<Bf16>{view(static_cast<Bf16*>(halves.data())), random, 0.3f}, nullptr);
    check(cudaMemcpy(got_float.data(), floats.data(), floats.bytes(), cudaMemcpyDeviceToHost), "download");
    check(cudaMemcpy(got.data(), halves.data(), halves.bytes(), cudaMemcpyDeviceToHost), "download");
    for (int64_t i = 0; i < rows * stride; ++i) {
      if (i % stride >= columns) {
        EXPECT_TRUE(std::isnan(got_float[i]) && std::isnan(to_float(got[i]))) << "written between rows, at " << i;
        continue;
      }
      ASSERT_EQ(got_float[i], want[i]) << "at " << i;
      ASSERT_EQ(got[i].bits, to_bf16(want[i]).bits) << "at " << i;
    }
  }
}

TEST(PointwiseCuda, Embeds) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t width : {64, 2304, 30})
    for (const int64_t tokens : {1, 5, 300}) {
      auto truth = embed_problem({.tokens = tokens, .width = width}, fresh_seed());
      Mirror mirror(truth.as<Gpu>());
      embed_cpu(truth.args());
      run_cuda([&](Arena& arena, cudaStream_t stream) {
        if (!arena.measuring()) embed_cuda(mirror.args(), stream);
      });
      const auto got = mirror.download();
      for (size_t i = 0; i < truth.residual.size(); ++i) ASSERT_EQ(got.residual[i], truth.residual[i]) << "at " << i;
    }
}

TEST(PointwiseCuda, AddsAndNormalizes) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t width : {64, 2304, 4096, 30, 1001, 5000, 8192, 16384})
    for (const int64_t tokens : {1, 3, 130})
      for (const bool with_delta : {false, true})
        for (const int64_t padding : {0, 8, 3}) {
          if (padding == 3 && width > 8192) continue;
          const uint64_t seed = fresh_seed();
          SCOPED_TRACE(text(tokens, " x ", width, ", delta ", with_delta, ", padding ", padding));
          const NormShape s{.tokens = tokens, .width = width, .with_delta = with_delta, .padding = padding,
                            .scale = tokens == 3 ? 1e4f : 1.f};
          auto truth = norm_problem(s, seed);
          Mirror mirror(truth.as<Gpu>());
          add_rms_norm_cpu(truth.args());
          run_cuda([&](Arena& arena, cudaStream_t stream) {
            if (!arena.measuring()) add_rms_norm_cuda(mirror.args(), stream);
          });
          const auto got = mirror.download();
          const Axes axes{"nd", {tokens, width}, "n"};
          EXPECT_TRUE(close("out", got.out, truth.out, axes, bounds::kBf16Once, seed));
          EXPECT_TRUE(close("residual", without_padding(got.residual, width, padding),
                            without_padding(truth.residual, width, padding), axes, bounds::kSumCuda, seed));
        }
}

TEST(PointwiseCuda, MultipliesBySilu) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t hidden : {64, 9216, 37})
    for (const int64_t tokens : {1, 9}) {
      const uint64_t seed = fresh_seed();
      auto truth = silu_problem({.tokens = tokens, .hidden = hidden}, seed);
      Mirror mirror(truth.as<Gpu>());
      silu_mul_cpu(truth.args());
      run_cuda([&](Arena& arena, cudaStream_t stream) {
        if (!arena.measuring()) silu_mul_cuda(mirror.args(), stream);
      });
      const auto got = mirror.download();
      EXPECT_TRUE(close("out", got.out, truth.out, {"nd", {tokens, hidden}, "n"}, bounds::kBf16Once, seed));
    }
}

TEST(PointwiseCuda, AdvancesLengths) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  std::vector<int32_t> lengths(1000);
  for (int i = 0; i < 1000; ++i) lengths[i] = 1000 * i;
  const DeviceMemory memory(4000, "lengths");
  check(cudaMemcpy(memory.data(), lengths.data(), 4000, cudaMemcpyHostToDevice), "upload");
  advance_cuda({View<int32_t, 1>(static_cast<int32_t*>(memory.data()), {999}), 3}, nullptr);
  check(cudaMemcpy(lengths.data(), memory.data(), 4000, cudaMemcpyDeviceToHost), "download");
  for (int i = 0; i < 999; ++i) ASSERT_EQ(lengths[i], 1000 * i + 3);
  EXPECT_EQ(lengths[999], 999000);
}

TEST(SamplingCuda, TakesTheLowestIndexOfTheLargest) {
  if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
  for (const int64_t vocabulary : {1, 3, 1000, 1023, 163840, 100001})
    for (const int64_t batch : {1, 4, 70}) {
      auto truth = argmax_problem({.batch = batch, .vocabulary = vocabulary}, fresh_seed());
      Mirror mirror(truth.as<Gpu>());
      argmax_cpu(truth.args());
      run_cuda([&](Arena& scratch, cudaStream_t stream) { argmax_cuda(mirror.args(), scratch, stream); });
      EXPECT_EQ(mirror.download().ids, truth.ids) << batch << " x " << vocabulary;
    }
}

}  // namespace
}  // namespace kdabench
