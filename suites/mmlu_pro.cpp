#include "suites/mmlu_pro.h"

#include <algorithm>
#include <cassert>
#include <filesystem>

#include "harness/engine/registry.h"
#include "suites/jsonl.h"

namespace kdabench::suites {
namespace {

namespace fs = std::filesystem;

constexpr MmluProCategory kCategories[] = {
    {"biology", 717},     {"business", 789}, {"chemistry", 1132}, {"computer science", 410}, {"economics", 844},
    {"engineering", 969}, {"health", 818},   {"history", 381},    {"law", 1101},             {"math", 1351},
    {"other", 924},       {"philosophy", 499}, {"physics", 1299}, {"psychology", 798},
};
constexpr int kLetters = 10;                  // A to J
constexpr const char* kThink = "Let's think step by step.";

bool is_letter(std::string_view text, size_t at) { return at < text.size() && text[at] >= 'A' && text[at] <= 'J'; }

std::optional<char> after_answer_is(std::string_view text) {
  constexpr std::string_view kPhrase = "answer is ";
  for (size_t at = 0; (at = text.find(kPhrase, at)) != text.npos; ++at) {
    size_t letter = at + kPhrase.size();
    if (letter < text.size() && text[letter] == '(') ++letter;
    if (is_letter(text, letter)) return text[letter];
  }
  return {};
}

// re.search(r".*[aA]nswer:\s*([A-J])"): a dot ends at the line's end, so the first line that has it; the star is
// greedy, so the last of that line. \s may go on to later lines.
std::optional<char> after_answer_colon(std::string_view text) {
  constexpr std::string_view kPhrase = "nswer:";
  std::optional<char> found;
  for (size_t at = 0, line = 0; (at = text.find(kPhrase, at)) != text.npos; ++at) {
    if (found && text.substr(line, at - line).find('\n') != text.npos) break;
    if (at == 0 || (text[at - 1] != 'a' && text[at - 1] != 'A')) continue;
    const std::string_view rest = left_stripped(text.substr(at + kPhrase.size()));
    if (!is_letter(rest, 0)) continue;
    found = rest[0];
    line = at;
  }
  return found;
}

std::vector<MmluProCategory> chosen_categories(const std::string& name) {
  if (name.empty()) return {std::begin(kCategories), std::end(kCategories)};
  std::vector<std::string> names;
  for (const MmluProCategory& category : kCategories) {
    if (category.name == name) return {category};
    names.push_back(category.name);
  }
  fail("unknown MMLU-Pro category '", name, "'; the categories are ", joined(names, ", "), ".");
}

std::vector<MmluProQuestion> of_category(const std::vector<MmluProQuestion>& all, const MmluProCategory& category) {
  std::vector<MmluProQuestion> questions;
  for (const MmluProQuestion& question : all)
    if (question.category == category.name) questions.push_back(question);
  return questions;
}

}  // namespace

std::span<const MmluProCategory> mmlu_pro_categories() { return kCategories; }

std::vector<MmluProQuestion> read_mmlu_pro_jsonl(const std::string& path) {
  std::vector<MmluProQuestion> questions;
  read_json_lines(path, "a question of MMLU-Pro with question, options, answer and category",
                  [&](const nlohmann::json& row, int64_t line) {
    MmluProQuestion question{row.at("category"), row.at("question"), row.at("options"), 0,
                             row.value("cot_content", std::string())};
    const std::string letter = row.at("answer");
    require(letter.size() == 1 && letter[0] >= 'A' && letter[0] < 'A' + kLetters &&
                letter[0] - 'A' < static_cast<int>(question.options.size()),
            path, ":", line, " has the answer '", letter, "' to ", question.options.size(), " options.");
    require(question.options.size() <= kLetters, path, ":", line, " has ", question.options.size(),
            " options; MMLU-Pro has at most ", kLetters, ".");
    question.answer = letter[0] - 'A';
    questions.push_back(std::move(question));
  });
  return questions;
}

std::vector<MmluProTask> read_mmlu_pro(const std::string& folder, const std::string& category) {
  const std::vector<MmluProCategory> categories = chosen_categories(category);
  std::error_code ignored;
  fs::path root = folder;
  if (fs::is_directory(root / "mmlu_pro", ignored)) root /= "mmlu_pro";
  const std::string examples = (root / "validation.jsonl").string(), tests = (root / "test.jsonl").string();
  const std::vector<MmluProQuestion> validation = read_mmlu_pro_jsonl(examples), test = read_mmlu_pro_jsonl(tests);
  std::vector<MmluProTask> tasks;
  for (const MmluProCategory& one : categories) {
    MmluProTask task{one, of_category(validation, one), of_category(test, one)};
    require(task.shots.size() == kMmluProShots, examples, " has ", task.shots.size(), " examples of ", one.name,
            "; MMLU-Pro has ", kMmluProShots, ".");
    for (const MmluProQuestion& shot : task.shots)
      require(!shot.worked.empty(), examples, ": an example of ", one.name, " has no cot_content.");
    require(static_cast<int64_t>(task.questions.size()) == one.questions, tests, " has ", task.questions.size(),
            " questions of ", one.name, "; MMLU-Pro has ", one.questions,
            " there, and a score of fewer is no MMLU-Pro score.");
    tasks.push_back(std::move(task));
  }
  return tasks;
}

std::string mmlu_pro_question(MmluProStyle style, const MmluProQuestion& question) {
  std::string prompt = "Question:\n" + question.text + "\nOptions:\n";
  char letter = 'A';
  for (const std::string& option : question.options) {
    // Later options move up, while the answer's letter stays what the file says: so does the official program.
    if (style == MmluProStyle::kOfficial && option == "N/A") continue;
    prompt += letter++;
    prompt.append(". ").append(style == MmluProStyle::kLmEval ? stripped(option) : std::string_view(option)) += '\n';
  }
  return prompt + "Answer: " + kThink;
}

std::string mmlu_pro_prefix(MmluProStyle style, const MmluProTask& task, int shots) {
  assert(shots >= 0 && static_cast<size_t>(shots) <= task.shots.size());
  std::string prefix = "The following are multiple choice questions (with answers) about " +
                       std::string(task.category.name) + ". Think step by step and then finish your answer with "
                       "\"the answer is (X)\" where X is the correct letter choice.";
  prefix += style == MmluProStyle::kOfficial ? "\n\n\n\n" : "\n";
  for (int i = 0; i < shots; ++i) {
    const MmluProQuestion& shot = task.shots[static_cast<size_t>(i)];
    const std::string question = mmlu_pro_question(style, shot), think = std::string("A: ") + kThink;
    // The example's own text begins with "A: Let's think step by step. ", which is also how the question ends.
    if (style == MmluProStyle::kLmEval)
      prefix += question + " " + replaced(shot.worked, think + " ", "");
    else
      prefix += question.substr(0, question.size() - (std::string("Answer: ") + kThink).size()) +
                replaced(shot.worked, think, std::string("Answer: ") + kThink);
    prefix += "\n\n";
  }
  return prefix;
}

std::optional<char> mmlu_pro_answer(MmluProStyle style, std::string_view generated) {
  std::optional<char> answer = after_answer_is(generated);
  if (style == MmluProStyle::kLmEval) return answer;
  if (!answer) answer = after_answer_colon(generated);
  return answer ? answer : lone_letter(generated, 'A' + kLetters - 1, Which::kLast);
}

GeneratedResult mmlu_pro_result(std::span<const MmluProTask> tasks,
                                std::span<const std::vector<std::optional<char>>> answers) {
  require(tasks.size() == answers.size(), "MMLU-Pro: ", answers.size(), " categories answered of ", tasks.size(), ".");
  std::vector<GeneratedScore> scores;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const MmluProTask& task = tasks[i];
    require(!task.questions.empty() && task.questions.size() == answers[i].size(), "MMLU-Pro, ", task.category.name,
            ": ", answers[i].size(), " answers to ", task.questions.size(), " questions.");
    GeneratedScore score{task.category.name};
    for (size_t j = 0; j < answers[i].size(); ++j) {
      score.questions += 1;
      score.unread += !answers[i][j];
      score.correct += answers[i][j] == task.questions[j].letter();
    }
    scores.push_back(std::move(score));
  }
  return generated_result("mmlu_pro", std::move(scores));
}

}  // namespace kdabench::suites
