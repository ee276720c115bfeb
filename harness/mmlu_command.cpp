// kdabench mmlu-prompts: every prompt of MMLU as bytes, so that another program's can be compared with them.

#include <cstdio>
#include <memory>

#include "harness/bind.h"
#include "harness/cli.h"
#include "harness/parse.h"
#include "kernels/base/error.h"
#include "suites/mmlu.h"

namespace kdabench {
namespace {

struct MmluFlags {
  std::string style = "lm-eval", data, subject;
};

int mmlu_prompts(const MmluFlags& flags) {
  const std::string name = parse_choice("style", flags.style, {"lm-eval", "hendrycks"});
  const suites::MmluStyle style = name == "lm-eval" ? suites::MmluStyle::kLmEval : suites::MmluStyle::kHendrycks;
  std::vector<std::string> subjects;
  if (!flags.subject.empty()) subjects.push_back(flags.subject);
  for (const suites::MmluTask& task : suites::read_mmlu(flags.data, subjects)) {
    const std::string prefix = suites::mmlu_prefix(style, task);
    for (const suites::MmluQuestion& question : task.questions) {
      const std::string prompt = prefix + suites::mmlu_question(style, question);
      const size_t bytes = prompt.size() + 1;                            // with the NUL that ends it
      require(std::fwrite(prompt.c_str(), 1, bytes, stdout) == bytes, "failed to write to standard output.");
    }
  }
  return 0;
}

}  // namespace

void add_mmlu_command(CLI::App& app, const Parts&, Action& action) {
  CLI::App* command = app.add_subcommand("mmlu-prompts", "Print MMLU's prompts, each followed by one NUL byte");
  const auto flags = std::make_shared<MmluFlags>();
  const FlagBinder bind{*command};
  bind("style", flags->style, "Options", "lm-eval or hendrycks, five examples each");
  bind("data", flags->data, "Options", "folder that holds mmlu/, or that folder (dev/*.csv, test/*.csv)");
  bind("subject", flags->subject, "Options", "one subject, such as abstract_algebra; default: all, by name");
  command->get_option("--data")->required();
  command->footer("\nhendrycks is not cropped to 2,048 tokens. `kdabench mmlu-prompts ... | sha256sum` names them all."
                  "\n\nExit codes: 0 all printed; 2 unreadable or not MMLU, nothing on stdout.");
  command->callback([flags, &action] { action = [flags](const Call&) { return mmlu_prompts(*flags); }; });
}

}  // namespace kdabench
