#include "suites/agreement.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <vector>

#include "harness/engine/nvtx.h"
#include "kernels/base/random.h"
#include "suites/bounds.h"

namespace kdabench::suites {

RowError worst_row(std::span<const float> got, std::span<const float> want, int64_t rows) {
  const size_t width = want.size() / static_cast<size_t>(rows);
  RowError worst;
  for (int64_t row = 0; row < rows; ++row) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < width; ++i) {
      const double a = got[static_cast<size_t>(row) * width + i], b = want[static_cast<size_t>(row) * width + i];
      difference += (a - b) * (a - b);
      norm += b * b;
    }
    double value = std::sqrt(difference / norm);
    if (!std::isfinite(value)) value = std::numeric_limits<double>::infinity();  // NaN, or logits that are all zero
    if (value > worst.value) worst = {value, row};
  }
  return worst;
}

std::vector<int32_t> seeded_ids(uint64_t seed, const std::string& name, int64_t batch, int64_t tokens,
                                int64_t vocab_size) {
  const uint64_t stream = random_stream(seed, name);
  std::vector<int32_t> ids(static_cast<size_t>(batch * tokens));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>(random_bits(stream, i) % static_cast<uint64_t>(vocab_size));
  return ids;
}

bool prefill_agrees_with_decode(Bench& bench, Session& session, reports::Cell& cell) {
  const NvtxRange range("check");
  const int64_t context = cell.axes.context, batch = cell.axes.batch;
  const std::vector<int32_t> ids =
      seeded_ids(bench.plan.seed, "agreement", batch, kCheckTokens, bench.plan.config.vocab_size);

  bench.host.progress("check, prefill", 0.05);
  session.reset();
  session.fill_random(context, bench.plan.seed);
  const std::vector<float> at_once = session.forward(ids, Logits::kLast);

  bench.host.progress("check, decode", 0.15);
  session.reset();
  session.fill_random(context, bench.plan.seed);
  std::vector<float> one_by_one;
  std::vector<int32_t> column(static_cast<size_t>(batch));
  for (int64_t t = 0; t < kCheckTokens; ++t) {
    for (int64_t b = 0; b < batch; ++b)
      column[static_cast<size_t>(b)] = ids[static_cast<size_t>(b * kCheckTokens + t)];
    one_by_one = session.forward(column, t + 1 == kCheckTokens ? Logits::kLast : Logits::kNone);
  }

  if (at_once.size() != one_by_one.size() || at_once.empty()) {
    end(cell, "incorrect", fmt::format("Prefill gave {} logits and decode {}.", at_once.size(), one_by_one.size()));
    return false;
  }
  const double bound = bench.plan.precision == Precision::kBf16 ? bounds::kPrefillVsDecodeBf16 : bounds::kPrefillVsDecodeFp32;
  const RowError worst = worst_row(at_once, one_by_one, batch);
  if (!std::isfinite(worst.value)) {
    end(cell, "incorrect", fmt::format("Logits of row {} are zero, infinite or not a number.", worst.row));
    return false;
  }
  cell.accuracy = reports::Accuracy{"prefill_vs_decode_rel_l2", worst.value, bound, {}, batch};
  if (worst.value <= bound) return true;
  end(cell, "incorrect", fmt::format("Prefill and decode disagree: rel_l2 of the logits is {:.3g} in row {}, bound {:.3g}.",
                                     worst.value, worst.row, bound));
  return false;
}

}  // namespace kdabench::suites
