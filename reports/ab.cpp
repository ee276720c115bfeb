#include "reports/ab.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace kdabench::reports {
namespace {

constexpr const char* kSlowed = "injected_slowdown";
const char* const kStages[] = {"first", "confirm"};

const AbCell* find(const AbProcess& process, const std::string& id) {
  for (const AbCell& cell : process.cells)
    if (cell.id == id) return &cell;
  return nullptr;
}

// The warm-up process of a side; null while it has not run.
const AbProcess* warm_up(const std::vector<AbProcess>& done, bool is_b) {
  for (const AbProcess& process : done)
    if (process.stage == "warm-up" && process.is_b == is_b) return &process;
  return nullptr;
}

// Cells that both sides time, in the order of A.
std::vector<std::string> timed_cells(const std::vector<AbProcess>& done) {
  std::vector<std::string> ids;
  const AbProcess *a = warm_up(done, false), *b = warm_up(done, true);
  if (!a || !b) return ids;
  for (const AbCell& cell : a->cells) {
    const AbCell* other = find(*b, cell.id);
    if (cell.tpot_ns && other && other->tpot_ns) ids.push_back(cell.id);
  }
  return ids;
}

// The four processes of a block, in time; fewer while it runs.
std::vector<const AbProcess*> processes_of(const std::vector<AbProcess>& done, const std::string& stage,
                                           int64_t block) {
  std::vector<const AbProcess*> found;
  for (const AbProcess& process : done)
    if (process.stage == stage && process.block == block) found.push_back(&process);
  std::sort(found.begin(), found.end(), [](auto* x, auto* y) { return x->slot < y->slot; });
  return found;
}

int64_t whole_blocks(const std::vector<AbProcess>& done, const std::string& stage) {
  int64_t blocks = 0;
  while (processes_of(done, stage, blocks).size() == 4) ++blocks;
  return blocks;
}

// The logarithm of what `value` says of the cell in each block of a stage, as long as every process has it.
template <class Value>
std::vector<BlockLogs> logs_of(const std::vector<AbProcess>& done, const std::string& stage, const std::string& id,
                               Value&& value) {
  std::vector<BlockLogs> blocks;
  for (int64_t block = 0;; ++block) {
    const auto four = processes_of(done, stage, block);
    if (four.size() != 4) return blocks;
    std::vector<double> a, b;
    for (const AbProcess* process : four) {
      const AbCell* cell = find(*process, id);
      const std::optional<double> x = cell ? value(*cell) : std::nullopt;
      if (x && *x > 0) (process->is_b ? b : a).push_back(std::log(*x));
    }
    if (a.size() != 2 || b.size() != 2) return blocks;
    blocks.push_back({a[0], a[1], b[0], b[1]});
  }
}

std::vector<BlockLogs> times_of(const std::vector<AbProcess>& done, const std::string& stage, const std::string& id) {
  return logs_of(done, stage, id, [](const AbCell& cell) { return cell.tpot_ns; });
}

std::vector<double> values_of(const std::vector<BlockLogs>& blocks) {
  std::vector<double> values;
  for (const BlockLogs& block : blocks) values.push_back(block.value());
  return values;
}

// A cell that lost its time half-way gets no more blocks; judge() says why.
bool lost(const std::vector<AbProcess>& done, const std::string& id) {
  for (const AbProcess& process : done)
    if (const AbCell* cell = find(process, id); cell && !cell->tpot_ns) return true;
  return false;
}

struct Evidence {
  std::vector<BlockLogs> blocks[2];    // first, confirm
  Decision decision;
  std::optional<Decision> confirmation;
};

Evidence evidence(const std::vector<AbProcess>& done, const std::string& id, const GateOptions& options) {
  Evidence out;
  for (int stage = 0; stage < 2; ++stage) out.blocks[stage] = times_of(done, kStages[stage], id);
  out.decision = decide(values_of(out.blocks[0]), options);
  if (out.decision.verdict == Verdict::fail) out.confirmation = decide(values_of(out.blocks[1]), options);
  return out;
}

std::string percent(double log_ratio) { return fmt::format("{:+.1f} %", 100 * std::expm1(log_ratio)); }

// Why no verdict on the times may be given; empty when one may.
std::string invalid_reason(const AbReport& report, const std::string& id, const Evidence& found, AbRow& row) {
  const GateOptions& options = report.options;
  double timed = 0, throttled = 0;
  int64_t others = 0;
  for (const AbProcess& process : report.processes) {
    const AbCell* cell = find(process, id);
    if (!cell || process.stage == "warm-up") continue;
    timed += cell->timed_ns.value_or(0);
    throttled += cell->throttled_ns.value_or(0);
    others = std::max(others, cell->other_processes.value_or(0));
  }
  std::vector<double> clocks, control;
  for (int stage = 0; stage < 2; ++stage) {
    const auto blocks = logs_of(report.processes, kStages[stage], id, [](const AbCell& cell) { return cell.clock_hz; });
    for (const BlockLogs& block : blocks) clocks.push_back(block.value());
    for (const double value : control_values(found.blocks[stage])) control.push_back(value);
  }
  if (!clocks.empty()) {
    double sum = 0;
    for (const double clock : clocks) sum += clock;
    row.clock_ratio = std::exp(sum / static_cast<double>(clocks.size()));
  }
  if (control.size() >= 2) row.control = mean_interval(control, options.tail());

  if (others > 0) return fmt::format("{} other processes were on the GPU; run again alone", others);
  if (timed > 0 && throttled > options.throttled_share * timed)
    return fmt::format("throttled during {:.0f} % of the timed steps; cool the machine or shorten the cell",
                       std::min(100.0, 100 * throttled / timed));
  if (row.clock_ratio && std::abs(*row.clock_ratio - 1) > options.clock_difference)
    return fmt::format("the clock of B was {} of A's; in cycles B takes {}", percent(std::log(*row.clock_ratio)),
                       percent(found.decision.interval.mean + std::log(*row.clock_ratio)));
  if (control_fails(control, options))
    return fmt::format("the A/A control failed: one binary against itself differs by {}", percent(row.control->mean));
  return "";
}

// The cells of either side, in the order of the plan.
std::vector<std::string> ids_of(const std::vector<AbProcess>& processes) {
  std::vector<std::string> ids;
  for (const AbProcess* side : {warm_up(processes, false), warm_up(processes, true)})
    if (side)
      for (const AbCell& cell : side->cells)
        if (std::find(ids.begin(), ids.end(), cell.id) == ids.end()) ids.push_back(cell.id);
  return ids;
}

void settle(AbRow& row, const std::string& verdict, Exit exit, std::string note) {
  row.verdict = verdict;
  row.exit = exit;
  row.note = std::move(note);
}

// What a cell is when one of its processes gave no time. True when that decides it.
bool settled_by_status(const AbReport& report, const std::string& id, AbRow& row) {
  const AbProcess *first_a = warm_up(report.processes, false), *first_b = warm_up(report.processes, true);
  const AbCell *a = find(*first_a, id), *b = find(*first_b, id);
  if (!b) return settle(row, "missing", Exit::regression, "B has no such cell"), true;
  if (!a) return settle(row, "extra", Exit::no_baseline, "A has no such cell"), true;
  for (const AbProcess& process : report.processes) {  // a result that is wrong once is wrong
    const AbCell* cell = find(process, id);
    if (!cell || cell->tpot_ns || cell->status == "ok") continue;
    (process.is_b ? b : a) = cell;
  }
  const auto bad = [](const AbCell& cell) { return cell.status != "ok"; };
  if (b->status == "incorrect") settle(row, "incorrect", Exit::incorrect, b->reason);
  else if (b->status == "invalid") settle(row, "invalid", Exit::invalid, b->reason);
  else if (b->status == "error" || b->status == "timeout") settle(row, "failed", Exit::regression, b->reason);
  else if (bad(*b) && a->status == b->status) settle(row, "same", Exit::pass, b->status + " on both sides");
  else if (bad(*b))
    settle(row, "failed", Exit::regression, fmt::format("{} in A, {} in B: {}", a->status, b->status, b->reason));
  else if (a->status == "oom" || a->status == "skipped")
    settle(row, "recovered", Exit::pass, fmt::format("{} in A, ok in B", a->status));
  else if (bad(*a)) settle(row, "no_baseline", Exit::no_baseline, fmt::format("{} in A: {}", a->status, a->reason));
  else if (!a->tpot_ns || !b->tpot_ns) settle(row, "untimed", Exit::pass, "this suite takes no time");
  else return false;
  return true;
}

AbRow judge_cell(const AbReport& report, const std::string& id) {
  AbRow row;
  row.id = id;
  if (settled_by_status(report, id, row)) return row;

  const Evidence found = evidence(report.processes, id, report.options);
  row.decision = found.decision;
  row.confirmation = found.confirmation;
  std::vector<BlockLogs> all = found.blocks[0];
  all.insert(all.end(), found.blocks[1].begin(), found.blocks[1].end());
  row.process_stddev = process_stddev(all);
  double a = 0, b = 0;
  for (const BlockLogs& block : all) {
    a += (block.a1 + block.a2) / (2 * static_cast<double>(all.size()));
    b += (block.b1 + block.b2) / (2 * static_cast<double>(all.size()));
  }
  if (!all.empty()) row.a_ns = std::exp(a), row.b_ns = std::exp(b);

  if (const std::string reason = invalid_reason(report, id, found, row); !reason.empty()) {
    settle(row, "invalid", Exit::invalid, reason);
    return row;
  }
  const Verdict verdict = found.decision.verdict;
  if (verdict == Verdict::fail && found.confirmation->verdict == Verdict::fail)
    settle(row, "fail", Exit::regression,
           fmt::format("again {} in {} fresh blocks", percent(found.confirmation->interval.mean),
                       found.confirmation->interval.n));
  else if (verdict == Verdict::fail)
    settle(row, "inconclusive", Exit::inconclusive,
           fmt::format("slower at first, not confirmed: {} in {} fresh blocks",
                       percent(found.confirmation->interval.mean), found.confirmation->interval.n));
  else if (verdict == Verdict::pass || verdict == Verdict::improved)
    settle(row, verdict_name(verdict), Exit::pass,
           verdict == Verdict::improved ? "faster: update what you compare with" : "");
  else
    settle(row, "inconclusive", Exit::inconclusive,
           verdict == Verdict::undecided ? "the run stopped before the next look" : "too noisy for this margin");
  return row;
}

}  // namespace

