#include "harness/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>

#include "build_info.h"
#include "harness/engine/registry.h"
#include "kernels/base/error.h"

namespace kdabench {
namespace {

constexpr const char* kAbout =
    "kdabench: decode speed, cache memory and accuracy of linear-attention hybrids and full attention,\n"
    "built from one config by one engine.\n";

constexpr const char* kExamples = R"(
Examples:
  kdabench run decode memory                             a first look: tiny models on the CPU, seconds
  kdabench run --plan suites/plans/demo.json             the same from a plan file
  kdabench run decode --config kimi-linear-48b-a3b --device cuda --context 4K,128K,1M --out report.json
  kdabench run decode --config kimi-linear-48b-a3b --device cuda --context 1M --dry-run
                                                         bytes and floors of every cell; needs no GPU
  kdabench run decode --device cuda --protocol same-memory --cache-budget 56GB --context 1M
  kdabench run prefill --config kimi-linear-48b-a3b --device cuda --context 4K,64K --dry-run
                                                         time to the first token; how long that takes to measure
  kdabench run ruler mmlu --checkpoint DIR --data DIR --device cuda --out scores.json
                                                         accuracy of a checkpoint; --dry-run says how long it takes
  kdabench claims report.json                            the paper's claims: reproduced or not, and why
  kdabench table report.json                             the result, as a table
  kdabench compare before.json after.json                what got slower, by how much
  kdabench ab --a build/main/kdabench --b build/mine/kdabench --plan suites/plans/gate.json --out ab.json
                                                         is mine slower? with known error rates
  kdabench gate base.json new.json --format github       bytes, launches and scores for CI without a GPU

Exit codes: 0 pass; 1 regression; 2 usage, IO or schema error; 3 inconclusive; 4 invalid measurement; 5 incorrect
result; 6 baseline missing or of another machine. `kdabench COMMAND --help` says which of them a command gives.)";

// The one subcommand that the line names, or the program itself.
CLI::App& deepest(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands()) return deepest(*command);
  return app;
}

std::string command_name(const CLI::App& command) {
  return command.get_parent() ? "kdabench " + command.get_name() : "kdabench";
}

// CLI11 says that something was not expected; a person wants to know what they may have meant.
[[noreturn]] void unexpected(const std::string& word, CLI::App& command) {
  std::vector<std::string> known;
  const bool flag = word.rfind("-", 0) == 0;
  if (flag) {
    for (const CLI::Option* option : command.get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  } else {
    for (const CLI::App* sub : command.get_subcommands({})) known.push_back(sub->get_name());
  }
  const std::string bare = word.substr(0, word.find('='));
  const std::string near = nearest(bare, known);
  const char* const kind = flag ? "flag" : command.get_parent() ? "argument" : "command";
  fail("unknown ", kind, " ", bare, near.empty() ? "" : "; did you mean " + near + "?", near.empty() ? "." : "",
       " See ", command_name(command), " --help.");
}

std::string one_line(std::string message) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  while (!message.empty() && message.back() == ' ') message.pop_back();
  return message;
}

void parse(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success&) {             // --help, --version
    throw;
  } catch (const CLI::ParseError& error) {
    // Unknown words first: a misspelled flag often makes its value look like something else that is wrong.
    const std::vector<std::string> extras = app.remaining(true);
    if (!extras.empty()) unexpected(extras.front(), deepest(app));
    const std::string what = one_line(error.what());
    if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) && what.find(':') != std::string::npos)
      fail(what.substr(0, what.find(':')), " wants one value, once; see ", command_name(deepest(app)), " --help.");
    fail(what, "; see ", command_name(deepest(app)), " --help.");
  }
  const std::vector<std::string> extras = app.remaining(true);
  if (!extras.empty()) unexpected(extras.front(), deepest(app));
}

}  // namespace

int run_command_line(int argc, char** argv, const Parts& parts) {
  try {
    CLI::App app(kAbout, "kdabench");
    app.footer(kExamples);
    app.get_formatter()->column_width(30);
    app.set_version_flag("--version", fmt::format("kdabench {} ({}{})", build::kVersion,
                                                  std::string(build::kCommit).substr(0, 12),
                                                  build::kDirty ? ", changed" : ""));
    app.allow_extras();
    Action action;
    add_run_command(app, parts, action);
    add_model_commands(app, parts, action);
    add_tokenize_command(app, parts, action);
    add_report_commands(app, parts, action);
    add_claims_command(app, parts, action);
    add_export_commands(app, parts, action);
    add_html_command(app, parts, action);
    add_mmlu_command(app, parts, action);
    add_ruler_command(app, parts, action);
    add_ab_command(app, action);
    add_gate_command(app, action);
    add_info_command(app, parts, action);
    for (CLI::App* command : app.get_subcommands({})) command->allow_extras();

    try {
      parse(app, argc, argv);
    } catch (const CLI::Success& success) {
      return app.exit(success);
    }
    if (!action) {
      fmt::print("{}", app.help());
      return 0;
    }
    std::vector<std::string> words = {std::filesystem::path(argv[0]).filename().string()};
    words.insert(words.end(), argv + 1, argv + argc);
    const int code = action(Call{parts, words});
    if (std::fflush(stdout) != 0) fail("failed to write to standard output.");
    return code;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "kdabench: the host has no memory left for this.\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "kdabench: {}\n", one_line(error.what()));
  }
  return 2;
}

}  // namespace kdabench
