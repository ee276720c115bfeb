#include "suites/scoring.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>

#include "harness/engine/nvtx.h"
#include "kernels/base/error.h"
#include "suites/runner.h"

namespace kdabench::suites {
namespace {

// Tokens a pass reads, of all rows together. On a GPU as many as its workspace allows beyond the first number: every
// pass launches the same kernels, and expands what the cache holds again.
constexpr int64_t kPassTokensCuda = 8192, kPassTokensCpu = 512;
constexpr int64_t kPassBytesCuda = int64_t{4} << 30;
constexpr int64_t kMostRowsCuda = 128, kMostRowsCpu = 8;
constexpr int64_t kLeastPieceCuda = 256;      // tokens of a row in a pass, or rows are fewer
constexpr double kUsableMemory = 0.95;        // of what is free: graphs, library workspaces
constexpr int64_t kStepsBetweenLooks = 16;    // decode steps before finished rows are looked for

SessionOptions options_for(const Model& model, const Plan& plan, int64_t longest, int64_t rows) {
  SessionOptions options;
  options.batch = rows;
  options.capacity = longest;
  const auto read = [&](int64_t pass) { options.forward_tokens = std::clamp<int64_t>(pass / rows, 1, longest); };
  if (plan.device == DeviceKind::kCpu) {
    read(kPassTokensCpu);
    return options;
  }
  int64_t pass = kPassTokensCuda;
  for (read(2 * pass); pass < rows * longest && model.predict(options).workspace <= kPassBytesCuda; read(2 * pass)) pass *= 2;
  read(pass);
  return options;
}

// What row b of the session gets: the tokens of prompt b from `first` on; nothing where there is no prompt.
std::vector<Ids> row_tokens(std::span<const Ids> prompts, int64_t rows, int64_t first) {
  std::vector<Ids> tokens(rows);
  for (size_t b = 0; b < prompts.size(); ++b) tokens[b].assign(prompts[b].begin() + first, prompts[b].end());
  return tokens;
}

int64_t count_of(std::span<const Ids> tokens) {
  return std::accumulate(tokens.begin(), tokens.end(), int64_t{0},
                         [](int64_t sum, const Ids& row) { return sum + static_cast<int64_t>(row.size()); });
}

}  // namespace

Opened open_for(Model& model, const Plan& plan, int64_t longest, int64_t items, bool copies) {
  const bool cuda = plan.device == DeviceKind::kCuda, chosen = plan.accuracy.rows > 0;
  const auto free = static_cast<double>(device_memory(plan.device).free_bytes) * kUsableMemory;
  const int64_t most = chosen ? plan.accuracy.rows : cuda ? kMostRowsCuda : kMostRowsCpu;
  const int64_t groups = std::max<int64_t>(1, (items + most - 1) / most);  // of equally many rows
  for (int64_t wanted = std::max<int64_t>(1, (items + groups - 1) / groups);; wanted /= 2) {
    const SessionOptions options = options_for(model, plan, longest, wanted);
    if (cuda && !chosen && wanted > 1 && options.forward_tokens < std::min(longest, kLeastPieceCuda)) continue;
    const SessionBytes bytes = model.predict(options);
    const int64_t saved = copies ? (bytes.cache + bytes.state) / wanted * (wanted + 1) : 0;
    if (static_cast<double>(bytes.total() + saved) <= free) return {model.open(options), wanted};
    if (wanted == 1)
      throw OutOfMemory(text("One sequence of ", longest, " tokens needs ", bytes.total() + saved, " bytes; ",
                             static_cast<int64_t>(free), " are available."));
  }
}

float log_probability(std::span<const float> logits, int32_t token) {
  float largest = -std::numeric_limits<float>::infinity();
  for (const float x : logits) {
    require(!std::isnan(x), "a logit is not a number; the model or its weights are broken.");
    largest = std::max(largest, x);
  }
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - largest);
  return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(token)] - largest) - std::log(sum));
}

