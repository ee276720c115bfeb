// Comparison of reports with its exit codes, and the tables.

#include <gtest/gtest.h>

#include <sstream>

#include "reports/compare.h"
#include "reports/table.h"
#include "tests/reports_fixture.h"

namespace kdabench::reports {
namespace {

TEST(ReportCompare, EveryOutcomeHasItsCode) {
  const Report base = synthetic();
  const auto outcome = [&](const std::function<void(Report&)>& edit, double threshold = 0.03) {
    Report candidate = base;
    edit(candidate);
    return compare(base, candidate, {threshold});
  };
  const auto scale = [](double by) { return [by](Report& r) { ok_cell(r).timing->stats.median_ns *= by; }; };
  EXPECT_EQ(outcome([](Report&) {}).exit, Exit::pass);
  EXPECT_EQ(outcome(scale(1.029)).exit, Exit::pass);
  EXPECT_EQ(outcome(scale(1.031)).exit, Exit::regression);
  EXPECT_EQ(outcome(scale(1.031)).cells[0].verdict, "slower");
  EXPECT_EQ(outcome(scale(1.031), 0.05).exit, Exit::pass);
  EXPECT_EQ(outcome(scale(0.5)).cells[0].verdict, "faster");
  EXPECT_EQ(outcome(scale(0.5)).exit, Exit::pass);
  EXPECT_EQ(outcome([](Report& r) { std::swap(r.cells[0], r.cells[5]); }).exit, Exit::pass) << "joined by id";

  const Comparison missing = outcome([](Report& r) { r.cells.pop_back(); });
  EXPECT_EQ(missing.exit, Exit::regression);
  EXPECT_EQ(missing.cells.back().verdict, "missing");
  Report shorter = base;
  shorter.cells.pop_back();
  const Comparison extra = compare(shorter, base);
  EXPECT_EQ(extra.exit, Exit::no_baseline);
  EXPECT_EQ(extra.cells.back().verdict, "extra");

  const auto becomes = [](const char* status) {
    return [status](Report& r) {
      Cell& cell = ok_cell(r);
      cell.status = status;
      cell.timing.reset();
      cell.throughput.reset();
    };
  };
  EXPECT_EQ(outcome(becomes("oom")).exit, Exit::regression);
  EXPECT_EQ(outcome(becomes("error")).exit, Exit::regression);
  EXPECT_EQ(outcome(becomes("timeout")).exit, Exit::regression);
  EXPECT_EQ(outcome(becomes("skipped")).exit, Exit::regression);
  EXPECT_EQ(outcome(becomes("invalid")).exit, Exit::invalid);
  EXPECT_EQ(outcome(becomes("incorrect")).exit, Exit::incorrect);
  EXPECT_EQ(outcome([](Report& r) { ok_cell(r).validity.valid = false; }).exit, Exit::invalid);
  EXPECT_EQ(outcome([](Report& r) { oom_cell(r).status = "error"; }).exit, Exit::regression);

  Report unusable = base;
  becomes("incorrect")(unusable);
  EXPECT_EQ(compare(unusable, base).exit, Exit::no_baseline);
  Report failed = base;
  becomes("error")(failed);
  EXPECT_EQ(compare(failed, base).cells[0].verdict, "recovered");
  EXPECT_EQ(compare(failed, failed).exit, Exit::regression) << "a cell that fails in both still fails";

  const Comparison more = outcome([](Report& r) { ++oom_cell(r).memory->cache_bytes_per_token; });
  EXPECT_EQ(more.exit, Exit::regression) << "bytes are judged in cells without a time";
  EXPECT_EQ(outcome([](Report& r) { ++ok_cell(r).memory->cache_bytes_allocated; }).cells[0].verdict,
            "more_bytes");
  EXPECT_EQ(outcome([](Report& r) { --ok_cell(r).memory->cache_bytes_allocated; }).cells[0].verdict,
            "fewer_bytes");
  EXPECT_EQ(outcome([](Report& r) { ok_cell(r).memory.reset(); }).exit, Exit::regression);

  const Comparison elsewhere = outcome([](Report& r) { r.machine.fingerprint = "another"; });
  EXPECT_EQ(elsewhere.exit, Exit::no_baseline);
  EXPECT_FALSE(elsewhere.same_machine);
  EXPECT_FALSE(elsewhere.cells[0].time_ratio);
  Report nowhere = base;
  nowhere.machine.fingerprint = "";
  EXPECT_EQ(compare(nowhere, nowhere).exit, Exit::no_baseline) << "an empty fingerprint matches nothing";
  EXPECT_EQ(compare(Report{}, Report{}).exit, Exit::no_baseline) << "nothing compared is not a pass";
  EXPECT_SAYS(error_of([&] { outcome([](Report& r) { r.cells[1].id = r.cells[0].id; }); }),
              "wanted unique cell ids");
  EXPECT_SAYS(error_of([&] { compare(base, base, {-0.1}); }), "threshold of 0 or more");
}

TEST(ReportCompare, TheWorstCodeWins) {
  const Exit order[] = {Exit::usage,      Exit::incorrect,    Exit::invalid, Exit::no_baseline,
                        Exit::regression, Exit::inconclusive, Exit::pass};
  for (size_t i = 0; i < std::size(order); ++i)
    for (size_t j = i; j < std::size(order); ++j) {
      EXPECT_EQ(worst(order[i], order[j]), order[i]);
      EXPECT_EQ(worst(order[j], order[i]), order[i]);
    }
}

TEST(ReportCompare, MoreSequencesInTheSameMemoryAreJudgedPerToken) {
  const Report base = synthetic();
  Report candidate = base;
  Cell& cell = candidate.cells[27];
  ASSERT_EQ(cell.axes.protocol, "same-memory");
  cell.axes.batch *= 2;
  cell.timing->stats.median_ns *= 2;  // tpot stays
  EXPECT_EQ(compare(base, candidate).exit, Exit::pass);
  cell.timing->tpot_ns *= 1.1;
  EXPECT_EQ(compare(base, candidate).exit, Exit::regression);
}

TEST_F(Reports, FilesAreComparedWithoutThrowing) {
  const fs::path corrupt = file("corrupt.json", text_of(kSynthetic).substr(0, 999));
  EXPECT_EQ(compare_files(kSynthetic, kSynthetic).exit, Exit::pass);
  EXPECT_EQ(compare_files(kSynthetic, corrupt).exit, Exit::usage);
  EXPECT_EQ(compare_files(corrupt, kSynthetic).exit, Exit::usage);
  EXPECT_EQ(compare_files(folder / "none.json", kSynthetic).exit, Exit::no_baseline);
  EXPECT_EQ(compare_files(kSynthetic, folder / "none.json").exit, Exit::usage);
  EXPECT_EQ(compare_files(folder / "none.json", corrupt).exit, Exit::usage);

  const Comparison bad = compare_files(kSynthetic, corrupt);
  EXPECT_SAYS(compare_table(bad), "byte 999");
  const std::string table = compare_table(compare_files(kSynthetic, kSynthetic));
  EXPECT_SAYS(table, "ratio of medians, no statistics");
  const size_t last = table.rfind('\n', table.size() - 2) + 1;
  EXPECT_EQ(table.substr(last), "pass (exit code 0)\n");
  const Json json = compare_json(compare_files(kSynthetic, kSynthetic));
  EXPECT_EQ(json["exit_code"], 0);
  EXPECT_EQ(json["cells"].size(), 54u);
  EXPECT_EQ(json["cells"][0]["time_ratio"], 1.0);
  EXPECT_TRUE(json["cells"][8]["time_ratio"].is_null());
}

TEST(ReportTable, CellsWithoutATimeShowTheirStatus) {
  const std::string text = tables(synthetic(), TableStyle::terminal);
  EXPECT_SAYS(text, "decode: synthetic, cuda bf16, same-batch, batch 1\n");
  EXPECT_SAYS(text, "same-memory (48.0 GiB of cache)");
  EXPECT_SAYS(text, "\n     1M      oom ");
  EXPECT_SAYS(text, "oom: wanted 49 GiB of cache, found 48 GiB free");
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    EXPECT_TRUE(line.empty() || line.back() != ' ') << "trailing space: " << line;
  EXPECT_EQ(tables(Report{}, TableStyle::terminal), "no cells\n");
}

TEST(ReportTable, OtherSuitesAreListedCellByCell) {
  Report report = synthetic();
  report.cells.resize(2);
  for (Cell& cell : report.cells) {
    cell.suite = "ruler";
    cell.axes.task = "needle";
    cell.timing.reset();
    cell.accuracy = Accuracy{"exact match", 0.875, std::nullopt, 0.03, 500};
  }
  const std::string text = tables(report, TableStyle::markdown);
  EXPECT_SAYS(text, "| exact match | 0.875 | 0.03 | 500 |");
  EXPECT_FALSE(contains(text, " ms |")) << text;
}

TEST(ReportTable, UnitsAreReadable) {
  EXPECT_EQ(readable_tokens(4096), "4K");
  EXPECT_EQ(readable_tokens(1 << 20), "1M");
  EXPECT_EQ(readable_tokens(1000), "1000");
  EXPECT_EQ(readable_tokens(1536 << 10), "1536K");
  EXPECT_EQ(readable_bytes(512), "512 B");
  EXPECT_EQ(readable_bytes(8.46e9), "7.88 GiB");
  EXPECT_EQ(readable_bytes(3.0 * (1 << 20)), "3.00 MiB");
  EXPECT_EQ(readable_ms(17.76e6), "17.8");
  EXPECT_EQ(readable_ms(1.84e6), "1.84");
  EXPECT_EQ(readable_ms(0.093e6), "0.0930");
}

TEST_F(Reports, MarkdownGoesBetweenTheMarkers) {
  const std::string before = "# Title\n\n" + std::string(kResultsBegin) + "\nold\n", after = "\n## Next\n";
  const fs::path readme = file("README.md", before + kResultsEnd + after);
  const std::string text = markdown_results(synthetic());
  replace_between_markers(readme, text);
  const std::string once = text_of(readme);
  EXPECT_EQ(once, "# Title\n\n" + std::string(kResultsBegin) + "\n" + text + kResultsEnd + after);
  replace_between_markers(readme, text);
  EXPECT_EQ(text_of(readme), once);

  const auto said = [&](const std::string& body) {
    return error_of([&] { replace_between_markers(file("bad.md", body), "x"); });
  };
  const std::string begin = kResultsBegin, end = kResultsEnd;
  for (const std::string& body : {std::string("none"), begin, end, end + "\n" + begin, begin + begin + end})
    EXPECT_SAYS(said(body), "wanted one line " + begin);
  EXPECT_SAYS(error_of([&] { replace_between_markers(folder / "none.md", "x"); }), "found none");
}

}  // namespace
}  // namespace kdabench::reports
