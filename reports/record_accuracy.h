#pragma once
// What a report holds of a score: part of record.h, which says how these structs are visited.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kdabench::reports {

// One line of a score: a subject, a group of subjects.
struct ScoreRow {
  std::string name, group;
  double value = 0;
  std::optional<double> stderr_value;
  int64_t n = 0;
  std::optional<int64_t> ties;
  bool at_chance = false;
  template <class V> void fields(V&& v) {
    v("name", name, "subject or group");
    v("group", group, "the group it belongs to, or empty");
    v("value", value, "its score, 0 to 1");
    v("stderr", stderr_value, "standard error, or null for a single item");
    v("n", n, "items");
    v("ties", ties, "items whose best answers had equal scores, where answers are compared");
    v("at_chance", at_chance, "whether the score is within two standard errors of as many guesses");
  }
};

// What was scored, so that another program can repeat it.
struct Score {
  std::string wording, prompt_format, tokenizer, prompts_sha256, gold_sha256;
  int64_t items_total = 0, prompt_tokens = 0, read_tokens = 0, generated_tokens = 0;
  double seconds = 0;
  std::optional<double> chance;
  std::optional<int64_t> ties;
  bool at_chance = false, random_weights = false;
  std::vector<ScoreRow> rows;
  template <class V> void fields(V&& v) {
    v("wording", wording, "what the score may be called, with its data, examples and seed");
    v("prompt_format", prompt_format, "base: the text alone; chat: the checkpoint's turns around it");
    v("tokenizer", tokenizer, "rank file, or bytes");
    v("prompts_sha256", prompts_sha256, "of all prompts in order, each followed by a NUL byte");
    v("gold_sha256", gold_sha256, "of the right answers in order");
    v("items_total", items_total, "items of the whole test; more than n when only some were asked for");
    v("prompt_tokens", prompt_tokens, "tokens of all prompts");
    v("read_tokens", read_tokens, "tokens the model read in this run: shared beginnings once, kept items not at all");
    v("generated_tokens", generated_tokens, "tokens the model generated in this run");
    v("seconds", seconds, "wall time of this run's part");
    v("chance", chance, "score of guessing, where there is one");
    v("ties", ties, "items whose best answers had equal scores, where answers are compared");
    v("at_chance", at_chance, "whether the score is within two standard errors of as many guesses");
    v("random_weights", random_weights, "whether the weights were drawn from a seed: the score then says nothing");
    v("rows", rows, "subjects and groups, where the test has them");
  }
};

struct Accuracy {
  std::string metric;
  double value = 0;
  std::optional<double> bound, stderr_value;
  int64_t n = 0;
  std::optional<Score> score = {};
  template <class V> void fields(V&& v) {
    v("metric", metric, "what was compared");
    v("value", value, "the result");
    v("bound", bound, "what the result may not exceed, for a check");
    v("stderr", stderr_value, "standard error");
    v("n", n, "items");
    v("score", score, "for a score on a task: what was scored");
  }
};

// Single results behind a score, in the order of the task's items, so that two runs can be compared in pairs.
struct Items {
  std::vector<double> scores;
  std::vector<double> choices;         // [items, as many for each]
  std::vector<double> kl;
  template <class V> void fields(V&& v) {
    v("scores", scores, "score of each item: 1 right, 0 wrong, or between where the task gives part marks");
    v("choices", choices, "log-probabilities of the answers to choose from, item by item; empty where answers are generated");
    v("kl", kl, "divergence of each item's choices from those of --reference, in nats; empty without one");
  }
};

}  // namespace kdabench::reports
