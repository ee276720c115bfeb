#include "suites/generative_suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "suites/bbh.h"
#include "suites/gpqa.h"
#include "suites/mmlu_pro.h"
#include "suites/mmlu_redux.h"
#include "suites/scoring.h"
#include "suites/sha256.h"
#include "suites/text_model.h"

namespace kdabench::suites {
namespace {

struct Question {
  std::string text, gold;                      // what follows the part's prefix
  size_t index = 0;                            // for the test's own use
};

struct Part {
  std::string name, prefix;
  std::vector<Question> questions;
};

// A benchmark as data and one function.
struct Test {
  std::string wording;                         // of the whole test
  int64_t whole = 0, budget = 0;               // questions; tokens to generate
  std::vector<std::string> stops;              // text that ends an answer
  std::vector<Part> parts;
  // Whether the answer that stands in the text before the first stop is right; nothing where none can be read.
  std::function<std::optional<bool>(const Question&, const std::string& generated)> judge;
  // What of that text may be written down, and is judged alike; all of it where there is no function.
  std::function<std::string(const Question&, const std::string& generated)> kept = {};
};
using ReadTest = std::function<Test(const AccuracyPlan&)>;

std::string task_name(const AccuracyPlan& plan, const std::string& style) {
  std::string name = style;
  if (!plan.subjects.empty()) name += fmt::format(" {}", fmt::join(plan.subjects, "+"));
  if (plan.limit > 0) name += fmt::format(" first {}", plan.limit);
  return name;
}

Test limited(Test test, int64_t limit) {
  for (Part& part : test.parts)
    if (limit > 0 && static_cast<size_t>(limit) < part.questions.size()) part.questions.resize(static_cast<size_t>(limit));
  return test;
}

std::vector<Ids> prompts_of(const Part& part, const TextModel& text) {
  std::vector<Ids> prompts;
  for (const Question& question : part.questions) prompts.push_back(text.encode_prompt(part.prefix + question.text, ""));
  return prompts;
}

Workload workload(const std::string& name, const ReadTest& read, const Plan& plan, const Peer& peer) {
  require_trained(plan, peer, name);
  const TextModel text = text_model(plan, peer, true);
  const Test test = limited(read(plan.accuracy), plan.accuracy.limit);
  Workload work;
  for (const Part& part : test.parts) {
    const std::vector<Ids> prompts = prompts_of(part, text);
    const int64_t shared = shared_prefix(prompts);
    work.prompts += static_cast<int64_t>(prompts.size());
    work.read_tokens += shared;
    for (const Ids& prompt : prompts) {
      work.read_tokens += static_cast<int64_t>(prompt.size()) - shared;
      work.longest = std::max(work.longest, static_cast<int64_t>(prompt.size()) + test.budget);
    }
  }
  work.generated_tokens = work.prompts * test.budget;
  work.note = fmt::format("{} prompts, greedy, tokenizer {}", text.format(), text.tokenizer_name);
  return work;
}

// One part's score, and those of its questions behind `scores`; what was scored before is taken from the items.
GeneratedScore score_part(Bench& bench, const Test& test, const Part& part, const std::vector<Ids>& prompts,
                          const TextModel& text, const Opened& opened, const std::string& what, const std::string& cell,
                          ReadCount& count, std::vector<double>& scores,
                          const std::function<void(size_t)>& progress) {
  GeneratedScore score{part.name, static_cast<int64_t>(part.questions.size())};
  const size_t before = scores.size();
  scores.resize(before + part.questions.size());
  const auto add = [&](size_t i, const std::optional<bool>& judged) {
    score.correct += judged.value_or(false);
    score.unread += !judged.has_value();
    scores[before + i] = judged.value_or(false) ? 1 : 0;
  };
  const auto before_stop = [&](const std::string& generated) {
    return std::string(until_stop(generated, test.stops));
  };
  std::vector<size_t> open;
  std::vector<Ids> open_prompts;
  std::vector<std::string> keys;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::string key = sha256(what + part.prefix + part.questions[i].text);
    if (const reports::Item* item = bench.host.find_item(key)) {
      add(i, test.judge(part.questions[i], item->prediction));
      continue;
    }
    open.push_back(i);
    open_prompts.push_back(prompts[i]);
    keys.push_back(key);
  }
  if (open.empty()) return score;
  const int64_t shared = shared_prefix(open_prompts);
  const auto beginning = read_beginning(*opened.session, opened.rows, open_prompts[0], shared, count);
  const auto complete = [&](const Ids& ids) {
    const std::string generated = text.decode(ids);
    return before_stop(generated).size() < generated.size();
  };
  for (size_t first = 0; first < open.size(); first += static_cast<size_t>(opened.rows)) {
    bench.deadline.check("the next questions");
    const size_t n = std::min(open.size() - first, static_cast<size_t>(opened.rows));
    const std::vector<Ids> answers =
        continue_greedily(*opened.session, opened.rows, std::span(open_prompts).subspan(first, n),
                          {test.budget, text.stops, beginning.get(), complete}, count);
    for (size_t b = 0; b < n; ++b) {
      const Question& question = part.questions[open[first + b]];
      const std::string generated = before_stop(text.decode(answers[b]));
      const std::optional<bool> judged = test.judge(question, generated);
      add(open[first + b], judged);
      bench.host.scored({keys[first + b], cell, part.name, static_cast<int64_t>(open[first + b]),
                         judged.value_or(false) ? 1. : 0., false,
                         test.kept ? test.kept(question, generated) : generated, {question.gold}, {}});
    }
    progress(first + n);
  }
  return score;
}

void measure(const std::string& name, const ReadTest& read, Bench& bench, reports::Cell& cell) {
  const Plan& plan = bench.plan;
  require_trained(plan, bench.peer, name);
  const auto started = std::chrono::steady_clock::now();
  const TextModel text = text_model(plan, bench.peer, true);
  const Test test = limited(read(plan.accuracy), plan.accuracy.limit);
  reports::Score score;
  std::string all_prompts, gold;
  std::vector<std::vector<Ids>> prompts;
  int64_t longest = 0, most = 0, questions = 0;
  for (const Part& part : test.parts) {
    prompts.push_back(prompts_of(part, text));
    most = std::max(most, static_cast<int64_t>(part.questions.size()));
    questions += static_cast<int64_t>(part.questions.size());
    for (size_t i = 0; i < part.questions.size(); ++i) {
      all_prompts += part.prefix + part.questions[i].text + '\0';
      gold += part.questions[i].gold + '\0';
      const auto tokens = static_cast<int64_t>(prompts.back()[i].size());
      score.prompt_tokens += tokens;
      longest = std::max(longest, tokens + test.budget);
    }
  }
  require(questions > 0, name, ": there is no question.");
  const Opened opened = open_for(bench.model, plan, longest, most, true);
  const std::string what = weights_fingerprint(plan, bench.peer) + "\n" + cell.id + "\n" + text.tokenizer_name + "\n" +
                           text.format() + "\n";
  ReadCount count;
  std::vector<GeneratedScore> parts;
  std::vector<double> scores;
  int64_t done = 0;
  for (size_t i = 0; i < test.parts.size(); ++i) {
    const auto report = [&](size_t n) {
      bench.host.progress(test.parts[i].name,
                          static_cast<double>(done + static_cast<int64_t>(n)) / static_cast<double>(questions));
    };
    parts.push_back(score_part(bench, test, test.parts[i], prompts[i], text, opened, what, cell.id, count, scores, report));
    done += static_cast<int64_t>(test.parts[i].questions.size());
  }
  const GeneratedResult result = generated_result(name, std::move(parts));
  for (const GeneratedScore& part : result.parts)
    score.rows.push_back({part.name, "", part.accuracy(), part.standard_error(), part.questions, {}, false});
  score.items_total = test.whole;
  score.wording = fmt::format("{}{}, micro average over {} of {} questions, {} without a readable answer",
                              questions == test.whole ? "" : "a part of ", test.wording, questions, test.whole,
                              result.total.unread);
  score.prompt_format = text.format();
  score.tokenizer = text.tokenizer_name;
  score.prompts_sha256 = sha256(all_prompts);
  score.gold_sha256 = sha256(gold);
  score.read_tokens = count.read;
  score.generated_tokens = count.generated;
  score.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  score.random_weights = bench.peer.checkpoint.empty();
  cell.accuracy = reports::Accuracy{"exact match of the answer read", result.total.accuracy(), {},
                                    result.total.standard_error(), result.total.questions, {}};
  cell.accuracy->score = std::move(score);
  cell.items = items_of(std::move(scores));
  cell.memory = memory_of_one(bench, cell.axes);
}

Suite suite_of(const std::string& name, const std::string& summary, const ReadTest& read,
               const std::function<std::string(const AccuracyPlan&)>& style) {
  Suite suite;
  suite.name = name;
  suite.summary = summary;
  suite.points = [style](const Plan& plan) {
    return std::vector<Point>{{0, 1, {}, task_name(plan.accuracy, style(plan.accuracy))}};
  };
  suite.workload = [name, read](const Plan& plan, const Peer& peer, const Point&) {
    return workload(name, read, plan, peer);
  };
  suite.measure = [name, read](Bench& bench, reports::Cell& cell) { measure(name, read, bench, cell); };
  return suite;
}

// All parts, or those asked for: `read_one` takes a name, or "" for all.
template <class Task>
std::vector<Task> chosen(const AccuracyPlan& plan, const char* suite,
                         const std::function<std::vector<Task>(const std::string&)>& read_one) {
  require(!plan.data.empty(), suite, " wants --data DIR (or KDABENCH_DATA), the folder that holds its files.");
  if (plan.subjects.empty()) return read_one("");
  std::vector<Task> tasks;
  for (const std::string& name : plan.subjects)
    for (Task& task : read_one(name)) tasks.push_back(std::move(task));
  return tasks;
}

Test read_mmlu_pro_test(const AccuracyPlan& plan) {
  const MmluProStyle style = plan.mmlu_pro_style == "lm-eval" ? MmluProStyle::kLmEval : MmluProStyle::kOfficial;
  Test test;
  test.wording = fmt::format("MMLU-Pro, 5-shot, {} prompts and reading (without its guesses)", plan.mmlu_pro_style);
  test.budget = kMmluProTokens;
  test.stops = {kMmluProStop};
  for (const MmluProCategory& category : mmlu_pro_categories()) test.whole += category.questions;
  for (const MmluProTask& task : chosen<MmluProTask>(plan, "mmlu-pro", [&](const std::string& name) {
         return read_mmlu_pro(plan.data, name);
       })) {
    Part part{task.category.name, mmlu_pro_prefix(style, task), {}};
    for (const MmluProQuestion& question : task.questions)
      part.questions.push_back({mmlu_pro_question(style, question), std::string(1, question.letter())});
    test.parts.push_back(std::move(part));
  }
  test.judge = [style](const Question& question, const std::string& generated) -> std::optional<bool> {
    const std::optional<char> letter = mmlu_pro_answer(style, generated);
    if (!letter) return {};
    return *letter == question.gold[0];
  };
  return test;
}

Test read_bbh_test(const AccuracyPlan& plan) {
  Test test;
  test.wording = "BIG-Bench Hard, 3-shot, lm-eval's prompts and reading";
  test.whole = 6511;
  test.budget = kBbhTokens;
  test.stops = bbh_stops();
  for (const BbhTask& task : chosen<BbhTask>(plan, "bbh", [&](const std::string& name) { return read_bbh(plan.data, name); })) {
    Part part{task.name, task.prefix, {}};
    for (const BbhQuestion& question : task.questions) part.questions.push_back({bbh_question(question), question.target});
    test.parts.push_back(std::move(part));
  }
  test.judge = [](const Question& question, const std::string& generated) -> std::optional<bool> {
    const std::optional<std::string> answer = bbh_answer(generated);
    if (!answer) return {};
    return *answer == question.gold;
  };
  return test;
}

// lm-eval's prompts and its flexible reading; 2048 tokens where lm-eval stops at 256, before most arguments end. Models quote
// the question, so that nothing but the letter that was read is written down.
Test read_gpqa_test(const AccuracyPlan& plan) {
  require(!plan.gpqa.empty(), "gpqa-cot wants --gpqa CSV; its authors hand the file out and ask that no question be published.");
  const auto task = std::make_shared<const GpqaTask>(read_gpqa(plan.gpqa, plan.task_seed));
  Test test;
  test.wording = fmt::format("{}, zero-shot with thought, lm-eval's prompts and flexible reading, options shuffled with seed {}",
                             task->name, plan.task_seed);
  test.whole = static_cast<int64_t>(task->questions.size());
  test.budget = 2048;
  test.stops = {"</s>"};
  Part part{task->name, "", {}};
  for (const GpqaQuestion& question : task->questions)
    part.questions.push_back({gpqa_prompt(GpqaStyle::kThink, question), std::string(1, question.letter()), part.questions.size()});
  test.parts.push_back(std::move(part));
  const auto answer = [task](const Question& question, const std::string& generated) {
    return gpqa_answer(GpqaReading::kFlexible, task->questions[question.index], generated);
  };
  test.judge = [task, answer](const Question& question, const std::string& generated) -> std::optional<bool> {
    const std::optional<std::string> read = answer(question, generated);
    if (!read) return {};
    return gpqa_correct(task->questions[question.index], read);
  };
  test.kept = [answer](const Question& question, const std::string& generated) {
    return answer(question, generated).value_or("");
  };
  return test;
}

Test read_mmlu_redux_test(const AccuracyPlan& plan) {
  require(!plan.data.empty(), "mmlu-redux-generative wants --data DIR (or KDABENCH_DATA), the folder that holds mmlu_redux/.");
  const MmluRedux redux = read_mmlu_redux(plan.data, plan.redux_rows, plan.subjects);
  Test test;
  test.wording = redux.title + ", zero-shot, lm-eval's prompts and reading";
  test.whole = redux.questions;
  test.budget = kMmluReduxTokens;
  test.stops = {"</s>"};
  for (const MmluTask& task : redux.tasks) {
    Part part{task.subject.name, mmlu_prefix(MmluStyle::kLmEval, task, 0), {}};
    for (const MmluQuestion& question : task.questions)
      part.questions.push_back({mmlu_redux_question(question), std::string(1, question.letter())});
    test.parts.push_back(std::move(part));
  }
  test.judge = [](const Question& question, const std::string& generated) -> std::optional<bool> {
    const std::optional<char> letter = lone_letter(generated, 'D', Which::kFirst);
    if (!letter) return {};
    return *letter == question.gold[0];
  };
  return test;
}

}  // namespace

Suite mmlu_pro_suite() {
  return suite_of("mmlu-pro", "14 categories of questions with up to ten options, by generated text (--data, --checkpoint)",
                  read_mmlu_pro_test, [](const AccuracyPlan& plan) { return plan.mmlu_pro_style; });
}

Suite bbh_suite() {
  return suite_of("bbh", "BIG-Bench Hard: 27 tasks, by generated text (--data, --checkpoint)", read_bbh_test,
                  [](const AccuracyPlan&) { return std::string("lm-eval"); });
}

Suite gpqa_cot_suite() {
  return suite_of("gpqa-cot", "graduate-level questions with four options, by generated text (--gpqa CSV, --checkpoint)",
                  read_gpqa_test, [](const AccuracyPlan& plan) { return fmt::format("cot seed {}", plan.task_seed); });
}

Suite mmlu_redux_generative_suite() {
  return suite_of("mmlu-redux-generative", "MMLU's questions as annotated anew, by generated text (--data, --checkpoint)",
                  read_mmlu_redux_test, [](const AccuracyPlan& plan) { return plan.redux_rows; });
}

}  // namespace kdabench::suites
