// What accuracy suites do with a session, against the plain way of doing it; prompts' formats; kept items.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "harness/options.h"
#include "kernels/base/error.h"
#include "reports/items.h"
#include "suites/scoring.h"
#include "suites/text_model.h"
#include "tests/model_laws.h"

namespace kdabench::suites {
namespace {

namespace fs = std::filesystem;
using test::random_ids;
using test::tiny_model;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}
#define EXPECT_SAYS(action, part) \
  EXPECT_NE(message_of([&] { action; }).find(part), std::string::npos) << "said: " << message_of([&] { action; })

TEST(Scoring, LogProbability) {
  const std::vector<float> logits = {0, std::log(3.f), -INFINITY};
  EXPECT_NEAR(log_probability(logits, 0), std::log(0.25), 1e-7);
  EXPECT_NEAR(log_probability(logits, 1), std::log(0.75), 1e-7);
  const std::vector<float> large = {1e4f, 1e4f};
  EXPECT_NEAR(log_probability(large, 1), std::log(0.5), 1e-7);
  EXPECT_SAYS(log_probability(std::vector<float>{0, NAN}, 0), "not a number");
}

TEST(Scoring, SharedPrefixLeavesEachItsOwn) {
  EXPECT_EQ(shared_prefix({}), 0);
  EXPECT_EQ(shared_prefix(std::vector<Ids>{{1, 2, 3}}), 2);
  EXPECT_EQ(shared_prefix(std::vector<Ids>{{1, 2, 3}, {1, 2}}), 1);
  EXPECT_EQ(shared_prefix(std::vector<Ids>{{1, 2, 3}, {2, 2}}), 0);
}

TEST(Scoring, MeansAndChance) {
  const Mean mean = mean_of(std::vector<double>{0, 1, 1, 1});
  EXPECT_DOUBLE_EQ(mean.value, 0.75);
  EXPECT_DOUBLE_EQ(*mean.standard_error, 0.25);
  EXPECT_FALSE(mean_of(std::vector<double>{1}).standard_error);
  EXPECT_TRUE(at_chance(0.255, 14042, 0.25));
  EXPECT_FALSE(at_chance(0.26, 14042, 0.25));
  EXPECT_FALSE(at_chance(0.24, 14042, 0.25));
  EXPECT_TRUE(at_chance(0, 3, 0.25));
}

// The sum of the log-probabilities of a continuation's tokens behind its prompt, from one pass over both.
double plain_weight(Model& model, const Ids& prompt, const Ids& continuation) {
  Ids ids = prompt;
  ids.insert(ids.end(), continuation.begin(), continuation.end());
  const auto T = static_cast<int64_t>(ids.size()), V = model.options().config.vocab_size;
  const auto session = model.open({.batch = 1, .capacity = T, .forward_tokens = T, .all_logits = true});
  const std::vector<float> logits = session->forward(ids, Logits::kAll);
  double sum = 0;
  for (size_t i = 0; i < continuation.size(); ++i)
    sum += log_probability({logits.data() + (prompt.size() + i - 1) * static_cast<size_t>(V), static_cast<size_t>(V)},
                           continuation[i]);
  return sum;
}

class ScoringModels : public testing::TestWithParam<std::string> {};

TEST_P(ScoringModels, WeighIsThePlainSum) {
  const auto model = tiny_model(GetParam(), DeviceKind::kCpu, Precision::kFp32);
  const Ids shared = random_ids(70, 512, 1);
  for (const bool single : {true, false}) {
    std::vector<Choices> questions;
    for (int q = 0; q < 5; ++q) {               // more questions than rows, ends of different lengths
      Choices choices{shared, {}};
      const Ids end = random_ids(1 + 37 * q % 90, 512, 10 + q);
      choices.prompt.insert(choices.prompt.end(), end.begin(), end.end());
      for (int c = 0; c < 4; ++c) choices.continuations.push_back(random_ids(single ? 1 : 1 + (c + q) % 3, 512, 50 + 4 * q + c));
      questions.push_back(choices);
    }
    const auto session = model->open({.batch = 3, .capacity = 170, .forward_tokens = 40, .all_logits = false});
    ReadCount count;
    const auto weights = weigh(*session, 3, questions, count);
    int64_t each = 0;
    for (size_t q = 0; q < questions.size(); ++q) {
      each += static_cast<int64_t>(questions[q].prompt.size() - shared.size());
      for (size_t c = 0; c < 4; ++c)
        EXPECT_NEAR(weights[q][c], plain_weight(*model, questions[q].prompt, questions[q].continuations[c]), 2e-4)
            << "question " << q << ", continuation " << c;
    }
    if (single) {
      EXPECT_EQ(count.read, each + 70);  // the beginning once, every end once
    }
  }
}

TEST_P(ScoringModels, ContinuingTogetherIsContinuingAlone) {
  const auto model = tiny_model(GetParam(), DeviceKind::kCpu, Precision::kFp32);
  const std::vector<Ids> prompts = {random_ids(90, 512, 1), random_ids(3, 512, 2), random_ids(50, 512, 3)};
  const int64_t budget = 37;
  std::vector<Ids> alone;
  for (const Ids& prompt : prompts) {
    const auto session = model->open({.batch = 1, .capacity = 200, .forward_tokens = 64, .all_logits = false});
    session->forward(prompt, Logits::kLast);
    Ids answer = session->next_tokens();
    const Ids more = session->decode(budget - 1).tokens;
    answer.insert(answer.end(), more.begin(), more.end());
    alone.push_back(answer);
  }
  const auto session = model->open({.batch = 4, .capacity = 200, .forward_tokens = 64, .all_logits = false});
  ReadCount count;
  EXPECT_EQ(continue_greedily(*session, 4, prompts, {budget}, count), alone);
  EXPECT_EQ(count.read, 90 + 3 + 50);
  EXPECT_EQ(count.generated, 3 * budget);
  // an answer ends before the first stop, the others go on
  const std::vector<int32_t> stops = {alone[0][20]};
  std::vector<Ids> cut = alone;
  for (Ids& answer : cut) answer.erase(std::find(answer.begin(), answer.end(), stops[0]), answer.end());
  EXPECT_EQ(continue_greedily(*session, 4, prompts, {budget, stops}, count), cut);
  EXPECT_EQ(continue_greedily(*session, 4, prompts, {1}, count),
            (std::vector<Ids>{{alone[0][0]}, {alone[1][0]}, {alone[2][0]}}));
  // behind a beginning that was read once; and no further than needed
  const std::vector<Ids> alike = {prompts[0], prompts[0]};
  const auto beginning = read_beginning(*session, 4, prompts[0], 64, count);  // a pass of its own, as in a whole prompt
  EXPECT_EQ(continue_greedily(*session, 4, alike, {budget, {}, beginning.get()}, count), (std::vector<Ids>{alone[0], alone[0]}));
  const auto short_answer = continue_greedily(*session, 4, alike, {budget, {}, nullptr, [](const Ids& a) { return a.size() > 5; }},
                                              count);
  EXPECT_EQ(short_answer[0], Ids(alone[0].begin(), alone[0].begin() + 17));  // the first token and 16 steps
  EXPECT_SAYS(continue_greedily(*session, 4, std::vector<Ids>{{}}, {1}, count), "no tokens");
}

INSTANTIATE_TEST_SUITE_P(Tiny, ScoringModels, testing::ValuesIn(test::architecture_names()), [](const auto& param) {
  std::string name = param.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

class Folder : public testing::Test {
 protected:
  Folder() { fs::create_directories(path); }
  ~Folder() override { fs::remove_all(path); }
  void write(const std::string& name, const std::string& text) { std::ofstream(path / name, std::ios::binary) << text; }
  fs::path path = fs::path(testing::TempDir()) / ("kdabench_scoring_" + std::to_string(::getpid()));
};

const char* const kTurns = "{{'<|im_system|>system<|im_middle|>Be brief.<|im_end|>'}}<|im_user|>user<|im_middle|>{{x}}"
                           "<|im_end|><|im_assistant|>assistant<|im_middle|>";
const char* const kIds = R"({"added_tokens_decoder": {"300": {"content": "<|im_end|>"}, "301": {"content": "<|im_user|>"},
  "302": {"content": "<|im_assistant|>"}, "303": {"content": "<|im_middle|>"}, "304": {"content": "<|im_system|>"}}})";

