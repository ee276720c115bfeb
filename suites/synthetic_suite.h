#pragma once
// The paper's synthetic tests on a model: sequences of a length, and the share of asked tokens that are the argmax. One
// cell a model, length and task; its rows hold token and sequence accuracy.

#include "suites/suite.h"

namespace kdabench::suites {

Suite synthetic_suite();

}  // namespace kdabench::suites
