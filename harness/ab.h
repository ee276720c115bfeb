#pragma once
// kdabench ab: runs the processes of an A/B comparison. What to run next and what it means is decided in reports/ab.h.

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/cli.h"
#include "reports/ab.h"

namespace kdabench {

struct AbFlags {
  std::string a, b, plan, out;
  std::string margin = "0.02", error_rate = "0.025", blocks = "5,10,20", max_drift = "0.05", seed = "1";
  std::string inject_slowdown, timeout = "600", progress = "auto";
  bool resume = false, force = false, dry_run = false;

  template <class V> void fields(V&& v) {
    constexpr const char* kWhat = "What to compare";
    v("a", a, kWhat, "program before: a kdabench");
    v("b", b, kWhat, "program after; the same path twice is an A/A run");
    v("plan", plan, kWhat, "JSON file with the cells, as for `kdabench run --plan`");
    constexpr const char* kRule = "The rule";
    v("margin", margin, kRule, "slower by less than this share is no regression");
    v("error-rate", error_rate, kRule, "chance of a wrong fail or a wrong pass of a cell, all looks together");
    v("blocks", blocks, kRule, "looks: a decision is tried after these numbers of blocks of four processes");
    v("max-drift", max_drift, kRule, "share by which the machine may drift during the run");
    v("seed", seed, kRule, "seed of the order within blocks");
    v("inject-slowdown", inject_slowdown, kRule, "test of the gate: every step of B takes this many times as long");
    constexpr const char* kOutput = "Output and control";
    v("out", out, kOutput, "result to write");
    v("timeout", timeout, kOutput, "seconds for one process; 0 is no limit");
    v("resume", resume, kOutput, "continue an interrupted run with this --out at its last whole block");
    v("force", force, kOutput, "replace an existing result");
    v("dry-run", dry_run, kOutput, "run the two warm-up processes, print cells and the time it would take");
    v("progress", progress, kOutput, "auto, plain or none");
  }
};

// The plan of a process that is to measure only `cells`, given by id: the smallest product of models and points that
// has them all. Programs of any version understand it, because it is a plan like any other.
reports::Json narrowed(const reports::Json& plan, const std::vector<std::string>& cells);

int run_ab(const Call& call, const AbFlags& flags);

}  // namespace kdabench
