#include "reports/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "reports/error.h"

namespace kdabench::reports {
namespace {

double quantile(const std::vector<double>& sorted, double p) {
  const double at = p * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

}  // namespace

std::string cell_id(const std::string& suite, const Axes& axes) {
  std::string id = fmt::format("{}/model={};config={};device={};dtype={};context={}", suite, axes.model,
                               axes.config, axes.device, axes.dtype, axes.context);
  const bool same_memory = axes.protocol == "same-memory";
  if (!same_memory && axes.protocol != "accuracy") id += fmt::format(";batch={}", axes.batch);
  id += ";protocol=" + axes.protocol;
  if (same_memory && axes.cache_budget_bytes) id += fmt::format(";cache_budget={}", *axes.cache_budget_bytes);
  if (axes.task) id += ";task=" + *axes.task;
  return id;
}

Stats summarize(std::vector<double> samples_ns) {
  if (samples_ns.empty())
    throw Error("summarize wants samples, found none; a cell without samples has no timing");
  for (const double sample : samples_ns)
    if (!std::isfinite(sample))
      throw Error(fmt::format("summarize wants finite samples, found {}; drop the cell as invalid", sample));
  std::sort(samples_ns.begin(), samples_ns.end());

  Stats stats;
  const auto n = static_cast<double>(samples_ns.size());
  stats.n = static_cast<int64_t>(samples_ns.size());
  stats.min_ns = samples_ns.front();
  stats.q1_ns = quantile(samples_ns, 0.25);
  stats.median_ns = quantile(samples_ns, 0.5);
  stats.q3_ns = quantile(samples_ns, 0.75);
  stats.p95_ns = quantile(samples_ns, 0.95);
  stats.p99_ns = quantile(samples_ns, 0.99);
  stats.max_ns = samples_ns.back();
  for (const double sample : samples_ns) stats.mean_ns += sample / n;
  double squares = 0;
  for (const double sample : samples_ns) squares += (sample - stats.mean_ns) * (sample - stats.mean_ns);
  stats.stddev_ns = n > 1 ? std::sqrt(squares / (n - 1)) : 0;
  for (double& sample : samples_ns) sample = std::abs(sample - stats.median_ns);
  std::sort(samples_ns.begin(), samples_ns.end());
  stats.mad_ns = quantile(samples_ns, 0.5);
  return stats;
}

}  // namespace kdabench::reports
