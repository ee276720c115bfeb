#pragma once
// GPQA on a model, zero-shot: the log-probabilities of " (A)" to " (D)" behind each prompt (lm-evaluation-harness,
// gpqa_*_zeroshot). No question's text goes into the report or the items.

#include "suites/suite.h"

namespace kdabench::suites {

Suite gpqa_suite();

}  // namespace kdabench::suites
