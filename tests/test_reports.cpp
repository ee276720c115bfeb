// Reports: round trips, every sentence that a bad file earns, killed runs, and the schema against its file.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "reports/schema.h"
#include "tests/reports_fixture.h"

namespace kdabench::reports {
namespace {

std::string violations_of(const Json& json) {
  std::string all;
  for (const Violation& violation : validate(json)) all += violation.path + ": " + violation.sentence + "\n";
  return all;
}

TEST_F(Reports, WhatIsWrittenIsRead) {
  Report report = synthetic();
  report.meta.seed = std::numeric_limits<uint64_t>::max();
  report.meta.options["path"] = "a \"quoted\"\n\xC3\xA9 path";
  Cell& cell = ok_cell(report);
  cell.floor->flops = (int64_t{1} << 53) + 1;
  cell.memory->peak_device_bytes = (int64_t{1} << 53);
  cell.axes.task = "needle";
  cell.accuracy = Accuracy{"rel_l2", 1.0 / 3, 1e-5, std::nullopt, 7};
  cell.gpu_state = GpuState{};
  cell.validity.reasons = {{"warm", "a warning"}};
  write_report(folder / "a.json", report);
  const Report again = read_report(folder / "a.json");
  EXPECT_EQ(to_json(again), to_json(report));
  EXPECT_EQ(again.cells[0].accuracy->value, 1.0 / 3);
  EXPECT_EQ(again.meta.seed, std::numeric_limits<uint64_t>::max());
  write_report(folder / "b.json", again);
  EXPECT_EQ(text_of(folder / "a.json"), text_of(folder / "b.json"));
  EXPECT_FALSE(fs::exists(folder / "a.json.tmp"));

  const Json json = read_json(folder / "a.json");
  EXPECT_EQ(json["meta"]["seed"], "18446744073709551615");
  EXPECT_EQ(json["cells"][0]["floor"]["flops"], "9007199254740993");
  EXPECT_TRUE(json["cells"][0]["memory"]["peak_device_bytes"].is_number());
  EXPECT_TRUE(json["cells"][0]["timing"]["wall_median_ns"].is_null());
  EXPECT_FALSE(json["cells"][8].contains("timing"));
  EXPECT_EQ(json["cells"][0].begin().key(), "id");  // keys keep the order of the fields
}

TEST_F(Reports, NotANumberIsRefusedByPath) {
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    Report report = synthetic();
    report.cells[1].timing->stats.q3_ns = bad;
    const std::string said = error_of([&] { write_report(folder / "nan.json", report); });
    EXPECT_SAYS(said, "$.cells[1].timing.stats.q3_ns: wanted a finite number");
    EXPECT_FALSE(fs::exists(folder / "nan.json"));
  }
  Report report = synthetic();
  ok_cell(report).samples->step_ns[2] = std::nan("");
  EXPECT_SAYS(error_of([&] { to_json(report); }), "$.cells[0].samples.step_ns[2]");
}

TEST_F(Reports, EveryUnreadableFileSaysWhy) {
  const auto said = [](const fs::path& path) { return error_of([&] { read_report(path); }); };
  const std::string good = text_of(kSynthetic);

  EXPECT_SAYS(said(folder / "none.json"), "found no such file");
  EXPECT_SAYS(said(folder), "cannot be read");
  EXPECT_SAYS(said(file("empty.json", "")), "empty");
  EXPECT_SAYS(said(file("cut.json", good.substr(0, 5000))), "the end of the file at byte 5000");
  EXPECT_SAYS(said(file("bad.json", "{\"schema\": nope}")), "at byte 13");
  EXPECT_SAYS(said(file("huge.json", "{\"schema\": 1e999}")), "beyond the range of a double");
  EXPECT_SAYS(said(file("array.json", "[1]")), "wanted schema kdabench/report, found none");
  EXPECT_SAYS(said(file("other.json", R"({"schema": "nvbench"})")), "found nvbench");
  EXPECT_SAYS(said(file("new.json", R"({"schema": "kdabench/report", "schema_version": "2.0.0"})")),
              "wanted schema_version 1.x, found 2.0.0");
  EXPECT_SAYS(said(file("ten.json", R"({"schema": "kdabench/report", "schema_version": "10.0.0"})")),
              "found 10.0.0");

  const auto edited = [&](const std::function<void(Json&)>& edit) {
    Json json = Json::parse(good);
    edit(json);
    return said(file("edited.json", json.dump()));
  };
  EXPECT_SAYS(edited([](Json& j) { j["cells"][3]["timing"].erase("tpot_ns"); }),
              "edited.json: $.cells[3].timing.tpot_ns: wanted this field, found none");
  EXPECT_SAYS(edited([](Json& j) { j["cells"][3]["axes"]["context"] = "many"; }),
              "$.cells[3].axes.context: wanted an integer, found \"many\"");
  EXPECT_SAYS(edited([](Json& j) { j["cells"][3]["axes"]["context"] = 1.5; }),
              "wanted an integer, found 1.5");
  EXPECT_SAYS(edited([](Json& j) { j["cells"][3]["axes"]["context"] = uint64_t{1} << 63; }),
              "integer that fits");
  EXPECT_SAYS(edited([](Json& j) { j["cells"][3]["timing"]["tpot_ns"] = "1"; }),
              "wanted a number, found \"1\"");
  EXPECT_SAYS(edited([](Json& j) { j["meta"]["git_dirty"] = 0; }), "$.meta.git_dirty: wanted true or false");
  EXPECT_SAYS(edited([](Json& j) { j["meta"]["seed"] = -1; }), "$.meta.seed: wanted an integer");
  EXPECT_SAYS(edited([](Json& j) { j["meta"]["argv"] = "x"; }), "$.meta.argv: wanted an array");
  EXPECT_SAYS(edited([](Json& j) { j["meta"]["options"]["a"] = 1; }), "$.meta.options.a: wanted a string");
  EXPECT_SAYS(edited([](Json& j) { j["machine"] = nullptr; }), "$.machine: wanted an object");
  EXPECT_EQ(edited([](Json& j) { j["cells"][0]["added_by_1_1"] = true; }), "no error");
}

TEST_F(Reports, WritingWhereItCannotSaysSoBeforeTheWork) {
  const auto said = [](const fs::path& path) { return error_of([&] { check_writable(path); }); };
  EXPECT_EQ(said(folder / "new.json"), "no error");
  EXPECT_TRUE(fs::is_empty(folder)) << "the check leaves nothing behind";
  EXPECT_SAYS(said(folder / "no" / "such" / "a.json"), "found no folder");
  EXPECT_SAYS(said(folder), "found a folder; name a file");
  EXPECT_SAYS(error_of([&] { write_report(folder / "no" / "a.json", synthetic()); }),
              "the cells are still in");
  if (geteuid() != 0) {
    fs::permissions(folder, fs::perms::owner_read | fs::perms::owner_exec);
    EXPECT_SAYS(said(folder / "a.json"), "refuses new files");
    fs::permissions(folder, fs::perms::owner_all);
  }
}

TEST_F(Reports, AKilledRunLosesOnlyItsLastLine) {
  const Report report = synthetic();
  const fs::path out = folder / "run.json";
  {
    CellStream stream(out, false);
    for (size_t i = 0; i < 3; ++i) stream.append(report.cells[i]);
  }
  const fs::path lines = CellStream::path_for(out);
  const std::string whole = text_of(lines);

  // Cut anywhere in the last line: two cells are left, and the next append starts on a line of its own.
  const size_t last = whole.rfind('\n', whole.size() - 2) + 1;
  for (const size_t kept : {last, last + 1, (last + whole.size()) / 2, whole.size() - 2}) {
    file("run.json.jsonl", whole.substr(0, kept));
    {
      CellStream stream(out, true);
      ASSERT_EQ(stream.resumed().size(), 2u) << "kept " << kept << " of " << whole.size();
      EXPECT_EQ(to_json(stream.resumed()[1]), to_json(report.cells[1]));
      stream.append(report.cells[2]);
    }
    EXPECT_EQ(text_of(lines), whole);
  }
  // Only the newline is lost: nothing is dropped.
  file("run.json.jsonl", whole.substr(0, whole.size() - 1));
  EXPECT_EQ(CellStream(out, true).resumed().size(), 3u);
  EXPECT_EQ(text_of(lines), whole);

  // A broken line elsewhere is not a truncation.
  file("run.json.jsonl", "{\"id\": \n" + whole);
  EXPECT_SAYS(error_of([&] { CellStream(out, true); }), "run.json.jsonl: line 1");
  file("run.json.jsonl", whole + "{}\n");
  EXPECT_SAYS(error_of([&] { CellStream(out, true); }), "run.json.jsonl: line 4: $.id: wanted this field");

  CellStream fresh(out, false);
  EXPECT_TRUE(fresh.resumed().empty());
  EXPECT_EQ(text_of(lines), "");
  fresh.remove();
  EXPECT_FALSE(fs::exists(lines));
  EXPECT_TRUE(CellStream(out, true).resumed().empty());  // nothing to resume is not an error
}

TEST(ReportSchema, TheCommittedFileIsTheGeneratedOne) {
  EXPECT_EQ(text_of(kSource / "reports/kdabench-report.schema.json"), schema_text())
      << "write it again: kdabench schema > reports/kdabench-report.schema.json";
}

TEST(ReportSchema, GoodReportsAreValid) {
  EXPECT_EQ(violations_of(read_json(kSynthetic)), "");
  EXPECT_EQ(violations_of(to_json(synthetic())), "");
  Report empty;
  EXPECT_EQ(violations_of(to_json(empty)), "");
  Report large = synthetic();
  ok_cell(large).floor->flops = int64_t{1} << 60;
  EXPECT_EQ(violations_of(to_json(large)), "");
}

TEST(ReportSchema, EveryRuleHasAReportThatBreaksIt) {
  const Json good = to_json(synthetic());
  const auto broken = [&](const std::function<void(Json&)>& edit) {
    Json json = good;
    edit(json);
    return violations_of(json);
  };
  const auto cell = [](Json& j) -> Json& { return j["cells"][0]; };
  // What the schema says.
  EXPECT_SAYS(broken([](Json& j) { j = Json::array(); }), "$: wanted object, found []");
  EXPECT_SAYS(broken([](Json& j) { j.erase("machine"); }), "$.machine: is required");
  EXPECT_SAYS(broken([](Json& j) { j["schema"] = "other"; }), "$.schema: wanted \"kdabench/report\"");
  EXPECT_SAYS(broken([](Json& j) { j["schema_version"] = "2.0.0"; }),
              "$.schema_version: wanted text that matches");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["status"] = "good"; }), "$.cells[0].status: wanted one of");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["status"] = "error"; }),
              "$.cells[0].timing: is not allowed here");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["status"] = "error"; }),
              "$.cells[0].throughput: is not allowed here");
  EXPECT_SAYS(broken([](Json& j) { j["cells"][8]["status_reason"] = ""; }),
              "$.cells[8].status_reason: wanted text");
  EXPECT_SAYS(broken([&](Json& j) { cell(j).erase("timing"); }), "$.cells[0].timing: is required");
  EXPECT_SAYS(broken([&](Json& j) { cell(j).erase("throughput"); }), "$.cells[0].throughput: is required");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["axes"]["batch"] = -1; }),
              "$.cells[0].axes.batch: wanted at least 0");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["axes"]["batch"] = "x"; }),
              "$.cells[0].axes.batch: wanted text that");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["axes"]["batch"] = 1.0; }),
              "wanted integer or string, found 1.0");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["timing"]["tpot_ns"] = nullptr; }),
              "tpot_ns: wanted number, found null");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["timing"]["tpot_ns"] = std::nan(""); }), "found NaN or infinity");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["samples"]["step_ns"][1] = "fast"; }),
              "$.cells[0].samples.step_ns[1]");
  EXPECT_SAYS(broken([](Json& j) { j["meta"]["options"]["x"] = 3; }), "$.meta.options.x: wanted string");
  EXPECT_SAYS(broken([](Json& j) { j["meta"]["seed"] = "99999999999999999999999"; }),
              "$.meta.seed: wanted an integer");
  EXPECT_SAYS(broken([](Json& j) { j["devices"][0]["kind"] = "tpu"; }), "$.devices[0].kind: wanted one of");
  // What lies between the fields.
  EXPECT_SAYS(broken([](Json& j) { j["cells"][1] = j["cells"][0]; }), "$.cells[1].id: wanted a unique id");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["axes"]["context"] = 5; }),
              "$.cells[0].id: wanted decode/model=mla;");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["validity"]["valid"] = false; }),
              "$.cells[0].status: wanted invalid");
  EXPECT_SAYS(broken([&](Json& j) {
                cell(j)["status"] = "invalid";
                cell(j)["status_reason"] = "throttled";
                cell(j).erase("timing");
                cell(j).erase("throughput");
              }),
              "$.cells[0].validity.reasons");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["floor"]["fraction"] = 1.05; }),
              "faster than its floor is invalid");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["floor"]["fraction"] = 0.01; }), "wanted time_ns / median");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["timing"]["stats"]["q1_ns"] = 1e12; }),
              "wanted min <= q1 <= median");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["timing"]["stats"]["n"] = 4; }),
              "wanted the number of samples, 5");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["samples"]["step_ns"][0] = 1; }), "wanted the median of samples");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["throughput"]["tokens_per_s"] = 1; }),
              "wanted tokens of a step / median step");
  EXPECT_SAYS(broken([&](Json& j) { cell(j)["timing"]["tpot_ns"] = 1; }), "wanted median step / batch");
}

