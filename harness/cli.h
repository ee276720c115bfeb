#pragma once
// The command line: `kdabench COMMAND ...`. It knows commands and flags, not who is measured nor how.

#include <functional>
#include <string>
#include <vector>

#include "harness/engine/registry.h"
#include "suites/suite.h"

namespace CLI {
class App;
}

namespace kdabench {

// Named by main.cpp and nowhere else.
struct Parts {
  Registry registry;
  std::vector<suites::Suite> suites;
};

// What a command needs from the line it was called with.
struct Call {
  const Parts& parts;
  std::vector<std::string> argv;              // without the program's folder
};

// Adds a subcommand with its flags; when the line names it, `action` is set to what runs it and returns the exit code.
using Action = std::function<int(const Call& call)>;

void add_run_command(CLI::App& app, const Parts& parts, Action& action);
void add_model_commands(CLI::App& app, const Parts& parts, Action& action);    // models, logits, generate
void add_claims_command(CLI::App& app, const Parts& parts, Action& action);
void add_export_commands(CLI::App& app, const Parts& parts, Action& action);   // export, migrate
void add_html_command(CLI::App& app, const Parts& parts, Action& action);      // report
void add_report_commands(CLI::App& app, const Parts& parts, Action& action);   // validate, compare, table, ...
void add_mmlu_command(CLI::App& app, const Parts& parts, Action& action);      // mmlu-prompts
void add_ruler_command(CLI::App& app, const Parts& parts, Action& action);     // ruler-generate
void add_tokenize_command(CLI::App& app, const Parts& parts, Action& action);
void add_ab_command(CLI::App& app, Action& action);                            // ab
void add_gate_command(CLI::App& app, Action& action);                          // gate
void add_info_command(CLI::App& app, const Parts& parts, Action& action);

// Runs a command line. Prints errors as one sentence on stderr; returns the exit code.
int run_command_line(int argc, char** argv, const Parts& parts);

}  // namespace kdabench
