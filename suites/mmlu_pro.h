#pragma once
// MMLU-Pro: fourteen categories of questions with up to ten options, answered in free text after five worked examples.
//
//   prompt   = description, 5 x (question " Let's think step by step. ..." "\n\n"), question
//   question = "Question:\n" text "\nOptions:\nA. " option ... "\nAnswer: Let's think step by step."
//
// official (TIGER-AI-Lab/MMLU-Pro f418b116db00, evaluate_from_local.py): options "N/A" are dropped; four line feeds
//   after the description; an answer is looked for in three ways.
// lm-eval (lm-evaluation-harness 4e7e0d47f33b, task mmlu_pro 3.1): white space around options is removed; one line
//   feed; the first way alone.
// Where the official program finds no answer it guesses at random; here that is wrong, and counted as unread.

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "suites/generated.h"

namespace kdabench::suites {

inline constexpr int kMmluProShots = 5;
inline constexpr int64_t kMmluProTokens = 2048;                   // to generate
inline constexpr const char* kMmluProStop = "Question:";

struct MmluProCategory {
  const char* name;
  int64_t questions;                          // of the test split; 12,032 in all
};

// All of them, sorted by name.
std::span<const MmluProCategory> mmlu_pro_categories();

struct MmluProQuestion {
  std::string category, text;
  std::vector<std::string> options;           // 3 to 10
  int answer = 0;                             // its index
  std::string worked;                         // cot_content; of the validation split
  char letter() const { return static_cast<char>('A' + answer); }
};

struct MmluProTask {
  MmluProCategory category;
  std::vector<MmluProQuestion> shots, questions;    // in file order
};

// One split as `datasets` exports it (load_dataset("TIGER-Lab/MMLU-Pro")[split].to_json(path)): an object a line with
// question, options, answer (a letter), category and, for examples, cot_content. Other fields are not looked at.
std::vector<MmluProQuestion> read_mmlu_pro_jsonl(const std::string& path);

// `folder` holds mmlu_pro/, or is that folder: validation.jsonl and test.jsonl. All categories, sorted by name, or the
// one named. Error: a category of another size than MMLU-Pro's, or an example without cot_content.
std::vector<MmluProTask> read_mmlu_pro(const std::string& folder, const std::string& category = "");

enum class MmluProStyle { kOfficial, kLmEval };

// What all prompts of a category begin with, and what follows it. evaluate_from_local.py drops examples while a prompt
// has 2,048 tokens or more: `shots` is for whoever has a tokenizer.
std::string mmlu_pro_prefix(MmluProStyle style, const MmluProTask& task, int shots = kMmluProShots);
std::string mmlu_pro_question(MmluProStyle style, const MmluProQuestion& question);

// The letter, A to J, or nothing.
//   1. the first "answer is X" or "answer is (X"
//   2. official: "answer: X" or "Answer: X", the last one of the first line that has one
//   3. official: the last X that is a word by itself
// `generated` is what comes before kMmluProStop.
std::optional<char> mmlu_pro_answer(MmluProStyle style, std::string_view generated);

// answers[i][j] is for tasks[i].questions[j]. Error: not one for every question.
GeneratedResult mmlu_pro_result(std::span<const MmluProTask> tasks,
                                std::span<const std::vector<std::optional<char>>> answers);

}  // namespace kdabench::suites
