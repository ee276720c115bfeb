#include "suites/synthetic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>

#include "kernels/base/error.h"
#include "kernels/base/random.h"

namespace kdabench::suites {
namespace {

constexpr int32_t kSeparator = 1, kPush = 2, kPop = 3, kFirst = 4, kStacks = 64;

const std::string& name_of(SyntheticTask task) { return synthetic_task_names()[static_cast<size_t>(task)]; }

// A stream of numbers for one sequence.
class Draw {
 public:
  Draw(SyntheticTask task, uint64_t seed, int64_t index)
      : stream_(random_bits(random_stream(seed, name_of(task)), index)) {}
  double uniform() { return static_cast<double>(random_bits(stream_, next_++) >> 11) * 0x1p-53; }
  int32_t below(int64_t n) { return static_cast<int32_t>(uniform() * static_cast<double>(n)); }
  bool coin() { return below(2) == 1; }
  // `count` of [low, high), each at most once.
  std::vector<int32_t> distinct(int64_t count, int32_t low, int32_t high) {
    std::vector<int32_t> all(high - low);
    std::iota(all.begin(), all.end(), low);
    for (int64_t i = 0; i < count; ++i) std::swap(all[i], all[i + below(static_cast<int64_t>(all.size()) - i)]);
    all.resize(count);
    return all;
  }

