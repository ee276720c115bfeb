#include "reports/claims.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace kdabench::reports {
namespace {

constexpr const char* kReproduced = "reproduced";
constexpr const char* kNot = "not reproduced";
constexpr const char* kUntestable = "not testable here";

[[noreturn]] void broken(const std::string& id, const std::string& sentence) {
  throw Error(fmt::format("claim {}: {}; mend the claims file", id, sentence));
}

std::string text(const Json& json, const std::string& id, const char* key, bool required = true) {
  const auto found = json.find(key);
  if (found == json.end() && !required) return "";
  if (found == json.end() || !found->is_string() || (required && found->get<std::string>().empty()))
    broken(id, fmt::format("wanted text at '{}', found {}", key, found == json.end() ? "none" : "something else"));
  return found->get<std::string>();
}

double number(const Json& json, const std::string& id, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number()) broken(id, fmt::format("wanted a number at '{}', found none", key));
  return found->get<double>();
}

bool one_of(const std::string& value, std::initializer_list<const char*> known) {
  return std::find(known.begin(), known.end(), value) != known.end();
}

void check_selector(const Json& query, const std::string& id, const char* key, bool required) {
  const auto found = query.find(key);
  if (found == query.end() && !required) return;
  if (found == query.end() || !found->is_object())
    broken(id, fmt::format("wanted axes at query.{}, found none", key));
  const Json axes = to_json(Cell{})["axes"];
  for (const auto& [axis, value] : found->items()) {
    if (axis != "suite" && !axes.contains(axis))
      broken(id, fmt::format("wanted an axis of a cell, found '{}'", axis));
    if (value.is_object()) broken(id, fmt::format("wanted a value or a list of values of {}, found an object", axis));
  }
}

Claim claim_from_json(const Json& json, const std::string& id) {
  Claim claim;
  claim.id = id;
  claim.section = text(json, id, "section");
  claim.says = text(json, id, "says");
  claim.unit = text(json, id, "unit");
  claim.protocol = text(json, id, "protocol");
  claim.unsaid = text(json, id, "unsaid");
  claim.test = text(json, id, "test");
  claim.needs = text(json, id, "needs", false);
  claim.run = text(json, id, "run", false);
  if (claim.needs.empty() && claim.run.empty())
    broken(id, "wanted 'run', the command that would measure it, or 'needs', what is missing, found neither");
  claim.paper = number(json, id, "paper");
  const Json rule = json.value("verdict", Json::object());
  if (!rule.is_object()) broken(id, "wanted an object at 'verdict', found something else");
  claim.direction = text(rule, id, "direction");
  if (!one_of(claim.direction, {"at least", "equal"}))
    broken(id, "wanted direction 'at least' or 'equal', found another");
  claim.tolerance = number(rule, id, "tolerance");
  if (claim.tolerance < 0) broken(id, "wanted a tolerance of 0 or more, found less");
  claim.absolute = rule.contains("absolute") && rule["absolute"] == true;
  claim.why = text(rule, id, "why");
  claim.query = json.value("query", Json::object());
  if (!claim.query.is_object()) broken(id, "wanted an object at 'query', found something else");
  const std::string form = text(claim.query, id, "form");
  if (!one_of(form, {"ratio", "saving", "difference", "value"}))
    broken(id, "wanted form ratio, saving, difference or value, found " + form);
  text(claim.query, id, "metric");
  if (claim.query.contains("scale")) number(claim.query, id, "scale");
  check_selector(claim.query, id, "where", true);
  check_selector(claim.query, id, "of", true);
  check_selector(claim.query, id, "over", form != "value");
  if (claim.query.contains("elsewhere") && claim.query["elsewhere"] != "context")
    broken(id, "wanted \"context\" at query.elsewhere, found something else");
  return claim;
}

// A cell as a query sees it: its axes with the suite among them, and its numbers by path.
struct Row {
  const Source* source;
  const Cell* cell;
  Json json, axes;
};

bool matches(const Json& axes, const Json& selector) {
  for (const auto& [axis, wanted] : selector.items()) {
    const auto found = axes.find(axis);
    if (found == axes.end()) return false;
    if (wanted.is_array() ? std::find(wanted.begin(), wanted.end(), *found) == wanted.end() : *found != wanted)
      return false;
  }
  return true;
}

