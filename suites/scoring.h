#pragma once
// What accuracy suites do with a session: read prompts of any lengths together, go on greedily until an end, and weigh
// continuations by their log-probability.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "harness/engine/model.h"
#include "reports/record.h"
#include "suites/suite.h"

namespace kdabench::suites {

using Ids = std::vector<int32_t>;

// A session for sequences of up to `longest` tokens, with as many rows as are useful and fit: plan.accuracy.rows, or a
// choice by device and length; with `copies`, a copy of every row and one more fit beside it. OutOfMemory when one row
// does not fit.
struct Opened {
  std::unique_ptr<Session> session;
  int64_t rows = 0;
};
Opened open_for(Model& model, const Plan& plan, int64_t longest, int64_t items, bool copies);

// log_softmax(logits)[token], in fp32 from fp32 logits with the sum in double. Error: a logit is NaN.
float log_probability(std::span<const float> logits, int32_t token);

// Tokens that all sequences begin with, leaving each at least one of its own.
int64_t shared_prefix(std::span<const Ids> sequences);

// Log-probabilities of each prompt's continuations, [prompt][continuation]. The prompts' shared beginning is read once;
// a prompt is read once for all its continuations, whose further tokens are read on copies of it.
struct Choices {
  Ids prompt;
  std::vector<Ids> continuations;             // none is empty
};
struct ReadCount {
  int64_t read = 0, generated = 0;            // tokens
};
std::vector<std::vector<float>> weigh(Session& session, int64_t rows, std::span<const Choices> questions,
                                      ReadCount& count, const std::function<void(size_t done)>& progress = {});

// The first `shared` tokens of a prompt, read once; nothing for none.
std::unique_ptr<Snapshot> read_beginning(Session& session, int64_t rows, const Ids& prompt, int64_t shared,
                                         ReadCount& count);

struct Continuation {
  int64_t budget = 0;                         // tokens to generate at most
  std::span<const int32_t> stops = {};        // an answer ends before the first of them
  const Snapshot* beginning = nullptr;        // of every prompt; it is not read again
  std::function<bool(const Ids&)> complete = {};   // an answer that needs no more: looked at every few steps
};
// Greedy continuations of the prompts, as many as rows at most.
std::vector<Ids> continue_greedily(Session& session, int64_t rows, std::span<const Ids> prompts, const Continuation& how,
                                   ReadCount& count);

// Mean of scores in 0 to 1 and its standard error, sample deviation / sqrt(n); no error for a single one.
struct Mean {
  double value = 0;
  std::optional<double> standard_error;
};
Mean mean_of(std::span<const double> scores);

// Within two standard errors of n guesses: sqrt(c (1 - c) / n), which does not vanish where all answers are wrong.
bool at_chance(double value, int64_t n, double chance);

// Changes with what the weights are: the files' names, sizes and times, or the seed of random ones.
std::string weights_fingerprint(const Plan& plan, const Peer& peer);

// The bytes of one sequence at the cell's length; nothing was measured.
reports::Memory memory_of_one(const Bench& bench, const reports::Axes& axes);

// Refuses random weights unless they are asked for.
void require_trained(const Plan& plan, const Peer& peer, const std::string& suite);

}  // namespace kdabench::suites
