#pragma once
// MMLU: 57 subjects of multiple-choice questions, five worked examples before each, four letters to choose from.
//
//   prompt  = description, 5 x (question " " letter "\n\n"), question       no space at the end
//   question = text "\nA. " choice0 "\nB. " choice1 "\nC. " choice2 "\nD. " choice3 "\nAnswer:"
//   description = "The following are multiple choice questions (with answers) about " subject ".\n\n"
//
// lm-eval (lm-evaluation-harness, task `mmlu` with five examples): white space around a question's text is removed.
// hendrycks (hendrycks/test, evaluate.py): it stays, and the subject follows two spaces. evaluate.py drops examples
// while a prompt has more than 2,048 tokens of GPT-2; that crop belongs to whoever has a tokenizer: `shots`.
// In both, choices keep their white space, and '_' in a subject's name is written ' '.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kdabench::suites {

inline constexpr int kMmluShots = 5;

struct MmluSubject {
  const char* name;
  const char* group;                          // stem, humanities, social_sciences, other: lm-eval's four
  int64_t questions;                          // of the test split
};

// All of them, sorted by name.
std::span<const MmluSubject> mmlu_subjects();

// Those named, each once, sorted; all for none. Error: an unknown name.
std::vector<MmluSubject> mmlu_subjects(const std::vector<std::string>& names);

struct MmluQuestion {
  std::string text;
  std::array<std::string, 4> choices;
  int answer = 0;                             // 0 to 3
  char letter() const { return static_cast<char>('A' + answer); }
};

struct MmluTask {
  MmluSubject subject;
  std::vector<MmluQuestion> shots;            // the dev split, in file order
  std::vector<MmluQuestion> questions;        // the test split, in file order
};

// One split of one subject: columns question, choice0 to choice3 and answer (0 to 3), in any order.
std::vector<MmluQuestion> read_mmlu_csv(const std::string& path);

// `folder` holds mmlu/, or is that folder: dev/NAME_dev.csv and test/NAME_test.csv. All subjects, sorted by name, or
// those named. Error: a file that is missing, or of another length than MMLU's.
std::vector<MmluTask> read_mmlu(const std::string& folder, const std::vector<std::string>& subjects = {});

// The dev split alone.
std::vector<MmluQuestion> read_mmlu_shots(const std::string& folder, const MmluSubject& subject);

enum class MmluStyle { kLmEval, kHendrycks };

// What all prompts of a subject begin with: the description and the first `shots` examples.
std::string mmlu_prefix(MmluStyle style, const MmluTask& task, int shots = kMmluShots);

// What follows it; the prompt is the two together, and its continuations are " A", " B", " C" and " D".
std::string mmlu_question(MmluStyle style, const MmluQuestion& question);

// ---- from predictions to accuracy -----------------------------------------------------------------------------------

struct MmluChoice {
  int letter = 0;                             // 0 to 3
  bool tied = false;                          // another letter had the same score
};

// The highest of four log-probabilities; of equal ones the first, as numpy's argmax. Error: one of them is NaN.
MmluChoice mmlu_choice(std::span<const float, 4> scores);

struct MmluScore {
  std::string name;
  int64_t questions = 0, correct = 0, ties = 0;

  double accuracy() const;
  // Of that mean, all its questions taken as one sample: sqrt(p (1 - p) / (n - 1)). Nothing for a single question.
  // lm-eval says the same for a subject; for groups and the total it leaves out the variance between subjects.
  std::optional<double> standard_error() const;
};

struct MmluResult {
  std::vector<MmluScore> subjects;            // in the order of the tasks
  std::vector<MmluScore> groups;              // sorted by name; only those with questions
  MmluScore total;                            // every question weighs the same, as in the groups
};

// choices[i][j] answers tasks[i].questions[j]. Error: not one choice for every question.
MmluResult mmlu_result(std::span<const MmluTask> tasks, std::span<const std::vector<MmluChoice>> choices);

}  // namespace kdabench::suites
