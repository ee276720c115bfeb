// The validator of reports/schema.h: a small draft-7 machine, then the rules between fields.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "reports/fields.h"
#include "reports/schema.h"

namespace kdabench::reports {
namespace {

// Rounding, and the few per cent that a run may lie above a ceiling measured once.
constexpr double kCeilingTolerance = 0.02;
constexpr double kRounding = 1e-6;

std::string shown(const Json& json) {
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

bool has_type(const Json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  if (type == "number") return value.is_number();
  // Draft-7 counts 3.0 as an integer, the reader of reports does not: what it cannot read is not valid.
  if (type == "integer") return value.is_number_integer();
  throw Error(
      fmt::format("schema: wanted a draft-7 type, found {}; use another or teach validate.cpp", type));
}

class Validator {
 public:
  std::vector<Violation> found;

  void check(const Json& schema, const Json& value, const std::string& path) {
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) add(path, "is not allowed here; a cell whose status is not ok has no speed");
      return;
    }
    if (value.is_number_float() && !std::isfinite(value.get<double>())) {
      add(path, "wanted a finite number, found NaN or infinity");
      return;
    }
    for (const auto& [keyword, rule] : schema.items())
      if (!apply(keyword, rule, schema, value, path)) return;
  }

 private:
  void add(const std::string& path, std::string sentence) { found.push_back({path, std::move(sentence)}); }

  static bool holds(const Json& schema, const Json& value) {
    Validator quiet;
    quiet.check(schema, value, "");
    return quiet.found.empty();
  }

