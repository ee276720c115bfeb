#pragma once
// One HTML file that holds everything: claims, figures, tables, every cell with what made it. It loads nothing; its
// Content-Security-Policy says so. Tables sort by a click on a column.

#include <string>
#include <vector>

#include "reports/claims.h"

namespace kdabench::reports {

struct HtmlFigure {
  std::string name;                    // file name without its ending
  std::string svg;
};

// Every *.svg of a folder, by name. Throws Error for a folder that cannot be read.
std::vector<HtmlFigure> figures_in(const fs::path& folder);

// `claims` are those judged from these sources.
std::string html_report(const std::vector<Source>& sources, const std::vector<ClaimResult>& claims,
                        const std::vector<HtmlFigure>& figures);

}  // namespace kdabench::reports
