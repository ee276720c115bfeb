#pragma once
// Benchmarks whose answer is read out of generated text, question by question behind worked examples that are read once
// a part: MMLU-Pro (parts are categories), BIG-Bench Hard (tasks), GPQA with thought (one part, no examples) and MMLU-Redux
// (subjects, no examples). One cell a model, with a row for each part.

#include "suites/suite.h"

namespace kdabench::suites {

Suite mmlu_pro_suite();
Suite bbh_suite();
Suite gpqa_cot_suite();
Suite mmlu_redux_generative_suite();

}  // namespace kdabench::suites
