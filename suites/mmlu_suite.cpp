#include "suites/mmlu_suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "suites/mmlu.h"
#include "suites/mmlu_redux.h"
#include "suites/paired.h"
#include "suites/runner.h"
#include "suites/scoring.h"
#include "suites/sha256.h"
#include "suites/text_model.h"

namespace kdabench::suites {
namespace {

constexpr double kChance = 0.25;

MmluStyle style_of(const AccuracyPlan& plan) {
  return plan.mmlu_style == "hendrycks" ? MmluStyle::kHendrycks : MmluStyle::kLmEval;
}

struct Questions {
  std::vector<MmluTask> tasks;                // those asked for
  int64_t whole = 0;                          // of the whole test
  std::string title;
};

// One of the two tests; their suites differ in the questions alone.
struct Test {
  std::string suite;
  Questions (*read)(const AccuracyPlan&);
  std::string (*variant)(const AccuracyPlan&);    // which of the test's questions; empty where there is no choice
};

// What tells this test from another: the prompt's style, the variant, and what was left out.
std::string task_name(const Test& test, const AccuracyPlan& plan) {
  std::string name = plan.mmlu_style;
  if (const std::string variant = test.variant(plan); !variant.empty()) name += " " + variant;
  if (!plan.subjects.empty()) name += fmt::format(" {}", fmt::join(plan.subjects, "+"));
  if (plan.limit > 0) name += fmt::format(" first {}", plan.limit);
  return name;
}

Questions read_questions(const Test& test, const AccuracyPlan& plan) {
  require(!plan.data.empty(), test.suite, " wants --data DIR (or KDABENCH_DATA), the folder that holds mmlu/.");
  Questions questions = test.read(plan);
  for (MmluTask& task : questions.tasks)
    if (plan.limit > 0 && static_cast<size_t>(plan.limit) < task.questions.size())
      task.questions.resize(static_cast<size_t>(plan.limit));
  return questions;
}

std::vector<std::string> prompts_of(MmluStyle style, const MmluTask& task) {
  std::vector<std::string> prompts;
  const std::string prefix = mmlu_prefix(style, task);
  for (const MmluQuestion& question : task.questions) prompts.push_back(prefix + mmlu_question(style, question));
  return prompts;
}

// As lm-eval: the context is encoded alone, and a continuation is what the whole has beyond its length.
Choices choices_of(const Tokenizer& tokenizer, const std::string& prompt) {
  Choices choices{tokenizer.encode(prompt), {}};
  for (const char letter : {'A', 'B', 'C', 'D'}) {
    const Ids whole = tokenizer.encode(prompt + " " + letter);
    require(whole.size() > choices.prompt.size(), "the tokenizer merges the answer ' ", std::string(1, letter),
            "' into the prompt; its log-probability has no meaning.");
    choices.continuations.emplace_back(whole.begin() + static_cast<std::ptrdiff_t>(choices.prompt.size()), whole.end());
  }
  return choices;
}

Workload workload(const Test& test, const Plan& plan, const Peer& peer) {
  require_trained(plan, peer, test.suite);
  check_reference(plan.accuracy, test.suite, peer.name, task_name(test, plan.accuracy));
  const TextModel text = text_model(plan, peer, false);
  Workload work;
  const Questions questions = read_questions(test, plan.accuracy);
  for (const MmluTask& task : questions.tasks) {
    std::vector<Ids> prompts;
    for (const std::string& prompt : prompts_of(style_of(plan.accuracy), task))
      prompts.push_back(text.tokenizer.encode(prompt));
    const int64_t shared = shared_prefix(prompts);
    work.prompts += static_cast<int64_t>(prompts.size());
    work.read_tokens += shared;
    for (const Ids& prompt : prompts) {
      work.read_tokens += static_cast<int64_t>(prompt.size()) - shared;
      work.longest = std::max(work.longest, static_cast<int64_t>(prompt.size()));
    }
  }
  work.note = fmt::format("base prompts, log-probabilities, tokenizer {}", text.tokenizer_name);
  return work;
}

// Answers to one subject's questions, kept ones included; behind `choices`, the log-probabilities of all four of each.
std::vector<MmluChoice> answer(Bench& bench, Session& session, int64_t rows, const MmluTask& task,
                               const std::vector<std::string>& prompts, const TextModel& text, const std::string& what,
                               const std::string& cell, ReadCount& count, reports::Score& score,
                               std::vector<double>& choices, double done, double share) {
  std::vector<MmluChoice> answers(prompts.size());
  const size_t before = choices.size();
  choices.resize(before + 4 * prompts.size());
  const auto keep = [&](size_t i, const auto& weights) {
    require(weights.size() == 4, "a kept item has ", weights.size(), " log-probabilities; wanted 4. Give --force.");
    std::copy(weights.begin(), weights.end(), choices.begin() + static_cast<std::ptrdiff_t>(before + 4 * i));
  };
  std::vector<Choices> open;
  std::vector<size_t> index;
  std::vector<std::string> keys;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Choices question = choices_of(text.tokenizer, prompts[i]);
    score.prompt_tokens += static_cast<int64_t>(question.prompt.size());
    const std::string key = sha256(what + prompts[i]);
    if (const reports::Item* item = bench.host.find_item(key)) {
      answers[i] = {item->prediction.empty() ? 0 : item->prediction[0] - 'A', item->tied};
      keep(i, item->log_likelihoods);
      continue;
    }
    open.push_back(std::move(question));
    index.push_back(i);
    keys.push_back(key);
  }
  if (open.empty()) return answers;
  const auto weights = weigh(session, rows, open, count, [&](size_t questions) {
    bench.host.progress(task.subject.name, done + share * static_cast<double>(questions) / static_cast<double>(open.size()));
    bench.deadline.check("the next questions");
  });
  for (size_t i = 0; i < open.size(); ++i) {
    const std::vector<float>& w = weights[i];
    const MmluQuestion& question = task.questions[index[i]];
    const MmluChoice choice = mmlu_choice(std::span<const float, 4>(w.data(), 4));
    answers[index[i]] = choice;
    keep(index[i], w);
    bench.host.scored({keys[i], cell, task.subject.name, static_cast<int64_t>(index[i]),
                       choice.letter == question.answer ? 1. : 0., choice.tied,
                       std::string(1, static_cast<char>('A' + choice.letter)), {std::string(1, question.letter())},
                       {w.begin(), w.end()}});
  }
  return answers;
}

reports::ScoreRow row_of(const MmluScore& score, const std::string& group) {
  return {score.name, group, score.accuracy(), score.standard_error(), score.questions, score.ties,
          at_chance(score.accuracy(), score.questions, kChance)};
}

void measure(const Test& test, Bench& bench, reports::Cell& cell) {
  const Plan& plan = bench.plan;
  require_trained(plan, bench.peer, test.suite);
  const auto started = std::chrono::steady_clock::now();
  const MmluStyle style = style_of(plan.accuracy);
  const TextModel text = text_model(plan, bench.peer, false);
  const Questions asked = read_questions(test, plan.accuracy);
  const std::vector<MmluTask>& tasks = asked.tasks;
  int64_t longest = 0, questions = 0, most = 0, beyond = 0;
  std::string all_prompts, gold;
  std::vector<std::vector<std::string>> prompts;
  for (const MmluTask& task : tasks) {
    prompts.push_back(prompts_of(style, task));
    most = std::max(most, static_cast<int64_t>(task.questions.size()));
    questions += static_cast<int64_t>(task.questions.size());
    for (size_t i = 0; i < task.questions.size(); ++i) {
      all_prompts += prompts.back()[i] + '\0';
      gold += task.questions[i].letter();
      const auto tokens = static_cast<int64_t>(text.tokenizer.encode(prompts.back()[i] + " A").size());
      longest = std::max(longest, tokens + 8);  // the letters' encodings may differ by a few tokens
      beyond += tokens > plan.config.model_max_length;
    }
  }

  reports::Score score;
  score.prompts_sha256 = sha256(all_prompts);
  score.gold_sha256 = sha256(gold);
  const Opened opened = open_for(bench.model, plan, longest, most, true);
  const std::string what = weights_fingerprint(plan, bench.peer) + "\n" + cell.id + "\n" + text.tokenizer_name + "\n";
  ReadCount count;
  std::vector<std::vector<MmluChoice>> answers;
  std::vector<double> scores, choices;
  int64_t done = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const auto part = static_cast<double>(tasks[i].questions.size()) / static_cast<double>(questions);
    answers.push_back(answer(bench, *opened.session, opened.rows, tasks[i], prompts[i], text, what, cell.id, count, score,
                             choices, static_cast<double>(done) / static_cast<double>(questions), part));
    for (size_t j = 0; j < answers[i].size(); ++j)
      scores.push_back(answers[i][j].letter == tasks[i].questions[j].answer ? 1 : 0);
    done += static_cast<int64_t>(tasks[i].questions.size());
  }

