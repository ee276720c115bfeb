#pragma once
// An A/B run: what each process said, which blocks are still wanted, and the verdicts. Pure functions of the processes
// so far, so that an interrupted run continues where it stopped and comes to the verdicts it would have come to.
// The statistics are in reports/gate_decision.h; harness/ab.h starts the processes.
//
// A run is: a warm-up process of each side, looked at for what cells there are and not for their times; blocks of four
// fresh processes of the first stage, at first with the whole plan, then with the cells that are undecided; fresh
// blocks of the stage "confirm" with the cells that failed. The sentinel, the first timed cell of the plan, is in all
// of them.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "reports/compare.h"
#include "reports/gate_decision.h"

namespace kdabench::reports {

inline constexpr const char* kAbSchema = "kdabench/ab";
inline constexpr const char* kAbSchemaVersion = "1.0.0";

// One cell as one process measured it.
struct AbCell {
  std::string id, status, reason;
  std::optional<double> tpot_ns;       // median step / batch; of a slowed side from the raw samples
  std::optional<double> clock_hz;      // median SM clock
  std::optional<double> timed_ns;      // all timed steps together
  std::optional<double> throttled_ns;  // during them, for power or heat
  std::optional<int64_t> other_processes;
};

struct AbProcess {
  std::string stage;                   // warm-up, first, confirm
  int64_t block = 0, slot = 0;         // slot: 0 to 3 within the block, in time
  bool is_b = false;
  double wall_s = 0;
  std::vector<AbCell> cells;
};

// What `report` says, for a process. A cell that was slowed on purpose has no timing; where `slowed` is true its time
// is that of its samples, and its status counts as ok.
std::vector<AbCell> ab_cells(const Report& report, bool slowed);

// The next block to run: which cells are wanted, and how many blocks its stage needs to the next look.
struct AbNext {
  std::string stage;
  int64_t block = 0, until = 0;
  std::vector<std::string> cells;      // in the order of the plan, the sentinel among them
};
std::optional<AbNext> next_block(const std::vector<AbProcess>& done, const GateOptions& options);

struct AbSide {
  std::string path, hash, tool_version, git_commit;
  bool git_dirty = false;
};

struct AbRow {
  std::string id, verdict;             // pass improved fail inconclusive invalid incorrect failed missing extra same
                                       // untimed recovered no_baseline
  Exit exit = Exit::pass;
  std::string note;
  std::optional<double> a_ns, b_ns;    // geometric means of the process medians, per token
  Decision decision;                   // of the first stage
  std::optional<Decision> confirmation;
  std::optional<double> q;             // Benjamini-Hochberg over the timed cells
  double process_stddev = 0;           // of log times
  std::optional<MeanInterval> control; // of log ratios
  std::optional<double> clock_ratio;   // B / A
};

struct AbReport {
  AbSide a, b;
  Json plan;
  std::string machine, device;         // fingerprint and name
  GateOptions options;
  double injected_slowdown = 1;        // of B; 1: none
  std::string command, started_utc, finished_utc;
  double estimated_s = 0, wall_s = 0;
  std::vector<AbProcess> processes;
  std::vector<AbRow> rows;
  std::string sentinel;
  std::optional<double> drift;
  std::vector<std::string> problems;   // of the run as a whole; any makes it invalid
  Exit exit = Exit::pass;
};

// Fills rows, sentinel, drift, problems and exit from processes and options.
void judge(AbReport& report);

// Of a run that a side ended: no cell has a verdict, `why` is the problem, `exit` says whose fault it is.
void abandon(AbReport& report, Exit exit, const std::string& why);

std::string ab_table(const AbReport& report);  // the last line is the name of the exit code
Json ab_json(const AbReport& report);

Json to_json(const AbProcess& process);
AbProcess ab_process_from_json(const Json& json);  // throws Error

}  // namespace kdabench::reports
