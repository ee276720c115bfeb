#pragma once
// MMLU and MMLU-Redux on a model: the log-probabilities of " A" to " D" behind each prompt, the likeliest is the answer
// (lm-evaluation-harness, task `mmlu` with five examples). One cell a model, with rows for subjects and groups.

#include "suites/suite.h"

namespace kdabench::suites {

Suite mmlu_suite();
Suite mmlu_redux_suite();

}  // namespace kdabench::suites