  // False when the rest of the schema makes no sense for this value.
  bool apply(const std::string& keyword, const Json& rule, const Json& schema, const Json& value,
             const std::string& path) {
    if (keyword == "type") {
      const Json types = rule.is_array() ? rule : Json::array({rule});
      if (std::any_of(types.begin(), types.end(),
                      [&](const Json& t) { return has_type(value, t.get<std::string>()); }))
        return true;
      std::string wanted;
      for (const Json& type : types) wanted += (wanted.empty() ? "" : " or ") + type.get<std::string>();
      add(path, fmt::format("wanted {}, found {}", wanted, shown(value)));
      return false;
    }
    if (keyword == "enum") {
      if (std::find(rule.begin(), rule.end(), value) == rule.end())
        add(path, fmt::format("wanted one of {}, found {}", shown(rule), shown(value)));
    } else if (keyword == "const") {
      if (value != rule) add(path, fmt::format("wanted {}, found {}", shown(rule), shown(value)));
    } else if (keyword == "pattern") {
      // The length is bounded because std::regex recurses once a character.
      const std::string text = value.is_string() ? value.get<std::string>() : "";
      const auto pattern = rule.get<std::string>();
      if (value.is_string() && (text.size() > 1000 || !std::regex_search(text, std::regex(pattern))))
        add(path, fmt::format("wanted text that matches {}, found {}", pattern, shown(value)));
    } else if (keyword == "minimum") {
      if (value.is_number() && value.get<double>() < rule.get<double>())
        add(path, fmt::format("wanted at least {}, found {}", shown(rule), shown(value)));
    } else if (keyword == "minLength") {
      if (value.is_string() && value.get_ref<const std::string&>().size() < rule.get<size_t>())
        add(path,
            fmt::format("wanted text of {} or more characters, found {}", rule.get<size_t>(), shown(value)));
    } else if (keyword == "required") {
      for (const Json& key : rule)
        if (value.is_object() && !value.contains(key.get<std::string>()))
          add(path + "." + key.get<std::string>(), "is required, found none");
    } else if (keyword == "properties") {
      for (const auto& [key, sub] : rule.items())
        if (value.is_object() && value.contains(key)) check(sub, value[key], path + "." + key);
    } else if (keyword == "additionalProperties") {
      const Json known = schema.value("properties", Json::object());
      if (value.is_object())
        for (const auto& [key, member] : value.items())
          if (!known.contains(key)) check(rule, member, path + "." + key);
    } else if (keyword == "items") {
      for (size_t i = 0; value.is_array() && i < value.size(); ++i)
        check(rule, value[i], fmt::format("{}[{}]", path, i));
    } else if (keyword == "allOf") {
      for (const Json& part : rule) check(part, value, path);
    } else if (keyword == "if") {
      const char* branch = holds(rule, value) ? "then" : "else";
      if (schema.contains(branch)) check(schema[branch], value, path);
    } else {
      static const std::set<std::string> silent = {"then", "else", "$schema", "title", "description"};
      if (!silent.count(keyword))
        throw Error(
            fmt::format("schema: wanted a keyword of the subset in reports/schema.h, found {}; teach "
                        "validate.cpp",
                        keyword));
    }
    return true;
  }
};

bool near(double a, double b) { return std::abs(a - b) <= kRounding * std::max(std::abs(a), std::abs(b)); }

// What runs is what is named, every launch of a graph is one of a kernel that is known, and a kernel takes registers.
template <class Wanted> void check_resources(const Cell& cell, const Resources& resources, Wanted&& wanted) {
  std::set<std::string> launched;
  int64_t launches = 0;
  bool library = false;
  for (size_t i = 0; i < resources.kernels.size(); ++i) {
    const KernelResources& row = resources.kernels[i];
    const std::string path = fmt::format(".resources.kernels[{}]", i);
    wanted(row.launches > 0, path + ".launches", "wanted a kernel that was launched, found one that was not");
    if (row.instance)
      wanted(row.registers.value_or(0) > 0 && row.local_bytes && row.static_shared_bytes && row.dynamic_shared_bytes,
             path, fmt::format("wanted the registers, local and shared bytes of {}, found none", *row.instance));
    else
      wanted(!resources.reason.empty(), ".resources.reason",
             fmt::format("wanted why {} has no instance, found nothing", row.name));
    library = library || !row.instance;
    launched.insert(row.name);
    launches += row.launches;
  }
  if (cell.kernels)
    visit_const(*cell.kernels, [&](const char* part, const std::optional<std::string>& names, const char*) {
      std::istringstream list(names.value_or(""));
      for (std::string name; std::getline(list >> std::ws, name, ',');)
        wanted(launched.count(name) > 0, ".resources.kernels",
               fmt::format("wanted {}, which serves {}, found no such kernel", name, part));
    });
  if (cell.launches && cell.launches->kernels_per_step && !library)
    wanted(launches == *cell.launches->kernels_per_step, ".resources.kernels",
           fmt::format("wanted the {} launches of a step, found {}", *cell.launches->kernels_per_step, launches));
}

// What a schema cannot say about one cell.
void check_cell(const Cell& cell, const std::string& path, std::vector<Violation>& found) {
  const auto wanted = [&](bool holds, const std::string& field, std::string sentence) {
    if (!holds) found.push_back({path + field, std::move(sentence)});
  };
  const std::string id = cell_id(cell.suite, cell.axes);
  wanted(cell.id == id, ".id", fmt::format("wanted {} from suite and axes, found {}", id, cell.id));
  wanted(cell.status != "ok" || cell.validity.valid, ".status",
         "wanted invalid, found ok beside validity.valid = false");
  wanted(cell.status != "invalid" || !cell.validity.reasons.empty(), ".validity.reasons",
         "wanted the reason of the status invalid, found none");
  if (cell.floor && cell.floor->fraction && cell.status == "ok")
    wanted(*cell.floor->fraction <= 1 + kCeilingTolerance, ".floor.fraction",
           fmt::format("wanted at most 1 in an ok cell, found {}: faster than its floor is invalid",
                       *cell.floor->fraction));
  if (cell.resources) check_resources(cell, *cell.resources, wanted);
  if (!cell.timing) return;

  const Stats& s = cell.timing->stats;
  const std::string stats = ".timing.stats";
  const double ordered[] = {s.min_ns, s.q1_ns, s.median_ns, s.q3_ns, s.p95_ns, s.p99_ns, s.max_ns};
  wanted(std::is_sorted(std::begin(ordered), std::end(ordered)), stats,
         "wanted min <= q1 <= median <= q3 <= p95 <= p99 <= max, found another order");
  wanted(s.n > 0 && s.median_ns > 0, stats, "wanted at least one sample and a median above 0, found none");
  if (cell.samples && !cell.samples->step_ns.empty()) {
    const auto& samples = cell.samples->step_ns;
    wanted(s.n == static_cast<int64_t>(samples.size()), stats + ".n",
           fmt::format("wanted the number of samples, {}, found {}", samples.size(), s.n));
    const double median = summarize(samples).median_ns;
    wanted(near(s.median_ns, median), stats + ".median_ns",
           fmt::format("wanted the median of samples.step_ns, {}, found {}", median, s.median_ns));
  }
  if (s.median_ns <= 0) return;
  if (cell.floor && cell.floor->fraction)
    wanted(near(*cell.floor->fraction, cell.floor->time_ns / s.median_ns), ".floor.fraction",
           fmt::format("wanted time_ns / median = {}, found {}", cell.floor->time_ns / s.median_ns,
                       *cell.floor->fraction));
  if (cell.suite != "decode" && cell.suite != "prefill") return;  // only there is it known how many tokens a step has
  const double each = cell.suite == "decode" ? 1 : static_cast<double>(cell.axes.context);
  const double tokens_per_s = each * static_cast<double>(cell.axes.batch) * 1e9 / s.median_ns;
  if (cell.throughput)
    wanted(near(cell.throughput->tokens_per_s, tokens_per_s), ".throughput.tokens_per_s",
           fmt::format("wanted tokens of a step / median step = {}, found {}", tokens_per_s,
                       cell.throughput->tokens_per_s));
  wanted(near(cell.timing->tpot_ns * tokens_per_s, each * 1e9), ".timing.tpot_ns",
         fmt::format("wanted median step / batch = {}, found {}", each * 1e9 / tokens_per_s, cell.timing->tpot_ns));
}

}  // namespace

std::vector<Violation> validate_against(const Json& schema, const Json& document) {
  Validator validator;
  validator.check(schema, document, "$");
  return validator.found;
}

std::vector<Violation> validate(const Json& json) {
  std::vector<Violation> found = validate_against(report_schema(), json);
  if (!found.empty()) return found;  // the rules below read a report, and this is none

  Report report;
  try {
    report = report_from_json(json);
  } catch (const Error& error) {  // digits beyond 64 bits: the schema cannot see it
    return {{"$", error.what()}};
  }
  std::map<std::string, size_t> first;
  for (size_t i = 0; i < report.cells.size(); ++i) {
    const std::string path = fmt::format("$.cells[{}]", i);
    const auto [at, fresh] = first.emplace(report.cells[i].id, i);
    if (!fresh)
      found.push_back(
          {path + ".id", fmt::format("wanted a unique id, found that of $.cells[{}]", at->second)});
    check_cell(report.cells[i], path, found);
  }
  return found;
}

}  // namespace kdabench::reports