std::optional<double> metric(const Row& row, const std::string& path) {
  const Json* at = &row.json;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t dot = std::min(path.find('.', begin), path.size());
    const auto found = at->is_object() ? at->find(path.substr(begin, dot - begin)) : at->end();
    if (!at->is_object() || found == at->end()) return std::nullopt;
    at = &*found;
    begin = dot + 1;
  }
  if (at->is_string()) {  // an integer beyond 2^53
    const std::string digits = at->get<std::string>();
    char* end = nullptr;
    const double value = std::strtod(digits.c_str(), &end);
    return end && *end == 0 && !digits.empty() ? std::optional(value) : std::nullopt;
  }
  return at->is_number() ? std::optional(at->get<double>()) : std::nullopt;
}

// What both cells of a pair must share: every axis that neither the selectors name nor a result is.
Json shared_axes(const Row& row, const Json& query, bool time) {
  Json axes = row.axes;
  for (const char* side : {"of", "over"})
    for (const auto& [axis, value] : query[side].items()) axes.erase(axis);
  for (const Json& axis : query.value("ignore", Json::array()))
    if (axis.is_string()) axes.erase(axis.get<std::string>());
  axes.erase("steps");
  if (row.axes["protocol"] == "same-memory") axes.erase("batch");
  if (time) axes["machine"] = row.source->report.machine.fingerprint, axes["source"] = row.source->name;
  return axes;
}

std::optional<double> value_of(const std::string& form, double of, double over, double scale) {
  if (form == "value") return scale * of;
  if (form == "difference") return scale * (of - over);
  const double below = form == "ratio" ? over : of;
  if (below == 0) return std::nullopt;
  const double value = scale * (form == "ratio" ? of / over : 1 - over / of);
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

Evidence evidence_of(const Row& of, const Row* over, const Claim& claim, double measured) {
  Evidence found;
  found.source = of.source->name;
  found.of = of.cell;
  found.over = over ? over->cell : nullptr;
  found.measured = measured;
  const double scale = claim.query.value("scale", 1.0);
  if (claim.query["metric"] == "accuracy.value") {
    double squares = 0;
    for (const Row* row : {&of, over})
      if (row && row->cell->accuracy && row->cell->accuracy->stderr_value)
        squares += std::pow(*row->cell->accuracy->stderr_value * scale, 2);
    if (squares > 0) found.standard_error = std::sqrt(squares);
  }
  if (!over || claim.query["form"] != "ratio") return found;
  const Cell &a = *of.cell, &b = *over->cell;
  const bool amortised = claim.query["metric"] == "timing.tpot_ns", prefill = a.suite == "prefill";
  if (a.floor && b.floor && a.floor->time_ns > 0 && b.floor->time_ns > 0 && a.axes.batch > 0 && b.axes.batch > 0)
    found.floors =
        a.floor->time_ns / b.floor->time_ns * (amortised ? double(b.axes.batch) / double(a.axes.batch) : 1);
  if ((amortised || prefill) && claim.direction == "at least" && a.memory && b.memory && a.axes.batch > 0 &&
      b.memory->cache_bytes_per_token > 0)
    found.bound = std::max(double(b.axes.batch) / double(a.axes.batch),
                           double(a.memory->cache_bytes_per_token) / double(b.memory->cache_bytes_per_token));
  return found;
}

// Below 0 where the claim holds, in the paper's unit: how far from holding the measurement is.
double distance(const Claim& claim, const Evidence& evidence) {
  double allowed = claim.absolute ? claim.tolerance : claim.tolerance * std::abs(claim.paper);
  allowed = std::max(allowed, 2 * evidence.standard_error.value_or(0));
  const double short_by = claim.paper - evidence.measured;
  return (claim.direction == "equal" ? std::abs(short_by) : short_by) - allowed;
}

std::string missing(const Claim& claim, const std::string& found) {
  if (!claim.run.empty()) return found + "; run " + claim.run;
  return found + "; missing: " + claim.needs;
}

// What answers a query with this `where`: pairs or single cells, and what was found instead where there are none.
struct Found {
  std::vector<Evidence> evidence;
  std::string instead;
};

Found find(const Claim& claim, const std::vector<Row>& rows, const Json& where) {
  Found found;
  const Json& query = claim.query;
  const std::string form = query["form"], path = query["metric"];
  const double scale = query.value("scale", 1.0);
  const bool time = path.rfind("timing.", 0) == 0;
  std::vector<const Row*> of, over;
  std::string unusable;
  for (const Row& row : rows) {
    if (!matches(row.axes, where)) continue;
    const bool is_of = matches(row.axes, query["of"]), is_over = form != "value" && matches(row.axes, query["over"]);
    if (!is_of && !is_over) continue;
    if (row.cell->status != "ok" || !row.cell->validity.valid || !metric(row, path)) {
      unusable = fmt::format("{} of {} is {}", row.cell->id, row.source->name,
                             row.cell->status == "ok" ? "without " + path : row.cell->status);
      continue;
    }
    if (is_of) of.push_back(&row);
    if (is_over) over.push_back(&row);
  }
  for (const Row* a : of) {
    if (form == "value") {
      const double measured = scale * *metric(*a, path);
      if (std::isfinite(measured)) found.evidence.push_back(evidence_of(*a, nullptr, claim, measured));
      continue;
    }
    const Json wanted = shared_axes(*a, query, time);
    for (const Row* b : over) {
      if (a == b || shared_axes(*b, query, time) != wanted) continue;
      const auto measured = value_of(form, *metric(*a, path), *metric(*b, path), scale);
      if (measured) found.evidence.push_back(evidence_of(*a, b, claim, *measured));
    }
  }
  found.instead = !unusable.empty()            ? unusable
                  : of.empty() && over.empty() ? "no report has such cells"
                  : of.empty() || over.empty() ? "the reports have one side of it alone"
                                               : "no two cells differ in nothing else";
  return found;
}

ClaimResult judge_one(const Claim& claim, const std::vector<Row>& rows) {
  ClaimResult result;
  result.claim = claim;
  Found found = find(claim, rows, claim.query["where"]);
  result.evidence = std::move(found.evidence);
  if (result.evidence.empty()) {
    result.verdict = kUntestable;
    result.reason = missing(claim, found.instead);
    if (!claim.query.contains("elsewhere")) return result;
    Json where = claim.query["where"];
    where.erase("context");
    for (const Evidence& other : find(claim, rows, where).evidence)
      if (!result.elsewhere || other.of->axes.context > result.elsewhere->of->axes.context) result.elsewhere = other;
    if (result.elsewhere)
      result.reason = "measured at a shorter context alone, which decides nothing: " + result.reason;
    return result;
  }
  const auto nearest =
      std::min_element(result.evidence.begin(), result.evidence.end(),
                       [&](const Evidence& a, const Evidence& b) { return distance(claim, a) < distance(claim, b); });
  result.best = static_cast<size_t>(nearest - result.evidence.begin());
  result.verdict = distance(claim, *nearest) <= 1e-9 * std::abs(claim.paper) ? kReproduced : kNot;
  return result;
}

}  // namespace

