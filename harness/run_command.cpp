// kdabench run: from flags to a plan, from a plan to a report.

#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <memory>

#include "harness/bind.h"
#include "harness/ceilings.h"
#include "harness/cli.h"
#include "harness/dry_run.h"
#include "harness/score_forecast.h"
#include "harness/machine.h"
#include "harness/options.h"
#include "harness/parse.h"
#include "harness/progress.h"
#include "kernels/base/error.h"
#include "reports/compare.h"
#include "reports/json.h"
#include "reports/table.h"
#include "suites/runner.h"

namespace kdabench {
namespace {

namespace fs = std::filesystem;
using reports::Cell;
using reports::Exit;

constexpr const char* kFooter = R"(
Every flag but the paths takes a list where a list makes sense: --context 4K,128K,1M --batch 1,8.

A plan file is JSON; its keys are these flags, "suites" besides, and "sweeps": a list of objects with their own
context, batch, protocol and cache-budget. See suites/plans/.

Finished cells are kept in OUT.jsonl while the run lasts; --resume continues after an interruption. Accuracy suites keep
every scored item in OUT.items.jsonl, also afterwards; --resume scores nothing twice.

Exit codes: 0 every cell is ok, oom or skipped; 2 a cell ended in an error, or the command line or a file is wrong, or
nothing at all fits the device; 3 a cell ran into --timeout; 4 a measurement is invalid; 5 a result is incorrect.)";

// Cells of an earlier run with the same --out, by id. Those that ended in an error or a timeout are measured again.
std::map<std::string, Cell> kept_cells(const std::vector<Cell>& cells, const std::vector<suites::Task>& tasks) {
  std::map<std::string, const reports::Axes*> wanted;
  for (const suites::Task& task : tasks) wanted[task.cell.id] = &task.cell.axes;
  std::map<std::string, Cell> kept;
  for (const Cell& cell : cells) {
    if (cell.status == "error" || cell.status == "timeout") continue;
    if (cell.axes.protocol == "accuracy") continue;  // made again from its items, which know their prompts
    const auto at = wanted.find(cell.id);
    if (at == wanted.end()) continue;
    require(cell.axes.steps == at->second->steps && cell.axes.fill == at->second->fill, "--resume found ", cell.id,
            " measured with --steps ", cell.axes.steps, " --fill ", cell.axes.fill,
            "; give the same, or --force to start again.");
    kept[cell.id] = cell;
  }
  return kept;
}

std::string summary(const Cell& cell) {
  std::string where = fmt::format("{} {} {} x {}", cell.suite, cell.axes.model,
                                  reports::readable_tokens(cell.axes.context), cell.axes.batch);
  if (cell.axes.protocol == "accuracy")
    where = fmt::format("{} {}{} {}", cell.suite, cell.axes.model,
                        cell.axes.context > 0 ? " " + reports::readable_tokens(cell.axes.context) : "",
                        cell.axes.task.value_or(""));
  if (cell.status != "ok") return fmt::format("{}: {}. {}", where, cell.status, cell.status_reason);
  if (cell.timing) {
    const double rate = cell.throughput ? cell.throughput->tokens_per_s : 0;
    std::string line = fmt::format("{}: {} ms ", where, reports::readable_ms(cell.timing->stats.median_ns)) +
                       (cell.prefill ? fmt::format("a prompt, {:.0f} tokens/s", rate) : "a step");
    if (cell.floor && cell.floor->fraction) line += fmt::format(", {:.0f} % of its floor", 100 * *cell.floor->fraction);
    return line;
  }
  if (cell.accuracy && cell.accuracy->score)
    return fmt::format("{}: {} of {} items{}", where, reports::readable_score(*cell.accuracy), cell.accuracy->n,
                       cell.accuracy->score->random_weights ? ", random weights" : "");
  if (cell.memory)
    return fmt::format("{}: {} cached", where,
                       reports::readable_bytes(static_cast<double>(cell.memory->cache_bytes_allocated)));
  return where + ": ok";
}

class RunHost : public suites::Host {
 public:
  RunHost(ProgressLine& line, std::map<std::string, Cell> kept, reports::CellStream* stream, reports::ItemLog* items,
          Nvml* nvml)
      : line_(line), cells_(std::move(kept)), stream_(stream), items_(items), nvml_(nvml) {}

