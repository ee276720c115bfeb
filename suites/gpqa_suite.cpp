#include "suites/gpqa_suite.h"

#include <fmt/format.h>

#include "suites/gpqa.h"
#include "suites/mmlu.h"
#include "suites/paired.h"
#include "suites/scoring.h"
#include "suites/sha256.h"
#include "suites/text_model.h"

namespace kdabench::suites {
namespace {

constexpr double kChance = 0.25;

GpqaTask read_task(const AccuracyPlan& plan) {
  require(!plan.gpqa.empty(), "gpqa wants --gpqa CSV; its authors hand the file out and ask that no question be published.");
  GpqaTask task = read_gpqa(plan.gpqa, plan.task_seed);
  if (plan.limit > 0 && static_cast<size_t>(plan.limit) < task.questions.size())
    task.questions.resize(static_cast<size_t>(plan.limit));
  return task;
}

std::vector<Choices> choices_of(const GpqaTask& task, const Tokenizer& tokenizer) {
  std::vector<Choices> all;
  for (const GpqaQuestion& question : task.questions) {
    const std::string prompt = gpqa_prompt(GpqaStyle::kChoice, question);
    Choices choices{tokenizer.encode(prompt), {}};
    for (const char letter : {'A', 'B', 'C', 'D'}) {
      const Ids whole = tokenizer.encode(prompt + " (" + letter + ")");
      require(whole.size() > choices.prompt.size(), "the tokenizer merges an answer into the prompt; its log-probability "
              "has no meaning.");
      choices.continuations.emplace_back(whole.begin() + static_cast<std::ptrdiff_t>(choices.prompt.size()), whole.end());
    }
    all.push_back(std::move(choices));
  }
  return all;
}

std::vector<Point> points(const Plan& plan) {
  std::string name = fmt::format("zeroshot seed {}", plan.accuracy.task_seed);
  if (plan.accuracy.limit > 0) name += fmt::format(" first {}", plan.accuracy.limit);
  return {{0, 1, {}, name}};
}

Workload workload(const Plan& plan, const Peer& peer, const Point&) {
  require_trained(plan, peer, "gpqa");
  check_reference(plan.accuracy, "gpqa", peer.name, points(plan).front().task);
  const TextModel text = text_model(plan, peer, false);
  Workload work;
  for (const Choices& choices : choices_of(read_task(plan.accuracy), text.tokenizer)) {
    ++work.prompts;
    work.read_tokens += static_cast<int64_t>(choices.prompt.size());
    work.longest = std::max(work.longest, static_cast<int64_t>(choices.prompt.size()));
  }
  work.note = fmt::format("base prompts, log-probabilities, tokenizer {}", text.tokenizer_name);
  return work;
}

void measure(Bench& bench, reports::Cell& cell) {
  const Plan& plan = bench.plan;
  require_trained(plan, bench.peer, "gpqa");
  const auto started = std::chrono::steady_clock::now();
  const TextModel text = text_model(plan, bench.peer, false);
  const GpqaTask task = read_task(plan.accuracy);
  const std::vector<Choices> all = choices_of(task, text.tokenizer);
  const std::string what = weights_fingerprint(plan, bench.peer) + "\n" + cell.id + "\n" + text.tokenizer_name + "\n";

  reports::Score score;
  std::string prompts, gold;
  std::vector<Choices> open;
  std::vector<size_t> index;
  std::vector<std::string> keys;
  std::vector<double> scores(all.size(), 0), choices(4 * all.size(), 0);
  const auto keep = [&](size_t i, const auto& weights) { std::copy_n(weights.begin(), 4, choices.begin() + static_cast<std::ptrdiff_t>(4 * i)); };
  int64_t longest = 0, ties = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string prompt = gpqa_prompt(GpqaStyle::kChoice, task.questions[i]);
    prompts += prompt + '\0';
    gold += task.questions[i].letter();
    score.prompt_tokens += static_cast<int64_t>(all[i].prompt.size());
    for (const Ids& continuation : all[i].continuations)
      longest = std::max(longest, static_cast<int64_t>(all[i].prompt.size() + continuation.size()));
    const std::string key = sha256(what + prompt);
    if (const reports::Item* item = bench.host.find_item(key)) {
      scores[i] = item->score;
      keep(i, item->log_likelihoods);
      ties += item->tied;
      continue;
    }
    open.push_back(all[i]);
    index.push_back(i);
    keys.push_back(key);
  }
  ReadCount count;
  if (!open.empty()) {
    const Opened opened = open_for(bench.model, plan, longest, static_cast<int64_t>(open.size()), true);
    const auto weights = weigh(*opened.session, opened.rows, open, count, [&](size_t done) {
      bench.host.progress(task.name, static_cast<double>(done) / static_cast<double>(open.size()));
      bench.deadline.check("the next questions");
    });
    for (size_t i = 0; i < open.size(); ++i) {
      const MmluChoice choice = mmlu_choice(std::span<const float, 4>(weights[i].data(), 4));
      const GpqaQuestion& question = task.questions[index[i]];
      scores[index[i]] = choice.letter == question.answer ? 1 : 0;
      keep(index[i], weights[i]);
      ties += choice.tied;
      bench.host.scored({keys[i], cell.id, task.name, static_cast<int64_t>(index[i]), scores[index[i]], choice.tied,
                         std::string(1, static_cast<char>('A' + choice.letter)), {std::string(1, question.letter())},
                         {weights[i].begin(), weights[i].end()}});
    }
  }
  const Mean mean = mean_of(scores);
  const auto n = static_cast<int64_t>(scores.size());
  score.items_total = task.name == "gpqa_diamond" ? 198 : task.name == "gpqa_main" ? 448 : 546;
  score.wording = fmt::format("{}{}, zero-shot, lm-eval's prompts, options shuffled with seed {}, {} of {} questions",
                              n == score.items_total ? "" : "a part of ", task.name, plan.accuracy.task_seed, n,
                              score.items_total);
  score.prompt_format = text.format();
  score.tokenizer = text.tokenizer_name;
  score.prompts_sha256 = sha256(prompts);
  score.gold_sha256 = sha256(gold);
  score.read_tokens = count.read;
  score.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  score.chance = kChance;
  score.ties = ties;
  score.at_chance = at_chance(mean.value, n, kChance);
  score.random_weights = bench.peer.checkpoint.empty();
  if (score.at_chance)
    cell.validity.reasons.push_back({"at_chance", "The score is within two standard errors of guessing, 0.25; it says "
                                                  "nothing about the model."});
  cell.accuracy = reports::Accuracy{"accuracy", mean.value, {}, mean.standard_error, n, {}};
  cell.accuracy->score = std::move(score);
  cell.items = paired_items(plan.accuracy, cell, std::move(scores), std::move(choices));
  cell.memory = memory_of_one(bench, cell.axes);
}

}  // namespace

Suite gpqa_suite() {
  Suite suite;
  suite.name = "gpqa";
  suite.summary = "graduate-level questions with four options, by log-probability (--gpqa CSV, --checkpoint)";
  suite.measure = measure;
  suite.points = points;
  suite.workload = workload;
  return suite;
}

}  // namespace kdabench::suites