int64_t shared_prefix(std::span<const Ids> sequences) {
  if (sequences.empty()) return 0;
  size_t shared = sequences.front().size();
  for (const Ids& ids : sequences) {
    const auto [end, other] = std::mismatch(ids.begin(), ids.end(), sequences.front().begin(), sequences.front().end());
    shared = std::min({shared, static_cast<size_t>(end - ids.begin()), ids.empty() ? 0 : ids.size() - 1});
  }
  return static_cast<int64_t>(shared);
}

std::vector<std::vector<float>> weigh(Session& session, int64_t rows, std::span<const Choices> questions,
                                      ReadCount& count, const std::function<void(size_t)>& progress) {
  const NvtxRange range("weigh");
  std::vector<Ids> prompts;
  for (const Choices& question : questions) {
    require(!question.prompt.empty(), "a prompt has no tokens; there is nothing to continue.");
    prompts.push_back(question.prompt);
  }
  const int64_t shared = shared_prefix(prompts);
  const std::unique_ptr<Snapshot> beginning =
      questions.empty() ? nullptr : read_beginning(session, rows, prompts[0], shared, count);
  // Prompts of like lengths side by side: fewer short passes.
  std::vector<size_t> order(questions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return prompts[a].size() > prompts[b].size(); });

  std::vector<std::vector<float>> weights(questions.size());
  for (size_t begin = 0; begin < order.size(); begin += static_cast<size_t>(rows)) {
    const size_t n = std::min(order.size() - begin, static_cast<size_t>(rows));
    const std::span<const size_t> group(order.data() + begin, n);
    std::vector<Ids> group_prompts;
    for (const size_t i : group) group_prompts.push_back(prompts[i]);
    std::vector<int64_t> used(n);
    std::iota(used.begin(), used.end(), int64_t{0});
    session.reset();
    if (beginning) session.restore(*beginning, used);
    const std::vector<Ids> ends = row_tokens(group_prompts, rows, shared);
    session.append(ends);
    count.read += count_of(ends);

    const auto weigh_token = [&](const std::vector<float>& logits, size_t b, size_t c, size_t at) {
      const size_t vocabulary = logits.size() / static_cast<size_t>(rows);
      const Ids& continuation = questions[group[b]].continuations[c];
      weights[group[b]][c] += log_probability({logits.data() + b * vocabulary, vocabulary}, continuation[at]);
    };
    std::vector<float> logits = session.last_logits();
    size_t most = 0, longest = 0;                // continuations, and their tokens
    for (size_t b = 0; b < n; ++b) {
      const std::vector<Ids>& continuations = questions[group[b]].continuations;
      weights[group[b]].assign(continuations.size(), 0.f);
      most = std::max(most, continuations.size());
      for (size_t c = 0; c < continuations.size(); ++c) {
        weigh_token(logits, b, c, 0);
        longest = std::max(longest, continuations[c].size());
      }
    }
    if (longest > 1) {
      std::vector<std::unique_ptr<Snapshot>> read;
      for (size_t b = 0; b < n; ++b) read.push_back(session.save(used[b]));
      for (size_t c = 0; c < most; ++c) {
        for (size_t b = 0; b < n; ++b) session.restore(*read[b], std::span(&used[b], 1));
        for (size_t at = 1; at < longest; ++at) {
          std::vector<Ids> next(rows);
          for (size_t b = 0; b < n; ++b) {
            const std::vector<Ids>& continuations = questions[group[b]].continuations;
            if (c < continuations.size() && at < continuations[c].size()) next[b] = {continuations[c][at - 1]};
          }
          session.append(next);
          count.read += count_of(next);
          logits = session.last_logits();
          for (size_t b = 0; b < n; ++b)
            if (!next[b].empty()) weigh_token(logits, b, c, at);
        }
      }
    }
    if (progress) progress(begin + n);
  }
  return weights;
}

std::unique_ptr<Snapshot> read_beginning(Session& session, int64_t rows, const Ids& prompt, int64_t shared,
                                         ReadCount& count) {
  if (shared == 0) return nullptr;
  session.reset();
  std::vector<Ids> first(rows);
  first[0].assign(prompt.begin(), prompt.begin() + shared);
  session.append(first);
  count.read += shared;
  return session.save(0);
}

