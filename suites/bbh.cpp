#include "suites/bbh.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "suites/text.h"

namespace kdabench::suites {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

size_t questions_of(const std::string& task) {
  return task == "causal_judgement" ? 187 : task == "penguins_in_a_table" ? 146 : task == "snarks" ? 178 : 250;
}

std::vector<BbhQuestion> read_questions(const std::string& path, size_t wanted) {
  const std::string text = read_text(path, "a task of BIG-Bench Hard");
  std::vector<BbhQuestion> questions;
  try {
    const json root = json::parse(text);
    for (const json& example : root.at("examples")) questions.push_back({example.at("input"), example.at("target")});
  } catch (const json::parse_error& error) {
    fail(path, " is damaged at byte ", error.byte, "; wanted a task of BIG-Bench Hard.");
  } catch (const json::exception&) {
    fail(path, " is JSON of another shape; wanted `examples`, each with input and target.");
  }
  require(questions.size() == wanted, path, " has ", questions.size(), " questions; BIG-Bench Hard has ", wanted,
          " there, and a score of fewer is no score of it.");
  return questions;
}

// After a line of dashes that ends the warning not to train on it.
std::string read_prefix(const std::string& path) {
  const std::string text = read_text(path, "a task's worked examples");
  require_utf8(text, path);
  constexpr std::string_view kEnd = "-----\n";
  const size_t at = text.find(kEnd);
  require(at != text.npos, path, " has no line -----; wanted a warning, that line, and the worked examples.");
  const std::string prefix = text.substr(at + kEnd.size());
  size_t examples = 0;
  for (size_t q = 0; (q = prefix.find("\n\nQ: ", q)) != prefix.npos; ++q) ++examples;
  require(examples == 3, path, " has ", examples, " worked examples that begin with `Q: `; wanted 3.");
  return prefix;
}

}  // namespace

const std::vector<std::string>& bbh_stops() {
  static const std::vector<std::string> stops = {"</s>", "Q", "\n\n"};
  return stops;
}

const std::vector<std::string>& bbh_tasks() {
  static const std::vector<std::string> names = {
      "boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa", "dyck_languages",
      "formal_fallacies", "geometric_shapes", "hyperbaton", "logical_deduction_five_objects",
      "logical_deduction_seven_objects", "logical_deduction_three_objects", "movie_recommendation",
      "multistep_arithmetic_two", "navigate", "object_counting", "penguins_in_a_table",
      "reasoning_about_colored_objects", "ruin_names", "salient_translation_error_detection", "snarks",
      "sports_understanding", "temporal_sequences", "tracking_shuffled_objects_five_objects",
      "tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects", "web_of_lies",
      "word_sorting"};
  return names;
}

std::vector<BbhTask> read_bbh(const std::string& folder, const std::string& task) {
  std::vector<std::string> names = bbh_tasks();
  if (!task.empty()) {
    require(std::find(names.begin(), names.end(), task) != names.end(), "unknown BBH task '", task,
            "'; the tasks are ", joined(names, ", "), ".");
    names = {task};
  }
  std::error_code ignored;
  const fs::path outer = folder, inner = outer / "bbh";
  const fs::path root = fs::is_directory(inner / "cot-prompts", ignored) ? inner : outer;
  std::vector<BbhTask> tasks;
  for (const std::string& name : names)
    tasks.push_back({name, read_prefix((root / "cot-prompts" / (name + ".txt")).string()),
                     read_questions((root / "bbh" / (name + ".json")).string(), questions_of(name))});
  return tasks;
}

std::string bbh_question(const BbhQuestion& question) {
  return "\n\nQ: " + question.input + "\nA: Let's think step by step.\n";
}

std::optional<std::string> bbh_answer(std::string_view generated) {
  const std::optional<std::string_view> found = after_phrase(until_stop(generated, bbh_stops()), "the answer is ");
  if (!found) return {};
  return std::string(stripped(*found));
}

GeneratedResult bbh_result(std::span<const BbhTask> tasks,
                           std::span<const std::vector<std::optional<std::string>>> answers) {
  require(tasks.size() == answers.size(), "BBH: ", answers.size(), " tasks answered of ", tasks.size(), ".");
  std::vector<GeneratedScore> scores;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const BbhTask& task = tasks[i];
    require(!task.questions.empty() && task.questions.size() == answers[i].size(), "BBH, ", task.name, ": ",
            answers[i].size(), " answers to ", task.questions.size(), " questions.");
    GeneratedScore score{task.name};
    for (size_t j = 0; j < answers[i].size(); ++j) {
      score.questions += 1;
      score.unread += !answers[i][j];
      score.correct += answers[i][j] == task.questions[j].target;
    }
    scores.push_back(std::move(score));
  }
  return generated_result("bbh", std::move(scores));
}

}  // namespace kdabench::suites
