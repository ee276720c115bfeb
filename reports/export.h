#pragma once
// A report in the forms that other tools read. Times are those of the report; what kdabench does not know is left out
// or null, and where a reader insists on a field it holds that tool's default. A form that has no place for a cell (a
// cell without a time) leaves it out, and says how many.

#include <string>
#include <vector>

#include "reports/json.h"

namespace kdabench::reports {

struct Exported {
  std::string text;
  size_t left_out = 0;  // cells the form has no place for
};

// google-benchmark: a repetition a sample, then mean, median, stddev and cv; an error row for a cell that failed. No
// host
//   CPU time is measured: cpu_time is 0.
// llama-bench: rows as `llama-bench -o json` prints. One sample is one step of the whole batch, so n_gen = batch and
//   avg_ts = n_gen / avg_ns; n_depth is the context.
// nvbench: file version 1.0.0, a benchmark a suite, times in seconds under nv/cold/time; failed cells are skipped
// states. github-action-benchmark: customSmallerIsBetter, TPOT or median, and bytes of cache. csv: a row a cell,
// every scalar field of the record a column, named by its path. markdown, latex: the tables of `kdabench table`.
const std::vector<std::string>& export_formats();

// Throws Error for an unknown format.
Exported export_report(const Report& report, const std::string& format);

}  // namespace kdabench::reports