TEST_F(Folder, ChatTurnsOfTheFolder) {
  EXPECT_FALSE(read_chat_turns(path.string()));
  write("tokenizer_config.json", kIds);
  EXPECT_FALSE(read_chat_turns(path.string()));
  write("chat_template.jinja", kTurns);
  Plan plan;
  plan.config = preset_config("tiny");            // 512 ids
  plan.accuracy.tokenizer = "bytes";
  const Peer peer{"kimi-linear", {}, path.string()};
  const TextModel chat = text_model(plan, peer, true);
  const Ids want = {304, 's', 'y', 's', 't', 'e', 'm', 303, 'B', 'e', ' ', 'b', 'r', 'i', 'e', 'f', '.', 300,
                    301, 'u', 's', 'e', 'r', 303, 'h', 'i', 300,
                    302, 'a', 's', 's', 'i', 's', 't', 'a', 'n', 't', 303, 'y', 'o'};
  EXPECT_EQ(chat.encode_prompt("hi", "yo"), want);
  EXPECT_EQ(chat.stops, Ids{300});
  EXPECT_EQ(chat.decode(Ids{'a', 300, 'b'}), "ab");
  EXPECT_EQ(text_model(plan, peer, false).encode_prompt("hi", "yo"), (Ids{'h', 'i', 'y', 'o'}));
  plan.accuracy.prompt_format = "base";
  EXPECT_EQ(text_model(plan, peer, true).format(), "base");

  write("tokenizer_config.json", R"({"added_tokens_decoder": {}})");
  EXPECT_SAYS(read_chat_turns(path.string()), "no id for <|im_system|>");
  write("chat_template.jinja", "[INST] {{x}} [/INST]");
  EXPECT_SAYS(read_chat_turns(path.string()), "not Kimi's");
  fs::remove(path / "chat_template.jinja");
  plan.accuracy.prompt_format = "chat";
  EXPECT_SAYS(text_model(plan, peer, true), "has no chat template");
}

