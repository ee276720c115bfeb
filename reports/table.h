#pragma once
// Results for people: aligned text for a terminal, Markdown for the README.

#include <cstdint>
#include <string>

#include "reports/json.h"

namespace kdabench::reports {

enum class TableStyle { terminal, markdown, latex, html };

// One section for each suite, config, device, dtype and protocol of the report; in it one row per context
// (and batch, where they vary). A cell without a time shows its status. LaTeX tables are booktabs'.
std::string tables(const Report& report, TableStyle style);

// `tables` in Markdown, with the GPU, the commit and the command above it; fits between the markers below.
std::string markdown_results(const Report& report);

inline constexpr const char* kResultsBegin = "<!-- results:begin -->";
inline constexpr const char* kResultsEnd = "<!-- results:end -->";

// Puts text between the two marker lines of a file and leaves the rest alone. Throws Error unless each marker
// occurs exactly once, in order.
void replace_between_markers(const fs::path& file, const std::string& text);

std::string readable_tokens(int64_t tokens);  // 4096 -> 4K, 1048576 -> 1M, 1000 -> 1000
std::string readable_bytes(double bytes);     // 8.46e9 -> 7.88 GiB
std::string readable_ms(double ns);           // three significant digits, unit not written
std::string readable_score(const Accuracy& accuracy);  // 0.2531, 0.01 -> 25.3 % +- 1.0 (chance)

}  // namespace kdabench::reports
