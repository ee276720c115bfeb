#pragma once
// The synthetic tests of the paper (section 5.1, figure 4): sequences of token ids in which some positions ask for a
// token that only memory can give.
//
//   palindrome    x1 .. xm <sep> xm .. x1                   asked: xm .. x2 are to be followed by x(m-1) .. x1
//   mqar          k1 v1 .. km vm <sep> q1 q2 ..             asked: at each query, which is one of the keys, its value
//   mqar-zoology  k1 v1 .. km vm, then the keys among random tokens, each once; asked as in mqar
//   stack         <push> id x and <pop> id x on 64 stacks   asked: at the id of a pop, the last x still there
//
// The paper gives neither vocabulary nor pairs nor the odds of a pop. Here: ids 1, 2, 3 are <sep>, <push> and <pop>;
// palindromes use [4, V); mqar's keys are the lower half of [4, V), its values the upper, m = length / 4, queries are
// drawn anew from all keys; stack ids are [4, 68), elements [68, V), a coin pops whenever there is something to pop.
// mqar-zoology follows HazyResearch/zoology (zoology/data/multiquery_ar.py): keys [1, V / 2), values [V / 2, V), each
// at most once, m = length / 4, gaps before queries drawn without replacement from p(i) ~ i^-0.99.
// scripts/train/synthetic.py draws from the same distributions.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/engine/model.h"

namespace kdabench::suites {

enum class SyntheticTask { kPalindrome, kMqar, kMqarZoology, kStack };

const std::vector<std::string>& synthetic_task_names();
SyntheticTask parse_synthetic_task(const std::string& name);    // Error names the nearest

inline constexpr int32_t kNotAsked = -1;

struct SyntheticSample {
  std::vector<int32_t> ids;
  std::vector<int32_t> targets;               // [ids], the token to predict, or kNotAsked
};

// Sequence `index` of a seed: length tokens, less one or two where the task's pieces do not divide it.
// Error: a length or a vocabulary that is too small for the task, in one sentence.
SyntheticSample synthetic_sample(SyntheticTask task, int64_t length, int64_t vocabulary, uint64_t seed, int64_t index);

// The rule by itself: what is asked in given ids. Error: ids that break the task's rule. mqar-zoology's filler may hold
// keys by chance, so its queries cannot be told from the ids, and it is refused.
std::vector<int32_t> synthetic_targets(SyntheticTask task, int64_t vocabulary, std::span<const int32_t> ids);

struct SyntheticScore {
  int64_t sequences = 0, sequences_right = 0; // right: every asked token is
  int64_t asked = 0, right = 0;
  std::vector<double> shares;                 // [sequences], of each one's asked tokens that are right
  double token_accuracy() const { return static_cast<double>(right) / asked; }
  double sequence_accuracy() const { return static_cast<double>(sequences_right) / sequences; }
  // Tokens of a sequence are not independent: the deviation is that of the sequences' shares, over root n.
  std::optional<double> token_error, sequence_error;
};

// Argmax at every asked position of `samples` sequences, `rows` read together.
SyntheticScore synthetic_score(Model& model, SyntheticTask task, int64_t length, int64_t samples, uint64_t seed,
                               int64_t rows, const Progress& progress = {});

}  // namespace kdabench::suites
