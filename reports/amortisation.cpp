#include "reports/amortisation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "reports/table.h"

namespace kdabench::reports {
namespace {

bool whole(const Cell& cell) {
  return cell.status == "ok" && cell.timing && cell.memory && cell.floor && cell.axes.batch > 0 &&
         cell.timing->stats.median_ns > 0 && cell.timing->tpot_ns > 0 && cell.floor->bytes > 0 &&
         cell.floor->time_ns > 0 && cell.memory->cache_bytes_per_token > 0 && cell.axes.context > 0;
}

double sequence_bytes(const Cell& cell) {
  return double(cell.axes.context) * double(cell.memory->cache_bytes_per_token) +
         double(cell.memory->state_bytes_per_sequence);
}

BytesPerToken per_token(const Cell& cell) {
  const double b = double(cell.axes.batch);
  const Floor& f = *cell.floor;
  return {f.weight_bytes / b, f.expert_bytes / b, f.head_bytes / b, f.cache_bytes / b, f.state_bytes / b};
}

// Bytes of experts a step reads, by batch: every model has the same experts, so cells of all of them count.
class Experts {
 public:
  Experts(const Cell& like, const std::vector<Cell>& cells) {
    for (const Cell& cell : cells)
      if (whole(cell) && cell.axes.config == like.axes.config && cell.axes.device == like.axes.device)
        found_[cell.axes.batch].push_back(double(cell.floor->expert_bytes));
  }

  // Linear between measured batches; nothing beyond them.
  std::optional<double> at(int64_t batch) const {
    const auto above = found_.lower_bound(batch);
    if (above == found_.end()) return std::nullopt;
    if (above->first == batch) return mean(above->second);
    if (above == found_.begin()) return std::nullopt;
    const auto below = std::prev(above);
    const double share = double(batch - below->first) / double(above->first - below->first);
    return mean(below->second) + share * (mean(above->second) - mean(below->second));
  }

