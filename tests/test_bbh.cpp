// BIG-Bench Hard: prompts, answers as lm-eval's expression reads them, files that are damaged.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "suites/bbh.h"
#include "suites/sha256.h"
#include "tests/says.h"

namespace kdabench::suites {
namespace {

namespace fs = std::filesystem;

// What Python 3.11's re makes of (?<=the answer is )(.*)(?=.), after lm-eval's stops.
TEST(Bbh, AnswersAsLmEvalReadsThem) {
  const std::vector<std::pair<const char*, std::optional<std::string>>> table = {
      {"So the answer is (B).", "(B)"},
      {"So the answer is True", "Tru"},
      {"So the answer is No.\nthe answer is Yes.", "No"},
      {"the answer is \nthe answer is valid.", "valid"},
      {"the answer is 8.Q: What", "8"},
      {"the answer is } ] >.\n\nthe answer is x.", "} ] >"},
      {"The answer is No.", std::nullopt},
      {"the answer is .", ""},
      {"the answer is x", ""},
      {"the answer is  Yes. ", "Yes."},
      {"the answer is caf\u00e9", "caf"},
      {"the answer is a, the answer is b.", "a, the answer is b"},
      {"none</s>the answer is A.", std::nullopt},
      {"the answer is ", std::nullopt},
      {"the answer is ab\r\n", "ab"},
  };
  for (const auto& [generated, answer] : table) EXPECT_EQ(bbh_answer(generated), answer) << generated;
  EXPECT_EQ(bbh_answer("the answer is a\xff\x80."), "a\xff\x80");
}

TEST(Bbh, Tasks) {
  EXPECT_EQ(bbh_tasks().size(), 27u);
  EXPECT_TRUE(std::is_sorted(bbh_tasks().begin(), bbh_tasks().end()));
}

TEST(Bbh, Averages) {
  const std::vector<BbhTask> tasks = {{"snarks", "", {{"q", "(A)"}, {"r", "(B)"}}}, {"navigate", "", {{"s", "Yes"}}}};
  const std::vector<std::vector<std::optional<std::string>>> answers = {{"(A)", "(b)"}, {std::nullopt}};
  const GeneratedResult result = bbh_result(tasks, answers);
  EXPECT_DOUBLE_EQ(result.parts[0].accuracy(), 0.5);            // as it is written
  EXPECT_EQ(result.parts[1].unread, 1);
  EXPECT_DOUBLE_EQ(result.total.accuracy(), 1.0 / 3);
  EXPECT_DOUBLE_EQ(result.mean_of_parts(), 0.25);
  EXPECT_SAYS(bbh_result(tasks, {}), "BBH: 0 tasks answered of 2.");
}

// All 6,511 prompts, each followed by a NUL byte, as another program made them from suzgunmirac/BIG-Bench-Hard
// 9ee07bd481fe; 26 of the 27 prefixes were equal to what lm-eval's files of worked examples give.
TEST(Bbh, GoldenHash) {
  const char* data = std::getenv("KDABENCH_DATA");
  if (!data || !fs::exists(fs::path(data) / "bbh" / "cot-prompts")) GTEST_SKIP() << "skipped: no data";
  std::string prompts;
  size_t count = 0;
  for (const BbhTask& task : read_bbh(data)) {
    count += task.questions.size();
    for (const BbhQuestion& question : task.questions) prompts += task.prefix + bbh_question(question) + '\0';
  }
  EXPECT_EQ(count, 6511u);
  EXPECT_EQ(sha256(prompts), "fe103f535ebecc00fa7b8564c4da4b6aee56dd320de5106b97e579b0cc6e1edc");
}

class BbhFolder : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(root_ / "bbh");
    fs::create_directories(root_ / "cot-prompts");
    write("cot-prompts/snarks.txt", kExamples);
    write("bbh/snarks.json", questions(178));
  }
  void TearDown() override { fs::remove_all(root_); }

  static constexpr const char* kExamples =
      "CANARY\n-----\nFind it.\n\nQ: a\nA: x.\n\nQ: b\nA: y.\n\nQ: c\nA: So the answer is z.";
  static std::string questions(int count) {
    nlohmann::json examples = nlohmann::json::array();
    for (int i = 0; i < count; ++i) examples.push_back({{"input", text("q", i)}, {"target", "(A)"}});
    return nlohmann::json{{"canary", "CANARY"}, {"examples", examples}}.dump();
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(root_ / name, std::ios::binary) << text;
  }
  const fs::path root_ = fs::path(testing::TempDir()) / ("kdabench_bbh_" + std::to_string(getpid()));
};

TEST_F(BbhFolder, PromptsByHand) {
  const std::vector<BbhTask> tasks = read_bbh(root_.string(), "snarks");
  ASSERT_EQ(tasks.size(), 1u);
  ASSERT_EQ(tasks[0].questions.size(), 178u);
  EXPECT_EQ(tasks[0].prefix + bbh_question(tasks[0].questions[1]),
            "Find it.\n\nQ: a\nA: x.\n\nQ: b\nA: y.\n\nQ: c\nA: So the answer is z.\n\nQ: q1\nA: Let's think step by "
            "step.\n");
}

TEST_F(BbhFolder, BadInputIsOneSentence) {
  EXPECT_SAYS(read_bbh(root_.string(), "snark"), "unknown BBH task 'snark'; the tasks are boolean_expressions, ");
  EXPECT_SAYS(read_bbh(root_.string()), "boolean_expressions.txt is not there");
  write("bbh/snarks.json", questions(177));
  EXPECT_SAYS(read_bbh(root_.string(), "snarks"), "snarks.json has 177 questions; BIG-Bench Hard has 178 there");
  write("bbh/snarks.json", questions(178).substr(0, 500));
  EXPECT_SAYS(read_bbh(root_.string(), "snarks"), "snarks.json is damaged at byte");
  write("bbh/snarks.json", "{\"examples\": [{\"input\": \"q\"}]}");
  EXPECT_SAYS(read_bbh(root_.string(), "snarks"), "snarks.json is JSON of another shape");
  write("cot-prompts/snarks.txt", "Find it.\n\nQ: a\nA: x.");
  EXPECT_SAYS(read_bbh(root_.string(), "snarks"), "snarks.txt has no line -----");
  write("cot-prompts/snarks.txt", "-----\nFind it.\n\nQ: a\nA: x.");
  EXPECT_SAYS(read_bbh(root_.string(), "snarks"), "snarks.txt has 1 worked examples");
  write("cot-prompts/snarks.txt", "-----\nFind \xff");
  EXPECT_SAYS(read_bbh(root_.string(), "snarks"), "snarks.txt:2 is not UTF-8.");
}

}  // namespace
}  // namespace kdabench::suites