  bool finished_before(const std::string& id) const override { return cells_.count(id) > 0; }
  void starting(const std::string& what) override { line_.starting(what); }
  void progress(const std::string& what, double fraction) override { line_.update(what, fraction); }
  void finished(const Cell& cell) override {
    cells_[cell.id] = cell;
    if (stream_) stream_->append(cell);
    line_.finished(summary(cell));
  }
  std::optional<suites::GpuReading> gpu() override {
    if (!nvml_) return {};
    return nvml_->read();
  }
  const Cell* find_cell(const std::string& id) const override {
    const auto at = cells_.find(id);
    return at == cells_.end() ? nullptr : &at->second;
  }
  const reports::Item* find_item(const std::string& key) const override { return items_ ? items_->find(key) : nullptr; }
  void scored(const reports::Item& item) override {
    if (items_) items_->append(item);
  }

 private:
  ProgressLine& line_;
  std::map<std::string, Cell> cells_;         // kept and new
  reports::CellStream* stream_;
  reports::ItemLog* items_;
  Nvml* nvml_;
};

std::vector<const suites::Suite*> find_suites(const Parts& parts, const std::vector<std::string>& names) {
  std::vector<const suites::Suite*> found;
  std::vector<std::string> known;
  for (const suites::Suite& suite : parts.suites) known.push_back(suite.name);
  require(!names.empty(), "run wants at least one suite: ", fmt::format("{}", fmt::join(known, ", ")), ".");
  for (const std::string& name : names) {
    const std::string near = nearest(name, known);
    const auto at = std::find(known.begin(), known.end(), name);
    require(at != known.end(), "unknown suite '", name, "'; ", near.empty() ? "" : "did you mean " + near + "? ",
            "Known: ", fmt::format("{}", fmt::join(known, ", ")), ".");
    const suites::Suite* suite = &parts.suites[static_cast<size_t>(at - known.begin())];
    if (std::find(found.begin(), found.end(), suite) == found.end()) found.push_back(suite);
  }
  return found;
}

// Nothing is overwritten by accident, and nothing is measured that could not be written.
void check_output(const RunOptions& options) {
  require(!(options.resume && options.force), "--resume keeps what --force would discard; give one of them.");
  require(!options.resume || !options.out.empty(), "--resume needs --out, the report to continue.");
  if (options.out.empty()) return;
  const fs::path stream = reports::CellStream::path_for(options.out);
  if (!options.resume && !options.force) {
    require(!fs::exists(options.out), options.out, " exists; give --force to replace it, --resume to continue it, or "
            "another --out.");
    for (const fs::path& left : {stream, reports::ItemLog::path_for(options.out)})
      require(!fs::exists(left), left.string(), " is what an unfinished run left; give --resume to continue it or "
              "--force to discard it.");
  }
  reports::check_writable(options.out);
}

// A run in which no cell fits is a mistake in the command line, found before any work.
void check_something_fits(const std::vector<const suites::Suite*>& wanted, const std::vector<suites::Forecast>& rows,
                          const suites::Plan& plan) {
  std::string first;
  for (const suites::Suite* suite : wanted)
    if (suite->scores()) return;             // these choose what fits
  for (const suites::Forecast& row : rows) {
    if (row.fit.fits) return;
    if (first.empty()) first = row.task.cell.id + ": " + row.fit.reason;
  }
  fail("none of the cells fits the device; ", first, plan.device == DeviceKind::kCpu ? " This is --device cpu." : "");
}

Exit exit_of(const reports::Report& report) {
  Exit code = Exit::pass;
  for (const Cell& cell : report.cells) {
    if (cell.status == "error") code = worst(code, Exit::usage);
    if (cell.status == "incorrect") code = worst(code, Exit::incorrect);
    if (cell.status == "invalid") code = worst(code, Exit::invalid);
    if (cell.status == "timeout") code = worst(code, Exit::inconclusive);
  }
  return code;
}

// Runs of characters a shell would not split stay as they are.
std::string as_command(const std::vector<std::string>& argv) {
  std::string command;
  for (const std::string& word : argv) {
    const bool plain = !word.empty() && word.find_first_of(" \t\n'\"\\$&|;<>()*?[]{}~#!`") == std::string::npos;
    std::string quoted = "'";
    for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    command += (command.empty() ? "" : " ") + (plain ? word : quoted + "'");
  }
  return command;
}

// Those of an earlier report: many short runs, as in `kdabench ab`, need them measured once.
reports::Ceilings known_ceilings(const std::string& path, const std::string& fingerprint) {
  const reports::Report report = reports::read_report(path);
  require(report.machine.fingerprint == fingerprint, "--ceilings found ", path, " of another machine; leave it out.");
  require(report.ceilings.read_bytes_per_s.has_value(), "--ceilings found none in ", path, "; leave it out.");
  return report.ceilings;
}

int measure(const Call& call, RunOptions& options, const std::vector<const suites::Suite*>& wanted,
            const suites::Plan& plan) {
  std::string reason;
  require(plan.device != DeviceKind::kCuda || cuda_available(&reason), "--device cuda is not available: ", reason);
  check_output(options);
  const AssumedRates rates = assumed_rates(plan.device);
  const std::vector<suites::Forecast> cells =
      suites::forecast(wanted, plan, {device_memory(plan.device), rates.read_bytes_per_s, rates.flops_per_s});
  check_something_fits(wanted, cells, plan);
  const std::vector<ScoreForecast> scores = score_forecast(wanted, plan);

  Probe here = probe(plan.device);
  std::vector<Cell> earlier;
  std::unique_ptr<reports::CellStream> stream;
  std::unique_ptr<reports::ItemLog> items;
  if (!options.out.empty()) {
    if (options.resume && fs::exists(options.out)) {
      const reports::Report old = reports::read_report(options.out);
      require(old.machine.fingerprint == here.machine.fingerprint, "--resume found ", options.out,
              " of another machine; give another --out.");
      earlier = old.cells;
    }
    stream = std::make_unique<reports::CellStream>(options.out, options.resume);
    earlier.insert(earlier.end(), stream->resumed().begin(), stream->resumed().end());
    if (!scores.empty()) items = std::make_unique<reports::ItemLog>(options.out, options.resume);
  }

  reports::Report report;
  report.meta = build_meta();
  report.meta.argv = call.argv;
  report.meta.command = as_command(call.argv);
  report.meta.seed = plan.seed;
  report.meta.options = as_text(options);
  report.machine = here.machine;
  report.devices = {here.device};

  const std::vector<suites::Task> all = suites::tasks(wanted, plan);
  std::map<std::string, Cell> kept = kept_cells(earlier, all);
  size_t known = 0;
  for (const suites::Task& task : all) known += kept.count(task.cell.id);
  ProgressLine line(progress_style(options.progress), all.size() - known);
  if (known > 0) line.note(fmt::format("kept {} of {} cells", known, all.size()));
  if (!scores.empty()) line.note(estimate_text(scores));
  if (const std::string about = prefill_estimate(cells); !about.empty()) line.note(about);
  if (scores.size() == all.size()) {
    std::map<std::string, double> expected;
    for (const ScoreForecast& row : scores) expected[row.task.cell.id] = row.seconds;
    line.expect(std::move(expected));
  }
  if (items && items->kept() > 0) line.note(fmt::format("kept {} scored items", items->kept()));
  if (std::any_of(wanted.begin(), wanted.end(), [](const suites::Suite* suite) { return suite->needs_ceilings; })) {
    line.starting("ceilings of the device");
    report.ceilings = options.ceilings.empty() ? measure_ceilings(plan.device)
                                               : known_ceilings(options.ceilings, here.machine.fingerprint);
  } else {
    report.ceilings.method = "not measured: no suite of this run is timed";
  }
  RunHost host(line, std::move(kept), stream.get(), items.get(), here.nvml.get());
  suites::run(wanted, plan, report.ceilings, host);

  for (const suites::Task& task : all)
    if (const Cell* cell = host.find_cell(task.cell.id)) report.cells.push_back(*cell);
  report.meta.finished_utc = utc_now();
  if (stream) {
    reports::write_report(options.out, report);
    stream->remove();
  }
  fmt::print("{}", reports::tables(report, reports::TableStyle::terminal));
  const Exit code = exit_of(report);
  line.note(fmt::format("{}{}", options.out.empty() ? "no --out, so the report is not kept" : "report: " + options.out,
                        code == Exit::pass ? "" : fmt::format("; exit code {}: {}", static_cast<int>(code),
                                                              reports::exit_name(code))));
  return static_cast<int>(code);
}

}  // namespace

void add_run_command(CLI::App& app, const Parts& parts, Action& action) {
  CLI::App* command = app.add_subcommand("run", "Measure: check each cell, time it, write a report");
  const auto options = std::make_shared<RunOptions>();
  std::string suites;
  for (const suites::Suite& suite : parts.suites) suites += fmt::format("\n{}: {}", suite.name, suite.summary);
  command->add_option("SUITE", options->suites, "what to run, one or more:" + suites)->type_name("");
  options->fields(FlagBinder{*command});
  command->footer(kFooter);
  command->callback([command, options, &action] {
    action = [command, options](const Call& call) {
      std::set<std::string> given;
      for (const CLI::Option* option : command->get_options())
        if (option->count() > 0 && !option->get_lnames().empty()) given.insert(option->get_lnames().front());
      if (!options->plan.empty()) apply_plan(options->plan, given, *options);
      const std::vector<const suites::Suite*> wanted = find_suites(call.parts, options->suites);
      const suites::Plan plan = resolve(*options, call.parts.registry);
      return options->dry_run ? print_dry_run(*options, wanted, plan) : measure(call, *options, wanted, plan);
    };
  });
}

}  // namespace kdabench
