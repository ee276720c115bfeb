// kdabench ruler-generate: RULER's prompts as files, for any program that reads NVIDIA's.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>

#include "harness/bind.h"
#include "harness/cli.h"
#include "harness/parse.h"
#include "harness/progress.h"
#include "kernels/base/error.h"
#include "suites/ruler/ruler.h"

namespace kdabench {
namespace {

namespace fs = std::filesystem;

struct RulerFlags {
  std::string task = "all", length = "4096", samples = "10", seed = "42", tokenizer, data, out, progress = "auto";
  bool force = false;
};

std::vector<std::string> tasks_of(const std::string& text) {
  std::vector<std::string> names;
  if (text == "all") {
    for (const suites::RulerTask& task : suites::ruler_tasks()) names.push_back(task.name);
    return names;
  }
  for (const std::string& name : parse_list("task", text))
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(suites::ruler_task(name).name);
  require(!names.empty(), "--task wants `all` or names of RULER's tasks.");
  return names;
}

// Written beside its place and moved there, so that no half of a file can be taken for one.
void write_samples(const fs::path& path, const std::vector<suites::RulerSample>& samples) {
  const fs::path unfinished = path.string() + ".tmp";
  {
    std::ofstream file(unfinished, std::ios::binary);
    for (const suites::RulerSample& sample : samples) file << suites::ruler_jsonl_line(sample) << '\n';
    file.close();
    require(file.good(), "cannot write ", unfinished.string(), "; is the disk full?");
  }
  fs::rename(unfinished, path);
}

int ruler_generate(const RulerFlags& flags) {
  const std::vector<std::string> tasks = tasks_of(flags.task);
  suites::RulerRequest request;
  request.length = parse_count("length", flags.length);
  request.samples = parse_count("samples", flags.samples);
  request.seed = static_cast<uint64_t>(parse_integer("seed", flags.seed, 0));
  const ProgressStyle style = progress_style(parse_choice("progress", flags.progress, {"auto", "plain", "none"}));
  const Tokenizer tokenizer = Tokenizer::load(flags.tokenizer);
  const suites::RulerData data = suites::load_ruler_data(flags.data);
  const auto path = [&](const std::string& task) { return fs::path(flags.out) / (task + ".jsonl"); };
  for (const std::string& task : tasks)
    require(flags.force || !fs::exists(path(task)), path(task).string(), " exists; give --force to replace it, or "
            "another --out.");
  std::error_code error;
  fs::create_directories(flags.out, error);
  require(!error, "cannot make the folder ", flags.out, ": ", error.message(), ".");

  ProgressLine line(style, tasks.size());
  std::vector<std::string> refused;
  for (const std::string& task : tasks) {
    request.task = task;
    line.starting(task);
    const auto start = std::chrono::steady_clock::now();
    try {
      const auto samples = suites::generate_ruler(request, data, tokenizer,
                                                  [&](double share) { line.update("drawing", share); });
      write_samples(path(task), samples);
      const auto [shortest, longest] = std::minmax_element(samples.begin(), samples.end(), [](auto& a, auto& b) {
        return a.length < b.length;
      });
      const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
      line.finished(fmt::format("{}: {} sample{} of {} to {} tokens in {:.1f} s", task, samples.size(),
                                samples.size() == 1 ? "" : "s", shortest->length, longest->length, spent.count()));
    } catch (const Error& why) {              // the others may fit; all that do not are named at the end
      refused.push_back(why.what());
      line.finished(task + ": not written");
    }
  }
  if (tasks.size() == 1 && !refused.empty()) fail(refused.front());
  require(refused.empty(), refused.size(), " of ", tasks.size(), " tasks did not work: ",
          fmt::format("{}", fmt::join(refused, " ")));
  return 0;
}

}  // namespace

void add_ruler_command(CLI::App& app, const Parts&, Action& action) {
  CLI::App* command = app.add_subcommand("ruler-generate", "Write RULER's prompts, byte for byte as NVIDIA's programs");
  const auto flags = std::make_shared<RulerFlags>();
  const FlagBinder bind{*command};
  bind("task", flags->task, "Options", "all, or names such as niah_single_1,vt,qa_2");
  bind("length", flags->length, "Options", "tokens of a prompt with its generation: 4096, 128K, 1M");
  bind("samples", flags->samples, "Options", "prompts a task; RULER has 500");
  bind("seed", flags->seed, "Options", "of all random streams; RULER's is 42");
  bind("tokenizer", flags->tokenizer, "Options", "what counts the tokens: rank file, folder with one, or bytes");
  bind("data", flags->data, "Options", "folder that holds ruler/, or that folder");
  bind("out", flags->out, "Options", "folder for one NAME.jsonl a task");
  bind("force", flags->force, "Options", "replace files that are there");
  bind("progress", flags->progress, "Options", "auto, plain (a line a task) or none");
  for (const char* name : {"--tokenizer", "--data", "--out"}) command->get_option(name)->required();
  command->footer(
      "\nThe data folder: words/{noun,adjective,verb}list.txt (wonderwords), essays.json with essays_sentences.json\n"
      "(as NLTK's sent_tokenize cuts the text with single spaces), squad.json, hotpotqa.json, and, for cwe beyond\n"
      "about 128K, english_words.json of NVIDIA/RULER. A task minds only what it needs.\n\n"
      "Exit codes: 0 all written; 2 a task does not fit, a text is missing or damaged: the others are written.");
  command->callback([flags, &action] { action = [flags](const Call&) { return ruler_generate(*flags); }; });
}

}  // namespace kdabench