TEST(ReportSchema, ResourcesAreThoseOfTheKernelsThatRan) {
  const Json good = to_json(synthetic());
  const auto broken = [&](const std::function<void(Json& resources, Json& cell)>& edit) {
    Json json = good;
    edit(json["cells"][0]["resources"], json["cells"][0]);
    return violations_of(json);
  };
  const std::string at = "$.cells[0].resources";
  EXPECT_SAYS(broken([](Json& r, Json&) { r["kernels"].erase(1); }), at + ".kernels: wanted mla_split, which serves attention");
  EXPECT_SAYS(broken([](Json&, Json& c) { c["kernels"]["head"] = "gemv, row_gemv"; }), "wanted row_gemv, which serves head");
  EXPECT_SAYS(broken([](Json& r, Json&) { r["kernels"][0]["registers"] = 0; }),
              at + ".kernels[0]: wanted the registers, local and shared bytes of gemv_kernel<Bf16>");
  EXPECT_SAYS(broken([](Json& r, Json&) { r["kernels"][0]["local_bytes"] = nullptr; }), at + ".kernels[0]: wanted the");
  EXPECT_SAYS(broken([](Json& r, Json&) { r["kernels"][0]["registers"] = -1; }), "registers: wanted at least 0");
  EXPECT_SAYS(broken([](Json& r, Json&) { r["kernels"][0]["launches"] = 0; }), "wanted a kernel that was launched");
  const auto nodes = [](int count) {
    return [=](Json&, Json& c) { c["launches"] = {{"kernels_per_step", count}, {"reason", ""}}; };
  };
  EXPECT_EQ(broken(nodes(81)), "");
  EXPECT_SAYS(broken(nodes(82)), at + ".kernels: wanted the 82 launches of a step, found 81");
  // A library's call may be several kernels, and nothing is known of them.
  const auto library = [&](const char* reason) {
    return [&nodes, reason](Json& r, Json& c) {
      for (const char* key : {"instance", "registers", "local_bytes", "static_shared_bytes", "dynamic_shared_bytes"})
        r["kernels"][0][key] = nullptr;
      r["reason"] = reason;
      nodes(82)(r, c);
    };
  };
  EXPECT_EQ(broken(library("a library")), "");
  EXPECT_SAYS(broken(library("")), at + ".reason: wanted why gemv has no instance");
}