TEST_F(Folder, TheTokenizerMustFitTheVocabulary) {
  Plan plan;
  plan.config = preset_config("tiny");
  const Peer peer{"kimi-linear", {}, path.string()};
  EXPECT_SAYS(text_model(plan, peer, true), "give --tokenizer");
  plan.accuracy.tokenizer = "bytes";
  EXPECT_EQ(text_model(plan, peer, true).tokenizer_name, "bytes");
  plan.config.vocab_size = 163840;
  EXPECT_SAYS(text_model(plan, peer, true), "is not this model's");
  plan.config.vocab_size = 255;
  EXPECT_SAYS(text_model(plan, peer, true), "is not this model's");
  plan.accuracy.tokenizer.clear();
  plan.config.vocab_size = 256;
  EXPECT_EQ(text_model(plan, peer, true).tokenizer_name, "bytes");
}

TEST_F(Folder, ItemsOutliveTheRun) {
  const std::string out = (path / "r.json").string();
  const reports::Item item{"k1", "cell", "vt", 3, 0.5, false, "\xff text", {"a", "b"}, {}};
  const reports::Item weighed{"k2", "cell", "anatomy", 0, 1, true, "B", {"B"}, {-1.5, -0.25}};
  {
    reports::ItemLog log(out, false);
    log.append(item);
    log.append(weighed);
  }
  { std::ofstream(reports::ItemLog::path_for(out), std::ios::app) << R"({"key": "k3", "ce)"; }
  {
    reports::ItemLog log(out, true);
    EXPECT_EQ(log.kept(), 2u);
    EXPECT_EQ(log.find("k3"), nullptr);
    ASSERT_NE(log.find("k2"), nullptr);
    EXPECT_TRUE(log.find("k2")->tied);
    EXPECT_EQ(log.find("k2")->log_likelihoods, (std::vector<double>{-1.5, -0.25}));
    EXPECT_EQ(log.find("k1")->score, 0.5);
    log.append({"k3", "cell", "vt", 4, 1, false, "", {}, {}});
  }
  EXPECT_EQ(reports::ItemLog(out, true).kept(), 3u);
  write("r.json.items.jsonl", "{}\n{}\n");
  EXPECT_SAYS(reports::ItemLog(out, true), "line 1");
  EXPECT_EQ(reports::ItemLog(out, false).kept(), 0u);
}

}  // namespace
}  // namespace kdabench::suites
