// MMLU-Pro: prompts by hand in both styles, letters as the official and lm-eval's expressions read them, files that are
// damaged, averages by hand.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "suites/mmlu_pro.h"
#include "tests/says.h"

namespace kdabench::suites {
namespace {

using test::message;

namespace fs = std::filesystem;

struct Reading {
  const char* generated;
  std::optional<char> official, lm_eval;
};

// What Python 3.11's re makes of the expressions of both programs.
TEST(MmluPro, LettersAsBothProgramsReadThem) {
  const Reading table[] = {
      {"The answer is (C).", 'C', 'C'},
      {"the answer is C", 'C', 'C'},
      {"answer is (D and the answer is (E)", 'D', 'D'},
      {"answer is ((A) then B", 'B', std::nullopt},
      {"the answer is K, answer is  J", 'J', std::nullopt},
      {"The final answer is: (B)", 'B', std::nullopt},
      {"Answer: D\nAnswer: E", 'D', std::nullopt},
      {"Answer: x answer: B Answer:\u00a0\n C, answer: K\nAnswer: D", 'C', std::nullopt},
      {"aNswer: A", 'A', std::nullopt},
      {"answer:\n\nF", 'F', std::nullopt},
      {"So we choose (G).", 'G', std::nullopt},
      {"I think J2 or J_ but H-bond; \u00c9A AB A\u00e9", 'H', std::nullopt},
      {"A\nB\n(C) and D\u0301", 'D', std::nullopt},
      {"x\u00b2A, \u00b7B\u00b7", 'B', std::nullopt},
      {"", std::nullopt, std::nullopt},
      {"(K)", std::nullopt, std::nullopt},
      {"A", 'A', std::nullopt},
      {"Answer:", std::nullopt, std::nullopt},
      {"answer is", std::nullopt, std::nullopt},
      {"The answer is (I)\u3002 answer is A", 'I', 'I'},
      {"Answer: (A)", 'A', std::nullopt},
      {"Answers: C. answer:Banswer:", 'B', std::nullopt},
      {"A\u00b2 I \U0001d400 \uff21", 'I', std::nullopt},
      {"Answer: \u2003J", 'J', std::nullopt},
      {"F_ _F 5F F5 \u4e2dE E\u4e2d", std::nullopt, std::nullopt},
  };
  for (const Reading& row : table) {
    EXPECT_EQ(mmlu_pro_answer(MmluProStyle::kOfficial, row.generated), row.official) << row.generated;
    EXPECT_EQ(mmlu_pro_answer(MmluProStyle::kLmEval, row.generated), row.lm_eval) << row.generated;
  }
  EXPECT_EQ(mmlu_pro_answer(MmluProStyle::kOfficial, "\xff" "C\xe2"), 'C');    // bytes that are no UTF-8 are no words
  EXPECT_EQ(until_stop("the answer is (A).\nQuestion: the answer is (B)", {kMmluProStop}), "the answer is (A).\n");
}

TEST(MmluPro, PromptsByHand) {
  const MmluProQuestion shot{"law", "One?", {" a ", "N/A", "c"}, 2,
                             "A: Let's think step by step. Hm. The answer is (C)."};
  const MmluProQuestion question{"law", " Two? ", {"x", "y"}, 0, ""};
  const MmluProTask task{{"law", 1101}, {shot}, {question}};
  const std::string description = "The following are multiple choice questions (with answers) about law. Think step by "
      "step and then finish your answer with \"the answer is (X)\" where X is the correct letter choice.";
  EXPECT_EQ(mmlu_pro_prefix(MmluProStyle::kOfficial, task, 1) + mmlu_pro_question(MmluProStyle::kOfficial, question),
            description + "\n\n\n\nQuestion:\nOne?\nOptions:\nA.  a \nB. c\nAnswer: Let's think step by step. Hm. The "
            "answer is (C).\n\nQuestion:\n Two? \nOptions:\nA. x\nB. y\nAnswer: Let's think step by step.");
  EXPECT_EQ(mmlu_pro_prefix(MmluProStyle::kLmEval, task, 1) + mmlu_pro_question(MmluProStyle::kLmEval, question),
            description + "\nQuestion:\nOne?\nOptions:\nA. a\nB. N/A\nC. c\nAnswer: Let's think step by step. Hm. The "
            "answer is (C).\n\nQuestion:\n Two? \nOptions:\nA. x\nB. y\nAnswer: Let's think step by step.");
  EXPECT_EQ(mmlu_pro_prefix(MmluProStyle::kLmEval, task, 0), description + "\n");
}

TEST(MmluPro, Categories) {
  int64_t questions = 0;
  for (const MmluProCategory& category : mmlu_pro_categories()) questions += category.questions;
  EXPECT_EQ(mmlu_pro_categories().size(), 14u);
  EXPECT_EQ(questions, 12032);
}

TEST(MmluPro, MicroAndMacroAverages) {
  const auto task = [](const char* name, const std::vector<int>& gold) {
    MmluProTask made{{name, 0}, {}, {}};
    for (const int answer : gold) made.questions.push_back({name, "", {}, answer, ""});
    return made;
  };
  const std::vector<MmluProTask> tasks = {task("law", {0, 1, 9, 3}), task("math", {2})};
  const std::vector<std::vector<std::optional<char>>> answers = {{'A', std::nullopt, 'J', 'C'}, {'C'}};
  const GeneratedResult result = mmlu_pro_result(tasks, answers);
  ASSERT_EQ(result.parts.size(), 2u);
  EXPECT_DOUBLE_EQ(result.parts[0].accuracy(), 0.5);
  EXPECT_EQ(result.parts[0].unread, 1);
  EXPECT_DOUBLE_EQ(*result.parts[0].standard_error(), std::sqrt(0.25 / 3));
  EXPECT_FALSE(result.parts[1].standard_error());
  EXPECT_DOUBLE_EQ(result.total.accuracy(), 0.6);                // 3 of 5
  EXPECT_DOUBLE_EQ(result.mean_of_parts(), 0.75);
  EXPECT_EQ(message([&] { mmlu_pro_result(tasks, {}); }), "MMLU-Pro: 0 categories answered of 2.");
  auto fewer = answers;
  fewer[0].pop_back();
  EXPECT_EQ(message([&] { mmlu_pro_result(tasks, fewer); }), "MMLU-Pro, law: 3 answers to 4 questions.");
}

class MmluProFolder : public testing::Test {
 protected:
  using json = nlohmann::json;
  void SetUp() override {
    fs::create_directories(root_ / "mmlu_pro");
    write("validation", lines(5, true));
    write("test", lines(381, false));
  }
  void TearDown() override { fs::remove_all(root_); }

