// kdabench ab: flags and help.

#include <memory>

#include "harness/ab.h"
#include "harness/bind.h"

namespace kdabench {
namespace {

constexpr const char* kFooter = R"(
Runs A and B in blocks of four fresh processes, A B B A or B A A B, with the whole plan in each, and compares
each cell by the ratios of the blocks. Fail: the interval lies above 1 and the ratio above 1 + margin, twice,
on fresh blocks. Pass: the interval lies below 1 + margin. Otherwise more blocks, and in the end inconclusive.
Invalid: throttled, clocks of A and B differ by more than 1 %, other processes on the GPU, a time above a
measured ceiling, one binary against itself differs (the control, from the same processes), or the machine
drifted.

Plans for it: suites/plans/gate_cpu.json, suites/plans/gate.json (one GPU, about a second a process).

A run that a side ends by crashing or by leaving no report has no verdict: its result says why, all cells are
invalid, the exit code says whose fault it is (1 B, 6 A), and --resume continues.

Exit codes: 0 pass; 1 regression, a missing or failed cell of B; 2 usage, IO or schema error; 3 inconclusive;
4 invalid measurement; 5 incorrect result; 6 A has no usable cell. The name is on the last line and in the
result.)";

}  // namespace

void add_ab_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("ab", "Is B slower than A? Two programs, interleaved, with known error rates");
  const auto flags = std::make_shared<AbFlags>();
  flags->fields(FlagBinder{*command});
  for (const char* required : {"--a", "--b", "--plan", "--out"}) command->get_option(required)->required();
  command->footer(kFooter);
  command->callback([flags, &action] { action = [flags](const Call& call) { return run_ab(call, *flags); }; });
}

}  // namespace kdabench