 private:
  static double mean(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum / double(values.size());
  }
  std::map<int64_t, std::vector<double>> found_;
};

// step(B) without overhead; see the header.
std::optional<double> modelled_step_ns(const Cell& cell, const Experts& experts, int64_t batch) {
  const std::optional<double> hit = experts.at(batch);
  if (!hit) return std::nullopt;
  const BytesPerToken each = per_token(cell);
  const double shared = double(cell.floor->weight_bytes) + double(cell.floor->head_bytes) + *hit;
  const double bytes = shared + double(batch) * (each.cache + each.state);
  return bytes * cell.timing->stats.median_ns / double(cell.floor->bytes);
}

BudgetRow budget_row(const Cell& full, const Cell& hybrid, const Experts& experts, double target, int64_t full_batch,
                     int64_t hybrid_batch) {
  BudgetRow row;
  row.full_batch = full_batch;
  row.hybrid_batch = hybrid_batch;
  const double f = sequence_bytes(full), h = sequence_bytes(hybrid);
  row.from_bytes = std::max(double(full_batch) * f, double(hybrid_batch) * h);
  row.to_bytes = std::min(double(full_batch + 1) * f, double(hybrid_batch + 1) * h);
  const std::optional<double> a = modelled_step_ns(full, experts, full_batch),
                              b = modelled_step_ns(hybrid, experts, hybrid_batch);
  const double n = double(hybrid_batch) / double(full_batch);
  if (!a || !b) return row;
  row.ratio = n * *a / *b;
  // n (t + a) / (t + b) = target. It grows or falls with t towards n.
  if (*row.ratio >= target)
    row.overhead_ns = 0;
  else if (n > target)
    row.overhead_ns = (target * *b - n * *a) / (n - target);
  return row;
}

// Every pair of batches while the full model has one sequence; then the most favourable pair of each of its batches.
std::vector<BudgetRow> budget_rows(const Cell& full, const Cell& hybrid, const Experts& experts, double target) {
  std::vector<BudgetRow> rows;
  const double f = sequence_bytes(full), h = sequence_bytes(hybrid);
  if (f / h > 100) return rows;
  for (const int64_t batch : std::set<int64_t>{1, 2, 3, 4, full.axes.batch}) {
    if (batch > 1 << 20) continue;
    const auto least = int64_t(std::floor(double(batch) * f / h));
    const auto most = int64_t(std::ceil(double(batch + 1) * f / h)) - 1;
    for (int64_t other = batch == 1 ? std::max<int64_t>(1, least) : std::max<int64_t>(1, most); other <= most;
         ++other)
      rows.push_back(budget_row(full, hybrid, experts, target, batch, other));
  }
  return rows;
}

}  // namespace

std::optional<Amortisation> amortisation(const Cell& full, const Cell& hybrid, double target,
                                         const std::vector<Cell>& cells) {
  if (!whole(full) || !whole(hybrid)) return std::nullopt;
  Amortisation a;
  a.full = &full;
  a.hybrid = &hybrid;
  a.target = target;
  a.ratio = full.timing->tpot_ns / hybrid.timing->tpot_ns;
  a.cache_ratio = double(full.memory->cache_bytes_per_token) / double(hybrid.memory->cache_bytes_per_token);
  a.sequence_ratio = sequence_bytes(full) / sequence_bytes(hybrid);
  a.batch_ratio = double(hybrid.axes.batch) / double(full.axes.batch);
  a.rounding = a.batch_ratio / a.sequence_ratio;
  a.step_ratio = full.timing->stats.median_ns / hybrid.timing->stats.median_ns;
  a.floor_ratio = full.floor->time_ns / hybrid.floor->time_ns;
  a.efficiency = a.step_ratio / a.floor_ratio;
  a.full_bytes = per_token(full);
  a.hybrid_bytes = per_token(hybrid);
  const Experts experts(full, cells);
  a.budgets = budget_rows(full, hybrid, experts, target);
  std::set<std::pair<std::string, int64_t>> seen = {{full.axes.model, full.axes.batch},
                                                    {hybrid.axes.model, hybrid.axes.batch}};
  for (const Cell& cell : cells) {
    const Cell& own = cell.axes.model == full.axes.model ? full : hybrid;
    if (!whole(cell) || cell.suite != own.suite || cell.axes.model != own.axes.model ||
        cell.axes.context != own.axes.context || cell.axes.config != own.axes.config ||
        cell.axes.device != own.axes.device || !seen.insert({cell.axes.model, cell.axes.batch}).second)
      continue;
    if (const auto modelled = modelled_step_ns(own, experts, cell.axes.batch))
      a.checks.push_back({cell.axes.model, cell.axes.batch, cell.timing->stats.median_ns, *modelled});
  }
  std::sort(a.checks.begin(), a.checks.end(), [](const StepCheck& x, const StepCheck& y) {
    return std::tie(x.model, x.batch) < std::tie(y.model, y.batch);
  });
  return a;
}

std::string amortisation_text(const Amortisation& a) {
  const Cell &full = *a.full, &hybrid = *a.hybrid;
  const std::string &f = full.axes.model, &h = hybrid.axes.model;
  const auto gb = [](double bytes) { return fmt::format("{:.2f}", bytes / 1e9); };
  const auto factor = [](double value, const std::string& what) {
    return fmt::format("  {:>6.3f}  {}\n", value, what);
  };
  std::string out =
      fmt::format("Decomposition at {} tokens, {} sequences of {} against {} of {}{}\n\n",
                  readable_tokens(full.axes.context), hybrid.axes.batch, h, full.axes.batch, f,
                  full.axes.cache_budget_bytes
                      ? fmt::format(", {} of cache", readable_bytes(double(*full.axes.cache_budget_bytes)))
                      : ", all free memory");
  out += factor(a.sequence_ratio,
                fmt::format("bytes of one sequence, {} / {} ({:.3f} a token, less the states)", f, h, a.cache_ratio));
  out += factor(a.rounding, fmt::format("what whole sequences make of it: {} / {} = {:.3f} of them",
                                        hybrid.axes.batch, full.axes.batch, a.batch_ratio));
  out += factor(a.floor_ratio, fmt::format("floor of a step, {} / {}: the larger batch reads more", f, h));
  out += factor(a.efficiency, "how near each comes to its floor");
  out += factor(a.ratio, fmt::format("product = {} / {} ms a token", readable_ms(full.timing->tpot_ns),
                                     readable_ms(hybrid.timing->tpot_ns)));
  out += "\nBytes that one token moves, GB; what is shared is divided by the batch\n\n";
  out += fmt::format("  {:<12} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n", "", "weights", "experts", "head", "cache",
                     "state", "total");
  for (const auto& [name, bytes] : {std::pair{f, a.full_bytes}, std::pair{h, a.hybrid_bytes}})
    out += fmt::format("  {:<12} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n", name, gb(bytes.weights), gb(bytes.experts),
                       gb(bytes.head), gb(bytes.cache), gb(bytes.state), gb(bytes.total()));
  out += fmt::format(
      "\nEqual batches cannot pass {:.2f}x, the ratio of the caches a token: whatever else a step costs, it costs "
      "both "
      "alike,\nand the states of {} only add. More than that takes a larger batch and a step whose cost grows less "
      "than "
      "the batch.\n",
      a.cache_ratio, h);
  out += fmt::format(
      "\nUnder which budget and overhead {:.2f}x appears. A step costs its bytes at the measured rates ({:.0f} % and "
      "{:.0f} % of\nthe floor's) plus an overhead that does not depend on the batch.\n\n",
      a.target, 100 * full.floor->time_ns / full.timing->stats.median_ns,
      100 * hybrid.floor->time_ns / hybrid.timing->stats.median_ns);
  out += fmt::format("  {:>22}  {:>10}  {:>10}  {:>20}  {}\n", "cache budget, GB", "sequences", "sequences",
                     "ratio, no overhead", fmt::format("overhead a step for {:.2f}x", a.target));
  for (const BudgetRow& row : a.budgets) {
    const double n = double(row.hybrid_batch) / double(row.full_batch);
    out += fmt::format("  {:>22}  {:>10}  {:>10}  {:>20}  {}\n",
                       fmt::format("{:.1f} to {:.1f}", row.from_bytes / 1e9, row.to_bytes / 1e9), row.full_batch,
                       row.hybrid_batch, row.ratio ? fmt::format("{:.2f}x", *row.ratio) : "beyond the cells",
                       !row.ratio              ? "-"
                       : !row.overhead_ns      ? fmt::format("none: it tends to {:.2f}x", n)
                       : *row.overhead_ns == 0 ? "reached without"
                                               : fmt::format("{} ms", readable_ms(*row.overhead_ns)));
  }
  out += fmt::format("\n  first column of sequences {}, second {}\n", f, h);
  if (!a.checks.empty()) {
    out += "\nThe cost of a step, modelled from the pair above, against other measured cells\n\n";
    for (const StepCheck& check : a.checks)
      out += fmt::format("  {:<12} batch {:>3}  measured {:>6} ms  modelled {:>6} ms  {:+.0f} %\n", check.model,
                         check.batch, readable_ms(check.measured_ns), readable_ms(check.modelled_ns),
                         100 * (check.modelled_ns / check.measured_ns - 1));
  }
  return out;
}

Json amortisation_json(const Amortisation& a) {
  const auto bytes = [](const BytesPerToken& b) {
    return Json{{"weight_bytes", b.weights}, {"expert_bytes", b.experts}, {"head_bytes", b.head},
                {"cache_bytes", b.cache},    {"state_bytes", b.state},    {"bytes", b.total()}};
  };
  const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); };
  Json out = {{"full", a.full->id},
              {"hybrid", a.hybrid->id},
              {"target", a.target},
              {"ratio", a.ratio},
              {"cache_ratio", a.cache_ratio},
              {"sequence_ratio", a.sequence_ratio},
              {"batch_ratio", a.batch_ratio},
              {"rounding", a.rounding},
              {"step_ratio", a.step_ratio},
              {"floor_ratio", a.floor_ratio},
              {"efficiency", a.efficiency},
              {"full_per_token", bytes(a.full_bytes)},
              {"hybrid_per_token", bytes(a.hybrid_bytes)},
              {"budgets", Json::array()},
              {"checks", Json::array()}};
  for (const BudgetRow& row : a.budgets)
    out["budgets"].push_back({{"from_bytes", row.from_bytes},
                              {"to_bytes", row.to_bytes},
                              {"full_batch", row.full_batch},
                              {"hybrid_batch", row.hybrid_batch},
                              {"ratio", or_null(row.ratio)},
                              {"overhead_ns", or_null(row.overhead_ns)}});
  for (const StepCheck& check : a.checks)
    out["checks"].push_back({{"model", check.model},
                             {"batch", check.batch},
                             {"measured_ns", check.measured_ns},
                             {"modelled_ns", check.modelled_ns}});
  return out;
}

}  // namespace kdabench::reports