  static std::string line(const char* category, bool worked) {
    json row = {{"question_id", 7}, {"question", "Caf\u00e9?"}, {"options", {"a", "b", "c"}}, {"answer", "B"},
                {"answer_index", 1}, {"category", category}, {"cot_content", worked ? "A: Let's think." : ""}};
    return row.dump() + "\n";
  }
  static std::string lines(int count, bool worked) {
    std::string text = line("law", worked);
    for (int i = 0; i < count; ++i) text += line("history", worked);
    return text;
  }
  void write(const std::string& split, const std::string& text) const {
    std::ofstream(root_ / "mmlu_pro" / (split + ".jsonl"), std::ios::binary) << text;
  }
  std::string says(const char* category = "history") const {
    return message([&] { read_mmlu_pro(root_.string(), category); });
  }
  const fs::path root_ = fs::path(testing::TempDir()) / ("kdabench_mmlu_pro_" + std::to_string(getpid()));
};

TEST_F(MmluProFolder, IsReadByCategory) {
  const std::vector<MmluProTask> tasks = read_mmlu_pro((root_ / "mmlu_pro").string(), "history");
  ASSERT_EQ(tasks.size(), 1u);
  EXPECT_EQ(tasks[0].shots.size(), 5u);
  EXPECT_EQ(tasks[0].questions.size(), 381u);
  EXPECT_EQ(tasks[0].questions[0].letter(), 'B');
  EXPECT_EQ(tasks[0].questions[0].text, "Caf\u00e9?");
}

TEST_F(MmluProFolder, BadInputIsOneSentence) {
  EXPECT_SAYS(read_mmlu_pro(root_.string(), "histroy"),
              "unknown MMLU-Pro category 'histroy'; the categories are biology");
  EXPECT_NE(says("law").find("has 1 examples of law; MMLU-Pro has 5."), std::string::npos) << says("law");
  write("test", lines(380, false));
  EXPECT_NE(says().find("test.jsonl has 380 questions of history; MMLU-Pro has 381 there"), std::string::npos)
      << says();
  const std::string good = line("law", false);
  for (const auto& [bad, part] : std::vector<std::pair<std::string, std::string>>{
           {good + good.substr(0, 30), "test.jsonl:2 is cut off or damaged; wanted one JSON object a line."},
           {"{\"question\": \"\xff\"}\n" + good, "test.jsonl:1 is damaged"},
           {"{\"question\": \"q\", \"options\": [\"a\"], \"category\": \"law\"}\n",
            "test.jsonl:1 is not a question of"},
           {"{\"question\": \"q\", \"options\": [\"a\"], \"category\": \"law\", \"answer\": \"B\"}\n",
            "test.jsonl:1 has the answer 'B' to 1 options."}}) {
    write("test", bad);
    EXPECT_NE(says().find(part), std::string::npos) << says();
  }
  write("validation", lines(5, false));
  write("test", lines(381, false));
  EXPECT_NE(says().find("an example of history has no cot_content"), std::string::npos) << says();
  fs::remove(root_ / "mmlu_pro" / "test.jsonl");
  EXPECT_NE(says().find("test.jsonl is not there"), std::string::npos) << says();
}

}  // namespace
}  // namespace kdabench::suites
