#pragma once
// Decode throughput at a context: check, fill, warm up, time. See reports/record.h for what a cell holds.

#include "suites/suite.h"

namespace kdabench::suites {

Suite decode_suite();

}  // namespace kdabench::suites
