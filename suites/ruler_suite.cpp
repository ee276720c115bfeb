#include "suites/ruler_suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "suites/ruler/ahead.h"
#include "suites/ruler/ruler.h"
#include "suites/runner.h"
#include "suites/scoring.h"
#include "suites/sha256.h"
#include "suites/text_model.h"

namespace kdabench::suites {
namespace {

namespace fs = std::filesystem;

// Words of the essays that the official script downloads; another text is another test.
constexpr size_t kUpstreamEssayWords = 525450;
const std::vector<std::string> kEssayTasks = {"niah_single_2", "niah_single_3", "niah_multikey_1", "niah_multivalue",
                                              "niah_multiquery"};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The texts, read when a cell first needs them and kept for the others, and the prompts made of them.
struct Texts {
  std::unique_ptr<RulerData> data;
  std::unique_ptr<RulerAhead> ahead;

  const RulerData& of(const AccuracyPlan& plan) {
    require(!plan.data.empty(), "ruler wants --data DIR (or KDABENCH_DATA), the folder that holds ruler/, or --jsonl DIR.");
    if (!data) data = std::make_unique<RulerData>(load_ruler_data(plan.data));
    return *data;
  }
  RulerAhead& prompts(const AccuracyPlan& plan) {
    if (!ahead) ahead = std::make_unique<RulerAhead>(of(plan));
    return *ahead;
  }
};

std::vector<std::string> task_names(const AccuracyPlan& plan) {
  std::vector<std::string> names;
  for (const RulerTask& task : ruler_tasks())  // in NVIDIA's order, whatever the order asked for
    if (plan.tasks.empty() || contains(plan.tasks, task.name)) names.push_back(task.name);
  for (const std::string& name : plan.tasks) ruler_task(name);
  return names;
}

std::string mean_name(const AccuracyPlan& plan) {
  const std::vector<std::string> names = task_names(plan);
  return names.size() == ruler_tasks().size() ? "mean" : fmt::format("mean of {}", fmt::join(names, "+"));
}

bool is_mean(const std::string& task) { return task.rfind("mean", 0) == 0; }

std::vector<Point> points(const Plan& plan) {
  std::vector<Point> points;
  for (const int64_t length : plan.accuracy.lengths) {
    for (const std::string& name : task_names(plan.accuracy)) points.push_back({length, 1, {}, name});
    points.push_back({length, 1, {}, mean_name(plan.accuracy)});
  }
  return points;
}

// DIR/TASK.jsonl as `kdabench ruler-generate` writes, or DIR/TASK/validation.jsonl as NVIDIA's scripts do; with several
// lengths, both below DIR/LENGTH.
std::string jsonl_path(const AccuracyPlan& plan, int64_t length, const std::string& task) {
  fs::path folder = plan.jsonl;
  if (fs::is_directory(folder / std::to_string(length))) folder /= std::to_string(length);
  else require(plan.lengths.size() == 1, plan.jsonl, " has no folder ", length, "; several --lengths want one each.");
  const fs::path official = folder / task / "validation.jsonl", flat = folder / (task + ".jsonl");
  require(fs::exists(flat) || fs::exists(official), "no ", flat.string(), " and no ", official.string(), "; wanted one of "
          "them for each of --tasks.");
  return (fs::exists(flat) ? flat : official).string();
}

std::vector<RulerSample> samples_of(Texts& texts, const AccuracyPlan& plan, int64_t length, const std::string& task,
                                    const TextModel& text, int64_t samples, const RulerProgress& progress = {}) {
  if (plan.jsonl.empty())
    return texts.prompts(plan).take({task, length, samples, plan.task_seed}, text.tokenizer_path, text.tokenizer, progress);
  std::vector<RulerSample> read = read_ruler_jsonl(jsonl_path(plan, length, task));
  if (static_cast<int64_t>(read.size()) > samples) read.resize(static_cast<size_t>(samples));
  return read;
}

// All prompts of the run are made while the first are scored.
void expect_all(Texts& texts, const Plan& plan, const TextModel& text) {
  if (!plan.accuracy.jsonl.empty()) return;
  std::vector<RulerRequest> requests;
  for (const Point& point : points(plan))
    if (!is_mean(point.task))
      requests.push_back({point.task, point.context, plan.accuracy.samples, plan.accuracy.task_seed});
  texts.prompts(plan.accuracy).expect(requests, text.tokenizer_path, text.tokenizer);
}

// What the score may be called.
std::string wording(Texts& texts, const AccuracyPlan& plan, const std::vector<std::string>& tasks, int64_t n) {
  if (!plan.jsonl.empty()) return fmt::format("RULER prompts read from files, N={}", n);
  const bool essays = std::any_of(tasks.begin(), tasks.end(), [](const auto& t) { return contains(kEssayTasks, t); });
  const bool substituted = essays && texts.of(plan).essays.words.size() != kUpstreamEssayWords;
  std::string text = fmt::format("{} (NVIDIA c3f5e3b generators, seed {}, N={}", substituted ? "RULER-style" : "RULER",
                                 plan.task_seed, n);
  if (contains(tasks, "qa_1"))
    text += fmt::format(", qa_1 on {} questions of SQuAD v2 dev with {} passages", texts.of(plan).squad.questions.size(),
                        texts.of(plan).squad.documents.size());
  if (contains(tasks, "qa_2"))
    text += fmt::format(", qa_2 on {} HotpotQA dev questions", texts.of(plan).hotpotqa.questions.size());
  if (essays) text += substituted ? ", other essays than upstream's" : ", essays as in upstream";
  return text + ")";
}

Workload workload(Texts& texts, const Plan& plan, const Peer& peer, const Point& point) {
  require_trained(plan, peer, "ruler");
  if (is_mean(point.task)) return {};
  const TextModel text = text_model(plan, peer, true);
  const RulerTask& task = ruler_task(point.task);
  // One prompt says whether the length is possible at all; a long one would take as long as the answer is sure.
  constexpr int64_t kSurelyPossible = 16384;
  const bool files = !plan.accuracy.jsonl.empty();
  const int64_t tried = files ? plan.accuracy.samples : 1;
  const std::vector<RulerSample> first =
      files || point.context <= kSurelyPossible
          ? samples_of(texts, plan.accuracy, point.context, task.name, text, tried) : std::vector<RulerSample>{};
  Workload work;
  work.prompts = files ? static_cast<int64_t>(first.size()) : plan.accuracy.samples;
  work.read_tokens = work.prompts * (point.context - task.generation_tokens);
  work.generated_tokens = work.prompts * task.generation_tokens;
  work.longest = point.context;
  work.note = fmt::format("{} prompts, greedy, tokenizer {}", text.format(), text.tokenizer_name);
  return work;
}

// The unweighted mean of the tasks; none where one of them has no score.
void measure_mean(Texts& texts, Bench& bench, reports::Cell& cell) {
  const Plan& plan = bench.plan;
  const std::vector<std::string> names = task_names(plan.accuracy);
  reports::Accuracy mean{"mean of task scores", 0, {}, 0., 0, {}};
  reports::Score score;
  double squares = 0;
  bool errors = true;
  std::string prompts, gold;
  for (const std::string& name : names) {
    reports::Axes axes = cell.axes;
    axes.task = name;
    const reports::Cell* part = bench.host.find_cell(reports::cell_id(cell.suite, axes));
    if (!part || part->status != "ok" || !part->accuracy || !part->accuracy->score)
      return end(cell, "skipped", fmt::format("{} has no score, and a mean of the others would be another test's.", name));
    const reports::Accuracy& a = *part->accuracy;
    mean.value += a.value / static_cast<double>(names.size());
    errors = errors && a.stderr_value.has_value();
    squares += a.stderr_value.value_or(0) * a.stderr_value.value_or(0);
    mean.n += a.n;
    score.prompt_tokens += a.score->prompt_tokens;
    score.read_tokens += a.score->read_tokens;
    score.generated_tokens += a.score->generated_tokens;
    score.seconds += a.score->seconds;
    score.prompt_format = a.score->prompt_format;
    score.tokenizer = a.score->tokenizer;
    prompts += a.score->prompts_sha256 + '\0';
    gold += a.score->gold_sha256 + '\0';
    score.rows.push_back({name, "", a.value, a.stderr_value, a.n, {}, false});
  }
  mean.stderr_value = errors ? std::optional(std::sqrt(squares) / static_cast<double>(names.size())) : std::nullopt;
  score.items_total = mean.n;
  score.prompts_sha256 = sha256(prompts);
  score.gold_sha256 = sha256(gold);
  score.wording = wording(texts, plan.accuracy, names, mean.n / static_cast<int64_t>(names.size()));
  if (names.size() < ruler_tasks().size())
    score.wording += fmt::format(", {} of {} tasks", names.size(), ruler_tasks().size());
  score.random_weights = bench.peer.checkpoint.empty();
  mean.score = std::move(score);
  cell.accuracy = std::move(mean);
  cell.memory = memory_of_one(bench, cell.axes);
}

void measure(Texts& texts, Bench& bench, reports::Cell& cell) {
  const Plan& plan = bench.plan;
  require_trained(plan, bench.peer, "ruler");
  if (is_mean(*cell.axes.task)) return measure_mean(texts, bench, cell);
  const auto started = std::chrono::steady_clock::now();
  const RulerTask& task = ruler_task(*cell.axes.task);
  const TextModel text = text_model(plan, bench.peer, true);
  expect_all(texts, plan, text);
  const std::vector<RulerSample> samples =
      samples_of(texts, plan.accuracy, cell.axes.context, task.name, text, plan.accuracy.samples,
                 [&](double share) { bench.host.progress("make prompts", 0.1 * share); });
  require(!samples.empty(), "ruler, ", task.name, ": there is no sample.");

  reports::Score score;
  std::string all_prompts, gold;
  const std::string what = weights_fingerprint(plan, bench.peer) + "\n" + cell.id + "\n" + text.tokenizer_name + "\n" +
                           text.format() + "\n";
  std::vector<double> scores(samples.size(), 0);
  std::vector<size_t> open;
  std::vector<Ids> prompts;
  std::vector<std::string> keys;
  int64_t longest = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    all_prompts += samples[i].prompt() + '\0';
    for (const std::string& output : samples[i].outputs) gold += output + '\0';
    prompts.push_back(text.encode_prompt(samples[i].input, samples[i].answer_prefix));
    keys.push_back(sha256(what + samples[i].prompt()));
    const auto tokens = static_cast<int64_t>(prompts.back().size());
    score.prompt_tokens += tokens;
    longest = std::max(longest, tokens + task.generation_tokens);
    if (const reports::Item* item = bench.host.find_item(keys[i])) scores[i] = item->score;
    else open.push_back(i);
  }
  ReadCount count;
  if (!open.empty()) {
    const Opened opened = open_for(bench.model, plan, longest, static_cast<int64_t>(open.size()), false);
    for (size_t begin = 0; begin < open.size(); begin += static_cast<size_t>(opened.rows)) {
      bench.host.progress(fmt::format("sample {} of {}", begin + 1, open.size()),
                          0.1 + 0.9 * static_cast<double>(begin) / static_cast<double>(open.size()));
      bench.deadline.check("the next samples");
      const size_t n = std::min(open.size() - begin, static_cast<size_t>(opened.rows));
      std::vector<Ids> group;
      for (size_t b = 0; b < n; ++b) group.push_back(prompts[open[begin + b]]);
      const std::vector<Ids> answers =
          continue_greedily(*opened.session, opened.rows, group, {task.generation_tokens, text.stops}, count);
      for (size_t b = 0; b < n; ++b) {
        const size_t i = open[begin + b];
        const std::string prediction = ruler_postprocess(text.decode(answers[b]));
        scores[i] = ruler_sample_score(task.metric, prediction, samples[i].outputs);
        bench.host.scored({keys[i], cell.id, task.name, static_cast<int64_t>(i), scores[i], false, prediction,
                           samples[i].outputs, {}});
      }
    }
  }

