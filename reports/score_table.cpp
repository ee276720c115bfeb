// Scores as a table.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "reports/grid.h"
#include "reports/table.h"

namespace kdabench::reports {

std::vector<std::string> in_order(const std::set<std::string>& models) {
  std::vector<std::string> order;
  for (const char* known : {"mla", "gdn-h", "kimi-linear"})
    if (models.count(known)) order.push_back(known);
  for (const std::string& model : models)
    if (std::find(order.begin(), order.end(), model) == order.end()) order.push_back(model);
  return order;
}

namespace {

std::string points(double value) { return fmt::format("{:.1f}", 100 * value); }
std::string points(const std::optional<double>& value) { return value ? points(*value) : "-"; }

}  // namespace

Grid score_grid(const std::vector<const Cell*>& cells) {
  struct Entry {
    std::string value, error;
  };
  using RowKey = std::tuple<int64_t, std::string, std::string>;  // length, task, subject or group
  std::vector<std::pair<RowKey, std::map<std::string, Entry>>> rows;  // in the order of the report
  std::map<RowKey, int64_t> items;
  std::set<std::string> names;
  bool lengths = false, subjects = false;
  const auto put = [&](const RowKey& key, const std::string& model, const Entry& entry, int64_t n) {
    auto at = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.first == key; });
    if (at == rows.end()) at = rows.insert(at, {key, {}});
    at->second[model] = entry;
    items[key] = std::max(items[key], n);
  };
  for (const Cell* cell : cells) {
    const Axes& axes = cell->axes;
    names.insert(axes.model);
    lengths |= axes.context > 0;
    const std::string task = axes.task.value_or("");
    const auto mark = [](bool chance, double value) { return points(value) + (chance ? " chance" : ""); };
    const bool scored = cell->status == "ok" && cell->accuracy && cell->accuracy->score;
    if (!scored) {
      put({axes.context, task, ""}, axes.model, {cell->status, "-"}, 0);
      continue;
    }
    const Accuracy& accuracy = *cell->accuracy;
    const Score& score = *accuracy.score;
    put({axes.context, task, ""}, axes.model, {mark(score.at_chance, accuracy.value), points(accuracy.stderr_value)},
        accuracy.n);
    if (score.chance)                        // a mean's rows are cells of their own
      for (const ScoreRow& row : score.rows) {
        subjects = true;
        put({axes.context, task, row.name}, axes.model, {mark(row.at_chance, row.value), points(row.stderr_value)}, row.n);
      }
  }
  Grid grid;
  if (lengths) grid.columns.push_back({"", "length"});
  grid.columns.push_back({"", "task"});
  if (subjects) grid.columns.push_back({"", "subject"});
  grid.columns.push_back({"", "n"});
  const std::vector<std::string> models = in_order(names);
  for (const std::string& model : models) {
    grid.columns.push_back({model, "%"});
    grid.columns.push_back({model, "s.e."});
  }
  for (const auto& [key, by_model] : rows) {
    const auto& [length, task, subject] = key;
    std::vector<std::string> line;
    if (lengths) line.push_back(readable_tokens(length));
    line.push_back(task);
    if (subjects) line.push_back(subject.empty() ? "all" : subject);
    line.push_back(fmt::format("{}", items[key]));
    for (const std::string& model : models) {
      const auto at = by_model.find(model);
      line.push_back(at == by_model.end() ? "-" : at->second.value);
      line.push_back(at == by_model.end() ? "-" : at->second.error);
    }
    grid.rows.push_back(line);
  }
  return grid;
}

std::set<std::string> score_notes(const std::vector<const Cell*>& cells) {
  std::set<std::string> notes;
  for (const Cell* cell : cells) {
    if (cell->status != "ok" || !cell->accuracy || !cell->accuracy->score) continue;
    const Score& score = *cell->accuracy->score;
    if (score.rows.empty() && cell->suite == "ruler") continue;  // the mean's line says it for all
    notes.insert(fmt::format("{}; {} prompts, tokenizer {}{}", score.wording, score.prompt_format, score.tokenizer,
                             score.random_weights ? "; random weights: no statement about any model" : ""));
    if (score.at_chance)
      notes.insert(fmt::format("{}: chance, within two standard errors of guessing", cell->axes.model));
  }
  return notes;
}

std::string readable_score(const Accuracy& accuracy) {
  std::string text = fmt::format("{:.1f} %", 100 * accuracy.value);
  if (accuracy.stderr_value) text += fmt::format(" +- {:.1f}", 100 * *accuracy.stderr_value);
  return text + (accuracy.score && accuracy.score->at_chance ? " (chance)" : "");
}

}  // namespace kdabench::reports
