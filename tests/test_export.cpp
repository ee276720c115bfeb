// Exports and migration against committed files, and the arithmetic that other tools' readers rely on.

#include <gtest/gtest.h>

#include "reports/export.h"
#include "reports/migrate.h"
#include "reports/schema.h"
#include "tests/reports_fixture.h"

namespace kdabench::reports {
namespace {

const fs::path kGolden = kSource / "tests/data/golden";

// Four cells: a time, an out-of-memory, a batch that filled a budget, and one that counts bytes alone.
Report small() {
  const Report whole = synthetic();
  Report report = whole;
  report.cells = {whole.cells[0], whole.cells[8], whole.cells[53], whole.cells[2]};
  Cell& bytes = report.cells[3];
  bytes.suite = "memory";
  bytes.timing.reset();
  bytes.throughput.reset();
  bytes.floor.reset();
  bytes.samples.reset();
  bytes.breakdown.reset();
  bytes.kernels.reset();
  bytes.resources.reset();
  bytes.validity.reasons = {{"largest_batch", "a, \"quoted\" reason & <b>"}};
  bytes.id = cell_id(bytes.suite, bytes.axes);
  return report;
}

void expect_golden(const std::string& name, const std::string& text) {
  if (std::getenv("KDABENCH_UPDATE_GOLDEN")) std::ofstream(kGolden / name, std::ios::binary) << text;
  EXPECT_EQ(text_of(kGolden / name), text) << "look at the difference; KDABENCH_UPDATE_GOLDEN=1 accepts it";
}

TEST(Export, EveryFormIsTheCommittedOne) {
  for (const std::string& format : export_formats()) {
    const Exported exported = export_report(small(), format);
    expect_golden("export." + format, exported.text);
    const bool rows_only = format == "csv" || format == "markdown" || format == "latex";
    // llama-bench has no place for a failure; bytes without a time only github-action-benchmark and the tables hold.
    const size_t left = rows_only ? 0 : format == "llama-bench" ? 2 : 1;
    EXPECT_EQ(exported.left_out, left) << format;
    EXPECT_EQ(Json::accept(exported.text), !rows_only) << format;
  }
  EXPECT_SAYS(error_of([] { export_report(small(), "xml"); }), "wanted one of google-benchmark, llama-bench");
}

TEST(Export, NothingIsLostOnTheWay) {
  const Report report = small();
  const Cell &one = report.cells[0], &many = report.cells[2];
  const Json google = Json::parse(export_report(report, "google-benchmark").text);
  std::vector<double> times;
  for (const Json& row : google["benchmarks"])
    if (row["name"] == one.id) times.push_back(row["real_time"]);
  EXPECT_EQ(times, one.samples->step_ns);
  const Json llama = Json::parse(export_report(report, "llama-bench").text);
  EXPECT_EQ(llama[1]["n_gen"], many.axes.batch);
  EXPECT_EQ(llama[1]["n_depth"], many.axes.context);
  EXPECT_NEAR(llama[1]["avg_ts"].get<double>(), double(many.axes.batch) * 1e9 / llama[1]["avg_ns"].get<double>(), 0.1);
  const Json nvbench = Json::parse(export_report(report, "nvbench").text);
  const Json& states = nvbench["benchmarks"][0]["states"];
  EXPECT_EQ(states.size(), 3u);
  EXPECT_EQ(states[1]["is_skipped"], true);
  EXPECT_EQ(states[1]["skip_reason"], "oom: wanted 49 GiB of cache, found 48 GiB free");
  double median = 0;
  for (const Json& summary : states[0]["summaries"])
    if (summary["tag"] == "nv/cold/time/gpu/median") median = std::stod(summary["data"][0]["value"].get<std::string>());
  EXPECT_NEAR(median * 1e9, one.timing->stats.median_ns, 1);
  const std::string csv = export_report(report, "csv").text;
  EXPECT_SAYS(csv, "\"largest_batch: a, \"\"quoted\"\" reason & <b>\"");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 5);
}

TEST(Export, TheCommittedReportsAndOddOnesExport) {
  Report empty, odd = small();
  odd.cells[0].samples.reset();
  odd.cells[0].axes.batch = 0;
  odd.cells[2].timing->stats = {};
  odd.devices[0].compute_capability = "10.0.1";
  for (const std::string& format : export_formats())
    for (const Report& report : {empty, odd, read_report(kSource / "reports/results/h200-decode.json")})
      EXPECT_FALSE(export_report(report, format).text.empty()) << format;
}

// report-1.0.0.json is what version 1.0.0 wrote; it is never written again.
TEST(Migrate, AnOldReportBecomesOneOfThisVersion) {
  const Json old = read_json(kGolden / "report-1.0.0.json");
  const Json made = migrate(old);
  EXPECT_TRUE(validate(made).empty()) << validate(made).front().path << ": " << validate(made).front().sentence;
  EXPECT_EQ(made["schema_version"], kSchemaVersion);
  expect_golden("report-migrated.json", pretty(made) + "\n");
  EXPECT_EQ(migrate(made), made) << "migrating twice changes nothing";
  Report report = report_from_json(made);
  EXPECT_EQ(report.cells.size(), old["cells"].size());
}

TEST(Migrate, WhatIsMissingBecomesNothingOrIsRefused) {
  const Json good = to_json(small());
  const std::string later = "1.999.0";
  Json old = good;
  for (Json& cell : old["cells"]) {
    cell["axes"].erase("task");
    cell["axes"].erase("fill");
    cell["validity"].erase("reasons");
  }
  old["meta"].erase("options");
  old["kept"] = 3;
  const Json made = migrate(old, later);
  EXPECT_EQ(made["schema_version"], later);
  EXPECT_EQ(made["kept"], 3);
  for (const Json& cell : made["cells"]) {
    EXPECT_TRUE(cell["axes"]["task"].is_null());
    EXPECT_EQ(cell["axes"]["fill"], "");
    EXPECT_EQ(cell["validity"]["reasons"], Json::array());
  }
  EXPECT_EQ(made["meta"]["options"], Json::object());
  EXPECT_FALSE(made["cells"][3].contains("timing")) << "a block that was not measured stays out";

  const auto refused = [&](const std::function<void(Json&)>& edit) {
    Json json = good;
    edit(json);
    return error_of([&] { migrate(json, later); });
  };
  EXPECT_SAYS(refused([](Json& j) { j["cells"][0]["timing"]["stats"].erase("median_ns"); }),
              "$.cells[0].timing.stats.median_ns: wanted this field");
  EXPECT_SAYS(refused([](Json& j) { j["schema"] = "nvbench"; }), "wanted schema kdabench/report");
  EXPECT_SAYS(refused([](Json& j) { j = 3; }), "wanted schema kdabench/report, found none");
  for (const char* version : {"1", "1.0", "x", "1.0.0-rc", "-1.0.0", "1..0", "99999999999999999999.0.0", ""})
    EXPECT_SAYS(refused([&](Json& j) { j["schema_version"] = version; }), "wanted a schema_version MAJOR.MINOR.PATCH");
  EXPECT_SAYS(refused([](Json& j) { j["schema_version"] = "2.0.0"; }), "use the kdabench that wrote it");
  EXPECT_SAYS(refused([](Json& j) { j["schema_version"] = "1.999.1"; }), "use the kdabench that wrote it");
  EXPECT_SAYS(refused([](Json& j) { j["schema_version"] = "0.9.0"; }), "no kdabench ever wrote that");
}

}  // namespace
}  // namespace kdabench::reports
