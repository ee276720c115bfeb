#include "suites/mmlu_redux.h"

#include <algorithm>
#include <cassert>
#include <filesystem>
#include <optional>

#include "suites/jsonl.h"

namespace kdabench::suites {
namespace {

namespace fs = std::filesystem;

constexpr size_t kRows = 100;                 // of each subject
constexpr const char* kFirstVersion[] = {
    "anatomy", "astronomy", "business_ethics", "clinical_knowledge", "college_chemistry", "college_computer_science",
    "college_mathematics", "college_medicine", "college_physics", "conceptual_physics", "econometrics",
    "electrical_engineering", "formal_logic", "global_facts", "high_school_chemistry", "high_school_geography",
    "high_school_macroeconomics", "high_school_mathematics", "high_school_physics", "high_school_statistics",
    "high_school_us_history", "human_aging", "logical_fallacies", "machine_learning", "miscellaneous", "philosophy",
    "professional_accounting", "professional_law", "public_relations", "virology",
};
constexpr std::string_view kNeverScored[] = {"bad_question_clarity", "bad_options_clarity", "no_correct_answer",
                                             "multiple_correct_answers", "expert"};

bool in_first_version(const std::string& subject) {
  return std::find(std::begin(kFirstVersion), std::end(kFirstVersion), subject) != std::end(kFirstVersion);
}

// A to D, or 0 to 3; nothing for what else an annotator wrote.
std::optional<int> named_choice(std::string_view text) {
  text = stripped(text);
  if (text.size() != 1) return {};
  for (const char first : {'A', '0'})
    if (text[0] >= first && text[0] < first + 4) return text[0] - first;
  return {};
}

// The row's answer; nothing for a row that is not scored.
std::optional<int> answer_of(const nlohmann::json& row, bool corrected, const std::string& where) {
  const std::string type = row.at("error_type");
  if (type == "ok") {
    const int answer = row.at("answer");
    require(answer >= 0 && answer < 4, where, " has the answer ", answer, "; wanted 0, 1, 2 or 3.");
    return answer;
  }
  if (type == "wrong_groundtruth") {
    const nlohmann::json& right = row.at("correct_answer");     // null where the annotator gave none
    return corrected && right.is_string() ? named_choice(right.get<std::string>()) : std::nullopt;
  }
  require(std::find(std::begin(kNeverScored), std::end(kNeverScored), type) != std::end(kNeverScored), where,
          " has the error_type '", type, "'; wanted ok, wrong_groundtruth, ",
          joined({std::begin(kNeverScored), std::end(kNeverScored)}, ", "), ".");
  return {};
}

std::vector<MmluQuestion> read_subject(const std::string& path, bool corrected) {
  std::vector<MmluQuestion> questions;
  size_t rows = 0;
  read_json_lines(path, "a question of MMLU-Redux with question, choices, answer, error_type and correct_answer",
                  [&](const nlohmann::json& row, int64_t line) {
    ++rows;
    const std::string where = path + ":" + std::to_string(line);
    const std::vector<std::string> choices = row.at("choices");
    require(choices.size() == 4, where, " has ", choices.size(), " choices; MMLU-Redux has 4.");
    const std::optional<int> answer = answer_of(row, corrected, where);
    if (!answer) return;
    MmluQuestion question{row.at("question"), {}, *answer};
    std::copy(choices.begin(), choices.end(), question.choices.begin());
    questions.push_back(std::move(question));
  });
  require(rows == kRows, path, " has ", rows, " questions; MMLU-Redux has ", kRows,
          " there, and a score of fewer is no MMLU-Redux score.");
  return questions;
}

}  // namespace

MmluRedux read_mmlu_redux(const std::string& folder, const std::string& rows, const std::vector<std::string>& subjects) {
  assert(rows == "ok" || rows == "corrected");
  const std::vector<MmluSubject> wanted = mmlu_subjects(subjects);
  const fs::path root = fs::path(folder) / "mmlu_redux";
  std::error_code ignored;
  require(fs::is_directory(root, ignored), "no folder ", root.string(), "; wanted SUBJECT.jsonl in it for each of the "
          "subjects of MMLU-Redux, as suites/README.md says.");
  const auto file = [&](const std::string& subject) { return (root / (subject + ".jsonl")).string(); };
  const auto all = mmlu_subjects();
  const bool second = std::any_of(all.begin(), all.end(), [&](const MmluSubject& subject) {
    return !in_first_version(subject.name) && fs::exists(file(subject.name), ignored);
  });
  MmluRedux redux;
  redux.title = std::string("MMLU-Redux ") + (second ? "2.0" : "1.0") +
                (rows == "ok" ? ", rows annotated ok" : ", rows annotated ok or with another answer");
  for (const MmluSubject& subject : all) {
    if (!second && !in_first_version(subject.name)) continue;
    std::vector<MmluQuestion> questions = read_subject(file(subject.name), rows == "corrected");
    redux.questions += static_cast<int64_t>(questions.size());
    const bool asked = std::any_of(wanted.begin(), wanted.end(), [&](const MmluSubject& one) {
      return std::string_view(one.name) == subject.name;
    });
    if (!asked) continue;
    require(!questions.empty(), file(subject.name), " has no question that is scored.");
    redux.tasks.push_back({subject, {}, std::move(questions)});
  }
  for (const std::string& name : subjects)
    require(second || in_first_version(name), root.string(), " has no ", name, ".jsonl; it holds the 30 subjects of "
            "MMLU-Redux 1.0, and 2.0 has all 57.");
  return redux;
}

std::string mmlu_redux_question(const MmluQuestion& question) {
  std::string prompt = mmlu_question(MmluStyle::kLmEval, question);
  prompt.resize(prompt.rfind("\nAnswer:"));
  return prompt + "\nPlease respond with the correct letter (A, B, C or D) without any additional comments, only the "
                  "correct letter:";
}

}  // namespace kdabench::suites
