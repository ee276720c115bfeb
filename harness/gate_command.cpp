// kdabench gate: two reports against rules, for continuous integration.

#include <fmt/format.h>

#include <memory>

#include "harness/bind.h"
#include "harness/cli.h"
#include "harness/parse.h"
#include "kernels/base/error.h"
#include "reports/gate.h"

namespace kdabench {
namespace {

constexpr const char* kFooter = R"(
Exact by default: parameters, weight, cache and state bytes. Launches a step may fall, and so may the registers
and local bytes (the stack frame, where spills lie) of each kernel that ran; a GPU's reports have these. What the
rules name and no report has is said, not passed over.
Scores are paired item by item, on the CPU they must be equal. Times are judged only where both reports come
from one machine. A missing, extra or failed cell fails. The rules are reports/gate_rules.json; --print-rules
writes them.

Exit codes: 0 pass; 1 regression or missing cell; 2 unreadable; 3 inconclusive; 4 invalid cell; 5 incorrect
result or lost accuracy; 6 base missing, or without the cell. The name is on the last line of text, md and
github.)";

struct GateFlags {
  std::string base, candidate, rules, format = "text";
  bool print_rules = false;
};

int run_gate(const GateFlags& flags) {
  if (flags.print_rules) {
    const reports::GateRules rules = flags.rules.empty() ? reports::GateRules{} : reports::read_gate_rules(flags.rules);
    fmt::print("{}\n", reports::pretty(reports::gate_rules_json(rules)));
    return 0;
  }
  parse_choice("format", flags.format, {"text", "md", "json", "junit", "github"});
  require(!flags.base.empty() && !flags.candidate.empty(),
          "gate wants BASE.json and NEW.json; see kdabench gate --help.");
  const reports::Gate gate = reports::gate_files(flags.base, flags.candidate, flags.rules);
  fmt::print("{}", reports::gate_output(gate, flags.format));
  return static_cast<int>(gate.exit);
}

}  // namespace

void add_gate_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("gate", "Hold a report to another by rules, for CI without a GPU");
  const auto flags = std::make_shared<GateFlags>();
  command->add_option("BASE", flags->base, "report that is the base")->type_name("");
  command->add_option("NEW", flags->candidate, "report to judge")->type_name("");
  const FlagBinder bind{*command};
  bind("rules", flags->rules, "Options", "JSON file with the rules; default: the built-in ones");
  bind("format", flags->format, "Options", "text, md, json, junit (XML) or github (workflow commands)");
  bind("print-rules", flags->print_rules, "Options", "print the rules as a file and stop");
  command->footer(kFooter);
  command->callback([flags, &action] { action = [flags](const Call&) { return run_gate(*flags); }; });
}

}  // namespace kdabench
