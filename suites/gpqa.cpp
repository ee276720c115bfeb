#include "suites/gpqa.h"

#include <algorithm>
#include <map>

#include "kernels/base/error.h"
#include "suites/csv.h"
#include "suites/python_random.h"
#include "suites/text.h"

namespace kdabench::suites {
namespace {

std::string cleaned(const std::string& text) {
  if (text.empty()) return " ";
  return replaced(replaced(stripped(text), " [title]", ". "), "  ", " ");
}

std::optional<std::string> last_in_parentheses(std::string_view text) {
  for (size_t at = text.size(); at-- > 2;)
    if (text[at] == ')' && text[at - 1] >= 'A' && text[at - 1] <= 'Z' && text[at - 2] == '(')
      return std::string(text.substr(at - 2, 3));
  return {};
}

// The last option whose words stand in the text, without case and punctuation. An option of nothing but punctuation
// is everywhere, the text's end included, so then nothing is found.
std::optional<std::string> last_option(const GpqaQuestion& question, std::string_view generated) {
  const auto plain = [](std::string_view text) { return without_punctuation(lowered(text)); };
  std::vector<std::string> options;
  std::map<std::string, std::string> letters;
  for (size_t i = 0; i < question.options.size(); ++i) {
    options.push_back(plain(stripped(question.options[i])));
    if (options.back().empty()) return {};
    letters[options.back()] = std::string("(") + static_cast<char>('A' + i) + ")";
  }
  const std::string text = plain(generated);
  std::optional<std::string> found;
  for (size_t at = 0; at < text.size();) {
    const auto option = std::find_if(options.begin(), options.end(), [&](const std::string& one) {
      return text.compare(at, one.size(), one) == 0;
    });
    if (option == options.end()) {
      ++at;
      continue;
    }
    found = *option;
    at += option->size();
  }
  if (!found) return {};
  const std::string words(stripped(*found));
  if (words.empty()) return {};
  const auto letter = letters.find(words);
  return letter == letters.end() ? words : letter->second;
}

// The last of :[\s]*(A|B|C|D).
std::optional<std::string> last_after_colon(std::string_view text) {
  for (size_t at = text.size(); at-- > 0;) {
    if (text[at] != ':') continue;
    const std::string_view rest = left_stripped(text.substr(at + 1));
    if (!rest.empty() && rest[0] >= 'A' && rest[0] <= 'D') return std::string("(") + rest[0] + ")";
  }
  return {};
}

}  // namespace

std::vector<GpqaQuestion> read_gpqa_csv(const std::string& path, uint64_t seed) {
  const CsvTable table = read_csv(path);
  const size_t text = table.column("Question"), correct = table.column("Correct Answer");
  std::vector<size_t> columns;
  for (const char* name : {"Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"})
    columns.push_back(table.column(name));
  columns.push_back(correct);
  PythonRandom random(seed);
  std::vector<GpqaQuestion> questions;
  for (const CsvRow& row : table.rows) {
    require(!stripped(row.fields[correct]).empty(), path, ":", row.line, " has no correct answer.");
    std::vector<std::string> options;
    for (const size_t column : columns) options.push_back(cleaned(row.fields[column]));
    const std::string answer = options.back();
    random.shuffle(options);
    GpqaQuestion question{row.fields[text], {}, 0};
    std::copy(options.begin(), options.end(), question.options.begin());
    question.answer = static_cast<int>(std::find(options.begin(), options.end(), answer) - options.begin());
    questions.push_back(std::move(question));
  }
  return questions;
}

GpqaTask read_gpqa(const std::string& path, uint64_t seed) {
  std::vector<GpqaQuestion> questions = read_gpqa_csv(path, seed);
  const size_t n = questions.size();
  require(n == 198 || n == 448 || n == 546, path, " has ", n, " questions; GPQA's sets have 198 (diamond), 448 (main) "
          "and 546 (extended), and a score of fewer is no GPQA score.");
  return {n == 198 ? "gpqa_diamond" : n == 448 ? "gpqa_main" : "gpqa_extended", std::move(questions)};
}

std::string gpqa_prompt(GpqaStyle style, const GpqaQuestion& question) {
  std::string prompt = "What is the correct answer to this question:" + question.text + "\nChoices:\n";
  for (size_t i = 0; i < question.options.size(); ++i)
    prompt.append("(").append(1, static_cast<char>('A' + i)).append(") ").append(question.options[i]).append("\n");
  return prompt + (style == GpqaStyle::kChoice ? "Answer:" : "Let's think step by step: ");
}

std::optional<std::string> gpqa_answer(GpqaReading reading, const GpqaQuestion& question, std::string_view generated) {
  if (reading == GpqaReading::kStrict) {
    const std::optional<std::string_view> found = after_phrase(generated, "The answer is ");
    if (!found) return {};
    return std::string(stripped(*found));
  }
  std::optional<std::string> answer = last_in_parentheses(generated);
  if (!answer) answer = last_option(question, generated);
  return answer ? answer : last_after_colon(generated);
}

bool gpqa_correct(const GpqaQuestion& question, const std::optional<std::string>& answer) {
  if (!answer) return false;
  constexpr std::string_view kPunctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  std::string bare;
  for (const char byte : lowered(*answer))
    if (kPunctuation.find(byte) == kPunctuation.npos) bare += byte;
  return bare == std::string(1, static_cast<char>('a' + question.answer));
}

GeneratedResult gpqa_result(const GpqaTask& task, std::span<const std::optional<std::string>> answers) {
  require(!task.questions.empty() && task.questions.size() == answers.size(), task.name, ": ", answers.size(),
          " answers to ", task.questions.size(), " questions.");
  GeneratedScore score{task.name};
  for (size_t i = 0; i < answers.size(); ++i) {
    score.questions += 1;
    score.unread += !answers[i];
    score.correct += gpqa_correct(task.questions[i], answers[i]);
  }
  return generated_result(task.name, {std::move(score)});
}

}  // namespace kdabench::suites
