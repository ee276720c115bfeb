#include "suites/mmlu.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <filesystem>
#include <map>
#include <string_view>

#include "harness/engine/registry.h"
#include "kernels/base/error.h"
#include "suites/csv.h"
#include "suites/text.h"

namespace kdabench::suites {
namespace {

constexpr MmluSubject kSubjects[] = {
    {"abstract_algebra", "stem", 100},
    {"anatomy", "stem", 135},
    {"astronomy", "stem", 152},
    {"business_ethics", "other", 100},
    {"clinical_knowledge", "other", 265},
    {"college_biology", "stem", 144},
    {"college_chemistry", "stem", 100},
    {"college_computer_science", "stem", 100},
    {"college_mathematics", "stem", 100},
    {"college_medicine", "other", 173},
    {"college_physics", "stem", 102},
    {"computer_security", "stem", 100},
    {"conceptual_physics", "stem", 235},
    {"econometrics", "social_sciences", 114},
    {"electrical_engineering", "stem", 145},
    {"elementary_mathematics", "stem", 378},
    {"formal_logic", "humanities", 126},
    {"global_facts", "other", 100},
    {"high_school_biology", "stem", 310},
    {"high_school_chemistry", "stem", 203},
    {"high_school_computer_science", "stem", 100},
    {"high_school_european_history", "humanities", 165},
    {"high_school_geography", "social_sciences", 198},
    {"high_school_government_and_politics", "social_sciences", 193},
    {"high_school_macroeconomics", "social_sciences", 390},
    {"high_school_mathematics", "stem", 270},
    {"high_school_microeconomics", "social_sciences", 238},
    {"high_school_physics", "stem", 151},
    {"high_school_psychology", "social_sciences", 545},
    {"high_school_statistics", "stem", 216},
    {"high_school_us_history", "humanities", 204},
    {"high_school_world_history", "humanities", 237},
    {"human_aging", "other", 223},
    {"human_sexuality", "social_sciences", 131},
    {"international_law", "humanities", 121},
    {"jurisprudence", "humanities", 108},
    {"logical_fallacies", "humanities", 163},
    {"machine_learning", "stem", 112},
    {"management", "other", 103},
    {"marketing", "other", 234},
    {"medical_genetics", "other", 100},
    {"miscellaneous", "other", 783},
    {"moral_disputes", "humanities", 346},
    {"moral_scenarios", "humanities", 895},
    {"nutrition", "other", 306},
    {"philosophy", "humanities", 311},
    {"prehistory", "humanities", 324},
    {"professional_accounting", "other", 282},
    {"professional_law", "humanities", 1534},
    {"professional_medicine", "other", 272},
    {"professional_psychology", "social_sciences", 612},
    {"public_relations", "social_sciences", 110},
    {"security_studies", "social_sciences", 245},
    {"sociology", "social_sciences", 201},
    {"us_foreign_policy", "social_sciences", 100},
    {"virology", "other", 166},
    {"world_religions", "humanities", 171},
};

std::vector<MmluQuestion> read_split(const std::filesystem::path& folder, const MmluSubject& subject,
                                     const std::string& split, int64_t wanted) {
  const std::string path = (folder / split / (std::string(subject.name) + "_" + split + ".csv")).string();
  std::vector<MmluQuestion> questions = read_mmlu_csv(path);
  require(static_cast<int64_t>(questions.size()) == wanted, path, " has ", questions.size(), " questions; MMLU has ",
          wanted, " there, and a score of fewer is no MMLU score.");
  return questions;
}

std::filesystem::path folder_of(const std::string& folder, std::initializer_list<const char*> splits) {
  std::error_code ignored;
  std::filesystem::path root = folder;
  require(std::filesystem::is_directory(root, ignored), "no folder ", folder, "; wanted the one that holds mmlu/.");
  if (std::filesystem::is_directory(root / "mmlu", ignored)) root /= "mmlu";
  for (const char* split : splits)
    require(std::filesystem::is_directory(root / split, ignored), root.string(), " has no folder ", split,
            "; wanted mmlu/ with dev/ and test/.");
  return root;
}

void add(MmluScore& score, const MmluScore& part) {
  score.questions += part.questions;
  score.correct += part.correct;
  score.ties += part.ties;
}

}  // namespace

std::span<const MmluSubject> mmlu_subjects() { return kSubjects; }

std::vector<MmluSubject> mmlu_subjects(const std::vector<std::string>& names) {
  if (names.empty()) return {std::begin(kSubjects), std::end(kSubjects)};
  std::vector<std::string> known;
  for (const MmluSubject& subject : kSubjects) known.push_back(subject.name);
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string near = nearest(name, known);
    fail("unknown MMLU subject '", name, "'", near.empty() ? "" : "; did you mean " + near + "?",
         near.empty() ? "; wanted a name such as abstract_algebra." : "");
  }
  std::vector<MmluSubject> chosen;
  for (const MmluSubject& subject : kSubjects)
    if (std::find(names.begin(), names.end(), subject.name) != names.end()) chosen.push_back(subject);
  return chosen;
}

