#pragma once
// A gate for reports alone, for continuous integration without a GPU: what follows from the model and the compiler must
// be equal, scores are compared item by item, and times only where both reports come from the same machine.
//
// Metrics are read from the JSON itself by their path within a cell, so that a rules file can name any number a report
// has, also one that this version does not know.

#include <optional>
#include <string>
#include <vector>

#include "reports/compare.h"

namespace kdabench::reports {

struct ExactRule {
  std::string path;                    // keys from the cell inwards, joined by dots: memory.parameters. A list on the
                                       // way stands for each of its entries, told apart by name and instance
  bool may_fall = false;               // less is better: it passes, and the base wants updating
};

// What a rules file says; these are the values of reports/gate_rules.json.
struct GateRules {
  std::vector<ExactRule> exact = {{"memory.parameters"},
                                  {"memory.weight_bytes"},
                                  {"memory.cache_bytes_per_token"},
                                  {"memory.state_bytes_per_sequence"},
                                  {"memory.cache_bytes_analytic"},
                                  {"memory.cache_bytes_allocated"},
                                  {"launches.kernels_per_step", true},
                                  {"resources.kernels.registers", true},
                                  {"resources.kernels.local_bytes", true}};
  // Reports hold one process each. Between processes the worst cells differ by 3.7 % (standard deviation), two of them
  // by 5.2 %: ten per cent is two of those. `kdabench ab` judges times; this catches disasters.
  bool judge_times = true;             // on the same machine; false: never
  double time_margin = 0.10;
  double error_rate = 0.025;           // of a score's paired test
  double max_mean_kl_increase = 0.001; // nats an item
};

// Throws Error for a file that is not a rules file, or has a key it does not know.
GateRules read_gate_rules(const fs::path& path);
Json gate_rules_json(const GateRules& rules);

struct GateRow {
  std::string id, metric;              // metric: a path, "status", "accuracy", "kl" or "time"
  std::string verdict;                 // pass improved fail inconclusive invalid incorrect missing extra no_baseline
                                       // not_judged
  Exit exit = Exit::pass;
  std::string base, candidate;         // as text; empty where there is nothing
  std::string note;
};

struct Gate {
  std::string base, candidate, rules;  // paths
  bool same_machine = false;
  std::vector<GateRow> rows;           // in the order of base, then what only the candidate has
  std::vector<std::string> unused;     // exact rules of which no cell of either report has a value
  std::string problem;                 // why nothing was judged
  Exit exit = Exit::pass;
};

// `base` and `candidate` are whole reports as JSON. Throws Error for what is no report.
Gate gate(const Json& base, const Json& candidate, const GateRules& rules);

// As `gate`, from files; never throws for a bad file. An empty `rules` means the built-in ones. A missing base is
// no_baseline, anything else that cannot be read is usage, and `problem` says which.
Gate gate_files(const fs::path& base, const fs::path& candidate, const std::string& rules);

// text, md, json, junit (XML) or github (workflow commands). The exit code's name is on the last line of text, md and
// github, and within json and junit.
std::string gate_output(const Gate& gate, const std::string& format);

}  // namespace kdabench::reports
