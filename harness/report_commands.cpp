// kdabench validate, compare, table, readme, schema: everything that reads only reports.

#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "harness/bind.h"
#include "harness/cli.h"
#include "harness/parse.h"
#include "kernels/base/error.h"
#include "reports/compare.h"
#include "reports/schema.h"
#include "reports/table.h"

namespace kdabench {
namespace {

using reports::Exit;

int validate(const std::string& path) {
  const std::vector<reports::Violation> found = reports::validate(reports::read_json(path));
  for (const reports::Violation& violation : found) fmt::print("{}: {}\n", violation.path, violation.sentence);
  require(found.empty(), path, " breaks the schema or its rules in ", found.size(),
          found.size() == 1 ? " place." : " places.");
  fmt::print("{} is a valid kdabench report\n", path);
  return 0;
}

std::string markdown_comparison(const reports::Comparison& comparison) {
  std::string text = "| cell | verdict | base ms | new ms | ratio | bytes | note |\n|:--|:--|--:|--:|--:|:--|:--|\n";
  const auto time = [](const std::optional<double>& ns, const std::string& status) {
    return ns ? reports::readable_ms(*ns) : status.empty() ? "-" : status;
  };
  for (const reports::CellComparison& cell : comparison.cells)
    text += fmt::format("| {} | {} | {} | {} | {} | {} | {} |\n", cell.id, cell.verdict,
                        time(cell.base_median_ns, cell.base_status),
                        time(cell.candidate_median_ns, cell.candidate_status),
                        cell.time_ratio ? fmt::format("{:.3f}", *cell.time_ratio) : "-",
                        !cell.bytes_equal ? "-" : *cell.bytes_equal ? "equal" : "differ", cell.note);
  return text + fmt::format("\nRatio of medians, no statistics; threshold {:.3g}. Exit code {}: {}.\n",
                            comparison.options.threshold, static_cast<int>(comparison.exit),
                            reports::exit_name(comparison.exit));
}

struct CompareFlags {
  std::string base, candidate, threshold = "0.03", format = "text";
};

int compare(const CompareFlags& flags) {
  reports::CompareOptions options;
  options.threshold = parse_real("threshold", flags.threshold, 0);
  parse_choice("format", flags.format, {"text", "md", "json"});
  const reports::Comparison comparison = reports::compare_files(flags.base, flags.candidate, options);
  if (comparison.exit == Exit::usage) fail(comparison.problem);
  if (flags.format == "text") fmt::print("{}", reports::compare_table(comparison));
  if (flags.format == "md") fmt::print("{}", markdown_comparison(comparison));
  if (flags.format == "json") fmt::print("{}\n", reports::pretty(reports::compare_json(comparison)));
  return static_cast<int>(comparison.exit);
}

CLI::Option* required_path(CLI::App& command, const char* name, std::string& path, const char* help) {
  return command.add_option(name, path, help)->required()->type_name("");
}

}  // namespace

void add_report_commands(CLI::App& app, const Parts&, Action& action) {
  CLI::App* validate_command = app.add_subcommand("validate", "Check a report against its schema and its rules");
  const auto path = std::make_shared<std::string>();
  required_path(*validate_command, "REPORT", *path, "report.json");
  validate_command->footer("\nExit codes: 0 valid; 2 not, with every violation on stdout.");
  validate_command->callback([path, &action] { action = [path](const Call&) { return validate(*path); }; });

  CLI::App* compare_command = app.add_subcommand("compare", "Compare two reports, cell by cell");
  const auto flags = std::make_shared<CompareFlags>();
  required_path(*compare_command, "BASE", flags->base, "report before");
  required_path(*compare_command, "NEW", flags->candidate, "report after");
  FlagBinder{*compare_command}("threshold", flags->threshold, "Options", "share by which a median may be slower");
  FlagBinder{*compare_command}("format", flags->format, "Options", "text, md or json");
  compare_command->footer("\nExit codes: 0 nothing slower; 1 regression or missing cell; 2 unreadable; 4 invalid "
                          "cell;\n5 incorrect cell; 6 base missing or of another machine.");
  compare_command->callback([flags, &action] { action = [flags](const Call&) { return compare(*flags); }; });

  CLI::App* table_command = app.add_subcommand("table", "Print a report as tables");
  const auto markdown = std::make_shared<bool>(false);
  required_path(*table_command, "REPORT", *path, "report.json");
  FlagBinder{*table_command}("markdown", *markdown, "Options", "Markdown, with machine, commit and command");
  table_command->callback([path, markdown, &action] {
    action = [=](const Call&) {
      const reports::Report report = reports::read_report(*path);
      fmt::print("{}", *markdown ? reports::markdown_results(report)
                                 : reports::tables(report, reports::TableStyle::terminal));
      return 0;
    };
  });

  CLI::App* readme_command = app.add_subcommand("readme", "Put a report's tables between the markers of a file");
  const auto file = std::make_shared<std::string>("README.md");
  required_path(*readme_command, "REPORT", *path, "report.json");
  FlagBinder{*readme_command}("file", *file, "Options", "file with the two marker lines");
  readme_command->footer(fmt::format("\nThe markers are {} and {}, each on its own line.", reports::kResultsBegin,
                                     reports::kResultsEnd));
  readme_command->callback([path, file, &action] {
    action = [=](const Call&) {
      reports::replace_between_markers(*file, reports::markdown_results(reports::read_report(*path)));
      fmt::print("results of {} written to {}\n", *path, *file);
      return 0;
    };
  });

  CLI::App* schema_command = app.add_subcommand("schema", "Print the JSON Schema of a report");
  schema_command->callback([&action] {
    action = [](const Call&) {
      fmt::print("{}", reports::schema_text());
      return 0;
    };
  });
}

}  // namespace kdabench
