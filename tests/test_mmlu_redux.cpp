// MMLU-Redux, on questions made up here: which rows are scored and with which answer, files that are damaged, prompts by
// hand, the letter as Python's re finds it.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "suites/generated.h"
#include "suites/mmlu_redux.h"
#include "tests/says.h"

namespace kdabench::suites {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json row(int i, const std::string& type = "ok", const json& right = nullptr) {
  return {{"question", " q" + std::to_string(i) + " "}, {"choices", {"a", " b", "c", "None"}}, {"answer", i % 4},
          {"error_type", type}, {"source", nullptr}, {"correct_answer", right}, {"potential_reason", nullptr}};
}

// Folder mmlu_redux/ with the files of the first version, or of all subjects.
class MmluReduxFolder : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(root_);
    fs::create_directories(root_ / "mmlu_redux");
    std::string text;
    for (int i = 0; i < 100; ++i) text += row(i).dump() + "\n";
    for (const MmluSubject& subject : mmlu_subjects()) write(subject.name, text);
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& subject, const std::string& text) {
    std::ofstream(root_ / "mmlu_redux" / (subject + ".jsonl"), std::ios::binary) << text;
  }
  // A file of a hundred rows that begins with these.
  void write_rows(const std::string& subject, const std::vector<json>& first) {
    std::string text;
    for (size_t i = 0; i < 100; ++i) text += (i < first.size() ? first[i] : row(static_cast<int>(i))).dump() + "\n";
    write(subject, text);
  }
  void keep_first_version() {
    for (const char* later : {"abstract_algebra", "college_biology", "computer_security", "elementary_mathematics",
                              "high_school_biology", "high_school_computer_science", "high_school_european_history",
                              "high_school_government_and_politics", "high_school_microeconomics",
                              "high_school_psychology", "high_school_world_history", "human_sexuality",
                              "international_law", "jurisprudence", "management", "marketing", "medical_genetics",
                              "moral_disputes", "moral_scenarios", "nutrition", "prehistory", "professional_medicine",
                              "professional_psychology", "security_studies", "sociology", "us_foreign_policy",
                              "world_religions"})
      fs::remove(root_ / "mmlu_redux" / (std::string(later) + ".jsonl"));
  }
  MmluRedux read(const std::string& rows = "ok", const std::vector<std::string>& subjects = {}) {
    return read_mmlu_redux(root_.string(), rows, subjects);
  }

  const fs::path root_ = fs::temp_directory_path() / ("kdabench_redux_" + std::to_string(getpid()));
};

TEST_F(MmluReduxFolder, RowsThatAreScored) {
  write_rows("virology", {row(0, "wrong_groundtruth", "C"), row(1, "wrong_groundtruth", " 3\n"), row(2, "wrong_groundtruth"),
                     row(3, "wrong_groundtruth", "A or B"), row(4, "wrong_groundtruth", "4"), row(5, "no_correct_answer", "A"),
                     row(6, "multiple_correct_answers", "AB"), row(7, "bad_question_clarity"), row(8, "bad_options_clarity"),
                     row(9, "expert"), row(10)});
  const MmluRedux ok = read("ok", {"virology", "anatomy", "virology"});
  EXPECT_EQ(ok.title, "MMLU-Redux 2.0, rows annotated ok");
  EXPECT_EQ(ok.questions, 5690);
  ASSERT_EQ(ok.tasks.size(), 2u);
  EXPECT_STREQ(ok.tasks[0].subject.name, "anatomy");
  const MmluTask& virology = ok.tasks[1];
  ASSERT_EQ(virology.questions.size(), 90u);
  EXPECT_EQ(virology.questions[0].text, " q10 ");
  EXPECT_EQ(virology.questions[0].letter(), 'C');
  EXPECT_EQ(virology.questions[0].choices[3], "None");

  const MmluRedux corrected = read("corrected", {"virology"});
  EXPECT_EQ(corrected.questions, 5692);
  ASSERT_EQ(corrected.tasks[0].questions.size(), 92u);
  EXPECT_EQ(corrected.tasks[0].questions[0].letter(), 'C');       // was A
  EXPECT_EQ(corrected.tasks[0].questions[1].letter(), 'D');       // was B
  EXPECT_EQ(read().tasks.size(), 57u);
}

