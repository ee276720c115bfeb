#pragma once
// What the generators of RULER's tasks share: a prompt's size is searched by bisection, then each sample is drawn at
// that size, and at smaller ones while it is too long.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "suites/ruler/ruler.h"

namespace kdabench::suites::ruler {

struct Prompt {
  std::string input, answer_prefix;
  std::vector<std::string> answers;

  std::string text() const { return input + answer_prefix; }
};

// One call of generate_ruler().
struct Job {
  const RulerRequest& request;
  const RulerTask& task;
  const RulerData& data;
  const Tokenizer& tokenizer;
  RulerProgress progress;

  // Tokens that count against the length.
  int64_t tokens(const std::string& prompt) const {
    return static_cast<int64_t>(tokenizer.encode(prompt).size()) + task.generation_tokens;
  }
};

// Draws a prompt of a size (words, sentences, documents; the task's unit), or nothing where the official program
// raises an exception. Every call advances the random stream.
using Draw = std::function<std::optional<Prompt>(int64_t size)>;

// What int((length / tokens_per_unit) * 3) is, the estimate of the largest size; `tokens` were counted at `units`.
int64_t estimated_size(int64_t length, int64_t tokens, int64_t units);

// The largest size in [least, max(most, 2 least)] that `fits`, by bisection; `least` where none does.
int64_t largest_size(int64_t least, int64_t most, const std::function<bool(int64_t)>& fits);

struct Fitted {
  Prompt prompt;
  int64_t length = 0;
};

// A prompt of at most `limit` tokens as `count` counts them: at `size`, then at sizes smaller by `least`, then again
// and again at the smallest, where the official program would go on for ever. Error: none of those is short enough.
Fitted fitted(const Job& job, int64_t size, int64_t least, const Draw& draw);

// The sample without what only some tasks have; `index` counts from 0.
RulerSample sample_of(Fitted fitted, int64_t index);

// Error: `text` is empty, because the data folder lacks a file.
void require_text(const Job& job, bool there, const std::string& files);

// Generators, one a file. Each returns request.samples samples.
std::vector<RulerSample> niah(const Job& job);
std::vector<RulerSample> variable_tracking(const Job& job);
std::vector<RulerSample> common_words(const Job& job);
std::vector<RulerSample> frequent_words(const Job& job);
std::vector<RulerSample> question_answering(const Job& job);

}  // namespace kdabench::suites::ruler
