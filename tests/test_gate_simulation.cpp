// The error rates of `kdabench ab`, by simulation of its decision procedure from first blocks to confirmation and
// control, and the sentence of README that quotes them.
//
// A process median is exp(level + side + noise). Noise levels are those measured on one H200 over 24 fresh processes
// and 45 cells: a standard deviation of 0.27 % in the typical cell, 3.7 % in the worst. Student's t with 3 degrees of
// freedom stands for heavy tails; a drift moves all processes of a run, linearly. Seeded: the numbers are the same
// everywhere that has the generator of the C++ standard; normal deviates are made here, because the standard does not
// fix its own.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <numbers>
#include <random>

#include "reports/gate_decision.h"
#include "tests/reports_fixture.h"

namespace kdabench::reports {
namespace {

constexpr int kTrials = 10000;

struct World {
  double noise = 0, slowdown = 0;  // standard deviation of a process median, and log(B / A)
  bool heavy = false;              // t with 3 degrees of freedom, scaled to `noise`
  double drift = 0;                // of log time over the 20 blocks of a whole stage
};

class Machine {
 public:
  Machine(const World& world, uint32_t seed) : world_(world), random_(seed) {}

  BlockLogs block(int64_t index, bool a_first) {
    double slot[4];
    for (int i = 0; i < 4; ++i) slot[i] = world_.drift * static_cast<double>(4 * index + i) / 80 + deviation();
    const double s = world_.slowdown;
    return a_first ? BlockLogs{slot[0], slot[3], slot[1] + s, slot[2] + s}
                   : BlockLogs{slot[1], slot[2], slot[0] + s, slot[3] + s};
  }

 private:
  double uniform() { return (static_cast<double>(random_()) + 0.5) / 4294967296.0; }
  double normal() { return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * std::numbers::pi * uniform()); }
  double deviation() {
    if (!world_.heavy) return world_.noise * normal();
    const double z = normal(), a = normal(), b = normal(), c = normal();
    return world_.noise * z / std::sqrt((a * a + b * b + c * c) / 3) / std::sqrt(3.0);  // the variance of t3 is 3
  }

  World world_;
  std::mt19937 random_;
};

struct Outcome {
  Verdict verdict = Verdict::undecided;
  bool invalid = false, failed_first = false;
  int64_t blocks = 0;
};

// One cell through the whole procedure of `kdabench ab`.
Outcome run_cell(const World& world, uint32_t seed) {
  const GateOptions options;
  Machine machine(world, seed);
  Outcome out;
  std::vector<double> control;
  const auto stage = [&](const std::string& name) {
    std::vector<BlockLogs> blocks;
    std::vector<double> values;
    Decision decision;
    do {
      const auto index = static_cast<int64_t>(blocks.size());
      blocks.push_back(machine.block(index, a_first(seed, name, index)));
      values.push_back(blocks.back().value());
      if (values.size() >= static_cast<size_t>(options.looks.front())) decision = decide(values, options);
    } while (decision.verdict == Verdict::undecided);
    out.blocks += static_cast<int64_t>(blocks.size());
    const std::vector<double> more = control_values(blocks);
    control.insert(control.end(), more.begin(), more.end());
    return decision.verdict;
  };
  out.verdict = stage("first");
  out.failed_first = out.verdict == Verdict::fail;
  if (out.failed_first && stage("confirm") != Verdict::fail) out.verdict = Verdict::inconclusive;
  out.invalid = control_fails(control, options);
  return out;
}

struct Rates {
  double pass = 0, fail = 0, inconclusive = 0, invalid = 0, failed_first = 0, blocks = 0;
};

Rates rates(const World& world) {
  Rates sum;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Outcome one = run_cell(world, static_cast<uint32_t>(trial + 1));
    sum.blocks += static_cast<double>(one.blocks) / kTrials;
    sum.failed_first += 1.0 * one.failed_first / kTrials;
    if (one.invalid) sum.invalid += 1.0 / kTrials;
    else if (one.verdict == Verdict::fail) sum.fail += 1.0 / kTrials;
    else if (one.verdict == Verdict::inconclusive) sum.inconclusive += 1.0 / kTrials;
    else sum.pass += 1.0 / kTrials;
  }
  return sum;
}

double percent(double share) { return 100 * share; }

// For a person who changes the rule: every world as a row.
void print_row(const char* name, const World& world, const Rates& r) {
  fmt::print("{:<28} {:>5.2f} {:>6.1f}   {:>6.2f} {:>6.2f} {:>6.2f} {:>6.2f}   {:>6.2f} {:>6.1f}\n", name,
             percent(world.noise), percent(std::expm1(world.slowdown)), percent(r.pass), percent(r.fail),
             percent(r.inconclusive), percent(r.invalid), percent(r.failed_first), r.blocks);
}