std::vector<MmluQuestion> read_mmlu_csv(const std::string& path) {
  const CsvTable table = read_csv(path);
  const size_t text = table.column("question"), answer = table.column("answer");
  std::array<size_t, 4> choices;
  for (size_t i = 0; i < choices.size(); ++i) choices[i] = table.column("choice" + std::to_string(i));
  std::vector<MmluQuestion> questions;
  for (const CsvRow& row : table.rows) {
    const std::string& digit = row.fields[answer];
    require(digit.size() == 1 && digit[0] >= '0' && digit[0] <= '3', path, ":", row.line, " has the answer '", digit,
            "'; wanted 0, 1, 2 or 3.");
    MmluQuestion question{row.fields[text], {}, digit[0] - '0'};
    for (size_t i = 0; i < choices.size(); ++i) question.choices[i] = row.fields[choices[i]];
    questions.push_back(std::move(question));
  }
  return questions;
}

std::vector<MmluTask> read_mmlu(const std::string& folder, const std::vector<std::string>& subjects) {
  const std::vector<MmluSubject> chosen = mmlu_subjects(subjects);
  const std::filesystem::path root = folder_of(folder, {"dev", "test"});
  std::vector<MmluTask> tasks;
  for (const MmluSubject& s : chosen)
    tasks.push_back({s, read_split(root, s, "dev", kMmluShots), read_split(root, s, "test", s.questions)});
  return tasks;
}

std::vector<MmluQuestion> read_mmlu_shots(const std::string& folder, const MmluSubject& subject) {
  return read_split(folder_of(folder, {"dev"}), subject, "dev", kMmluShots);
}

std::string mmlu_question(MmluStyle style, const MmluQuestion& question) {
  // MMLU has white space beyond ASCII there (U+0085), which lm-eval's str.strip() removes.
  std::string prompt(style == MmluStyle::kLmEval ? stripped(question.text) : std::string_view(question.text));
  for (size_t i = 0; i < question.choices.size(); ++i)
    prompt += std::string("\n") + static_cast<char>('A' + i) + ". " + question.choices[i];
  return prompt + "\nAnswer:";
}

std::string mmlu_prefix(MmluStyle style, const MmluTask& task, int shots) {
  assert(shots >= 0 && static_cast<size_t>(shots) <= task.shots.size());
  std::string subject = task.subject.name;
  std::replace(subject.begin(), subject.end(), '_', ' ');
  // evaluate.py writes every word of the subject after a space of its own, the first one too.
  if (style == MmluStyle::kHendrycks) subject = " " + subject;
  std::string prefix = "The following are multiple choice questions (with answers) about " + subject + ".\n\n";
  for (int i = 0; i < shots; ++i)
    prefix += mmlu_question(style, task.shots[i]) + " " + task.shots[i].letter() + "\n\n";
  return prefix;
}

MmluChoice mmlu_choice(std::span<const float, 4> scores) {
  for (const float score : scores) require(!std::isnan(score), "the score of an MMLU answer is NaN.");
  const auto best = std::max_element(scores.begin(), scores.end());
  return {static_cast<int>(best - scores.begin()), std::count(scores.begin(), scores.end(), *best) > 1};
}

double MmluScore::accuracy() const {
  assert(questions > 0);
  return static_cast<double>(correct) / static_cast<double>(questions);
}

std::optional<double> MmluScore::standard_error() const {
  if (questions < 2) return std::nullopt;
  const double p = accuracy();
  return std::sqrt(p * (1 - p) / static_cast<double>(questions - 1));
}

MmluResult mmlu_result(std::span<const MmluTask> tasks, std::span<const std::vector<MmluChoice>> choices) {
  require(tasks.size() == choices.size(), "MMLU: ", choices.size(), " subjects answered of ", tasks.size(), ".");
  MmluResult result;
  result.total.name = "mmlu";
  std::map<std::string, MmluScore> groups;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const MmluTask& task = tasks[i];
    require(!task.questions.empty() && task.questions.size() == choices[i].size(), "MMLU, ", task.subject.name, ": ",
            choices[i].size(), " answers to ", task.questions.size(), " questions.");
    MmluScore score{task.subject.name};
    for (size_t j = 0; j < choices[i].size(); ++j) {
      assert(choices[i][j].letter >= 0 && choices[i][j].letter < 4);
      add(score, {"", 1, choices[i][j].letter == task.questions[j].answer, choices[i][j].tied});
    }
    MmluScore& group = groups[task.subject.group];
    group.name = task.subject.group;
    add(group, score);
    add(result.total, score);
    result.subjects.push_back(std::move(score));
  }
  for (auto& [name, group] : groups) result.groups.push_back(std::move(group));
  return result;
}

}  // namespace kdabench::suites
