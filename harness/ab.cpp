#include "harness/ab.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>

#include "harness/machine.h"
#include "harness/options.h"
#include "harness/parse.h"
#include "harness/process.h"
#include "harness/progress.h"
#include "kernels/base/error.h"
#include "kernels/base/random.h"

namespace kdabench {
namespace {

namespace fs = std::filesystem;
using reports::AbProcess;
using reports::AbReport;
using reports::Exit;
using reports::Json;

// A side that gives no report: a candidate that dies is a regression, a base that dies is no base.
struct SideFailed {
  Exit exit;
  std::string sentence;
};

std::string hash_of(const std::string& text) { return fmt::format("fnv1a:{:016x}", random_stream(0, text)); }

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::error_code ignored;
  require(file.good() && fs::is_regular_file(path, ignored), path,
          " is not a program; --a and --b want paths of kdabench.");
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const fs::path& path, const std::string& text) {
  const fs::path temporary = fs::path(path) += ".tmp";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  std::error_code error;
  if (file) fs::rename(temporary, path, error);
  require(file.good() && !error, path.string(), ": the folder refuses the file; give another --out.");
}

Json read_plan(const std::string& path) {
  const Json plan = reports::read_json(path);
  require(plan.is_object(), path, " wants a JSON object whose keys are flags of `kdabench run`.");
  for (const char* key : {"out", "resume", "force", "dry-run", "progress", "ceilings", "inject-slowdown"})
    require(!plan.contains(key), path, ": ", key, " is for `kdabench ab` to set; take it out of the plan.");
  return plan;
}

// With a config's folder found from the plan's own folder, too. The result keeps the plan as it was given: where it lay
// is this machine's business.
Json located(Json plan, const std::string& path) {
  if (!plan.contains("config") || !plan["config"].is_string()) return plan;
  plan["config"] = config_of_plan(fs::absolute(path).string(), plan["config"].get<std::string>());
  return plan;
}

// Finished processes, one a line, behind a line that says of which run.
class AbStream {
 public:
  AbStream(const fs::path& out, const std::string& key, bool resume) : path_(fs::path(out) += ".jsonl") {
    std::ifstream old(path_);
    std::string line;
    if (resume && std::getline(old, line)) {
      const Json head = Json::parse(line, nullptr, false);
      require(head.is_object() && head.value("key", "") == key, "--resume found ", path_.string(),
              " of another run: programs, plan and rule must be the same; --force starts again.");
      while (std::getline(old, line)) {
        const Json json = Json::parse(line, nullptr, false);
        if (json.is_discarded()) break;      // cut short
        if (json.contains("about")) about = json["about"];
        else processes.push_back(reports::ab_process_from_json(json));
      }
    }
    old.close();
    drop_half_blocks();
    file_.open(path_, std::ios::binary | std::ios::trunc);
    put({{"key", key}});
    if (!about.is_null()) put({{"about", about}});
    for (const AbProcess& process : processes) put(reports::to_json(process));
  }

  void append(const AbProcess& process) {
    processes.push_back(process);
    put(reports::to_json(process));
  }
  void describe(const Json& json) {
    about = json;
    put({{"about", json}});
  }
  void remove() {
    file_.close();
    std::error_code ignored;
    fs::remove(path_, ignored);
  }

  std::vector<AbProcess> processes;
  Json about;                                // what the warm-up processes said of themselves

 private:
  // What cancels in a block cancels because its processes follow each other.
  void drop_half_blocks() {
    if (about.is_null()) processes.clear();
    std::map<std::pair<std::string, int64_t>, int> count;
    for (const AbProcess& process : processes) ++count[{process.stage, process.block}];
    std::erase_if(processes, [&](const AbProcess& process) {
      return process.stage != "warm-up" && count[{process.stage, process.block}] != 4;
    });
  }
  void put(const Json& json) {
    file_ << json.dump() << '\n' << std::flush;
    require(file_.good(), path_.string(), ": the disk refuses more; free space and --resume.");
  }

