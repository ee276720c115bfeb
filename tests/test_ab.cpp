// What an A/B run does next, and the plans of its processes, without starting any.

#include <gtest/gtest.h>

#include <map>

#include "harness/ab.h"
#include "tests/reports_fixture.h"

namespace kdabench {
namespace {

using reports::AbNext;
using reports::AbProcess;
using reports::Json;
using reports::contains;

std::string id(const std::string& model, int context) {
  return "decode/model=" + model + ";config=c;device=cpu;dtype=fp32;context=" + std::to_string(context) +
         ";batch=1;protocol=same-batch";
}

TEST(Ab, NarrowedPlansHoldTheCellsAndLittleElse) {
  const Json plan = {{"about", "x"},       {"suites", {"decode", "memory"}}, {"models", {"a", "b", "c"}}, {"steps", 7},
                     {"context", {1, 2}},  {"hybrid-ratio", "3:1"},          {"config", "tiny"}};
  const Json narrow = narrowed(plan, {id("a", 1), id("c@7:1", 1), "decode/model=a;config=c;device=cuda;dtype=bf16;"
                                      "context=8;protocol=same-memory;cache_budget=64"});
  EXPECT_EQ(narrow["suites"], Json({"decode"}));
  EXPECT_EQ(narrow["models"], Json({"a", "c"}));
  EXPECT_EQ(narrow["steps"], 7);
  EXPECT_EQ(narrow["hybrid-ratio"], "3:1");
  EXPECT_FALSE(narrow.contains("context"));
  ASSERT_EQ(narrow["sweeps"].size(), 2u);
  EXPECT_EQ(narrow["sweeps"][0], Json({{"context", "1"}, {"protocol", "same-batch"}, {"batch", "1"}}));
  EXPECT_EQ(narrow["sweeps"][1], Json({{"context", "8"}, {"protocol", "same-memory"}, {"cache-budget", "64"}}));
}

// A run in memory: cell 0 is equal, cell 1 slower in B by `slower`, cell 2 noisy in an order that no look decides.
struct Trial {
  reports::GateOptions options;
  std::vector<AbProcess> done;
  double slower;
  explicit Trial(double slower) : slower(slower) {
    for (const bool b : {false, true}) add({"warm-up", 0, 0, {id("m", 0), id("m", 1), id("m", 2)}}, b, b);
  }
  void add(const AbNext& next, int64_t slot, bool is_b) {
    AbProcess process{next.stage, next.block, slot, is_b, 1, {}};
    for (const std::string& name : next.cells) {
      reports::AbCell cell{name, "ok", "", 1e6, {}, {}, {}, {}};
      if (name == id("m", 1) && is_b) *cell.tpot_ns *= slower;
      if (name == id("m", 2) && is_b) *cell.tpot_ns *= next.block % 2 ? 1.3 : 0.8;
      process.cells.push_back(cell);
    }
    done.push_back(process);
  }
  // All blocks to the end; how many of each stage.
  std::map<std::string, int> finish() {
    std::map<std::string, int> blocks;
    while (const auto next = next_block(done, options)) {
      ++blocks[next->stage];
      for (int64_t slot = 0; slot < 4; ++slot) add(*next, slot, slot == 1 || slot == 2);
    }
    return blocks;
  }
};

TEST(Ab, OnlyTheUndecidedGoOnAndOnlyWhatFailsIsConfirmed) {
  Trial run(1.1);
  EXPECT_EQ(run.finish(), (std::map<std::string, int>{{"first", 20}, {"confirm", 5}}));
  const auto cells_of = [&](const std::string& stage, int64_t block) {
    for (const AbProcess& process : run.done)
      if (process.stage == stage && process.block == block) return process.cells.size();
    return size_t{0};
  };
  EXPECT_EQ(cells_of("first", 4), 3u);
  EXPECT_EQ(cells_of("first", 5), 2u) << "the noisy one and the sentinel";
  EXPECT_EQ(cells_of("confirm", 0), 2u) << "the slower one and the sentinel";

  reports::AbReport report;
  report.options = run.options;
  report.processes = run.done;
  judge(report);
  ASSERT_EQ(report.rows.size(), 3u);
  EXPECT_EQ(report.rows[0].verdict, "pass");
  EXPECT_EQ(report.rows[1].verdict, "fail");
  EXPECT_EQ(report.rows[2].verdict, "inconclusive");
  EXPECT_EQ(report.exit, reports::Exit::regression);
  EXPECT_EQ(report.sentinel, id("m", 0));

  Trial calm(1.0);
  for (AbProcess& process : calm.done) process.cells.pop_back();  // without the noisy one
  EXPECT_EQ(calm.finish(), (std::map<std::string, int>{{"first", 5}}));
}

TEST(Ab, HalfABlockIsRunAgain) {
  Trial run(1.0);
  const auto first = next_block(run.done, run.options);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->until, 5);
  for (int64_t slot = 0; slot < 3; ++slot) run.add(*first, slot, slot == 1 || slot == 2);
  EXPECT_EQ(next_block(run.done, run.options)->block, 0);
  run.add(*first, 3, false);
  EXPECT_EQ(next_block(run.done, run.options)->block, 1);
}

TEST(Ab, ProcessesSurviveTheirFile) {
  Trial run(1.0);
  run.done[0].cells[0].clock_hz = 1.98e9;
  run.done[0].cells[0].other_processes = 0;
  const Json once = reports::to_json(run.done[0]);
  EXPECT_EQ(reports::to_json(reports::ab_process_from_json(once)), once);
  EXPECT_SAYS(reports::error_of([] { reports::ab_process_from_json({{"stage", 3}}); }), "JSON of another shape");
}

}  // namespace
}  // namespace kdabench
