#include "suites/synthetic_suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "suites/runner.h"
#include "suites/scoring.h"
#include "suites/sha256.h"
#include "suites/synthetic.h"

namespace kdabench::suites {
namespace {

std::vector<std::string> task_names(const AccuracyPlan& plan) {
  for (const std::string& name : plan.tasks) parse_synthetic_task(name);
  return plan.tasks.empty() ? synthetic_task_names() : plan.tasks;
}

std::vector<Point> points(const Plan& plan) {
  std::vector<Point> points;
  for (const int64_t length : plan.accuracy.lengths)
    for (const std::string& name : task_names(plan.accuracy)) points.push_back({length, 1, {}, name});
  return points;
}

// What guessing gets when the kind of token is known: one of the elements, or one of the values.
double chance_of(SyntheticTask task, int64_t vocabulary) {
  switch (task) {
    case SyntheticTask::kPalindrome: return 1.0 / static_cast<double>(vocabulary - 4);
    case SyntheticTask::kMqar: return 1.0 / static_cast<double>(vocabulary - (4 + (vocabulary - 4) / 2));
    case SyntheticTask::kMqarZoology: return 1.0 / static_cast<double>(vocabulary - vocabulary / 2);
    case SyntheticTask::kStack: return 1.0 / static_cast<double>(vocabulary - 68);
  }
  return 0;
}

Workload workload(const Plan& plan, const Peer& peer, const Point& point) {
  require_trained(plan, peer, "synthetic");
  const int64_t vocabulary = peer.config.value_or(plan.config).vocab_size;
  synthetic_sample(parse_synthetic_task(point.task), point.context, vocabulary, plan.accuracy.task_seed, 0);
  Workload work;
  work.prompts = plan.accuracy.samples;
  work.read_tokens = work.prompts * point.context;
  work.longest = point.context;
  work.note = fmt::format("token ids of {}, argmax at the asked positions", vocabulary);
  return work;
}

void measure(Bench& bench, reports::Cell& cell) {
  const Plan& plan = bench.plan;
  require_trained(plan, bench.peer, "synthetic");
  const auto started = std::chrono::steady_clock::now();
  const SyntheticTask task = parse_synthetic_task(*cell.axes.task);
  const int64_t vocabulary = plan.config.vocab_size, length = cell.axes.context, samples = plan.accuracy.samples;
  const int64_t seed = static_cast<int64_t>(plan.accuracy.task_seed);
  std::string prompts, gold;
  for (int64_t i = 0; i < samples; ++i) {
    const SyntheticSample sample = synthetic_sample(task, length, vocabulary, seed, i);
    prompts += fmt::format("{}", fmt::join(sample.ids, ",")) + '\0';
    gold += fmt::format("{}", fmt::join(sample.targets, ",")) + '\0';
  }
  constexpr int64_t kLogitsAtOnce = 1 << 26;  // 256 MiB of fp32
  const int64_t rows = std::max<int64_t>(1, std::min({plan.accuracy.rows > 0 ? plan.accuracy.rows : 16, samples,
                                                      kLogitsAtOnce / (length * vocabulary)}));
  const SyntheticScore result =
      synthetic_score(bench.model, task, length, samples, plan.accuracy.task_seed, rows,
                      [&](const std::string& what, double share) { bench.host.progress(what, share); });

  reports::Score score;
  score.wording = fmt::format("{}, {} ids, {} sequences of seed {}", *cell.axes.task, vocabulary, samples, seed);
  score.prompt_format = "base";
  score.tokenizer = "token ids";
  score.prompts_sha256 = sha256(prompts);
  score.gold_sha256 = sha256(gold);
  score.items_total = samples;
  score.prompt_tokens = score.read_tokens = samples * length;
  score.chance = chance_of(task, vocabulary);
  score.at_chance = at_chance(result.token_accuracy(), result.asked, *score.chance);
  score.random_weights = bench.peer.checkpoint.empty();
  const double tokens = result.token_accuracy(), sequences = result.sequence_accuracy();
  score.rows = {{"token accuracy", "", tokens, result.token_error, result.asked, {}, score.at_chance},
                {"sequence accuracy", "", sequences, result.sequence_error, result.sequences, {}, false}};
  score.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  cell.accuracy = reports::Accuracy{"token accuracy", tokens, {}, result.token_error, result.sequences, {}};
  cell.accuracy->score = std::move(score);
  cell.items = items_of(result.shares);
  cell.memory = analytic_memory(plan, bench.peer, cell.axes);
}

}  // namespace

Suite synthetic_suite() {
  Suite suite;
  suite.name = "synthetic";
  suite.summary = "palindrome, mqar, mqar-zoology, stack (--tasks) at each of --lengths, on a model trained for them";
  suite.measure = measure;
  suite.points = points;
  suite.workload = workload;
  return suite;
}

}  // namespace kdabench::suites