std::vector<AbCell> ab_cells(const Report& report, bool slowed) {
  std::vector<AbCell> cells;
  for (const Cell& cell : report.cells) {
    AbCell out;
    out.id = cell.id;
    out.status = cell.status;
    out.reason = cell.status_reason;
    const bool valid = cell.validity.valid;
    size_t faults = 0, marks = 0;      // of an invalid cell: what made it so, and whether that was on purpose
    for (const Reason& reason : cell.validity.reasons) {
      faults += reason.code == "above_ceiling";
      marks += reason.code == kSlowed;
    }
    const bool on_purpose = slowed && cell.status == "invalid" && marks == 1 && faults == 0;
    if (marks > 0 && !slowed) out.reason = "it was slowed on purpose, without --inject-slowdown of this run";
    if (on_purpose) out.status = "ok", out.reason.clear();
    if (cell.status == "ok" && !valid) out.status = "invalid";
    if (cell.status == "ok" && valid && cell.timing) out.tpot_ns = cell.timing->tpot_ns;
    const double batch = static_cast<double>(std::max<int64_t>(1, cell.axes.batch));
    if (cell.samples && !cell.samples->step_ns.empty()) {
      if (on_purpose) out.tpot_ns = summarize(cell.samples->step_ns).median_ns / batch;
      double sum = 0;
      for (const double step : cell.samples->step_ns) sum += step;
      out.timed_ns = sum;
    }
    if (cell.gpu_state) {
      out.clock_hz = cell.gpu_state->sm_clock_hz_median;
      out.other_processes = cell.gpu_state->other_processes;
      if (cell.gpu_state->throttle_power_ns || cell.gpu_state->throttle_thermal_ns)
        out.throttled_ns =
            cell.gpu_state->throttle_power_ns.value_or(0) + cell.gpu_state->throttle_thermal_ns.value_or(0);
    }
    cells.push_back(out);
  }
  return cells;
}

