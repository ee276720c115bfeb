// The whole model on the GPU: transformers' logits, the laws of tests/model_laws.h, and CUDA against the CPU.

#include <gtest/gtest.h>

#include "tests/checkpoints.h"
#include "tests/model_laws.h"

namespace kdabench::test {
namespace {

// rel_l2 of logits, derived. A bf16 rounding has a relative error of at most 2^-9 and 2^-9 / sqrt(3) = 1.1e-3 rms. A
// block rounds about ten times on its way (normed input, projection, low-rank pairs, q, k, v, output, experts), each
// time on one path that adds to the fp32 residual stream; blocks add in quadrature: 1.1e-3 sqrt(10) = 3.6e-3 of a
// block's output. Every block contributes about equally to the final residual, so the sum over blocks keeps that
// relative size, the last norm and the bf16 head input add 1.1e-3, and later blocks see the noise of earlier ones
// (a factor of about 2): 8e-3 for the median position. The worst position may have had a token pushed across the
// edge of the router's top k in a few layers: one of k experts of one layer, of the order of 1 / (k + 1) of a block.
constexpr LawBounds kBf16{0.015, 0.15};
// The same model on the same weights in two orders of bf16 rounding: sqrt(2) of the above.
constexpr LawBounds kBf16Twice{0.02, 0.2};

std::string no_gpu() {
  std::string reason;
  return cuda_available(&reason) ? "" : "skipped: no GPU (" + reason + ")";
}

class CheckpointCuda : public testing::TestWithParam<std::string> {};

TEST_P(CheckpointCuda, LogitsAreThoseOfTransformers) {
  if (const std::string reason = no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  const std::string folder = checkpoint_folder(GetParam());
  if (folder.empty()) GTEST_SKIP() << "skipped: no data";
  const auto model = make_model(checkpoint_options(folder, DeviceKind::kCuda, Precision::kBf16));
  const int64_t V = model->options().config.vocab_size;
  for (const Expected& want : read_expected(folder)) {
    const int64_t T = static_cast<int64_t>(want.ids.size());
    const auto session = model->open({.batch = 1, .capacity = T, .forward_tokens = T, .all_logits = true});
    const testing::AssertionResult prefill = rows_close(session->forward(want.ids, Logits::kAll), want.logits, V, kBf16);
    EXPECT_TRUE(prefill) << T << " tokens at once";
    session->reset();
    std::vector<float> logits;
    for (const int32_t id : want.ids) {
      const std::vector<float> step = session->forward(std::vector<int32_t>{id}, Logits::kAll);
      logits.insert(logits.end(), step.begin(), step.end());
    }
    const testing::AssertionResult decode = rows_close(logits, want.logits, V, kBf16);
    EXPECT_TRUE(decode) << T << " tokens one by one";
    std::printf("  %s T=%lld prefill %s, decode %s (median, worst)\n", GetParam().c_str(), static_cast<long long>(T),
                prefill.message(), decode.message());
  }
}

INSTANTIATE_TEST_SUITE_P(HfTiny, CheckpointCuda, testing::ValuesIn(kCheckpoints),
                         [](const auto& param) { return param.param; });

class ModelLawsCuda : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const std::string reason = no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
    model = tiny_model(GetParam(), DeviceKind::kCuda, Precision::kBf16);
  }
  std::unique_ptr<Model> model;
};

TEST_P(ModelLawsCuda, ForwardTIsTTimesForward1) {
  for (const int64_t T : {2, 5, 65, 200}) law_forward_T_is_T_times_forward_1(*model, 1, T, kBf16Twice);
  law_forward_T_is_T_times_forward_1(*model, 33, 20, kBf16Twice);
}
TEST_P(ModelLawsCuda, CuttingAPromptChangesNothing) {
  law_cutting_a_prompt_changes_nothing(*model, 200, {1, 2, 63, 64, 65, 195, 199}, kBf16Twice);
}
TEST_P(ModelLawsCuda, RowsDoNotSeeEachOther) { law_rows_do_not_see_each_other(*model, 33, 9, kBf16Twice); }
TEST_P(ModelLawsCuda, ResetForgets) { law_reset_forgets(*model); }
TEST_P(ModelLawsCuda, DecodeIsForward) {
  // the graph replays the very kernels that forward(1) runs: bit for bit, up to split counts
  law_decode_is_forward(*model, 1, 300, {5e-3, 5e-3});
  law_decode_is_forward(*model, 33, 100, {5e-3, 0.2});
  law_decode_is_forward(*model, 1, 0, {5e-3, 5e-3});
}

TEST_P(ModelLawsCuda, EqualsTheCpu) {
  const auto cpu = tiny_model(GetParam(), DeviceKind::kCpu, Precision::kFp32);
  EXPECT_EQ(model->parameters(), cpu->parameters());
  const int64_t V = cpu->options().config.vocab_size, T = 150;
  const std::vector<int32_t> ids = random_ids(T, V, 21);
  const SessionOptions options{.batch = 1, .capacity = 2 * T, .forward_tokens = T, .all_logits = true};
  const auto on_gpu = model->open(options), on_cpu = cpu->open(options);
  const testing::AssertionResult empty =
      rows_close(on_gpu->forward(ids, Logits::kAll), on_cpu->forward(ids, Logits::kAll), V, kBf16);
  EXPECT_TRUE(empty) << "empty cache";
  on_gpu->fill_random(T, 5);
  on_cpu->fill_random(T, 5);
  EXPECT_EQ(on_gpu->next_tokens(), on_cpu->next_tokens());
  const testing::AssertionResult filled =
      rows_close(on_gpu->forward(ids, Logits::kAll), on_cpu->forward(ids, Logits::kAll), V, kBf16);
  EXPECT_TRUE(filled) << "behind seeded random caches and states";
  std::printf("  %s CUDA against CPU %s, filled %s (median, worst)\n", GetParam().c_str(), empty.message(),
              filled.message());
}

INSTANTIATE_TEST_SUITE_P(Tiny, ModelLawsCuda, testing::ValuesIn(architecture_names()), [](const auto& param) {
  std::string name = param.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace kdabench::test
