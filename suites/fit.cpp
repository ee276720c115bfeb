#include "suites/fit.h"

#include <fmt/format.h>

#include "kernels/base/error.h"

namespace kdabench::suites {
namespace {

std::string gb(int64_t bytes) {
  if (bytes < 1'000'000) return fmt::format("{:.1f} kB", static_cast<double>(bytes) * 1e-3);
  if (bytes < 1'000'000'000) return fmt::format("{:.1f} MB", static_cast<double>(bytes) * 1e-6);
  return fmt::format("{:.2f} GB", static_cast<double>(bytes) * 1e-9);
}

std::string too_large(const char* what, int64_t batch, const SessionBytes& b, int64_t available) {
  return fmt::format("{} {} sequence{} needs {} (cache {}, state {}, workspace {}); {} are available.", what, batch,
                     batch == 1 ? "" : "s", gb(b.total()), gb(b.cache), gb(b.state), gb(b.workspace), gb(available));
}

// The largest batch whose predicted bytes hold; a batch that no kernel takes bounds it too, and `bound` says so.
int64_t largest_predicted(const Predict& predict, const std::function<bool(const SessionBytes&)>& holds,
                          std::string& bound) {
  return largest_batch([&](int64_t batch) {
    try {
      return holds(predict(batch));
    } catch (const Unsupported& reason) {
      if (batch == 1) throw;
      bound = fmt::format(" More are not supported: {}.", reason.what());
      return false;
    }
  });
}

}  // namespace

int64_t largest_batch(const std::function<bool(int64_t)>& fits) {
  if (!fits(1)) return 0;
  int64_t good = 1, bad = 2;
  while (bad <= kMostSequences && fits(bad)) good = bad, bad *= 2;
  if (bad > kMostSequences) return good;
  while (bad - good > 1) {
    const int64_t middle = good + (bad - good) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  return good;
}

Fit fit(const Point& point, const Predict& predict, const DeviceMemoryState& memory) {
  Fit result;
  std::string bound;
  if (!point.same_memory()) {
    result.bytes = predict(point.batch);
    result.available = memory.free_bytes;
    result.fits = result.bytes.total() <= memory.free_bytes;
    if (result.fits)
      result.batch = point.batch;
    else
      result.reason = too_large("A session of", point.batch, result.bytes, memory.free_bytes);
    return result;
  }

  if (!point.cache_budget_bytes) {
    const auto reserve = static_cast<int64_t>(kReserve * static_cast<double>(memory.total_bytes));
    result.available = memory.free_bytes - reserve;
    result.batch = largest_predicted(
        predict, [&](const SessionBytes& bytes) { return bytes.total() <= result.available; }, bound);
    result.bytes = predict(result.batch == 0 ? 1 : result.batch);
    result.fits = result.batch > 0;
    result.reason = result.fits
        ? fmt::format("Caches, states and workspace of {} sequences take {} of {}, the device less weights and "
                      "reserve{}.", result.batch, gb(result.bytes.total()), gb(result.available),
                      result.batch == kMostSequences ? "; more are never asked for" : "")
        : too_large("A session of", 1, result.bytes, result.available);
    result.reason += bound;
    return result;
  }

  const int64_t budget = *point.cache_budget_bytes;
  const auto cached = [](const SessionBytes& bytes) { return bytes.cache + bytes.state; };
  result.available = budget;
  result.batch = largest_predicted(
      predict, [&](const SessionBytes& bytes) { return cached(bytes) <= budget; }, bound);
  result.bytes = predict(result.batch == 0 ? 1 : result.batch);
  if (result.batch == 0) {
    result.reason = fmt::format("The cache and state of one sequence take {}; the cache budget is {}.",
                                gb(cached(result.bytes)), gb(budget));
  } else if (result.bytes.total() > memory.free_bytes) {
    result.reason = fmt::format("The cache budget of {} allows {} sequences, but ", gb(budget), result.batch) +
                    too_large("a session of", result.batch, result.bytes, memory.free_bytes);
    result.available = memory.free_bytes;
    result.batch = 0;
  } else {
    result.fits = true;
    result.reason = fmt::format("Caches and states of {} sequences take {} of the budget of {}.", result.batch,
                                gb(cached(result.bytes)), gb(budget));
  }
  result.reason += bound;
  return result;
}

}  // namespace kdabench::suites
