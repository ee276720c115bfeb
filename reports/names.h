#pragma once
// Cell ids are long because they are complete. A table says once what all its cells share, and lists the rest.

#include <string>
#include <utility>
#include <vector>

namespace kdabench::reports {

// What all ids share, and what is left of each. A single id is left whole.
std::pair<std::string, std::vector<std::string>> short_names(const std::vector<std::string>& ids);

}  // namespace kdabench::reports
