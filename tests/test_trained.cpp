// The trained checkpoints of suites/checkpoints against what PyTorch computed from the same weights when they were
// written (scripts/train/write_expected.py), on the CPU, through the loader that a user's checkpoint takes.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "baselines/gdn_h.h"
#include "baselines/mla.h"
#include "suites/synthetic.h"
#include "tests/checkpoints.h"

namespace kdabench::test {
namespace {

namespace fs = std::filesystem;

// Both sides compute in fp32 from the same bf16 weights and differ by the order of their sums alone. Trained logits
// reach 30, and 1e-3 of that is far below what any wrong part of a model would do (check_train.py: 1e-1 and more).
constexpr float kLogitBound = 1e-3f;

const fs::path kFolder = fs::path(__FILE__).parent_path().parent_path() / "suites/checkpoints";

std::vector<std::string> trained() {
  std::vector<std::string> names;
  if (!fs::exists(kFolder)) return names;
  for (const auto& entry : fs::recursive_directory_iterator(kFolder))
    if (entry.path().filename() == "expected.safetensors")
      names.push_back(fs::relative(entry.path().parent_path(), kFolder).string());
  std::sort(names.begin(), names.end());
  return names;
}

std::unique_ptr<Model> load(const std::string& name) {
  Registry registry;
  registry.add(kimi_linear_architecture());
  registry.add(mla_architecture());
  registry.add(gdn_h_architecture());
  ModelOptions options = checkpoint_options((kFolder / name).string(), DeviceKind::kCpu, Precision::kFp32);
  options.layout = registry.find(fs::path(name).filename().string()).layout(options.config, {});
  return make_model(options);
}

class Trained : public testing::TestWithParam<std::string> {};

TEST_P(Trained, LogitsAreThoseOfPyTorch) {
  const auto model = load(GetParam());
  const std::vector<Expected> all = read_expected((kFolder / GetParam()).string());
  ASSERT_FALSE(all.empty());
  for (const Expected& want : all) {
    const int64_t T = static_cast<int64_t>(want.ids.size());
    ASSERT_GT(T, 64) << "the prompt is to cross a chunk of the delta rule";
    const auto session = model->open({.batch = 1, .capacity = T, .forward_tokens = T, .all_logits = true});
    const std::vector<float> got = session->forward(want.ids, Logits::kAll);
    ASSERT_EQ(got.size(), want.logits.size());
    float worst = 0, largest = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_TRUE(std::isfinite(got[i]));
      worst = std::max(worst, std::abs(got[i] - want.logits[i]));
      largest = std::max(largest, std::abs(want.logits[i]));
    }
    EXPECT_LE(worst, kLogitBound) << "logits reach " << largest;
    EXPECT_GT(largest, 3) << "weights that say nothing cannot be told apart";
    RecordProperty("worst", std::to_string(worst));
  }
}

TEST_P(Trained, GreedyTokensAreThoseOfPyTorch) {
  const auto model = load(GetParam());
  const int64_t vocabulary = model->options().config.vocab_size;
  for (const Expected& want : read_expected((kFolder / GetParam()).string())) {
    const int64_t T = static_cast<int64_t>(want.ids.size()), N = static_cast<int64_t>(want.greedy.size());
    const auto session = model->open({.batch = 1, .capacity = T + N, .forward_tokens = T, .all_logits = false});
    std::vector<float> logits = session->forward(want.ids, Logits::kLast);
    for (int64_t i = 0; i < N; ++i) {
      if (session->next_tokens()[0] != want.greedy[i]) {  // what follows depends on it
        EXPECT_LE(margin(logits.data(), vocabulary), 2 * kLogitBound) << "token " << i;
        break;
      }
      session->decode(1);
      logits = session->last_logits();
    }
  }
}

// The task that a checkpoint's folder is named after, at the length it was trained for, drawn by the C++ suite.
TEST(TrainedSynthetic, PalindromesAreReadBack) {
  for (const std::string& name : trained()) {
    if (fs::path(name).parent_path() != "palindrome") continue;
    const auto model = load(name);
    const suites::SyntheticScore score =
        suites::synthetic_score(*model, suites::SyntheticTask::kPalindrome, 1024, 2, 17, 2);
    EXPECT_GT(score.token_accuracy(), 0.95) << name;   // chance is 1 / 124; its training.json says 0.97 and more
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Trained, testing::ValuesIn(trained()), [](const auto& param) {
  std::string name = param.param;
  std::replace_if(name.begin(), name.end(), [](char c) { return c == '/' || c == '-'; }, '_');
  return name;
});
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Trained);

}  // namespace
}  // namespace kdabench::test
