#pragma once
// RULER on a model: prompts of a length, a greedy answer of the task's token budget, and the share of the references it
// holds. One cell a model, length and task, and one for the unweighted mean of the tasks.

#include "suites/suite.h"

namespace kdabench::suites {

Suite ruler_suite();

}  // namespace kdabench::suites