  const MmluResult result = mmlu_result(tasks, answers);
  const MmluScore& total = result.total;
  std::map<std::string, std::string> groups;
  for (const MmluTask& task : tasks) groups[task.subject.name] = task.subject.group;
  for (const MmluScore& group : result.groups) score.rows.push_back(row_of(group, ""));
  for (const MmluScore& subject : result.subjects) score.rows.push_back(row_of(subject, groups[subject.name]));
  score.items_total = asked.whole;
  score.wording = fmt::format("{}{}, 5-shot, {} prompts{}, micro average over {} of {} questions",
                              questions == asked.whole ? "" : "a part of ", asked.title, plan.accuracy.mmlu_style,
                              style == MmluStyle::kHendrycks ? " (never cropped)" : "", questions, asked.whole);
  score.prompt_format = text.format();
  score.tokenizer = text.tokenizer_name;
  score.read_tokens = count.read;
  score.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  score.chance = kChance;
  score.ties = total.ties;
  score.random_weights = bench.peer.checkpoint.empty();
  cell.accuracy = reports::Accuracy{"accuracy", total.accuracy(), {}, total.standard_error(), total.questions, {}};
  score.at_chance = at_chance(total.accuracy(), total.questions, kChance);
  if (score.at_chance)
    cell.validity.reasons.push_back({"at_chance", "The score is within two standard errors of guessing, 0.25; it says "
                                                  "nothing about the model."});
  if (beyond > 0)
    cell.validity.reasons.push_back({"beyond_max_length", fmt::format("{} prompts are longer than model_max_length, {}; "
                                                                      "none was cut.", beyond, plan.config.model_max_length)});
  cell.accuracy->score = std::move(score);
  cell.items = paired_items(plan.accuracy, cell, std::move(scores), std::move(choices));
  cell.memory = memory_of_one(bench, cell.axes);
}