  fs::path path_;
  std::ofstream file_;
};

struct Measured {
  reports::Report report;
  double wall_s = 0;
};

class Sides {
 public:
  Sides(const AbFlags& flags, const fs::path& work) : flags_(flags), work_(work) {
    fs::create_directories(work);
    knows_ceilings_ = knows_ceilings(flags.a) && knows_ceilings(flags.b);
  }

  // One fresh process of a side with the whole plan.
  Measured measure(bool is_b, const Json& plan, ProgressLine& line, double expected_s) {
    const char* const name = is_b ? "B" : "A";
    const fs::path plan_path = work_ / "plan.json", out = work_ / "report.json", log = work_ / "log.txt";
    write_text(plan_path, plan.dump(1));
    fs::remove(out);
    std::vector<std::string> argv = {is_b ? flags_.b : flags_.a, "run", "--plan", plan_path.string(), "--out",
                                     out.string(), "--force", "--progress", "none"};
    // Ceilings are measured once a run, by the first process, where both sides can take them from there.
    const fs::path ceilings = work_ / "ceilings.json";
    if (knows_ceilings_ && fs::exists(ceilings)) argv.insert(argv.end(), {"--ceilings", ceilings.string()});
    if (is_b && !flags_.inject_slowdown.empty()) argv.insert(argv.end(), {"--inject-slowdown", flags_.inject_slowdown});
    const ProcessEnd end = run_process(argv, log, parse_real("timeout", flags_.timeout, 0), [&](double spent) {
      line.update("", expected_s > 0 ? std::min(0.99, spent / expected_s) : 0);
    });
    const Exit blame = is_b ? Exit::regression : Exit::no_baseline;
    if (end.timed_out)
      throw SideFailed{blame, fmt::format("a process of {} ran into --timeout {} s", name, flags_.timeout)};
    if (!fs::exists(out))
      throw SideFailed{blame, fmt::format("a process of {} left no report, exit code {}: {}", name, end.exit_code,
                                          last_line(log))};
    Measured result{reports::read_report(out), end.wall_s};
    if (knows_ceilings_ && !fs::exists(ceilings) && result.report.ceilings.read_bytes_per_s) fs::rename(out, ceilings);
    return result;
  }

 private:
  bool knows_ceilings(const std::string& program) const {
    const fs::path log = work_ / "help.txt";
    run_process({program, "run", "--help"}, log, 60, {});
    return content(log.string()).find("--ceilings") != std::string::npos;
  }

  const AbFlags& flags_;
  fs::path work_;
  bool knows_ceilings_ = false;
};

reports::GateOptions gate_options(const AbFlags& flags) {
  reports::GateOptions options;
  options.delta = parse_real("margin", flags.margin, 0);
  options.alpha = parse_real("error-rate", flags.error_rate, 0);
  options.looks = parse_counts("blocks", flags.blocks);
  options.drift = parse_real("max-drift", flags.max_drift, 0);
  options.seed = static_cast<uint64_t>(parse_integer("seed", flags.seed, 0));
  reports::check(options);
  return options;
}

reports::AbSide side_of(const std::string& path, const reports::Meta& meta) {
  return {path, hash_of(content(path)), meta.tool_version, meta.git_commit, meta.git_dirty};
}

Json about_side(const reports::Report& report) {
  return {{"tool_version", report.meta.tool_version},
          {"git_commit", report.meta.git_commit},
          {"git_dirty", report.meta.git_dirty}};
}

reports::AbSide side_from(const std::string& path, const Json& about) {
  reports::Meta meta;
  meta.tool_version = about.value("tool_version", "");
  meta.git_commit = about.value("git_commit", "");
  meta.git_dirty = about.value("git_dirty", false);
  return side_of(path, meta);
}

std::string seconds(double s) { return s < 90 ? fmt::format("{:.0f} s", s) : fmt::format("{:.1f} min", s / 60); }

}  // namespace

