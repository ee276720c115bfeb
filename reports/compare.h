#pragma once
// Two reports, cell by cell, joined by id. A verdict compares two medians and knows nothing of noise: "ratio
// of medians, no statistics" is printed with it.

#include <optional>
#include <string>
#include <vector>

#include "reports/json.h"

namespace kdabench::reports {

// Exit codes of the tool. Where several apply, the worst wins: 2 > 5 > 4 > 6 > 1 > 3 > 0.
enum class Exit {
  pass = 0,
  regression = 1,
  usage = 2,  // also IO and schema
  inconclusive = 3,
  invalid = 4,
  incorrect = 5,
  no_baseline = 6,  // missing, or of another machine
};

const char* exit_name(Exit code);  // "pass", "regression", "usage, IO or schema error", ...
Exit worst(Exit a, Exit b);

struct CompareOptions {
  double threshold = 0.03;  // a median slower by more than this share is a regression
};

struct CellComparison {
  std::string id;
  std::string verdict;  // same slower faster more_bytes fewer_bytes missing extra failed recovered incorrect
                        // invalid no_baseline not_judged
  Exit exit = Exit::pass;
  std::string base_status, candidate_status;  // empty where the cell is absent
  std::optional<double> base_median_ns, candidate_median_ns;
  std::optional<double> time_ratio;  // candidate / base; above 1 is slower
  std::optional<bool>
      bytes_equal;   // cache per token, state per sequence, and allocation where the batch is the same
  std::string note;  // one sentence, empty when there is nothing to say
};

struct Comparison {
  CompareOptions options;
  std::string base, candidate;  // paths or names
  bool same_machine = false;
  std::vector<CellComparison> cells;  // order of base, then what only the candidate has
  std::string problem;                // why nothing was compared: a file that cannot be read
  Exit exit = Exit::pass;
};

Comparison compare(const Report& base, const Report& candidate, const CompareOptions& options = {});

// As `compare`, from files. Never throws for a bad file: a missing base is no_baseline, any other unreadable
// file is usage, and `problem` says which.
Comparison compare_files(const fs::path& base, const fs::path& candidate, const CompareOptions& options = {});

std::string compare_table(const Comparison& comparison);  // the last line is the name of the exit code
Json compare_json(const Comparison& comparison);

}  // namespace kdabench::reports
