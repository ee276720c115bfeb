#pragma once
// When is B slower than A? The decision of `kdabench ab` for one cell, as pure functions of measured times.
//
// The replicate is a block of four fresh processes, A B B A or B A A B, because what makes two measurements of the same
// binary differ is the process (its memory layout, its GPU context), not the sample. A block's value is
//     d = (log b1 + log b2) / 2 - (log a1 + log a2) / 2,    a1 .. b2 the medians of its processes,
// which a linear drift does not move. With d normal or symmetric, mean d has Student's interval over the blocks.
//
//     FAIL          low > 0 and mean > log(1 + delta)
//     PASS          high < log(1 + delta)        (called improved when high < 0 and mean < -log(1 + delta))
//     otherwise     more blocks, up to the next look; after the last one INCONCLUSIVE
//
// Error rates. The data are looked at up to three times (5, 10, 20 blocks), and each look is a chance to be wrong. The
// ends of every interval are therefore put at alpha / looks: by Bonferroni the chance that any look is wrong is at most
// alpha = 2.5 %, whatever the dependence between looks. Hence, for each cell,
//     no change (ratio <= 1):          FAIL at first at most alpha, and after confirmation on fresh blocks, which must
//                                      FAIL by the same rule, at most alpha^2 = 0.06 %;
//     slower by delta or more:         PASS at most alpha.
// Both hold for any noise level; noise costs blocks and, in the end, INCONCLUSIVE. tests/test_gate_simulation.cpp
// measures the rates.
//
// A/A control. It needs no process of its own. Two successive blocks have opposite order, and hold four processes of A;
// labelled A A' A' A in time they are a block of A against itself:
//     c = (log a1 - log a2 - log a1' + log a2') / 2        (a1, a2 of one block, a1', a2' of the next),
// and the same for B. c has the variance of d, its mean is 0 where processes of one binary are exchangeable, and over
// the two sides of a pair of blocks a linear drift cancels. So the control is the test itself on the same cells, in the
// same minutes, at the same noise, where the answer is known; when it finds a difference beyond delta, something other
// than the binary moves times (a neighbour, a state of the machine that outlives a process, a curved drift) and the
// cell is INVALID. It does not see what is tied to a side all along, such as the length of a path or of the
// environment; `kdabench ab --a X --b X` on the machine, once, does.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "reports/statistics.h"

namespace kdabench::reports {

struct GateOptions {
  double delta = 0.02;                 // slower by less than this share is no regression
  double alpha = 0.025;                // chance of either wrong verdict for a cell, all looks together
  std::vector<int64_t> looks = {5, 10, 20};  // blocks after which a decision is tried
  double clock_difference = 0.01;      // clocks of A and B may differ by this share
  double throttled_share = 0.01;       // of the timed loops
  double drift = 0.05;                 // the sentinel may move by this share from the first to the last third of a run
  uint64_t seed = 1;                   // of the order within blocks
  double tail() const { return alpha / static_cast<double>(looks.size()); }
};

// Throws Error unless delta > 0, 0 < alpha < 0.5 and looks are 2 or more, increasing.
void check(const GateOptions& options);

// Whether block `block` of a stage is A B B A. Of each two successive blocks one is, and a coin says which, so that a
// drift that is not linear becomes noise and not bias.
bool a_first(uint64_t seed, const std::string& stage, int64_t block);

// The logarithms of the process medians of one cell in one block; 1 and 2 by time within a side.
struct BlockLogs {
  double a1 = 0, a2 = 0, b1 = 0, b2 = 0;
  double value() const { return (b1 + b2 - a1 - a2) / 2; }
};

enum class Verdict { pass, improved, fail, inconclusive, undecided };
const char* verdict_name(Verdict verdict);

struct Decision {
  Verdict verdict = Verdict::undecided;
  MeanInterval interval;               // of log(B / A), at the deciding look, or of all blocks before the first one
  double p = 1;  // one-sided, for "not slower"; Bonferroni over the looks so far, valid at any stop
};

// `values`: one for each block so far, in order. Only whole looks are used.
Decision decide(std::span<const double> values, const GateOptions& options);

// Pairs (0, 1), (2, 3), ... of successive blocks give two values each, A's and B's.
std::vector<double> control_values(std::span<const BlockLogs> blocks);

// True when the control, by the rule of FAIL in either direction, finds a difference.
bool control_fails(std::span<const double> values, const GateOptions& options);

// How far the sentinel moved: median of the last third of its times less that of the first third, as a ratio less 1.
// `logs` are those of all processes in order, `is_b` their sides; each side is centred first. 0 for fewer than 6.
double sentinel_drift(std::span<const double> logs, const std::vector<bool>& is_b);

// Standard deviation of a process median about its side, in log, from the differences within blocks. A drift adds to
// it.
double process_stddev(std::span<const BlockLogs> blocks);

}  // namespace kdabench::reports
