// kdabench report: reports, claims and figures as one HTML file.

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "claims_data.h"
#include "harness/bind.h"
#include "harness/cli.h"
#include "kernels/base/error.h"
#include "reports/html.h"

namespace kdabench {
namespace {

namespace fs = std::filesystem;

struct ReportFlags {
  std::vector<std::string> reports;
  std::string html, figures;
  bool force = false;
};

int report(const ReportFlags& flags) {
  require(flags.force || !fs::exists(flags.html), flags.html, " exists; --force replaces it.");
  reports::check_writable(flags.html);
  std::vector<reports::Source> sources;
  for (const std::string& path : flags.reports) sources.push_back(reports::read_source(path));
  const auto claims = reports::judge(reports::claims_from_json(reports::Json::parse(build::kClaims)), sources);
  const fs::path beside = fs::path(flags.reports.front()).parent_path();
  const fs::path folder = !flags.figures.empty() ? fs::path(flags.figures) : beside.empty() ? fs::path(".") : beside;
  const std::vector<reports::HtmlFigure> figures = reports::figures_in(folder);
  const std::string page = reports::html_report(sources, claims, figures);
  const fs::path temporary = flags.html + ".tmp";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << page;
  file.close();
  std::error_code error;
  if (file) fs::rename(temporary, flags.html, error);
  require(file && !error, flags.html, " could not be written; free space or give another --html.");
  size_t cells = 0;
  for (const reports::Source& source : sources) cells += source.report.cells.size();
  fmt::print("{}: {} cells, {} claims, {} figures, {:.1f} MB\n", flags.html, cells, claims.size(), figures.size(),
             double(page.size()) / 1e6);
  if (figures.empty())
    fmt::print("no *.svg in {}: draw them with python3 -m reports.plots REPORT --out DIR, then --figures DIR\n",
               folder.string());
  return 0;
}

}  // namespace

void add_html_command(CLI::App& app, const Parts&, Action& action) {
  CLI::App* command = app.add_subcommand("report", "Reports, claims and figures as one HTML file");
  const auto flags = std::make_shared<ReportFlags>();
  command->add_option("REPORT", flags->reports, "reports, and kernel_bench's JSON")->required()->type_name("");
  FlagBinder bind{*command};
  bind("html", flags->html, "Options", "file to write");
  bind("figures", flags->figures, "Options", "folder of *.svg to embed; the first report's without it");
  bind("force", flags->force, "Options", "replace the file");
  command->get_option("--html")->required();
  command->callback([flags, &action] { action = [flags](const Call&) { return report(*flags); }; });
}

}  // namespace kdabench
