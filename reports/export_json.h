#pragma once
// The JSON forms of reports/export.h.

#include "reports/export.h"

namespace kdabench::reports {

Exported google_benchmark_form(const Report& report);
Exported llama_bench_form(const Report& report);
Exported nvbench_form(const Report& report);
Exported github_action_form(const Report& report);

}  // namespace kdabench::reports
