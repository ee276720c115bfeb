#pragma once
// What accuracy suites will take, before anything is loaded: prompts, tokens, and about how long at assumed rates.

#include <string>
#include <vector>

#include "suites/runner.h"

namespace kdabench {

struct ScoreForecast {
  suites::Task task;
  suites::Workload work;
  double seconds = 0;                    // at the rates below
};

// Rates that an estimate assumes: of one device, and how much of them prefill and decode reach.
struct AssumedRates {
  double read_bytes_per_s, flops_per_s;
};
AssumedRates assumed_rates(DeviceKind device);

// Reads the prompts' sources of every accuracy cell, so that whatever is wrong with data, names, tokenizer or lengths is
// an Error here. Cells of other suites are not in it.
std::vector<ScoreForecast> score_forecast(const std::vector<const suites::Suite*>& suites, const suites::Plan& plan);

// 3 s, 12 min, 1.5 h; no less than 1 s.
std::string readable_seconds(double seconds);

// One sentence over all of them.
std::string estimate_text(const std::vector<ScoreForecast>& forecasts);

// A table, one line a cell, and that sentence.
void print_score_forecast(const std::vector<ScoreForecast>& forecasts);

}  // namespace kdabench
