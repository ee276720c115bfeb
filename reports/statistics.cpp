#include "reports/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "reports/error.h"

namespace kdabench::reports {
namespace {

// The continued fraction of I_x(a, b).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300, kEnough = 1e-15;
  const auto away_from_zero = [](double value) { return std::abs(value) < kTiny ? kTiny : value; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), result = d;
  for (int m = 1; m <= 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    for (const double term : {even, odd}) {
      d = 1 / away_from_zero(1 + term * d);
      c = away_from_zero(1 + term / c);
      result *= d * c;
    }
    if (std::abs(d * c - 1) < kEnough) break;
  }
  return result;
}

// I_x(a, b); `y` is 1 - x, given apart because it may be far below the rounding of x.
double incomplete_beta(double a, double b, double x, double y) {
  if (x <= 0) return 0;
  if (y <= 0) return 1;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log(y));
  return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a : 1 - front * beta_fraction(b, a, y) / b;
}

// P(T > |t|).
double upper_tail(double t, double freedom) {
  const double square = t * t;
  if (!std::isfinite(square)) return 0;
  return 0.5 * incomplete_beta(freedom / 2, 0.5, freedom / (freedom + square), square / (freedom + square));
}

}  // namespace

double student_cdf(double t, double freedom) {
  const double tail = upper_tail(t, freedom);
  return t > 0 ? 1 - tail : tail;
}

double student_quantile(double p, double freedom) {
  if (!(p > 0 && p < 1 && freedom > 0))
    throw Error(
        fmt::format("student_quantile wants 0 < p < 1 and freedom above 0, found p {} and freedom {}", p, freedom));
  const double tail = std::min(p, 1 - p);
  double low = 0, high = 1;
  while (upper_tail(high, freedom) > tail && high < 1e150) high *= 2;
  // Newton within the bracket: the tail is convex for t > 0, so steps from the left end never pass the root; a step
  // that rounding pushes out is halved into the bracket.
  const double scale = std::exp(std::lgamma((freedom + 1) / 2) - std::lgamma(freedom / 2)) /
                       std::sqrt(freedom * std::numbers::pi);
  double t = low;
  for (int i = 0; i < 200; ++i) {
    const double off = upper_tail(t, freedom) - tail;
    (off > 0 ? low : high) = t;
    const double density = scale * std::exp(-(freedom + 1) / 2 * std::log1p(t * t / freedom));
    double next = t + off / density;
    if (!(next >= low && next <= high)) next = (low + high) / 2;
    if (std::abs(next - t) <= 1e-14 * next) break;
    t = next;
  }
  return p < 0.5 ? -t : t;
}

MeanInterval mean_interval(std::span<const double> values, double tail) {
  MeanInterval out;
  out.n = static_cast<int64_t>(values.size());
  if (out.n < 2) throw Error(fmt::format("an interval wants two or more values, found {}; run more blocks", out.n));
  const auto n = static_cast<double>(out.n);
  out.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - out.mean) * (value - out.mean);
  out.stddev = std::sqrt(squares / (n - 1));
  const double error = out.stddev / std::sqrt(n);
  const double reach = error > 0 ? student_quantile(1 - tail, n - 1) * error : 0;
  out.low = out.mean - reach;
  out.high = out.mean + reach;
  if (error > 0)
    out.p_above = out.mean > 0 ? upper_tail(out.mean / error, n - 1) : 1 - upper_tail(out.mean / error, n - 1);
  else
    out.p_above = out.mean > 0 ? 0 : out.mean < 0 ? 1 : 0.5;
  return out;
}

double mcnemar_p_lost(int64_t lost, int64_t won) {
  if (lost < 0 || won < 0) throw Error(fmt::format("mcnemar wants counts, found {} and {}", lost, won));
  const double n = static_cast<double>(lost + won);
  double p = 0;
  for (int64_t k = lost; k <= lost + won; ++k) {
    const auto x = static_cast<double>(k);
    p += std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) - n * std::log(2.0));
  }
  return std::min(1.0, p);
}

std::vector<double> choice_divergence(std::span<const double> reference, std::span<const double> own, size_t each) {
  if (each == 0 || reference.size() != own.size() || own.size() % each != 0)
    throw Error(fmt::format("choice_divergence wants as many numbers twice, {} an item, found {} and {}", each,
                            reference.size(), own.size()));
  const auto log_sum = [](std::span<const double> logs) {
    const double largest = *std::max_element(logs.begin(), logs.end());
    double sum = 0;
    for (const double x : logs) sum += std::exp(x - largest);
    return largest + std::log(sum);
  };
  std::vector<double> divergences;
  for (size_t first = 0; first < own.size(); first += each) {
    const std::span<const double> p = reference.subspan(first, each), q = own.subspan(first, each);
    const double of_p = log_sum(p), of_q = log_sum(q);
    double sum = 0;
    for (size_t i = 0; i < each; ++i) sum += std::exp(p[i] - of_p) * ((p[i] - of_p) - (q[i] - of_q));
    divergences.push_back(std::max(0., sum));  // rounding alone makes it negative
  }
  return divergences;
}

std::vector<double> benjamini_hochberg(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });  // the largest first
  std::vector<double> q(p.size());
  double least = 1;
  for (size_t i = 0; i < order.size(); ++i) {
    const double rank = static_cast<double>(p.size() - i);
    least = std::min(least, p[order[i]] * static_cast<double>(p.size()) / rank);
    q[order[i]] = least;
  }
  return q;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace kdabench::reports
