#include "suites/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "harness/engine/nvtx.h"
#include "kernels/base/random.h"
#include "suites/bounds.h"

namespace kdabench::suites {

std::vector<double> row_errors(std::span<const float> got, std::span<const float> want, int64_t rows) {
  const size_t width = want.size() / static_cast<size_t>(rows);
  std::vector<double> errors;
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    double difference = 0, norm = 0;
    for (size_t i = row * width; i < (row + 1) * width; ++i) {
      const double a = got[i], b = want[i];
      difference += (a - b) * (a - b);
      norm += b * b;
    }
    const double error = std::sqrt(difference / norm);  // NaN too when all logits are zero
    errors.push_back(std::isfinite(error) ? error : std::numeric_limits<double>::infinity());
  }
  return errors;
}

std::vector<int32_t> seeded_ids(uint64_t seed, const std::string& name, int64_t batch, int64_t tokens,
                                int64_t vocab_size) {
  const uint64_t stream = random_stream(seed, name);
  std::vector<int32_t> ids(static_cast<size_t>(batch * tokens));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>(random_bits(stream, i) % static_cast<uint64_t>(vocab_size));
  return ids;
}

std::vector<int32_t> routing_of(std::span<const int32_t> experts, int64_t batch, int64_t tokens, int64_t top_k,
                                int64_t first, int64_t count) {
  const int64_t layer = batch * tokens * top_k;
  require(static_cast<int64_t>(experts.size()) % std::max<int64_t>(1, layer) == 0, "routing: wanted layers of ", layer,
          " experts, found ", experts.size(), ".");
  std::vector<int32_t> part;
  for (int64_t row = 0; row * tokens * top_k < static_cast<int64_t>(experts.size()); ++row) {  // layers * batch rows
    const auto begin = experts.begin() + (row * tokens + first) * top_k;
    part.insert(part.end(), begin, begin + count * top_k);
  }
  return part;
}

namespace {

struct Pair {
  std::vector<float> at_once, one_by_one;      // [batch, vocabulary]
};

// The second reading takes the first one's routing: in a model with random weights the 8th and 9th of 256 scores are so
// close that rounding alone swaps experts on most tokens' way through the layers, and a swap moves the logits by several
// per cent without being a fault of anything.
Pair read_twice(Session& session, const std::vector<int32_t>& ids, int64_t context, int64_t batch, int64_t top_k,
                uint64_t seed) {
  const int64_t tokens = static_cast<int64_t>(ids.size()) / batch;
  Pair logits;
  session.reset();
  session.fill_random(context, seed);
  logits.at_once = session.forward(ids, Logits::kLast);
  const std::vector<int32_t> experts = session.chosen_experts();

  session.reset();
  session.fill_random(context, seed);
  std::vector<int32_t> piece;
  for (int64_t first = 0, count; first < tokens; first += count) {
    const int64_t before_single = tokens - kCheckTokens - first;
    count = std::clamp<int64_t>(before_single, 1, kCheckPiece);
    piece.clear();
    for (int64_t b = 0; b < batch; ++b)
      piece.insert(piece.end(), ids.begin() + b * tokens + first, ids.begin() + b * tokens + first + count);
    logits.one_by_one = session.forward(piece, first + count == tokens ? Logits::kLast : Logits::kNone,
                                        routing_of(experts, batch, tokens, top_k, first, count));
  }
  return logits;
}

}  // namespace

bool prefill_agrees_with_decode(Bench& bench, Session& session, int64_t context, int64_t tokens, reports::Cell& cell) {
  const NvtxRange range("check");
  const int64_t batch = cell.axes.batch, vocabulary = bench.plan.config.vocab_size;
  const double bound = bench.plan.precision == Precision::kBf16    ? bounds::kPrefillVsDecodeBf16
                       : bench.plan.config.state_dtype != "fp32" ? bounds::kPrefillVsDecodeBf16State
                                                                 : bounds::kPrefillVsDecodeFp32;
  bench.host.progress("check", 0.1);
  bench.deadline.check("the check");
  const std::vector<int32_t> ids = seeded_ids(bench.plan.seed, "agreement", batch, tokens, vocabulary);
  const Pair logits =
      read_twice(session, ids, context, batch, bench.plan.config.num_experts_per_token, bench.plan.seed);
  const auto wanted = static_cast<size_t>(batch * vocabulary);
  if (logits.at_once.size() != wanted || logits.one_by_one.size() != wanted) {
    end(cell, "incorrect", fmt::format("{} logits were wanted; prefill gave {}, decode {}.", wanted,
                                       logits.at_once.size(), logits.one_by_one.size()));
    return false;
  }
  const std::vector<double> errors = row_errors(logits.at_once, logits.one_by_one, batch);
  for (size_t row = 0; row < errors.size(); ++row)
    if (!std::isfinite(errors[row])) {
      end(cell, "incorrect", fmt::format("Logits of sequence {} are zero, infinite or not a number.", row));
      return false;
    }
  const auto worst = std::max_element(errors.begin(), errors.end());
  cell.accuracy = reports::Accuracy{"prefill_vs_decode_rel_l2", *worst, bound, {}, batch};
  if (*worst <= bound) return true;
  end(cell, "incorrect",
      fmt::format("Prefill and decode disagree: rel_l2 of the logits of sequence {} is {:.3g}, bound {:.3g}.",
                  worst - errors.begin(), *worst, bound));
  return false;
}

}  // namespace kdabench::suites
