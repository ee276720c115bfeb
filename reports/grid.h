#pragma once
// What tables are made of: columns under groups, and rows of text. Shared by the files that lay them out.

#include <set>
#include <string>
#include <vector>

#include "reports/record.h"

namespace kdabench::reports {

// A column has a group (a model) and a name under it; without a group the name stands alone.
struct Column {
  std::string group, name;
};

struct Grid {
  std::vector<Column> columns;
  std::vector<std::vector<std::string>> rows;
};

// In the order of the paper's tables, then by name.
std::vector<std::string> in_order(const std::set<std::string>& models);

// Accuracy: a row per length and task, or per subject; a block of columns per model. Scores in per cent.
Grid score_grid(const std::vector<const Cell*>& cells);

// What such a table has to say below it: what was scored, and which scores are chance.
std::set<std::string> score_notes(const std::vector<const Cell*>& cells);

}  // namespace kdabench::reports
