#pragma once
// MMLU-Redux ("Are We Done with MMLU?", arXiv 2406.04127): a hundred questions of a subject's MMLU test, each annotated by
// hand. The first version has 30 subjects, 2.0 all 57. A subject's file is what `datasets` exports, an object a line:
//
//   load_dataset("edinburgh-dawg/mmlu-redux-2.0", NAME)["test"].to_json("mmlu_redux/NAME.jsonl")
//
// with question, choices (four), answer (0 to 3, MMLU's), error_type and correct_answer. Which rows are scored:
//
// ok          those annotated "ok", as in lm-evaluation-harness (mmlu_redux_*_generative 5.0)
// corrected   those, and "wrong_groundtruth" where correct_answer names a choice, A to D or 0 to 3, which is then the
//             answer
//
// The rest (unclear question or options, no or several right answers, left to experts) is never scored.

#include <string>
#include <vector>

#include "suites/mmlu.h"

namespace kdabench::suites {

inline constexpr int64_t kMmluReduxTokens = 256;                  // to generate

struct MmluRedux {
  std::string title;                          // the version, and which rows: "MMLU-Redux 2.0, rows annotated ok"
  int64_t questions = 0;                      // that are scored, of all subjects
  std::vector<MmluTask> tasks;                // without examples: those are the dev split of MMLU; sorted by name
};

// `folder` holds mmlu_redux/. `rows` is ok or corrected; `subjects` those wanted, or none for all. Error: a file that is
// missing or damaged, another number of rows than a hundred, an annotation that is not known.
MmluRedux read_mmlu_redux(const std::string& folder, const std::string& rows, const std::vector<std::string>& subjects = {});

// For generated answers, behind the subject's description without examples; of the answer, the first A to D that is a
// word by itself is read (lone_letter).
std::string mmlu_redux_question(const MmluQuestion& question);

}  // namespace kdabench::suites
