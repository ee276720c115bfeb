// GPQA, on questions made up here: options shuffled as Python does, answers as lm-eval's filters read them, CSV files
// that are damaged.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "kernels/base/error.h"
#include "suites/gpqa.h"
#include "tests/says.h"

namespace kdabench::suites {
namespace {

namespace fs = std::filesystem;

struct Reading {
  const char* generated;
  std::array<std::string, 4> options;
  std::optional<std::string> strict, flexible;
};

// What lm-eval's RegexFilter and MultiChoiceRegexFilter make of each (commit 4e7e0d47f33b, Python 3.11).
TEST(Gpqa, AnswersAsLmEvalReadsThem) {
  const std::array<std::string, 4> kPlain = {"Two points, 25 ml", "One point", "3.5 \u2013 Eta!", "the One"};
  const std::array<std::string, 4> kBare = {"one", "!?", "two", "three"};
  const std::vector<Reading> table = {
      {"The answer is (B).", kPlain, "(B)", "(B)"},
      {"The answer is B", kPlain, "", std::nullopt},
      {"I say (A), then (D) (z) (1)", kPlain, std::nullopt, "(D)"},
      {"(E)", kPlain, std::nullopt, "(E)"},
      {"It is two points 25 ML, no: one POINT.", kPlain, std::nullopt, "(B)"},
      {"so 35  eta and the one", kPlain, std::nullopt, "(D)"},
      {"so 35  eta, maybe", kPlain, std::nullopt, "(C)"},
      {"ans: B, no: \n C", kPlain, std::nullopt, "(C)"},
      {"Answer : D x: E", kPlain, std::nullopt, "(D)"},
      {"nothing here", kPlain, std::nullopt, std::nullopt},
      {"", kPlain, std::nullopt, std::nullopt},
      {"one", kBare, std::nullopt, std::nullopt},
      {"it: C", kBare, std::nullopt, "(C)"},
      {"one. two: B", kBare, std::nullopt, "(B)"},
      {"The answer is \nThe answer is c).", kPlain, "c)", std::nullopt},
      {"The answer is the one.", kPlain, "the one", "(D)"},
      {"theone the one", kPlain, std::nullopt, "(D)"},
  };
  for (const Reading& row : table) {
    const GpqaQuestion question{"", row.options, 0};
    EXPECT_EQ(gpqa_answer(GpqaReading::kStrict, question, row.generated), row.strict) << row.generated;
    EXPECT_EQ(gpqa_answer(GpqaReading::kFlexible, question, row.generated), row.flexible) << row.generated;
  }
}

TEST(Gpqa, ComparedWithoutCaseAndPunctuation) {
  const GpqaQuestion question{"", {}, 2};
  for (const char* right : {"(C)", "C", "c.", "*(c)*"}) EXPECT_TRUE(gpqa_correct(question, right)) << right;
  for (const char* wrong : {"", "(A)", "C D", "(C) x", "\u00a7C"}) EXPECT_FALSE(gpqa_correct(question, wrong)) << wrong;
  EXPECT_FALSE(gpqa_correct(question, std::nullopt));
}

class GpqaFile : public testing::Test {
 protected:
  static constexpr const char* kHeader =
      "Record ID,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n";
  void TearDown() override { fs::remove(path_); }
  std::string write(const std::string& text) const {
    std::ofstream(path_, std::ios::binary) << text;
    return path_;
  }
  const std::string path_ = testing::TempDir() + "gpqa_" + std::to_string(getpid()) + ".csv";
};

// random.Random(42).shuffle(["w1", "w2", "w3", "right"]), three times, in Python 3.11.
TEST_F(GpqaFile, OptionsAreShuffledByOneStream) {
  const std::string row = "id,\"What,\nnow?\",right,w1,w2,w3\n";
  const std::vector<GpqaQuestion> questions = read_gpqa_csv(write(kHeader + row + row + row));
  ASSERT_EQ(questions.size(), 3u);
  using Options = std::array<std::string, 4>;
  EXPECT_EQ(questions[0].options, (Options{"w3", "w2", "right", "w1"}));
  EXPECT_EQ(questions[1].options, (Options{"right", "w3", "w1", "w2"}));
  EXPECT_EQ(questions[2].options, (Options{"w2", "right", "w3", "w1"}));
  EXPECT_EQ(questions[0].letter(), 'C');
  EXPECT_EQ(read_gpqa_csv(path_, 0)[0].options, (Options{"w3", "w1", "w2", "right"}));
  const std::string asked = "What is the correct answer to this question:What,\nnow?\nChoices:\n(A) w3\n(B) w2\n(C) "
                            "right\n(D) w1\n";
  EXPECT_EQ(gpqa_prompt(GpqaStyle::kChoice, questions[0]), asked + "Answer:");
  EXPECT_EQ(gpqa_prompt(GpqaStyle::kThink, questions[0]), asked + "Let's think step by step: ");
}

TEST_F(GpqaFile, OptionsAreCleaned) {
  const GpqaQuestion question = read_gpqa_csv(write(std::string(kHeader) + "id,q, a  b [title]c ,,\u00a0x, y\n"))[0];
  EXPECT_EQ(question.options[static_cast<size_t>(question.answer)], "a b. c");
  std::array<std::string, 4> sorted = question.options;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, (std::array<std::string, 4>{" ", "a b. c", "x", "y"}));
}

TEST_F(GpqaFile, BadInputIsOneSentence) {
  EXPECT_SAYS(read_gpqa(write("Question,Correct Answer\nq,a\n")), "has no column Incorrect Answer 1");
  EXPECT_SAYS(read_gpqa(write(std::string(kHeader) + "id,q,,a,b,c\n")), ":2 has no correct answer.");
  EXPECT_SAYS(read_gpqa(write(std::string(kHeader) + "id,q,r,a,b,c\n")),
              "has 1 questions; GPQA's sets have 198 (diamond)");
  EXPECT_SAYS(read_gpqa(write(std::string(kHeader) + "id,\xff,r,a,b,c\n")), ":2 is not UTF-8.");
  std::string all = kHeader;
  for (int i = 0; i < 198; ++i) all += "id,q,r,a,b,c\n";
  const GpqaTask task = read_gpqa(write(all));
  EXPECT_EQ(task.name, "gpqa_diamond");
  std::vector<std::optional<std::string>> answers(198, "(A)");
  answers[0] = std::nullopt;
  const GeneratedResult result = gpqa_result(task, answers);
  EXPECT_EQ(result.total.questions, 198);
  EXPECT_EQ(result.total.unread, 1);
  EXPECT_EQ(result.total.correct, std::count_if(task.questions.begin() + 1, task.questions.end(),
                                                [](const GpqaQuestion& question) { return question.answer == 0; }));
  answers.pop_back();
  EXPECT_SAYS(gpqa_result(task, answers), "gpqa_diamond: 197 answers to 198 questions.");
}

}  // namespace
}  // namespace kdabench::suites