  const Mean mean = mean_of(scores);
  score.wording = wording(texts, plan.accuracy, {task.name}, static_cast<int64_t>(samples.size()));
  score.prompt_format = text.format();
  score.tokenizer = text.tokenizer_name;
  score.prompts_sha256 = sha256(all_prompts);
  score.gold_sha256 = sha256(gold);
  score.items_total = static_cast<int64_t>(samples.size());
  score.read_tokens = count.read;
  score.generated_tokens = count.generated;
  score.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  score.random_weights = bench.peer.checkpoint.empty();
  cell.accuracy = reports::Accuracy{task.metric == RulerMetric::kMatchAll ? "string_match_all" : "string_match_part",
                                    mean.value, {}, mean.standard_error, static_cast<int64_t>(samples.size()), {}};
  cell.accuracy->score = std::move(score);
  cell.items = items_of(std::move(scores));
  if (cell.axes.context > plan.config.model_max_length)
    cell.validity.reasons.push_back({"beyond_max_length", fmt::format("The prompts are longer than model_max_length, {}.",
                                                                      plan.config.model_max_length)});
  cell.memory = memory_of_one(bench, cell.axes);
}

}  // namespace

Suite ruler_suite() {
  const auto texts = std::make_shared<Texts>();
  Suite suite;
  suite.name = "ruler";
  suite.summary = "13 tasks of retrieval and aggregation at each of --lengths, by generation (--data, --checkpoint)";
  suite.measure = [texts](Bench& bench, reports::Cell& cell) { measure(*texts, bench, cell); };
  suite.points = points;
  suite.workload = [texts](const Plan& plan, const Peer& peer, const Point& point) {
    return workload(*texts, plan, peer, point);
  };
  return suite;
}

}  // namespace kdabench::suites
