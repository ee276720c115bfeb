#include "reports/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <string_view>

#include "reports/statistics.h"

namespace kdabench::reports {
namespace {

constexpr const char* kRulesSchema = "kdabench/gate-rules";
constexpr const char* kInjected = "injected_slowdown";

// Null when any key on the way is not there.
const Json* at_path(const Json& cell, const std::string& path) {
  const Json* here = &cell;
  std::istringstream keys(path);
  for (std::string key; std::getline(keys, key, '.');) {
    if (!here->is_object() || !here->contains(key)) return nullptr;
    here = &(*here)[key];
  }
  return here;
}

struct Pair {
  const Json& base;
  const Json& candidate;
  const std::string& id;
  const GateRules& rules;
  std::vector<GateRow>& rows;

  void add(const std::string& metric, const std::string& verdict, Exit exit, const std::string& was,
           const std::string& is, const std::string& note) {
    rows.push_back({id, metric, verdict, exit, was, is, note});
  }
};

std::string text_at(const Json& cell, const std::string& path) {
  const Json* found = at_path(cell, path);
  return found && found->is_string() ? found->get<std::string>() : "";
}

// A value that a path names, and of whom: empty, or the entry of a list that the path went through.
struct Named {
  std::string name, instance;
  Json value;
  std::string label() const { return instance.empty() ? name : instance; }
};

void collect(const Json& here, std::string_view path, Named of, std::vector<Named>& found) {
  if (path.empty()) {
    if (!here.is_null()) found.push_back({of.name, of.instance, here});
    return;
  }
  if (here.is_array()) {
    for (const Json& entry : here) {
      if (!entry.is_object()) continue;
      of.name = text_at(entry, "name");
      of.instance = text_at(entry, "instance");
      collect(entry, path, of, found);
    }
    return;
  }
  const size_t dot = std::min(path.find('.'), path.size());
  const std::string key(path.substr(0, dot));
  if (here.is_object() && here.contains(key)) collect(here[key], path.substr(std::min(dot + 1, path.size())), of, found);
}

// Takes the values that `which` picks out of `from`; the largest stands for them, where there are several.
template <class Which> std::optional<Json> take(std::vector<Named>& from, Which&& which) {
  std::optional<Json> most;
  for (const Named& one : from)
    if (which(one) && (!most || *most < one.value)) most = one.value;
  std::erase_if(from, which);
  return most;
}

void judge_value(Pair pair, const ExactRule& rule, const std::string& metric, const std::optional<Json>& was,
                 const std::optional<Json>& is, const std::string& more) {
  if (!was) return pair.add(metric, "not_judged", Exit::pass, "", is->dump(), "base has no such value; update it" + more);
  if (!is) return pair.add(metric, "missing", Exit::regression, was->dump(), "", "base has this value" + more);
  if (*was == *is) return pair.add(metric, "pass", Exit::pass, was->dump(), is->dump(), "");
  const bool fell = was->is_number() && is->is_number() && *is < *was;
  if (rule.may_fall && fell)
    return pair.add(metric, "improved", Exit::pass, was->dump(), is->dump(), "less than in base; update it" + more);
  pair.add(metric, "fail", Exit::regression, was->dump(), is->dump(),
           (rule.may_fall ? "more than in base" : "not what base says; if it is meant, update base") + more);
}

// Of entries of a list, those of the same instance belong together. What then is left of a name had its instances
// replaced by others: the most of the old against the most of the new. False when neither has a value.
bool judge_exact(Pair pair, const ExactRule& rule) {
  std::vector<Named> was, is;
  collect(pair.base, rule.path, {}, was);
  collect(pair.candidate, rule.path, {}, is);
  if (was.empty() && is.empty()) return false;
  if (was.empty() && is.size() > 1) {
    pair.add(rule.path, "not_judged", Exit::pass, "", fmt::format("{} values", is.size()),
             "base has no such value; update it");
    return true;
  }
  if (is.empty() && was.size() > 1) {
    pair.add(rule.path, "missing", Exit::regression, fmt::format("{} values", was.size()), "", "base has these values");
    return true;
  }
  const auto metric = [&](const std::string& label) {
    const size_t dot = rule.path.rfind('.');
    return label.empty() ? rule.path : rule.path.substr(0, dot) + "[" + label + "]" + rule.path.substr(dot);
  };
  for (const Named& one : std::vector<Named>(was)) {
    const auto same = [&](const Named& other) { return other.name == one.name && other.instance == one.instance; };
    if (std::none_of(was.begin(), was.end(), same) || std::none_of(is.begin(), is.end(), same)) continue;
    const std::optional<Json> before = take(was, same);
    judge_value(pair, rule, metric(one.label()), before, take(is, same), "");
  }
  while (!was.empty() || !is.empty()) {
    const std::string name = (was.empty() ? is : was).front().name;
    const auto same = [&](const Named& other) { return other.name == name; };
    const auto labels = [&](const std::vector<Named>& all) {
      std::string text;
      for (const Named& one : all)
        if (same(one)) text += (text.empty() ? "" : ", ") + one.label();
      return text;
    };
    const std::string before = labels(was), after = labels(is);
    std::string more;
    if (!name.empty())
      more = fmt::format("; in base: {}, now: {}", before.empty() ? "none" : before, after.empty() ? "none" : after);
    const std::optional<Json> old = take(was, same);
    judge_value(pair, rule, metric(name), old, take(is, same), more);
  }
  return true;
}

std::vector<double> numbers(const Json& cell, const std::string& path) {
  std::vector<double> out;
  if (const Json* list = at_path(cell, path); list && list->is_array())
    for (const Json& value : *list) out.push_back(value.is_number() ? value.get<double>() : NAN);
  return out;
}

// Whether both say what they asked, and it was not the same.
bool asked_otherwise(const Pair& pair) {
  for (const char* path : {"accuracy.score.prompts_sha256", "accuracy.score.gold_sha256"}) {
    const std::string was = text_at(pair.base, path), is = text_at(pair.candidate, path);
    if (!was.empty() && !is.empty() && was != is) return true;
  }
  return false;
}

// How many items were lost and won, in words, and McNemar's p.
struct Paired {
  double p = 1;
  std::string note;
};
Paired paired(const std::vector<double>& before, const std::vector<double>& after) {
  int64_t lost = 0, won = 0;
  for (size_t i = 0; i < before.size(); ++i) lost += after[i] < before[i], won += after[i] > before[i];
  const double p = mcnemar_p_lost(lost, won);
  return {p, fmt::format("of {} items {} were lost and {} won; McNemar p {:.2g}", before.size(), lost, won, p)};
}

// The mean of one number an item, held to the margin from both sides.
void judge_kl(Pair pair, const std::string& metric, const std::vector<double>& values, const char* of) {
  if (values.size() < 2) return;
  const MeanInterval d = mean_interval(values, pair.rules.error_rate);
  const double margin = pair.rules.max_mean_kl_increase;
  const std::string note = fmt::format("{:+.2g} nats an item {}, {:.0f} % interval {:+.2g} to {:+.2g}", d.mean, of,
                                       100 * (1 - 2 * pair.rules.error_rate), d.low, d.high);
  if (d.low > 0 && d.mean > margin) pair.add(metric, "fail", Exit::incorrect, "", "", note);
  else if (d.high < margin) pair.add(metric, "pass", Exit::pass, "", "", note);
  else pair.add(metric, "inconclusive", Exit::inconclusive, "", "", note);
}

// Items are paired by their place; a task's items have an order.
void judge_items(Pair pair, const std::string& was, const std::string& is, bool higher_is_same) {
  const auto before = numbers(pair.base, "items.scores"), after = numbers(pair.candidate, "items.scores");
  if (before.empty() || after.empty())
    return higher_is_same ? pair.add("accuracy", "pass", Exit::pass, was, is, "")
                          : pair.add("accuracy", "inconclusive", Exit::inconclusive, was, is,
                                     "the score differs and there are no items to pair");
  if (before.size() != after.size())
    return pair.add(
        "accuracy", "no_baseline", Exit::no_baseline, was, is,
        fmt::format("{} items in base, {} in the candidate: not the same test", before.size(), after.size()));
  const auto [p, note] = paired(before, after);
  if (p <= pair.rules.error_rate) pair.add("accuracy", "fail", Exit::incorrect, was, is, note);
  else pair.add("accuracy", "pass", Exit::pass, was, is, note);
}

void judge_accuracy(Pair pair) {
  const Json *was = at_path(pair.base, "accuracy"), *is = at_path(pair.candidate, "accuracy");
  if (!was || !was->is_object()) return;
  if (!is || !is->is_object())
    return pair.add("accuracy", "missing", Exit::incorrect, was->value("metric", ""), "", "base has a score");
  const std::string before = was->value("value", Json()).dump(), after = is->value("value", Json()).dump();
  if (was->value("metric", "") != is->value("metric", ""))
    return pair.add("accuracy", "no_baseline", Exit::no_baseline, was->value("metric", ""), is->value("metric", ""),
                    "another metric");
  if (asked_otherwise(pair))
    return pair.add("accuracy", "no_baseline", Exit::no_baseline, before, after,
                    "other prompts or other right answers: not the same test");
  // A check is held to its bound, not to another run's rounding.
  if (const Json bound = is->value("bound", Json()); bound.is_number()) {
    const bool holds = is->value("value", INFINITY) <= bound.get<double>();
    return pair.add("accuracy", holds ? "pass" : "incorrect", holds ? Exit::pass : Exit::incorrect, before, after,
                    fmt::format("bound {}", bound.dump()));
  }
  const Json* device = at_path(pair.candidate, "axes.device");
  const bool cpu = device && *device == "cpu";
  const auto old_scores = numbers(pair.base, "items.scores"), new_scores = numbers(pair.candidate, "items.scores");
  if (before == after && (old_scores == new_scores || !cpu))
    judge_items(pair, before, after, true);
  else if (cpu)
    pair.add("accuracy", "fail", Exit::incorrect, before, after,
             "the CPU computes the same every time; this is a change" +
                 (old_scores.empty() || old_scores.size() != new_scores.size()
                      ? "" : ": " + paired(old_scores, new_scores).note));
  else
    judge_items(pair, before, after, before == after);

  const auto old_kl = numbers(pair.base, "items.kl"), new_kl = numbers(pair.candidate, "items.kl");
  std::vector<double> more;
  if (old_kl.size() == new_kl.size())
    for (size_t i = 0; i < old_kl.size(); ++i) more.push_back(new_kl[i] - old_kl[i]);
  judge_kl(pair, "kl", more, "more from the reference than base");
  const auto old_choices = numbers(pair.base, "items.choices"), new_choices = numbers(pair.candidate, "items.choices");
  if (!old_scores.empty() && !old_choices.empty() && old_choices.size() == new_choices.size() &&
      old_choices.size() % old_scores.size() == 0)
    judge_kl(pair, "kl from base", choice_divergence(old_choices, new_choices, old_choices.size() / old_scores.size()),
             "from base");
}

void judge_time(Pair pair, const CellComparison& row, bool same_machine) {
  if (!row.base_median_ns || !row.candidate_median_ns) return;
  const std::string was = fmt::format("{:.6g} ms", *row.base_median_ns * 1e-6),
                    is = fmt::format("{:.6g} ms", *row.candidate_median_ns * 1e-6);
  if (!same_machine || !pair.rules.judge_times)
    return pair.add("time", "not_judged", Exit::pass, was, is,
                    same_machine ? "the rules judge no times" : "another machine; compare times with `kdabench ab`");
  const double ratio = row.time_ratio.value_or(*row.candidate_median_ns / *row.base_median_ns);
  const std::string note = fmt::format("{:+.1f} %; one process each, no statistics", 100 * (ratio - 1));
  if (ratio > 1 + pair.rules.time_margin) pair.add("time", "fail", Exit::regression, was, is, note);
  else pair.add("time", ratio < 1 / (1 + pair.rules.time_margin) ? "improved" : "pass", Exit::pass, was, is, note);
}

bool injected(const Cell& cell) {
  return std::any_of(cell.validity.reasons.begin(), cell.validity.reasons.end(),
                     [](const Reason& reason) { return reason.code == kInjected; });
}

template <class T> T rule(const Json& json, const std::string& key, T otherwise, const std::string& where) {
  if (!json.contains(key)) return otherwise;
  try {
    return json[key].get<T>();
  } catch (const Json::exception&) {
    throw Error(
        fmt::format("{}: {} has the wrong type, found {}; see reports/gate_rules.json", where, key, json[key].dump()));
  }
}

void check_keys(const Json& json, const std::set<std::string>& known, const std::string& where) {
  if (!json.is_object())
    throw Error(fmt::format("{}: wanted an object, found {}; see reports/gate_rules.json", where, json.dump()));
  for (const auto& [key, value] : json.items())
    if (!known.count(key))
      throw Error(fmt::format("{}: unknown key {}; known: {}", where, key, fmt::join(known, ", ")));
}

}  // namespace

GateRules read_gate_rules(const fs::path& path) {
  const Json json = read_json(path);
  const std::string where = path.string();
  check_keys(json, {"schema", "schema_version", "about", "exact", "time", "accuracy"}, where);
  if (rule<std::string>(json, "schema", "", where) != kRulesSchema)
    throw Error(fmt::format("{}: wanted schema {}, found {}; see reports/gate_rules.json", where, kRulesSchema,
                            json.value("schema", Json("none")).dump()));
  GateRules rules;
  if (json.contains("exact")) {
    rules.exact.clear();
    if (!json["exact"].is_array()) throw Error(where + ": exact wants a list of {\"path\", \"may\"}");
    for (const Json& entry : json["exact"]) {
      check_keys(entry, {"path", "may"}, where + ": exact");
      const std::string may = rule<std::string>(entry, "may", "not change", where);
      const std::string metric = rule<std::string>(entry, "path", "", where);
      if (metric.empty() || (may != "not change" && may != "fall"))
        throw Error(
            fmt::format("{}: exact wants a path and may \"not change\" or \"fall\", found {}", where, entry.dump()));
      rules.exact.push_back({metric, may == "fall"});
    }
  }
  if (json.contains("time")) {
    check_keys(json["time"], {"judge", "margin"}, where + ": time");
    const std::string judge = rule<std::string>(json["time"], "judge", "same machine", where);
    if (judge != "same machine" && judge != "never")
      throw Error(fmt::format("{}: time.judge wants \"same machine\" or \"never\", found {}", where, judge));
    rules.judge_times = judge == "same machine";
    rules.time_margin = rule(json["time"], "margin", rules.time_margin, where);
  }
  if (json.contains("accuracy")) {
    check_keys(json["accuracy"], {"error_rate", "max_mean_kl_increase"}, where + ": accuracy");
    rules.error_rate = rule(json["accuracy"], "error_rate", rules.error_rate, where);
    rules.max_mean_kl_increase = rule(json["accuracy"], "max_mean_kl_increase", rules.max_mean_kl_increase, where);
  }
  if (!(rules.time_margin > 0 && rules.error_rate > 0 && rules.error_rate < 0.5 && rules.max_mean_kl_increase > 0))
    throw Error(where + ": margins want to be above 0, and error_rate below 0.5; see reports/gate_rules.json");
  return rules;
}

Json gate_rules_json(const GateRules& rules) {
  Json exact = Json::array();
  for (const ExactRule& one : rules.exact)
    exact.push_back({{"path", one.path}, {"may", one.may_fall ? "fall" : "not change"}});
  return {{"schema", kRulesSchema},
          {"schema_version", "1.0.0"},
          {"exact", exact},
          {"time", {{"judge", rules.judge_times ? "same machine" : "never"}, {"margin", rules.time_margin}}},
          {"accuracy", {{"error_rate", rules.error_rate}, {"max_mean_kl_increase", rules.max_mean_kl_increase}}}};
}

Gate gate(const Json& base, const Json& candidate, const GateRules& rules) {
  const Report before = report_from_json(base), after = report_from_json(candidate);
  const Comparison joined = compare(before, after, {rules.time_margin});
  Gate out;
  out.same_machine = joined.same_machine;
  std::map<std::string, const Json*> old_cells, new_cells;
  for (const Json& cell : base["cells"]) old_cells[cell["id"].get<std::string>()] = &cell;
  for (const Json& cell : candidate["cells"]) new_cells[cell["id"].get<std::string>()] = &cell;
  std::set<std::string> marked, used;
  for (const Report* report : {&before, &after})
    for (const Cell& cell : report->cells)
      if (injected(cell)) marked.insert(cell.id);

  // What `compare` says of status alone; bytes and times are judged here.
  const std::set<std::string> by_status = {"missing", "extra", "failed", "incorrect", "invalid", "no_baseline"};
  for (const CellComparison& row : joined.cells) {
    Pair pair{old_cells.count(row.id) ? *old_cells[row.id] : base,
              new_cells.count(row.id) ? *new_cells[row.id] : candidate, row.id, rules, out.rows};
    const bool decided = by_status.count(row.verdict) > 0;
    if (marked.count(row.id)) {
      pair.add("status", "invalid", Exit::invalid, row.base_status, row.candidate_status,
               "slowed on purpose, to test a gate; it is no measurement");
      continue;
    }
    pair.add("status", decided ? row.verdict : "pass", decided ? row.exit : Exit::pass, row.base_status,
             row.candidate_status, decided ? row.note : "");
    if (row.verdict == "missing" || row.verdict == "extra") continue;
    for (const ExactRule& exact : rules.exact) {
      // As many sequences as fit is a result; the bytes of all of them follow it.
      const bool per_batch =
          exact.path == "memory.cache_bytes_analytic" || exact.path == "memory.cache_bytes_allocated";
      const bool another_batch = per_batch && pair.base["axes"]["batch"] != pair.candidate["axes"]["batch"];
      if (another_batch || judge_exact(pair, exact)) used.insert(exact.path);
    }
    if (decided) continue;
    judge_accuracy(pair);
    judge_time(pair, row, out.same_machine);
  }
  for (const ExactRule& exact : rules.exact)
    if (!used.count(exact.path)) out.unused.push_back(exact.path);
  if (joined.cells.empty()) {
    out.problem = "neither report has a cell";
    out.exit = Exit::no_baseline;
  }
  for (const GateRow& row : out.rows) out.exit = worst(out.exit, row.exit);
  return out;
}

Gate gate_files(const fs::path& base, const fs::path& candidate, const std::string& rules) {
  Gate out;
  try {
    const GateRules wanted = rules.empty() ? GateRules{} : read_gate_rules(rules);
    read_report(
        candidate);  // schema and version, with the file's name; first: a broken candidate outranks a missing base
    std::error_code ignored;
    if (!fs::exists(base, ignored)) {
      out.problem = fmt::format("{}: wanted a baseline, found no such file; make one with --out", base.string());
      out.exit = Exit::no_baseline;
    } else {
      read_report(base);
      out = gate(read_json(base), read_json(candidate), wanted);
    }
  } catch (const Error& error) {
    out.problem = error.what();
    out.exit = Exit::usage;
  }
  out.base = base.string();
  out.candidate = candidate.string();
  out.rules = rules;
  return out;
}

}  // namespace kdabench::reports
