#pragma once
// BIG-Bench Hard: 27 tasks, 6,511 questions, answered in free text after three worked examples.
//
//   prompt = the task's examples, "\n\nQ: " input "\nA: Let's think step by step.\n"
//
// Files as in suzgunmirac/BIG-Bench-Hard: bbh/TASK.json and cot-prompts/TASK.txt. The prompts are those of
// lm-evaluation-harness (task bbh_cot_fewshot 4.0), whose examples differ in white space for sports_understanding
// alone; the answer is read and compared as there: after the first "the answer is ", to the last but one character of
// the line, as it is written.

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "suites/generated.h"

namespace kdabench::suites {

inline constexpr int64_t kBbhTokens = 1024;                       // to generate
const std::vector<std::string>& bbh_stops();                      // "</s>", "Q", "\n\n"

struct BbhQuestion {
  std::string input, target;
};

struct BbhTask {
  std::string name;
  std::string prefix;                         // the description and three worked examples
  std::vector<BbhQuestion> questions;         // in file order
};

const std::vector<std::string>& bbh_tasks();  // names, sorted

// `folder` holds bbh/ and cot-prompts/, or a folder bbh that does. All tasks or the one named. Error: a file that is
// missing, damaged, or of another size.
std::vector<BbhTask> read_bbh(const std::string& folder, const std::string& task = "");

std::string bbh_question(const BbhQuestion& question);            // what follows the prefix

// What was generated before the first stop, read; nothing where it has no "the answer is ".
std::optional<std::string> bbh_answer(std::string_view generated);

// answers[i][j] is for tasks[i].questions[j]. Error: not one for every question.
GeneratedResult bbh_result(std::span<const BbhTask> tasks,
                           std::span<const std::vector<std::optional<std::string>>> answers);

}  // namespace kdabench::suites
