#pragma once
// GPQA: graduate-level questions with four options, from the user's own CSV. The data set is gated, and its authors ask
// that no question be published in plain text: prompts of it belong in no log and no repository.
//
// After lm-evaluation-harness 4e7e0d47f33b, tasks gpqa_*_zeroshot and gpqa_*_cot_zeroshot 2.2. The options [incorrect
// 1 to 3, correct] of each question are shuffled by one stream of Python's `random`, in the file's order. lm-eval takes
// the stream of the whole process, whose state depends on what ran before; here the seed is said, 42 by default.

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "suites/generated.h"

namespace kdabench::suites {

struct GpqaQuestion {
  std::string text;
  std::array<std::string, 4> options;         // shuffled
  int answer = 0;                             // the index of the correct one; of equal ones the first
  char letter() const { return static_cast<char>('A' + answer); }
};

struct GpqaTask {
  std::string name;                           // gpqa_diamond (198), gpqa_main (448) or gpqa_extended (546)
  std::vector<GpqaQuestion> questions;
};

// The official CSV's columns Question, Correct Answer and Incorrect Answer 1 to 3; others are not looked at.
std::vector<GpqaQuestion> read_gpqa_csv(const std::string& path, uint64_t seed = 42);

// The set is told by its size. Error: of another size.
GpqaTask read_gpqa(const std::string& path, uint64_t seed = 42);

enum class GpqaStyle {
  kChoice,                                    // "...\nAnswer:", continued by " (A)" to " (D)": log-likelihoods
  kThink,                                     // "...\nLet's think step by step: ": generated text is read
};
std::string gpqa_prompt(GpqaStyle style, const GpqaQuestion& question);

enum class GpqaReading {
  kStrict,                                    // after the first "The answer is "
  kFlexible,                                  // the last "(X)"; else the last option's text; else the last ": X"
};

// What is read in generated text, as it stands; nothing where there is nothing.
std::optional<std::string> gpqa_answer(GpqaReading reading, const GpqaQuestion& question, std::string_view generated);

// Compared without case and ASCII punctuation: "(A)", "a" and "A." are the same.
bool gpqa_correct(const GpqaQuestion& question, const std::optional<std::string>& answer);

// answers[i] is for task.questions[i]. Error: not one for every question.
GeneratedResult gpqa_result(const GpqaTask& task, std::span<const std::optional<std::string>> answers);

}  // namespace kdabench::suites