TEST(ReportSchema, AKeywordTheValidatorDoesNotKnowIsNotIgnored) {
  EXPECT_SAYS(error_of([] { validate_against(Json{{"maximum", 3}}, 4); }), "found maximum");
}

TEST(ReportRecord, IdsNameThePoint) {
  Axes axes;
  axes.model = "mla", axes.config = "tiny", axes.device = "cpu", axes.dtype = "fp32",
  axes.protocol = "same-batch";
  axes.context = 4096, axes.batch = 2, axes.steps = 9, axes.fill = "random";
  axes.cache_budget_bytes = 77;
  EXPECT_EQ(cell_id("decode", axes),
            "decode/model=mla;config=tiny;device=cpu;dtype=fp32;context=4096;batch=2;protocol=same-batch");
  axes.protocol = "same-memory";
  axes.task = "needle";
  EXPECT_EQ(
      cell_id("decode", axes),
      "decode/model=mla;config=tiny;device=cpu;dtype=fp32;context=4096;protocol=same-memory;cache_budget=77;"
      "task=needle");
}

TEST(ReportRecord, QuantilesAreOfTypeSeven) {
  const Stats s = summarize({4, 1, 3, 2});
  EXPECT_EQ(s.n, 4);
  EXPECT_DOUBLE_EQ(s.min_ns, 1);
  EXPECT_DOUBLE_EQ(s.q1_ns, 1.75);
  EXPECT_DOUBLE_EQ(s.median_ns, 2.5);
  EXPECT_DOUBLE_EQ(s.q3_ns, 3.25);
  EXPECT_DOUBLE_EQ(s.p95_ns, 3.85);
  EXPECT_DOUBLE_EQ(s.p99_ns, 3.97);
  EXPECT_DOUBLE_EQ(s.max_ns, 4);
  EXPECT_DOUBLE_EQ(s.mean_ns, 2.5);
  EXPECT_DOUBLE_EQ(s.stddev_ns, std::sqrt(5.0 / 3));
  EXPECT_DOUBLE_EQ(s.mad_ns, 1);
  EXPECT_DOUBLE_EQ(summarize({7}).p99_ns, 7);
  EXPECT_EQ(summarize({7}).stddev_ns, 0);
  EXPECT_SAYS(error_of([] { summarize({}); }), "found none");
  EXPECT_SAYS(error_of([] { summarize({1, std::nan("")}); }), "wants finite samples");
}

}  // namespace
}  // namespace kdabench::reports