Suite suite_of(const Test& test, const std::string& summary) {
  Suite suite;
  suite.name = test.suite;
  suite.summary = summary;
  suite.points = [test](const Plan& plan) { return std::vector<Point>{{0, 1, {}, task_name(test, plan.accuracy)}}; };
  suite.workload = [test](const Plan& plan, const Peer& peer, const Point&) { return workload(test, plan, peer); };
  suite.measure = [test](Bench& bench, reports::Cell& cell) { measure(test, bench, cell); };
  return suite;
}

}  // namespace

Suite mmlu_suite() {
  const auto read = [](const AccuracyPlan& plan) {
    Questions questions{read_mmlu(plan.data, plan.subjects), 0, "MMLU"};
    for (const MmluSubject& subject : mmlu_subjects()) questions.whole += subject.questions;
    return questions;
  };
  return suite_of({"mmlu", read, [](const AccuracyPlan&) { return std::string(); }},
                  "57 subjects of four-choice questions, five examples each, by log-probability (--data, --checkpoint)");
}

Suite mmlu_redux_suite() {
  const auto read = [](const AccuracyPlan& plan) {
    MmluRedux redux = read_mmlu_redux(plan.data, plan.redux_rows, plan.subjects);
    for (MmluTask& task : redux.tasks) task.shots = read_mmlu_shots(plan.data, task.subject);
    return Questions{std::move(redux.tasks), redux.questions, redux.title};
  };
  return suite_of({"mmlu-redux", read, [](const AccuracyPlan& plan) { return plan.redux_rows; }},
                  "MMLU's questions as annotated anew, five examples each, by log-probability (--data, --checkpoint)");
}

}  // namespace kdabench::suites