TEST_F(MmluReduxFolder, FirstVersionHasThirtySubjects) {
  keep_first_version();
  const MmluRedux redux = read();
  EXPECT_EQ(redux.title, "MMLU-Redux 1.0, rows annotated ok");
  EXPECT_EQ(redux.tasks.size(), 30u);
  EXPECT_EQ(redux.questions, 3000);
  EXPECT_SAYS(read("ok", {"sociology"}), "has no sociology.jsonl; it holds the 30 subjects");
}

TEST_F(MmluReduxFolder, BadInputIsOneSentence) {
  EXPECT_SAYS(read("ok", {"anatomi"}), "unknown MMLU subject 'anatomi'; did you mean anatomy?");
  fs::remove(root_ / "mmlu_redux" / "sociology.jsonl");
  EXPECT_SAYS(read(), "sociology.jsonl");
  SetUp();
  write("anatomy", row(0).dump() + "\n");
  EXPECT_SAYS(read(), "anatomy.jsonl has 1 questions; MMLU-Redux has 100 there");
  write_rows("anatomy", {row(0), row(1, "fine")});
  EXPECT_SAYS(read(), "anatomy.jsonl:2 has the error_type 'fine'; wanted ok, wrong_groundtruth, bad_question_clarity");
  json bad = row(0);
  bad["answer"] = 4;
  write_rows("anatomy", {bad});
  EXPECT_SAYS(read(), "anatomy.jsonl:1 has the answer 4; wanted 0, 1, 2 or 3.");
  bad = row(0);
  bad["choices"] = {"a", "b", "c"};
  write_rows("anatomy", {bad});
  EXPECT_SAYS(read(), "anatomy.jsonl:1 has 3 choices; MMLU-Redux has 4.");
  bad = row(0);
  bad.erase("error_type");
  write_rows("anatomy", {bad});
  EXPECT_SAYS(read(), "anatomy.jsonl:1 is not a question of MMLU-Redux with question, choices");
  write("anatomy", row(0).dump() + "\n{\"question\"");
  EXPECT_SAYS(read(), "anatomy.jsonl:2 is cut off or damaged");
  std::vector<json> none;
  for (int i = 0; i < 100; ++i) none.push_back(row(i, "expert"));
  write_rows("anatomy", none);
  EXPECT_SAYS(read(), "anatomy.jsonl has no question that is scored.");
  fs::remove_all(root_ / "mmlu_redux");
  EXPECT_SAYS(read(), "mmlu_redux; wanted SUBJECT.jsonl in it");
}

TEST(MmluRedux, PromptByHand) {
  const MmluTask task{{"world_religions", "humanities", 171}, {}, {}};
  const MmluQuestion question{" Who? ", {"a", " b", "c", "Answer:"}, 1};
  EXPECT_EQ(mmlu_prefix(MmluStyle::kLmEval, task, 0) + mmlu_redux_question(question),
            "The following are multiple choice questions (with answers) about world religions.\n\nWho?\nA. a\nB.  b\nC. c\n"
            "D. Answer:\nPlease respond with the correct letter (A, B, C or D) without any additional comments, only the "
            "correct letter:");
}

// What re.findall(r"\b([ABCD])\b", text) of Python 3.11 gives first.
TEST(MmluRedux, FirstLetterThatStandsAlone) {
  const std::pair<const char*, std::optional<char>> table[] = {
      {"Answer: C", 'C'}, {" B.", 'B'}, {"(D) and A", 'D'}, {"**A**", 'A'}, {"E F", std::nullopt}, {"", std::nullopt},
      {"AB CD_ \u00c9A b", std::nullopt}, {"A good one is D", 'A'}, {"D\u0301", 'D'}, {"\xff" "C", 'C'},
  };
  for (const auto& [text, letter] : table) EXPECT_EQ(lone_letter(text, 'D', Which::kFirst), letter) << text;
}

}  // namespace
}  // namespace kdabench::suites