Json narrowed(const Json& plan, const std::vector<std::string>& cells) {
  Json out = plan;
  for (const char* key : {"models", "context", "batch", "protocol", "cache-budget", "sweeps", "suites"}) out.erase(key);
  Json suites = Json::array(), models = Json::array(), sweeps = Json::array();
  const auto add = [](Json& list, const Json& item) {
    if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
  };
  for (const std::string& id : cells) {
    const size_t slash = id.find('/');
    std::map<std::string, std::string> axes;  // "suite/key=value;key=value"
    for (size_t at = slash + 1; at < id.size();) {
      const size_t end = std::min(id.find(';', at), id.size()), equals = id.find('=', at);
      axes[id.substr(at, equals - at)] = id.substr(equals + 1, end - equals - 1);
      at = end + 1;
    }
    add(suites, id.substr(0, slash));
    add(models, axes["model"].substr(0, axes["model"].find('@')));  // hybrid ratios stay as the plan has them
    Json sweep = {{"context", axes["context"]}, {"protocol", axes["protocol"]}};
    if (axes.count("batch")) sweep["batch"] = axes["batch"];
    if (axes.count("cache_budget")) sweep["cache-budget"] = axes["cache_budget"];
    add(sweeps, sweep);
  }
  out["suites"] = suites;
  out["models"] = models;
  out["sweeps"] = sweeps;
  return out;
}

