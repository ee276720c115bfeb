#pragma once
// What the paper says, beside what reports measured. A claim is data (suites/claims.json): its number, where it
// stands, by which protocol, what the paper leaves unsaid, which cells answer it and how near they must come. The
// verdict follows from these and the cells alone.
//
// A query names cells and forms a number of them:
//   {"form": "ratio" | "saving" | "difference" | "value", "metric": PATH, "scale": 1,
//    "where": {AXIS: value or [values]},
//    "of": {AXIS: value}, "over": {AXIS: value}, "ignore": [AXIS], "amortised": false}
// ratio = of / over; saving = 1 - over / of; difference = of - over; value = of; each times scale. PATH is a path in
// a cell ("timing.tpot_ns"). `of` and `over` add to `where`; the two cells of a pair agree in every other axis that
// `ignore` does not name (batch is a result in same-memory; steps are a setting), and times are compared on one
// machine only. Where no cells answer at the claim's context, "elsewhere": "context" has the longest context that both
// sides were measured at told beside the reason; it decides nothing.

#include <optional>
#include <string>
#include <vector>

#include "reports/amortisation.h"
#include "reports/json.h"

namespace kdabench::reports {

struct Claim {
  std::string id, section, says, unit, protocol, unsaid, test;
  double paper = 0;
  Json query;
  std::string direction;  // at least | equal
  double tolerance = 0;   // share of the paper's number, or in its unit when absolute
  bool absolute = false;
  std::string why;    // of the tolerance
  std::string needs;  // what is missing where no run of kdabench answers
  std::string run;    // the command that would
};

// Throws Error naming the claim and what is wrong with it.
std::vector<Claim> claims_from_json(const Json& json);

// A report and what to call it. `read_source` also reads Google Benchmark's JSON, whose rows become cells of the
// suite `kernels`, the row's name (without its settings) being the task.
struct Source {
  std::string name;
  Report report;
};
Source read_source(const fs::path& path);

// One pair of cells that answers a claim, or one cell.
struct Evidence {
  std::string source;
  const Cell* of = nullptr;
  const Cell* over = nullptr;
  double measured = 0;
  std::optional<double> standard_error;
  std::optional<double> floors;  // the same ratio of the cells' floors: what two perfect engines would show there
  std::optional<double> bound;   // of decode ratios: the larger of the batches' ratio and that of the caches a token.
                                 // No cost of a step that is alike for both, and no less with more bytes, passes it
};

struct ClaimResult {
  Claim claim;
  std::string verdict;             // reproduced | not reproduced | not testable here
  std::string reason;              // of the last, one sentence
  std::vector<Evidence> evidence;  // in the order of the reports
  size_t best = 0;                 // the one that counts: nearest to the claim
  std::optional<Evidence> elsewhere;  // without evidence: at the longest context that was measured
};

// The results point into the sources, which must outlive them.
std::vector<ClaimResult> judge(const std::vector<Claim>& claims, const std::vector<Source>& sources);

// Where a ratio of amortised times comes from, for a claim whose query says so and that has evidence.
std::optional<Amortisation> amortisation_of(const ClaimResult& result, const std::vector<Source>& sources);

// The numbers of a row as they print; "-" where there is none. Those of another context say so.
struct ClaimNumbers {
  std::string paper, measured = "-", floors = "-", bound = "-";
};
ClaimNumbers claim_numbers(const ClaimResult& result);

// Text of the table. `format` is text, md, latex or json.
std::string claims_table(const std::vector<ClaimResult>& results, const std::vector<Source>& sources,
                         const std::string& format);

// One claim at length. `wanted` is an id or the paper's number as it prints (6.3x); throws Error when no claim or
// several unlike ones match.
std::string explain_claim(const std::vector<ClaimResult>& results, const std::vector<Source>& sources,
                          const std::string& wanted);

}  // namespace kdabench::reports
