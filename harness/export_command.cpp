// kdabench export, migrate: a report in another form, or in this version's.

#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <memory>

#include "harness/bind.h"
#include "harness/cli.h"
#include "harness/parse.h"
#include "kernels/base/error.h"
#include "reports/export.h"
#include "reports/migrate.h"
#include "reports/schema.h"

namespace kdabench {
namespace {

namespace fs = std::filesystem;

// Writes beside the file, then renames. Refuses to replace a file unless forced.
void write_text(const std::string& path, const std::string& text, bool force) {
  require(force || !fs::exists(path), path, " exists; --force replaces it.");
  reports::check_writable(path);
  const fs::path temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  std::error_code error;
  if (file) fs::rename(temporary, path, error);
  require(file && !error, path, " could not be written; free space or give another --out.");
}

struct ExportFlags {
  std::string report, format, out;
  bool force = false;
};

int export_report(const ExportFlags& flags) {
  parse_choice("format", flags.format, reports::export_formats());
  const reports::Report report = reports::read_report(flags.report);
  const reports::Exported exported = reports::export_report(report, flags.format);
  if (flags.out.empty())
    fmt::print("{}", exported.text);
  else
    write_text(flags.out, exported.text, flags.force);
  if (exported.left_out)
    fmt::print(stderr, "{} of {} cells have no place in {} and are left out\n", exported.left_out, report.cells.size(),
               flags.format);
  return 0;
}

struct MigrateFlags {
  std::string report, out;
  bool force = false;
};

int migrate(const MigrateFlags& flags) {
  const reports::Json old = reports::read_json(flags.report), made = reports::migrate(old);
  const std::vector<reports::Violation> found = reports::validate(made);
  require(found.empty(), flags.report, " breaks the schema: ", found.empty() ? "" : found.front().path, ": ",
          found.empty() ? "" : found.front().sentence, "; it was not migrated.");
  write_text(flags.out, reports::pretty(made) + "\n", flags.force);
  fmt::print("{}: schema {} -> {}\n", flags.out, old["schema_version"].get<std::string>(),
             made["schema_version"].get<std::string>());
  return 0;
}

}  // namespace

void add_export_commands(CLI::App& app, const Parts&, Action& action) {
  CLI::App* command = app.add_subcommand("export", "A report in the form that another tool reads");
  const auto flags = std::make_shared<ExportFlags>();
  command->add_option("REPORT", flags->report, "report.json")->required()->type_name("");
  FlagBinder bind{*command};
  bind("format", flags->format, "Options", fmt::format("{}", fmt::join(reports::export_formats(), ", ")).c_str());
  bind("out", flags->out, "Options", "file to write; standard output without it");
  bind("force", flags->force, "Options", "replace the file");
  command->footer("\nExit codes: 0 written; 2 the report cannot be read or the file not written.");
  command->callback([flags, &action] { action = [flags](const Call&) { return export_report(*flags); }; });

  CLI::App* migrate_command = app.add_subcommand("migrate", "A report of an earlier version as one of this version");
  const auto migrate_flags = std::make_shared<MigrateFlags>();
  migrate_command->add_option("OLD", migrate_flags->report, "report.json")->required()->type_name("");
  FlagBinder{*migrate_command}("out", migrate_flags->out, "Options", "file to write");
  FlagBinder{*migrate_command}("force", migrate_flags->force, "Options", "replace the file");
  migrate_command->get_option("--out")->required();
  migrate_command->callback(
      [migrate_flags, &action] { action = [migrate_flags](const Call&) { return migrate(*migrate_flags); }; });
}

}  // namespace kdabench
