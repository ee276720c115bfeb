// Claims: what the table says of the synthetic report, verdicts that follow the numbers, the decomposition's
// arithmetic, and claims files that are wrong.

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "reports/claims.h"
#include "tests/reports_fixture.h"

namespace kdabench::reports {
namespace {

const fs::path kClaims = kSource / "suites/claims.json";

// The synthetic report as if it were of the models the claims are about.
Report of_the_48b() {
  Report report = synthetic();
  for (Cell& cell : report.cells) {
    cell.axes.config = "kimi-linear-48b-a3b";
    cell.id = cell_id(cell.suite, cell.axes);
  }
  return report;
}

std::vector<ClaimResult> judged(const std::vector<Source>& sources) {
  return judge(claims_from_json(read_json(kClaims)), sources);
}

const ClaimResult& result_of(const std::vector<ClaimResult>& results, const std::string& id) {
  for (const ClaimResult& result : results)
    if (result.claim.id == id) return result;
  throw std::out_of_range(id);
}

void set_tpot(Report& report, const std::string& model, const std::string& protocol, int64_t context,
              double step_ns) {
  for (Cell& cell : report.cells)
    if (cell.axes.model == model && cell.axes.protocol == protocol && cell.axes.context == context && cell.timing) {
      cell.timing->stats.median_ns = step_ns;
      cell.timing->tpot_ns = step_ns / double(cell.axes.batch);
    }
}

// Compares with a committed file; KDABENCH_UPDATE_GOLDEN=1 writes it instead.
void expect_golden(const std::string& name, const std::string& text) {
  const fs::path path = kSource / "tests/data/golden" / name;
  if (std::getenv("KDABENCH_UPDATE_GOLDEN")) std::ofstream(path, std::ios::binary) << text;
  EXPECT_EQ(text_of(path), text) << "look at the difference; KDABENCH_UPDATE_GOLDEN=1 accepts it";
}

TEST(Claims, TheTableOfTheSyntheticReportIsTheCommittedOne) {
  const std::vector<Source> sources = {{"synthetic.json", of_the_48b()}};
  const auto results = judged(sources);
  expect_golden("claims.txt", claims_table(results, sources, "text"));
  expect_golden("claims.md", claims_table(results, sources, "md"));
  expect_golden("claims.tex", claims_table(results, sources, "latex"));
  expect_golden("claims.json", claims_table(results, sources, "json"));
  expect_golden("claims_explained.txt", explain_claim(results, sources, "6.3x"));
}

TEST(Claims, EveryNumberOfTheIssueHasAClaim) {
  const auto claims = claims_from_json(read_json(kClaims));
  for (const double paper :
       {6.3, 5.7, 4.8, 3.98, 2.2, 1.8, 2.9, 2.3, 75.0, 84.3, 81.3, 80.5, 73.8, 71.6, 72.2, 51.0, 47.2, 47.9})
    EXPECT_TRUE(std::any_of(claims.begin(), claims.end(), [&](const Claim& c) { return c.paper == paper; })) << paper;
}

TEST(Claims, AVerdictFollowsTheNumbers) {
  const auto verdict = [](const std::string& id, double full_ns, double hybrid_ns) {
    Report report = of_the_48b();
    const std::string protocol = id == "decode-batch1-512k" ? "same-batch" : "same-memory";
    const int64_t context = id == "decode-amortised-1m" ? 1 << 20 : 1 << 19;
    set_tpot(report, "mla", protocol, context, full_ns);
    set_tpot(report, "kimi-linear", protocol, context, hybrid_ns);
    return result_of(judged({{"a", report}}), id).verdict;
  };
  // 1.8 less 5 % is 1.71.
  EXPECT_EQ(verdict("decode-batch1-512k", 1.72e6, 1e6), "reproduced");
  EXPECT_EQ(verdict("decode-batch1-512k", 1.70e6, 1e6), "not reproduced");
  // One sequence of MLA against six: 6.3 less 5 % is 5.985, six times 0.9975.
  EXPECT_EQ(verdict("decode-amortised-1m", 0.998e6, 1e6), "reproduced");
  EXPECT_EQ(verdict("decode-amortised-1m", 0.997e6, 1e6), "not reproduced");

  // On par: neither slower nor faster by more than 3 %.
  const auto parity = [](double hybrid_ns) {
    Report report = of_the_48b();
    set_tpot(report, "kimi-linear", "same-batch", 1 << 20, hybrid_ns);
    set_tpot(report, "gdn-h", "same-batch", 1 << 20, 1e6);
    return result_of(judged({{"a", report}}), "gdn-h-decode").verdict;
  };
  EXPECT_EQ(parity(1.01e6), "reproduced");
  EXPECT_EQ(parity(1.05e6), "not reproduced");
  EXPECT_EQ(parity(0.95e6), "not reproduced");

  Report more = of_the_48b();
  for (Cell& cell : more.cells)
    if (cell.axes.model == "kimi-linear") cell.memory->cache_bytes_per_token = 9000;
  EXPECT_EQ(result_of(judged({{"a", more}}), "cache-75").verdict, "not reproduced");
  EXPECT_EQ(result_of(judged({{"a", of_the_48b()}}), "cache-75").verdict, "reproduced");
}

TEST(Claims, OnlyCellsOfTheProtocolAnswer) {
  const auto result = [](const std::function<void(Cell&)>& edit) {
    Report report = of_the_48b();
    for (Cell& cell : report.cells) {
      edit(cell);
      cell.id = cell_id(cell.suite, cell.axes);
    }
    static std::vector<Source> sources;
    sources = {{"a", report}};
    return result_of(judged(sources), "decode-batch1-512k");
  };
  EXPECT_EQ(result([](Cell&) {}).evidence.size(), 1u);
  for (const auto& edit : std::vector<std::function<void(Cell&)>>{
           [](Cell& c) { c.axes.config = "tiny"; }, [](Cell& c) { c.axes.device = "cpu"; },
           [](Cell& c) { c.axes.batch = 2; }, [](Cell& c) { c.axes.protocol = "same-memory"; },
           [](Cell& c) { c.suite = "memory"; }, [](Cell& c) { c.axes.context += 1; }}) {
    const ClaimResult changed = result(edit);
    EXPECT_EQ(changed.verdict, "not testable here");
    EXPECT_SAYS(changed.reason, "run kdabench run decode");
  }
  EXPECT_SAYS(result([](Cell& c) {
                if (c.axes.model == "mla") c.axes.model = "other";
              }).reason,
              "one side of it alone");
  EXPECT_SAYS(result([](Cell& c) {
                if (c.axes.model == "mla") c.axes.dtype = "fp32";
              }).reason,
              "differ in nothing else");
  EXPECT_SAYS(result([](Cell& c) { c.validity.valid = false; }).reason, "512");
  EXPECT_EQ(result([](Cell& c) { c.status = "incorrect"; }).verdict, "not testable here");

  // At 1M the synthetic report has no memory for MLA.
  const ClaimResult oom = result_of(judged({{"a", of_the_48b()}}), "decode-batch1-1m");
  EXPECT_EQ(oom.verdict, "not testable here");
  EXPECT_SAYS(oom.reason, "is oom; run kdabench run decode");
}

// Prefill cells that cost linear T + quadratic T^2 ns; attention layers 27 to 7.
Report prefills(const std::vector<int64_t>& contexts) {
  Report report = of_the_48b();
  const std::vector<Cell> cells = std::exchange(report.cells, {});
  for (Cell cell : cells) {
    if (cell.axes.protocol != "same-batch" || cell.axes.context != 4096 || !cell.timing) continue;
    cell.suite = "prefill";
    for (const int64_t context : contexts) {
      cell.axes.context = context;
      const double T = double(context), layers = cell.axes.model == "mla" ? 27 : 7;
      cell.timing->stats.median_ns = 20000 * T + 0.01 * layers * T * T;
      cell.floor->time_ns = cell.timing->stats.median_ns / 4;
      cell.breakdown = Breakdown{"", cell.timing->stats.median_ns, {{"attention", 0.01 * layers * T * T}, {"experts", 20000 * T}}, 0};
      cell.id = cell_id(cell.suite, cell.axes);
      report.cells.push_back(cell);
    }
  }
  return report;
}

TEST(Claims, APrefillOfAnotherLengthIsToldAndDecidesNothing) {
  const std::vector<Source> sources = {{"a", prefills({8192, 65536, 131072})}};
  const auto results = judged(sources);
  const ClaimResult& result = result_of(results, "prefill-1m");
  EXPECT_EQ(result.verdict, "not testable here");
  EXPECT_TRUE(result.evidence.empty());
  ASSERT_TRUE(result.elsewhere);
  EXPECT_EQ(result.elsewhere->of->axes.context, 131072) << "the longest of both";
  const double T = 131072, ratio = (20000 + 0.27 * T) / (20000 + 0.07 * T);
  EXPECT_NEAR(result.elsewhere->measured, ratio, 1e-9);
  EXPECT_DOUBLE_EQ(result.elsewhere->bound.value(), 27.0 / 7);
  EXPECT_SAYS(claim_numbers(result).measured, "x at 128K");
  EXPECT_SAYS(result.reason, "which decides nothing: no report has such cells; run kdabench run prefill");
  const std::string explained = explain_claim(results, sources, "prefill-1m");
  EXPECT_SAYS(explained, "  attention         4639 (64 %)      1203 (31 %)\n");
  EXPECT_SAYS(explained, "  experts           2621 (36 %)      2621 (69 %)\n");
  EXPECT_SAYS(explained, "tends to that of the attention, 3.86x");
  EXPECT_SAYS(explained, "So split, 1M would give 3.25x: an extrapolation, no measurement");

  // At the claim's own length the measurement decides: 2.9 less 5 % is 2.755.
  const std::vector<Source> whole = {{"a", prefills({131072, 1 << 20})}};
  const auto judgement = judged(whole);
  EXPECT_EQ(result_of(judgement, "prefill-1m").verdict, "reproduced");
  EXPECT_FALSE(result_of(judgement, "prefill-1m").elsewhere);
  EXPECT_EQ(result_of(judgement, "prefill-512k").verdict, "not testable here");
  EXPECT_SAYS(explain_claim(judgement, whole, "prefill-1m"), "Where the time goes at 1M");
  EXPECT_EQ(explain_claim(judgement, whole, "prefill-1m").find("So split"), std::string::npos) << "it was measured";

  // Nothing is told of decode claims, which do not ask for it, nor of a length that one side alone has.
  EXPECT_FALSE(result_of(results, "decode-batch1-1m").elsewhere);
  Report one_side = prefills({8192, 65536});
  std::erase_if(one_side.cells, [](const Cell& c) { return c.axes.model == "mla" && c.axes.context > 8192; });
  const std::vector<Source> sides = {{"a", one_side}};
  EXPECT_EQ(result_of(judged(sides), "prefill-1m").elsewhere->of->axes.context, 8192);
}

TEST(Claims, TimesOfTwoMachinesMakeNoPair) {
  Report a = of_the_48b(), b = a;
  std::erase_if(a.cells, [](const Cell& cell) { return cell.axes.model == "mla"; });
  std::erase_if(b.cells, [](const Cell& cell) { return cell.axes.model != "mla"; });
  const std::vector<Source> sources = {{"a", a}, {"b", b}};
  EXPECT_EQ(result_of(judged(sources), "decode-batch1-512k").verdict, "not testable here");
  EXPECT_EQ(result_of(judged(sources), "cache-75").verdict, "reproduced") << "bytes are bytes anywhere";
}

TEST(Claims, AScoreCountsWithItsStandardError) {
  const auto verdict = [](double value, std::optional<double> error, const std::string& config) {
    Report report;
    Cell cell;
    cell.suite = "ruler";
    cell.status = "ok";
    cell.axes = of_the_48b().cells.front().axes;
    cell.axes.model = "kimi-linear";
    cell.axes.config = config;
    cell.axes.context = 131072;
    cell.axes.task = "mean";
    cell.accuracy = Accuracy{"ruler", value, std::nullopt, error, 500};
    report.cells = {cell};
    return result_of(judged({{"a", report}}), "ruler-kimi-linear").verdict;
  };
  EXPECT_EQ(verdict(0.835, std::nullopt, "kimi-linear-48b-1.4t"), "reproduced");
  EXPECT_EQ(verdict(0.82, std::nullopt, "kimi-linear-48b-1.4t"), "not reproduced");
  EXPECT_EQ(verdict(0.82, 0.015, "kimi-linear-48b-1.4t"), "reproduced");
  EXPECT_EQ(verdict(0.86, 0.002, "kimi-linear-48b-1.4t"), "not reproduced");
  EXPECT_EQ(verdict(0.843, std::nullopt, "tiny"), "not testable here");
}

TEST(Claims, TheFactorsMultiplyToTheRatio) {
  const std::vector<Source> sources = {{"a", of_the_48b()}};
  const auto results = judged(sources);
  const auto a = amortisation_of(result_of(results, "decode-amortised-1m"), sources);
  ASSERT_TRUE(a);
  EXPECT_NEAR(a->sequence_ratio * a->rounding * a->floor_ratio * a->efficiency, a->ratio, 1e-9);
  EXPECT_DOUBLE_EQ(a->cache_ratio, 27.0 / 7);
  EXPECT_EQ(a->batch_ratio, 6.0);
  EXPECT_NEAR(a->full_bytes.total() * double(a->full->axes.batch), double(a->full->floor->bytes), 1);
  ASSERT_FALSE(a->budgets.empty());
  for (const BudgetRow& row : a->budgets) {
    EXPECT_LT(row.from_bytes, row.to_bytes);
    if (row.full_batch == a->full->axes.batch && row.hybrid_batch == a->hybrid->axes.batch) {
      ASSERT_TRUE(row.ratio);
      EXPECT_NEAR(*row.ratio, a->ratio, 1e-9) << "at its own batches the model is the measurement";
    }
    EXPECT_EQ(row.overhead_ns.has_value(), row.ratio && double(row.hybrid_batch) / double(row.full_batch) > 6.3);
  }
  EXPECT_FALSE(amortisation_of(result_of(results, "decode-batch1-512k"), sources));
}

TEST(Claims, OverheadBringsTheRatioToTheTarget) {
  // Nothing but caches: 27 units against 7 a sequence, no states, at batches 1 and 3; 4 units of weights.
  Report report = of_the_48b();
  std::vector<Cell> cells;
  for (Cell cell : report.cells) {
    if (cell.axes.protocol != "same-memory" || cell.axes.context != 1 << 20 || cell.axes.model == "gdn-h") continue;
    const bool full = cell.axes.model == "mla";
    for (const int64_t batch : {1, 3}) {
      cell.axes.batch = batch;
      cell.memory->cache_bytes_per_token = full ? 27 : 7;
      cell.memory->state_bytes_per_sequence = 0;
      const int64_t bytes = 4000 + batch * (full ? 27000 : 7000);
      *cell.floor = {};
      cell.floor->bytes = bytes;
      cell.floor->weight_bytes = 4000;
      cell.floor->cache_bytes = bytes - 4000;
      cell.floor->time_ns = cell.timing->stats.median_ns = double(bytes);
      cell.timing->tpot_ns = double(bytes) / double(batch);
      cells.push_back(cell);
    }
  }
  ASSERT_EQ(cells.size(), 4u);
  const Cell* hybrid = cells[0].axes.model == "mla" ? &cells[3] : &cells[1];
  const Cell* full = cells[0].axes.model == "mla" ? &cells[0] : &cells[2];
  const auto a = amortisation(*full, *hybrid, 2.9, cells);
  ASSERT_TRUE(a);
  // 3 (t + 31000) / (t + 25000) falls to 3 with t and is above 2.9 already.
  ASSERT_FALSE(a->budgets.empty());
  EXPECT_EQ(a->budgets.front().hybrid_batch, 3);
  EXPECT_NEAR(*a->budgets.front().ratio, 3 * 31.0 / 25, 1e-9);
  EXPECT_EQ(a->budgets.front().overhead_ns, 0.0);
  EXPECT_FALSE(a->budgets.back().ratio) << "batches beyond the measured ones are not guessed";
  for (const StepCheck& check : a->checks) EXPECT_NEAR(check.modelled_ns, check.measured_ns, 1e-6);
}

TEST_F(Reports, KernelRowsAnswerClaims) {
  const auto rows = [&](double dplr_us) {
    Json json = {{"context", {{"date", "2000-01-01"}}}, {"benchmarks", Json::array()}};
    for (const auto& [name, time] : {std::pair{"dplr", dplr_us}, std::pair{"kda", 10.0}})
      json["benchmarks"].push_back({{"name", std::string(name) + "/prefill/H=16/T=65536/iterations:20/manual_time"},
                                    {"run_type", "iteration"},
                                    {"real_time", time},
                                    {"time_unit", "us"}});
    return file("kernels.json", json.dump());
  };
  const auto verdict = [&](double us) {
    return result_of(judged({read_source(rows(us))}), "kda-over-dplr-64k").verdict;
  };
  EXPECT_EQ(verdict(20), "reproduced");
  EXPECT_EQ(verdict(15), "not reproduced");
  EXPECT_SAYS(error_of([&] { read_source(file("x.json", R"({"context": {}, "benchmarks": [{"name": 3}]})")); }),
              "x.json: benchmarks: wanted rows");
  EXPECT_SAYS(error_of([&] {
                read_source(file("x.json", R"({"context": {}, "benchmarks": [{"name": "a", "real_time": 1}]})"));
              }),
              "wanted time_unit");
  EXPECT_NO_THROW(read_source(kSource / "reports/results/h200-kernels.json"));
}

TEST(Claims, ABrokenClaimsFileSaysWhere) {
  const Json good = read_json(kClaims);
  const auto said = [&](const std::function<void(Json&)>& edit) {
    Json json = good;
    edit(json["claims"][3]);
    return error_of([&] { claims_from_json(json); });
  };
  EXPECT_EQ(said([](Json&) {}), "no error");
  EXPECT_SAYS(said([](Json& c) { c = 3; }), "claim number 4: wanted an object");
  EXPECT_SAYS(said([](Json& c) { c.erase("id"); }), "claim number 4: wanted text at 'id'");
  EXPECT_SAYS(said([](Json& c) { c["id"] = "cache-75"; }), "claim cache-75: wanted a unique id");
  EXPECT_SAYS(said([](Json& c) { c["paper"] = "6.3"; }), "wanted a number at 'paper'");
  EXPECT_SAYS(said([](Json& c) { c["verdict"]["direction"] = "about"; }), "wanted direction");
  EXPECT_SAYS(said([](Json& c) { c["verdict"]["tolerance"] = -1; }), "tolerance of 0 or more");
  EXPECT_SAYS(said([](Json& c) { c["query"]["form"] = "sum"; }), "wanted form");
  EXPECT_SAYS(said([](Json& c) { c["query"].erase("over"); }), "wanted axes at query.over");
  EXPECT_SAYS(said([](Json& c) { c["query"]["where"]["contxt"] = 3; }), "wanted an axis of a cell, found 'contxt'");
  EXPECT_SAYS(said([](Json& c) { c.erase("run"); }), "found neither");
  EXPECT_SAYS(said([](Json& c) { c["query"]["elsewhere"] = "batch"; }), "wanted \"context\" at query.elsewhere");
  EXPECT_SAYS(error_of([] { claims_from_json(Json::array()); }), "wanted an object with a list");
}

TEST(Claims, ExplainNamesOneClaim) {
  const std::vector<Source> sources = {{"a", of_the_48b()}};
  const auto results = judged(sources);
  EXPECT_SAYS(explain_claim(results, sources, "cache-75"), "20 of the 27 layers");
  EXPECT_SAYS(error_of([&] { explain_claim(results, sources, "9.9x"); }), "the ids are decode-amortised-1m");
  Json twice = read_json(kClaims);
  twice["claims"][1]["paper"] = 6.3;
  const auto both = judge(claims_from_json(twice), sources);
  EXPECT_SAYS(error_of([&] { explain_claim(both, sources, "6.3x"); }), "found 2 with 6.3x");
}

}  // namespace
}  // namespace kdabench::reports