TEST(GateSimulation, RatesHoldAndReadmeQuotesThem) {
  const double typical = 0.0027, worst = 0.037;
  fmt::print("{} runs a row; all in %\n{:<28} {:>5} {:>6}   {:>6} {:>6} {:>6} {:>6}   {:>6} {:>6}\n", kTrials, "world",
             "noise", "slower", "pass", "fail", "incon", "inval", "first", "blocks");
  const auto show = [](const char* name, const World& world) {
    const Rates r = rates(world);
    print_row(name, world, r);
    return r;
  };
  const double alpha = GateOptions{}.alpha, three_sigma = 3 * std::sqrt(alpha / kTrials);

  // No change: at most alpha at first and alpha squared after confirmation, whatever the noise.
  const Rates same = show("typical cell", {typical, 0});
  const Rates same_worst = show("worst cell", {worst, 0});
  const Rates between = show("between", {0.012, 0});
  const Rates heavy = show("between, heavy tails", {0.012, 0, true});
  const Rates drifting = show("typical, drift of 10 %", {typical, 0, false, 0.1});
  for (const Rates& r : {same, same_worst, between, heavy, drifting}) {
    EXPECT_LE(r.failed_first, alpha + three_sigma);
    EXPECT_LE(r.fail, alpha * alpha + 3 * std::sqrt(alpha * alpha / kTrials));
    EXPECT_LE(r.invalid, 2 * alpha + three_sigma) << "the control's own false alarms";
  }
  EXPECT_GE(same.pass, 0.999);
  EXPECT_GE(drifting.pass, 0.99) << "a linear drift cancels";

  // Slower by the margin or more: a pass at most alpha.
  const double margin = std::log(1.02);
  const Rates edge = show("typical, at the margin", {typical, margin});
  const Rates edge_worst = show("worst, at the margin", {worst, margin});
  const Rates edge_heavy = show("heavy tails, at the margin", {0.012, margin, true});
  const Rates three = show("typical", {typical, std::log(1.03)});
  const Rates three_between = show("between", {0.012, std::log(1.03)});
  const Rates three_worst = show("worst", {worst, std::log(1.03)});
  const Rates ten_worst = show("worst", {worst, std::log(1.10)});
  const Rates five = show("typical", {typical, std::log(1.05)});
  for (const Rates& r : {edge, edge_worst, edge_heavy, three, three_between, three_worst, ten_worst, five})
    EXPECT_LE(r.pass, alpha + three_sigma);
  EXPECT_GE(three.fail, 0.99);
  EXPECT_GE(five.fail, 0.999);

  // A plan of 45 cells, 44 typical and one worst, nothing changed: runs with a confirmed FAIL.
  const double suite = 1 - std::pow(1 - same.fail, 44) * (1 - same_worst.fail);
  const std::string paragraph = fmt::format(
      "With the noise assumed (standard deviation between processes {:.2f} % in the typical cell, {:.1f} % in the worst, "
      "as of attention kernels on an H200) {} simulated runs a case say: nothing changed, the typical cell passes {:.1f} % of the time after "
      "{:.1f} blocks and fails {:.2f} %; the worst fails {:.2f} % and stays inconclusive {:.0f} %. Slower by 3 %: the "
      "typical cell fails {:.1f} % of the time and passes {:.2f} %; the worst passes {:.1f} %, and at 10 % it fails "
      "{:.0f} %. Slower by exactly the margin of 2 %: the typical cell fails {:.0f} %, is inconclusive {:.0f} % and "
      "passes {:.1f} %. A plan of "
      "45 such cells, nothing changed, turns red in {:.2f} % of runs.",
      percent(typical), percent(worst), kTrials, percent(same.pass), same.blocks, percent(same.fail),
      percent(same_worst.fail), percent(same_worst.inconclusive), percent(three.fail), percent(three.pass),
      percent(three_worst.pass), percent(ten_worst.fail), percent(edge.fail), percent(edge.inconclusive),
      percent(edge.pass), percent(suite));
  EXPECT_LE(suite, 0.01);

  std::string readme = text_of(kSource / "README.md"), flat;
  for (const char c : readme) flat += c == '\n' ? ' ' : c;
  EXPECT_TRUE(contains(flat, paragraph)) << "README.md should say:\n" << paragraph;
}

}  // namespace
}  // namespace kdabench::reports