 private:
  uint64_t stream_, next_ = 0;
};

int32_t value_start(int64_t vocabulary) { return static_cast<int32_t>(kFirst + (vocabulary - kFirst) / 2); }

void ask(SyntheticSample& sample, int32_t target) { sample.targets.back() = target; }
void put(SyntheticSample& sample, int32_t id) {
  sample.ids.push_back(id);
  sample.targets.push_back(kNotAsked);
}

SyntheticSample palindrome(Draw& draw, int64_t length, int64_t vocabulary) {
  require(length >= 5 && vocabulary > kFirst + 1, "palindrome: length ", length, " and vocabulary ", vocabulary,
          "; wanted at least 5 tokens and ", kFirst + 2, " ids.");
  SyntheticSample sample;
  const int64_t half = (length - 1) / 2;
  for (int64_t i = 0; i < half; ++i) put(sample, kFirst + draw.below(vocabulary - kFirst));
  put(sample, kSeparator);
  for (int64_t i = half - 1; i >= 0; --i) {
    put(sample, sample.ids[i]);
    if (i > 0) ask(sample, sample.ids[i - 1]);
  }
  return sample;
}

SyntheticSample mqar(Draw& draw, int64_t length, int64_t vocabulary) {
  const int64_t pairs = length / 4;
  const int32_t middle = value_start(vocabulary);
  require(pairs >= 1 && middle - kFirst >= pairs, "mqar: length ", length, " has ", pairs, " pairs, vocabulary ",
          vocabulary, " has ", middle - kFirst, " keys; wanted at least 1 pair and a key for each.");
  SyntheticSample sample;
  const std::vector<int32_t> keys = draw.distinct(pairs, kFirst, middle);
  std::vector<int32_t> values(pairs);
  for (int64_t i = 0; i < pairs; ++i) {
    values[i] = middle + draw.below(vocabulary - middle);
    put(sample, keys[i]);
    put(sample, values[i]);
  }
  put(sample, kSeparator);
  while (static_cast<int64_t>(sample.ids.size()) < length) {
    const int32_t i = draw.below(pairs);
    put(sample, keys[i]);
    ask(sample, values[i]);
  }
  return sample;
}

SyntheticSample mqar_zoology(Draw& draw, int64_t length, int64_t vocabulary) {
  const int64_t pairs = length / 4, half = vocabulary / 2, slots = (length - 2 * pairs) / 2;
  require(pairs >= 1 && pairs <= half - 1 && length % 2 == 0, "mqar-zoology: length ", length, " has ", pairs,
          " pairs, vocabulary ", vocabulary, " has ", half - 1, " keys; wanted an even length and a key a pair.");
  SyntheticSample sample;
  const std::vector<int32_t> keys = draw.distinct(pairs, 1, static_cast<int32_t>(half));
  const std::vector<int32_t> values =
      draw.distinct(pairs, static_cast<int32_t>(half), static_cast<int32_t>(vocabulary));
  for (int64_t i = 0; i < pairs; ++i) {
    put(sample, keys[i]);
    put(sample, values[i]);
  }
  while (static_cast<int64_t>(sample.ids.size()) < length) put(sample, draw.below(vocabulary));
  // without replacement: the slots with the largest log p + Gumbel noise, the largest for the first key
  std::vector<std::pair<double, int64_t>> order(slots);
  for (int64_t i = 0; i < slots; ++i)
    order[i] = {-0.99 * std::log(i + 1.0) - std::log(-std::log(std::max(draw.uniform(), 1e-300))), i};
  std::partial_sort(order.begin(), order.begin() + pairs, order.end(), std::greater<>());
  for (int64_t i = 0; i < pairs; ++i) {
    const int64_t at = 2 * pairs + 2 * order[i].second;
    sample.ids[at] = keys[i];
    sample.targets[at] = values[i];
  }
  return sample;
}

SyntheticSample stack(Draw& draw, int64_t length, int64_t vocabulary) {
  require(length >= 3 && vocabulary > kFirst + kStacks + 1, "stack: length ", length, " and vocabulary ", vocabulary,
          "; wanted at least 3 tokens and ", kFirst + kStacks + 2, " ids.");
  SyntheticSample sample;
  std::array<std::vector<int32_t>, kStacks> stacks;
  for (int64_t i = 0; i < length / 3; ++i) {
    const int32_t which = draw.below(kStacks);
    const int32_t element = kFirst + kStacks + draw.below(vocabulary - kFirst - kStacks);
    const bool pop = draw.coin() && !stacks[which].empty();
    put(sample, pop ? kPop : kPush);
    put(sample, kFirst + which);
    if (!pop) {
      stacks[which].push_back(element);
      put(sample, element);
      continue;
    }
    const int32_t last = stacks[which].back();
    stacks[which].pop_back();
    ask(sample, last);
    put(sample, last);
  }
  return sample;
}

std::vector<int32_t> palindrome_targets(std::span<const int32_t> ids) {
  const size_t half = ids.size() / 2;
  require(ids.size() % 2 == 1 && ids[half] == kSeparator, "palindrome: no separator in the middle of ", ids.size(),
          " ids.");
  std::vector<int32_t> targets(ids.size(), kNotAsked);
  for (size_t i = 1; i <= half; ++i) {
    require(ids[half + i] == ids[half - i] && ids[half - i] >= kFirst, "palindrome: token ", half + i, " is ",
            ids[half + i], "; the mirrored one is ", ids[half - i], ".");
    if (i < half) targets[half + i] = ids[half - i - 1];
  }
  return targets;
}

std::vector<int32_t> mqar_targets(int64_t vocabulary, std::span<const int32_t> ids) {
  std::map<int32_t, int32_t> value_of;
  std::vector<int32_t> targets(ids.size(), kNotAsked);
  const int32_t middle = value_start(vocabulary);
  size_t at = 0;
  for (; at + 1 < ids.size() && ids[at] != kSeparator; at += 2) {
    require(ids[at] >= kFirst && ids[at] < middle && ids[at + 1] >= middle && ids[at + 1] < vocabulary,
            "mqar: tokens ", at, " and ", at + 1, " are ", ids[at], " and ", ids[at + 1], ", not a key and a value.");
    require(value_of.emplace(ids[at], ids[at + 1]).second, "mqar: key ", ids[at], " comes twice.");
  }
  require(at < ids.size() && ids[at] == kSeparator, "mqar: no separator behind the pairs.");
  for (++at; at < ids.size(); ++at) {
    const auto found = value_of.find(ids[at]);
    require(found != value_of.end(), "mqar: token ", at, " asks for key ", ids[at], ", which no pair has.");
    targets[at] = found->second;
  }
  return targets;
}

std::vector<int32_t> stack_targets(int64_t vocabulary, std::span<const int32_t> ids) {
  require(ids.size() % 3 == 0, "stack: ", ids.size(), " ids are no triples.");
  std::array<std::vector<int32_t>, kStacks> stacks;
  std::vector<int32_t> targets(ids.size(), kNotAsked);
  for (size_t at = 0; at < ids.size(); at += 3) {
    const int32_t what = ids[at], which = ids[at + 1] - kFirst, element = ids[at + 2];
    require((what == kPush || what == kPop) && which >= 0 && which < kStacks && element >= kFirst + kStacks &&
            element < vocabulary, "stack: tokens ", at, " to ", at + 2, " are ", what, ", ", ids[at + 1], ", ", element,
            ", not an operation, a stack and an element.");
    std::vector<int32_t>& own = stacks[which];
    if (what == kPush) {
      own.push_back(element);
      continue;
    }
    require(!own.empty() && own.back() == element, "stack: token ", at + 2, " pops ", element, " off stack ", which,
            ", which does not have it on top.");
    targets[at + 1] = element;
    own.pop_back();
  }
  return targets;
}

// Of a mean of n numbers with this sum and sum of squares.
std::optional<double> error_of_mean(double sum, double squares, int64_t n) {
  if (n < 2) return {};
  const double variance = std::max(0.0, (squares - sum * sum / n) / (n - 1));
  return std::sqrt(variance / n);
}

}  // namespace

const std::vector<std::string>& synthetic_task_names() {
  static const std::vector<std::string> names = {"palindrome", "mqar", "mqar-zoology", "stack"};
  return names;
}

SyntheticTask parse_synthetic_task(const std::string& name) {
  const std::vector<std::string>& names = synthetic_task_names();
  const auto at = std::find(names.begin(), names.end(), name);
  if (at != names.end()) return static_cast<SyntheticTask>(at - names.begin());
  const std::string near = nearest(name, names);
  fail("unknown synthetic task '", name, "'; ", near.empty() ? "" : text("did you mean ", near, "? "),
       "There are palindrome, mqar, mqar-zoology and stack.");
}

SyntheticSample synthetic_sample(SyntheticTask task, int64_t length, int64_t vocabulary, uint64_t seed, int64_t index) {
  Draw draw(task, seed, index);
  switch (task) {
    case SyntheticTask::kPalindrome: return palindrome(draw, length, vocabulary);
    case SyntheticTask::kMqar: return mqar(draw, length, vocabulary);
    case SyntheticTask::kMqarZoology: return mqar_zoology(draw, length, vocabulary);
    case SyntheticTask::kStack: return stack(draw, length, vocabulary);
  }
  fail("unknown synthetic task ", static_cast<int>(task), ".");
}

std::vector<int32_t> synthetic_targets(SyntheticTask task, int64_t vocabulary, std::span<const int32_t> ids) {
  switch (task) {
    case SyntheticTask::kPalindrome: return palindrome_targets(ids);
    case SyntheticTask::kMqar: return mqar_targets(vocabulary, ids);
    case SyntheticTask::kStack: return stack_targets(vocabulary, ids);
    case SyntheticTask::kMqarZoology: break;
  }
  fail("mqar-zoology: what is asked cannot be told from the ids, because filler may be a key.");
}

SyntheticScore synthetic_score(Model& model, SyntheticTask task, int64_t length, int64_t samples, uint64_t seed,
                               int64_t rows, const Progress& progress) {
  require(samples >= 1 && rows >= 1, "synthetic: ", samples, " sequences, ", rows, " at a time; wanted at least 1.");
  const int64_t vocabulary = model.options().config.vocab_size;
  const int64_t T = static_cast<int64_t>(synthetic_sample(task, length, vocabulary, seed, 0).ids.size());
  SyntheticScore score;
  double share_sum = 0, share_squares = 0;
  std::unique_ptr<Session> session;
  int64_t opened = 0;
  for (int64_t first = 0; first < samples; first += rows) {
    const int64_t count = std::min(rows, samples - first);
    if (count != opened) {
      session.reset();                       // one cache at a time
      session = model.open({.batch = count, .capacity = T, .forward_tokens = T, .all_logits = true});
      opened = count;
    }
    session->reset();
    std::vector<SyntheticSample> batch;
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < count; ++i) {
      batch.push_back(synthetic_sample(task, length, vocabulary, seed, first + i));
      ids.insert(ids.end(), batch.back().ids.begin(), batch.back().ids.end());
    }
    const std::vector<float> logits = session->forward(ids, Logits::kAll);
    for (int64_t i = 0; i < count; ++i) {
      int64_t asked = 0, right = 0;
      for (int64_t t = 0; t < T; ++t) {
        const int32_t target = batch[i].targets[t];
        if (target == kNotAsked) continue;
        const auto row = logits.begin() + (i * T + t) * vocabulary;
        ++asked;
        right += std::max_element(row, row + vocabulary) - row == target;
      }
      if (asked == 0) continue;              // a short stack may never pop
      const double share = static_cast<double>(right) / asked;
      score.shares.push_back(share);
      share_sum += share, share_squares += share * share;
      score.asked += asked, score.right += right;
      ++score.sequences, score.sequences_right += right == asked;
    }
    if (progress) progress(name_of(task), static_cast<double>(first + count) / samples);
  }
  require(score.sequences > 0, "synthetic: none of ", samples, " sequences of ", length, " tokens asks anything.");
  const double p = score.sequence_accuracy();
  score.token_error = error_of_mean(share_sum, share_squares, score.sequences);
  score.sequence_error = error_of_mean(p * score.sequences, p * score.sequences, score.sequences);
  return score;
}

}  // namespace kdabench::suites