std::optional<AbNext> next_block(const std::vector<AbProcess>& done, const GateOptions& options) {
  const std::vector<std::string> timed = timed_cells(done);
  for (const std::string stage : kStages) {
    AbNext next{stage, whole_blocks(done, stage), 0, {}};
    for (const std::string& id : timed) {
      if (lost(done, id)) continue;
      const Evidence found = evidence(done, id, options);
      const Decision* now = stage == "first" ? &found.decision : found.confirmation ? &*found.confirmation : nullptr;
      if (now && now->verdict == Verdict::undecided) next.cells.push_back(id);
    }
    if (next.cells.empty()) continue;
    if (next.cells.front() != timed.front()) next.cells.insert(next.cells.begin(), timed.front());
    for (const int64_t look : options.looks)
      if (look > next.block && next.until == 0) next.until = look;
    return next;
  }
  return {};
}

void abandon(AbReport& report, Exit exit, const std::string& why) {
  report.rows.clear();
  for (const std::string& id : ids_of(report.processes)) {
    AbRow row;
    row.id = id;
    settle(row, "invalid", Exit::invalid, "the run did not come to its end");
    report.rows.push_back(row);
  }
  report.problems = {why};
  report.exit = exit;
}

void judge(AbReport& report) {
  report.rows.clear();
  report.problems.clear();
  report.exit = Exit::pass;
  const AbProcess *a = warm_up(report.processes, false), *b = warm_up(report.processes, true);
  if (!a || !b) throw Error("ab: wanted a warm-up process of each side, found none; run again");
  for (const std::string& id : ids_of(report.processes)) report.rows.push_back(judge_cell(report, id));

  std::vector<double> p;
  for (const AbRow& row : report.rows)
    if (row.decision.interval.n > 0) p.push_back(row.decision.p);
  const std::vector<double> q = benjamini_hochberg(p);
  size_t next = 0;
  for (AbRow& row : report.rows)
    if (row.decision.interval.n > 0) row.q = q[next++];

  const std::vector<std::string> timed = timed_cells(report.processes);
  if (timed.empty()) {
    report.problems.push_back("no cell of the plan has a time on both sides; nothing was compared");
  } else {
    report.sentinel = timed.front();
    std::vector<double> logs;
    std::vector<bool> is_b;
    for (const AbProcess& process : report.processes) {
      const AbCell* cell = find(process, report.sentinel);
      if (process.stage == "warm-up" || !cell || !cell->tpot_ns) continue;
      logs.push_back(std::log(*cell->tpot_ns));
      is_b.push_back(process.is_b);
    }
    report.drift = sentinel_drift(logs, is_b);
    if (std::abs(*report.drift) > report.options.drift)
      report.problems.push_back(fmt::format("the machine drifted: the sentinel moved by {:+.1f} % during the run; wait "
                                            "until it is steady, or allow more with --max-drift", 100 * *report.drift));
  }
  for (const AbRow& row : report.rows) report.exit = worst(report.exit, row.exit);
  if (!report.problems.empty()) report.exit = worst(report.exit, Exit::invalid);
}

}  // namespace kdabench::reports