std::vector<Claim> claims_from_json(const Json& json) {
  if (!json.is_object() || !json.contains("claims") || !json["claims"].is_array())
    throw Error("claims: wanted an object with a list 'claims', found something else; give a claims file");
  std::vector<Claim> claims;
  std::set<std::string> ids;
  for (const Json& entry : json["claims"]) {
    const std::string where = fmt::format("number {}", claims.size() + 1);
    if (!entry.is_object()) broken(where, "wanted an object, found something else");
    const std::string id = text(entry, where, "id");
    if (!ids.insert(id).second) broken(id, "wanted a unique id, found it twice");
    claims.push_back(claim_from_json(entry, id));
  }
  return claims;
}

std::vector<ClaimResult> judge(const std::vector<Claim>& claims, const std::vector<Source>& sources) {
  std::vector<Row> rows;
  for (const Source& source : sources)
    for (const Cell& cell : source.report.cells) {
      Cell light = cell;
      light.samples.reset();
      Json json = to_json(light), axes = json["axes"];
      axes["suite"] = cell.suite;
      rows.push_back({&source, &cell, std::move(json), std::move(axes)});
    }
  std::vector<ClaimResult> results;
  for (const Claim& claim : claims) results.push_back(judge_one(claim, rows));
  return results;
}

std::optional<Amortisation> amortisation_of(const ClaimResult& result, const std::vector<Source>& sources) {
  if (result.evidence.empty() || !result.claim.query.contains("amortised")) return std::nullopt;
  const Evidence& best = result.evidence[result.best];
  for (const Source& source : sources) {
    const auto& cells = source.report.cells;
    const bool here = std::any_of(cells.begin(), cells.end(), [&](const Cell& cell) { return &cell == best.of; });
    if (here && best.over) return amortisation(*best.of, *best.over, result.claim.paper, cells);
  }
  return std::nullopt;
}

}  // namespace kdabench::reports
