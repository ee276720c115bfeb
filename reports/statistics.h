#pragma once
// The few distributions that verdicts need. Pure functions, no state, no randomness.
//
// Source of the incomplete beta function: the continued fraction of Numerical Recipes 6.4 (modified Lentz), which
// converges for x < (a + 1) / (a + b + 2); the other side by symmetry. tests/test_gate_statistics.cpp holds all of it
// to published tables.

#include <cstdint>
#include <span>
#include <vector>

namespace kdabench::reports {

// P(T <= t) of Student's t with `freedom` degrees of freedom, freedom > 0.
double student_cdf(double t, double freedom);

// The t with P(T <= t) = p, for 0 < p < 1.
double student_quantile(double p, double freedom);

// Mean of `values` with a two-sided Student interval whose each end is exceeded with probability `tail`, and the
// probability of a mean this large or larger when the true one is not above 0. Two or more values; without spread the
// interval is the mean and p is 0, 1/2 or 1 by its sign.
struct MeanInterval {
  int64_t n = 0;
  double mean = 0, stddev = 0, low = 0, high = 0;
  double p_above = 1;
};
MeanInterval mean_interval(std::span<const double> values, double tail);

// McNemar's exact test: of the items on which two runs disagree, `lost` were right only before and `won` only after.
// Probability of this many losses or more when both directions are equally likely; 1 without disagreement.
double mcnemar_p_lost(int64_t lost, int64_t won);

// Kullback-Leibler divergence of each item, sum over its choices of p log(p / q) in nats, where p and q are `reference` and
// `own`, log-probabilities of `each` choices an item, made to add up to 1. Error: the two differ in length, or `each` does
// not divide it.
std::vector<double> choice_divergence(std::span<const double> reference, std::span<const double> own, size_t each);

// Benjamini and Hochberg's adjusted p-values, in the order given: rejecting all with q <= x keeps the expected share of
// false rejections at most x for independent or positively dependent tests.
std::vector<double> benjamini_hochberg(std::span<const double> p);

// 0 for no values.
double median(std::vector<double> values);

}  // namespace kdabench::reports