int run_ab(const Call& call, const AbFlags& flags) {
  AbReport report;
  report.options = gate_options(flags);
  if (!flags.inject_slowdown.empty())
    report.injected_slowdown = parse_real("inject-slowdown", flags.inject_slowdown, 1);
  require(!(flags.resume && flags.force), "--resume keeps what --force would discard; give one of them.");
  report.plan = read_plan(flags.plan);
  const Json plan = located(report.plan, flags.plan);
  reports::check_writable(flags.out);
  const fs::path work = fs::path(flags.out) += ".work", lines = fs::path(flags.out) += ".jsonl";
  if (!flags.force && !flags.resume && !flags.dry_run) {
    require(!fs::exists(lines), lines.string(), " holds an unfinished run; give --resume to continue it or --force to "
            "discard it.");
    require(!fs::exists(flags.out), flags.out, " exists; give --force to replace it or another --out.");
  }
  const std::string key = hash_of(fmt::format(
      "{}|{}|{}|{}|{}|{}|{}|{}|{}", hash_of(content(flags.a)), hash_of(content(flags.b)), report.plan.dump(),
      flags.margin, flags.error_rate, flags.blocks, flags.max_drift, flags.seed, flags.inject_slowdown));
  for (const std::string& word : call.argv) report.command += (report.command.empty() ? "" : " ") + word;
  report.started_utc = utc_now();

  const bool keep = flags.resume && !flags.dry_run;
  if (!keep) fs::remove_all(work);
  AbStream stream(flags.dry_run ? work : fs::path(flags.out), key, keep);
  Exit failure = Exit::pass;
  std::string why;
  try {
    Sides sides(flags, work);
    ProgressLine line(progress_style(flags.progress), 2);
    std::string machine;
    const auto measure = [&](const std::string& stage, int64_t block, int64_t slot, bool is_b, const Json& wanted,
                             ProgressLine& at, double expected_s) {
      Measured one = sides.measure(is_b, wanted, at, expected_s);
      const std::string& found = one.report.machine.fingerprint;
      if (machine.empty()) machine = found;
      require(found == machine, "the processes ran on different machines (fingerprints ", machine, " and ", found,
              ").");
      stream.append({stage, block, slot, is_b, one.wall_s,
                     reports::ab_cells(one.report, is_b && report.injected_slowdown > 1)});
      return one;
    };
    if (stream.about.is_null()) {
      stream.processes.clear();
      line.starting("warm-up of A");
      const Measured a = measure("warm-up", 0, 0, false, plan, line, 0);
      line.finished(fmt::format("warm-up of A: {:.1f} s", a.wall_s));
      line.starting("warm-up of B");
      const Measured b = measure("warm-up", 0, 1, true, plan, line, a.wall_s);
      line.finished(fmt::format("warm-up of B: {:.1f} s", b.wall_s));
      stream.describe({{"a", about_side(a.report)}, {"b", about_side(b.report)}, {"machine", machine},
                       {"device", a.report.devices.empty() ? "" : a.report.devices[0].name},
                       {"process_s", b.wall_s}, {"started_utc", report.started_utc}});
    }
    machine = stream.about.value("machine", "");
    const double process_s = stream.about.value("process_s", 0.0);
    const auto& looks = report.options.looks;
    report.estimated_s = 4 * process_s * static_cast<double>(looks.front());
    line.note(
        fmt::format("{} cells; {} blocks of four processes take about {}; undecided cells go on to {} blocks, and "
                    "what fails is confirmed: at the most {}",
                    stream.processes.front().cells.size(), looks.front(), seconds(report.estimated_s), looks.back(),
                    seconds(8 * process_s * static_cast<double>(looks.back()))));
    if (flags.dry_run) {
      for (const reports::AbCell& cell : stream.processes.front().cells)
        fmt::print("{}: {}\n", cell.id, cell.tpot_ns ? "timed" : cell.status);
      stream.remove();
      fs::remove_all(work);
      return 0;
    }

    std::string leg;                         // a stage up to its next look
    std::optional<ProgressLine> bar;
    while (const auto next = reports::next_block(stream.processes, report.options)) {
      const std::string name = fmt::format("{}, {} cells to block {}", next->stage, next->cells.size(), next->until);
      if (name != leg)
        bar.emplace(progress_style(flags.progress), static_cast<size_t>(4 * (next->until - next->block)));
      leg = name;
      const bool whole = next->stage == "first" && next->block < looks.front();
      const Json cells = whole ? plan : narrowed(plan, next->cells);
      const bool a_first = reports::a_first(report.options.seed, next->stage, next->block);
      for (int64_t slot = 0; slot < 4; ++slot) {
        const bool is_b = (slot == 1 || slot == 2) == a_first;
        const std::string what = fmt::format("{}: block {} of {}, {}", next->stage, next->block + 1, next->until,
                                             is_b ? "B" : "A");
        bar->starting(what);
        const Measured one = measure(next->stage, next->block, slot, is_b, cells, *bar, process_s);
        bar->finished(fmt::format("{}: {:.1f} s", what, one.wall_s));
      }
    }
  } catch (const SideFailed& failed) {
    failure = failed.exit;
    why = failed.sentence;
  }
  report.processes = stream.processes;
  const Json about = stream.about.is_null() ? Json::object() : stream.about;  // null: a warm-up process failed
  report.a = side_from(flags.a, about.value("a", Json::object()));
  report.b = side_from(flags.b, about.value("b", Json::object()));
  report.machine = about.value("machine", "");
  report.device = about.value("device", "");
  report.started_utc = about.value("started_utc", report.started_utc);
  report.finished_utc = utc_now();
  for (const AbProcess& process : report.processes) report.wall_s += process.wall_s;
  if (failure != Exit::pass) {  // the processes so far stay for --resume
    reports::abandon(report, failure, why);
    if (!flags.dry_run) write_text(flags.out, reports::pretty(reports::ab_json(report)) + "\n");
    fmt::print("{}; see {}\n{} (exit code {})\n", why, (work / "log.txt").string(), reports::exit_name(failure),
               static_cast<int>(failure));
    return static_cast<int>(failure);
  }
  reports::judge(report);
  write_text(flags.out, reports::pretty(reports::ab_json(report)) + "\n");
  stream.remove();
  fs::remove_all(work);
  fmt::print("{}", reports::ab_table(report));
  return static_cast<int>(report.exit);
}

}  // namespace kdabench
