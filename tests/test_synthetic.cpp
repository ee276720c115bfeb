// The synthetic tests: their rules, the agreement with the Python that trains on them, and scoring.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/base/error.h"
#include "suites/synthetic.h"

namespace kdabench::suites {
namespace {

constexpr int64_t kSamples = 512;

struct Shape {
  int64_t length, vocabulary;
};
Shape shape_of(SyntheticTask task) {
  switch (task) {
    case SyntheticTask::kPalindrome: return {255, 128};
    case SyntheticTask::kMqar: return {256, 512};
    case SyntheticTask::kMqarZoology: return {256, 512};
    case SyntheticTask::kStack: return {600, 128};
  }
  return {};
}

class Synthetic : public testing::TestWithParam<std::string> {
 protected:
  SyntheticTask task() const { return parse_synthetic_task(GetParam()); }
  bool has_rule() const { return task() != SyntheticTask::kMqarZoology; }
};

TEST_P(Synthetic, SamplesObeyTheirRule) {
  const Shape shape = shape_of(task());
  std::set<std::vector<int32_t>> distinct;
  for (int64_t i = 0; i < 50; ++i) {
    const SyntheticSample sample = synthetic_sample(task(), shape.length, shape.vocabulary, 7, i);
    ASSERT_EQ(sample.ids.size(), sample.targets.size());
    EXPECT_LE(static_cast<int64_t>(sample.ids.size()), shape.length);
    EXPECT_GE(static_cast<int64_t>(sample.ids.size()), shape.length - 2);
    for (const int32_t id : sample.ids) EXPECT_TRUE(id >= 0 && id < shape.vocabulary) << id;
    if (has_rule()) {
      EXPECT_EQ(synthetic_targets(task(), shape.vocabulary, sample.ids), sample.targets);
    }
    distinct.insert(sample.ids);
    EXPECT_EQ(synthetic_sample(task(), shape.length, shape.vocabulary, 7, i).ids, sample.ids);
    EXPECT_NE(synthetic_sample(task(), shape.length, shape.vocabulary, 8, i).ids, sample.ids);
  }
  EXPECT_EQ(distinct.size(), 50u);
}

// Every id that matters, changed, breaks the rule: the rule is not one that accepts anything.
TEST_P(Synthetic, ARuleCanBeBroken) {
  const Shape shape = shape_of(task());
  const SyntheticSample sample = synthetic_sample(task(), shape.length, shape.vocabulary, 7, 0);
  if (!has_rule()) {                         // filler may hold keys: nothing can be said of the ids alone
    EXPECT_THROW(synthetic_targets(task(), shape.vocabulary, sample.ids), Error);
    return;
  }
  int64_t noticed = 0;
  for (size_t at = 0; at < sample.ids.size(); ++at) {
    std::vector<int32_t> ids = sample.ids;
    ids[at] = ids[at] == 3 ? 2 : 3;          // push for pop, and a pop anywhere else
    try {
      noticed += synthetic_targets(task(), shape.vocabulary, ids) != sample.targets;
    } catch (const Error&) {
      ++noticed;
    }
  }
  EXPECT_EQ(noticed, static_cast<int64_t>(sample.ids.size()));
}

// What scripts/train/synthetic.py drew: the same targets, and as many questions, as early, as here.
TEST_P(Synthetic, AgreesWithTheTrainingCode) {
  std::ifstream file(std::filesystem::path(__FILE__).parent_path() / "data/synthetic_tasks.json");
  ASSERT_TRUE(file.good());
  const nlohmann::json want = nlohmann::json::parse(file)["tasks"][GetParam()];
  const int64_t length = want["length"], vocabulary = want["vocabulary"];
  for (size_t i = 0; i < want["ids"].size(); ++i) {
    const std::vector<int32_t> ids = want["ids"][i], targets = want["targets"][i];
    ASSERT_EQ(ids.size(), synthetic_sample(task(), length, vocabulary, 1, 0).ids.size());
    if (has_rule()) {
      EXPECT_EQ(synthetic_targets(task(), vocabulary, ids), targets);
      continue;
    }
    std::map<int32_t, int32_t> value_of;
    int64_t asked = 0;
    for (int64_t p = 0; p < length / 4; ++p) value_of[ids[2 * p]] = ids[2 * p + 1];
    for (size_t t = 0; t < ids.size(); ++t)
      if (targets[t] != kNotAsked) {
        ++asked;
        EXPECT_EQ(value_of.at(ids[t]), targets[t]);
      }
    EXPECT_EQ(asked, length / 4);
    EXPECT_EQ(value_of.size(), static_cast<size_t>(length / 4));
  }
  const auto asked = [](int32_t target) { return target != kNotAsked; };
  double asked_sum = 0, first_sum = 0;
  for (int64_t i = 0; i < kSamples; ++i) {
    const std::vector<int32_t> targets = synthetic_sample(task(), length, vocabulary, 5, i).targets;
    asked_sum += std::count_if(targets.begin(), targets.end(), asked);
    first_sum += std::find_if(targets.begin(), targets.end(), asked) - targets.begin();
  }
  // both means have about the standard error that Python found: 5 of their difference
  EXPECT_NEAR(asked_sum / kSamples, want["asked_mean"], 1e-9 + 7.1 * want["asked_error"].get<double>());
  EXPECT_NEAR(first_sum / kSamples, want["first_asked_mean"], 1e-9 + 7.1 * want["first_asked_error"].get<double>());
}

TEST_P(Synthetic, TooSmallIsAnError) {
  EXPECT_THROW(synthetic_sample(task(), 2, 512, 1, 0), Error);
  EXPECT_THROW(synthetic_sample(task(), 256, 5, 1, 0), Error);
}

// Random weights guess: the accuracy is chance, far from right, and the same however many rows are read together.
TEST_P(Synthetic, RandomWeightsGuess) {
  ModelOptions options;
  options.config = preset_config("tiny");
  options.layout = kimi_linear_architecture().layout(options.config, {});
  const auto model = make_model(options);
  const SyntheticScore one = synthetic_score(*model, task(), 100, 6, 3, 1);
  const SyntheticScore four = synthetic_score(*model, task(), 100, 6, 3, 4);
  EXPECT_LT(one.token_accuracy(), 0.1);
  EXPECT_EQ(one.sequences_right, 0);
  EXPECT_EQ(one.asked, four.asked);
  EXPECT_EQ(one.right, four.right);
  EXPECT_EQ(one.sequences, four.sequences);
}

INSTANTIATE_TEST_SUITE_P(Tasks, Synthetic, testing::ValuesIn(synthetic_task_names()), [](const auto& param) {
  std::string name = param.param;
  std::erase(name, '-');
  return name;
});

TEST(SyntheticNames, AnUnknownTaskNamesTheNearest) {
  try {
    parse_synthetic_task("palindrom");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean palindrome?"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace kdabench::suites