std::vector<Ids> continue_greedily(Session& session, int64_t rows, std::span<const Ids> prompts, const Continuation& how,
                                   ReadCount& count) {
  const NvtxRange range("generate");
  require(static_cast<int64_t>(prompts.size()) <= rows, "wanted at most ", rows, " prompts, got ", prompts.size(), ".");
  for (const Ids& prompt : prompts) require(!prompt.empty(), "a prompt has no tokens; there is nothing to continue.");
  const std::vector<Ids> tokens = row_tokens(prompts, rows, how.beginning ? how.beginning->length() : 0);
  session.reset();
  if (how.beginning) {
    std::vector<int64_t> used(prompts.size());
    std::iota(used.begin(), used.end(), int64_t{0});
    session.restore(*how.beginning, used);
  }
  session.append(tokens);
  count.read += count_of(tokens);

  std::vector<Ids> answers(prompts.size());
  std::vector<bool> ended(prompts.size(), false);
  const auto take = [&](std::span<const int32_t> step) {
    for (size_t b = 0; b < answers.size(); ++b) {
      if (ended[b]) continue;
      ended[b] = std::find(how.stops.begin(), how.stops.end(), step[b]) != how.stops.end();
      if (!ended[b]) answers[b].push_back(step[b]);
      ++count.generated;
    }
  };
  if (how.budget > 0) take(session.next_tokens());
  for (int64_t done = 1; done < how.budget && std::find(ended.begin(), ended.end(), false) != ended.end();) {
    const int64_t steps = std::min(kStepsBetweenLooks, how.budget - done);
    const DecodeSamples samples = session.decode(steps);
    for (int64_t i = 0; i < steps; ++i) take({samples.tokens.data() + i * rows, static_cast<size_t>(rows)});
    done += steps;
    for (size_t b = 0; how.complete && b < answers.size(); ++b) ended[b] = ended[b] || how.complete(answers[b]);
  }
  return answers;
}

Mean mean_of(std::span<const double> scores) {
  Mean mean;
  const auto n = static_cast<double>(scores.size());
  for (const double score : scores) mean.value += score;
  if (!scores.empty()) mean.value /= n;    // all right is 1, to the last digit
  double squares = 0;
  for (const double score : scores) squares += (score - mean.value) * (score - mean.value);
  if (scores.size() > 1) mean.standard_error = std::sqrt(squares / (n - 1) / n);
  return mean;
}

bool at_chance(double value, int64_t n, double chance) {
  return std::abs(value - chance) <= 2 * std::sqrt(chance * (1 - chance) / static_cast<double>(n));
}

std::string weights_fingerprint(const Plan& plan, const Peer& peer) {
  if (peer.checkpoint.empty()) return text("random weights, seed ", plan.seed);
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(peer.checkpoint))
    if (entry.path().extension() == ".safetensors" || entry.path().filename() == "config.json")
      files.push_back(text(entry.path().filename().string(), " ", entry.file_size(), " ",
                           entry.last_write_time().time_since_epoch().count()));
  std::sort(files.begin(), files.end());
  std::string all;
  for (const std::string& file : files) all += file + "\n";
  return all;
}

reports::Memory memory_of_one(const Bench& bench, const reports::Axes& axes) {
  reports::Axes one = axes;
  one.batch = 1;
  reports::Memory memory = analytic_memory(bench.plan, bench.peer, one);
  memory.reason = "of one sequence, by arithmetic";
  return memory;
}

void require_trained(const Plan& plan, const Peer& peer, const std::string& suite) {
  require(!peer.checkpoint.empty() || plan.accuracy.allow_random_weights, suite, " of ", peer.name,
          ": random weights know nothing, so a score would say nothing; give --checkpoint DIR, or "
          "--allow-random-weights to try the machinery.");
}

}  // namespace kdabench::suites
