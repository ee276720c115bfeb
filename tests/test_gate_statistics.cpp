// Distributions against published tables, and the decision rule on times whose answer is known.

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "reports/gate_decision.h"
#include "tests/reports_fixture.h"

namespace kdabench::reports {
namespace {

TEST(GateStatistics, StudentAgreesWithTables) {
  // Quantiles to six digits, as every table prints them.
  const struct { double p, freedom, t; } table[] = {{0.975, 1, 12.7062047}, {0.975, 4, 2.7764451},
                                                    {0.975, 9, 2.2621572},  {0.975, 19, 2.0930241},
                                                    {0.995, 4, 4.6040949},  {0.95, 30, 1.6972609},
                                                    {0.975, 1e6, 1.9599664}, {0.9995, 10, 4.5868939}};
  for (const auto& row : table) {
    EXPECT_NEAR(student_quantile(row.p, row.freedom), row.t, 2e-6) << row.p << " " << row.freedom;
    EXPECT_NEAR(student_quantile(1 - row.p, row.freedom), -row.t, 2e-6);
    EXPECT_NEAR(student_cdf(row.t, row.freedom), row.p, 1e-7);
  }
  EXPECT_NEAR(student_cdf(1, 1), 0.75, 1e-14) << "Cauchy: 1/2 + atan(1) / pi";
  EXPECT_NEAR(student_cdf(std::sqrt(2.0), 2), 0.5 + 0.5 * std::sqrt(0.5), 1e-14) << "closed form for two degrees";
  for (const double freedom : {1., 3., 4., 19., 200.}) {
    EXPECT_NEAR(student_cdf(0, freedom), 0.5, 1e-14);
    for (const double t : {1e-9, 0.3, 2., 40., 1e5})
      EXPECT_NEAR(student_cdf(t, freedom) + student_cdf(-t, freedom), 1, 1e-12);
    for (const double p : {1e-12, 1e-4, 0.2, 0.7, 0.9999})
      EXPECT_NEAR(student_cdf(student_quantile(p, freedom), freedom) / p, 1, 1e-9) << p << " " << freedom;
  }
  EXPECT_SAYS(error_of([] { student_quantile(1, 4); }), "wants 0 < p < 1");
}

TEST(GateStatistics, McNemarCountsOnlyDisagreement) {
  EXPECT_DOUBLE_EQ(mcnemar_p_lost(0, 0), 1);
  EXPECT_NEAR(mcnemar_p_lost(5, 0), 1.0 / 32, 1e-14);
  EXPECT_NEAR(mcnemar_p_lost(3, 1), 5.0 / 16, 1e-14);
  EXPECT_NEAR(mcnemar_p_lost(0, 7), 1, 1e-12) << "only wins are no loss";
  EXPECT_NEAR(mcnemar_p_lost(60, 40), 0.0284439668, 1e-9);  // 1 - binom.cdf(59, 100, 0.5)
}

TEST(GateStatistics, BenjaminiHochbergOfThePaper) {
  // The example of Benjamini and Hochberg (1995), section 3.2: at 0.05 the first four of fifteen are rejected.
  const std::vector<double> p = {0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
                                 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000};
  const std::vector<double> q = benjamini_hochberg(p);
  EXPECT_EQ(std::count_if(q.begin(), q.end(), [](double x) { return x <= 0.05; }), 4);
  EXPECT_TRUE(std::is_sorted(q.begin(), q.end()));
  EXPECT_NEAR(q[0], 0.0015, 1e-12);
  const std::vector<double> backwards(p.rbegin(), p.rend());
  EXPECT_EQ(benjamini_hochberg(backwards).back(), q[0]);
  EXPECT_TRUE(benjamini_hochberg({}).empty());
}

std::vector<double> around(double centre, double spread, int64_t n) {
  std::vector<double> values;
  for (int64_t i = 0; i < n; ++i) values.push_back(centre + spread * (i % 2 ? 1 : -1));
  return values;
}

TEST(GateDecision, ThreeAnswersAndALook) {
  const GateOptions options;
  const auto verdict = [&](double centre, double spread, int64_t n) {
    return decide(around(centre, spread, n), options).verdict;
  };
  EXPECT_EQ(verdict(0, 0.001, 5), Verdict::pass);
  EXPECT_EQ(verdict(0.03, 0.001, 5), Verdict::fail);
  EXPECT_EQ(verdict(-0.03, 0.001, 5), Verdict::improved);
  EXPECT_EQ(verdict(0.01, 0.001, 5), Verdict::pass) << "slower, but by less than the margin";
  EXPECT_EQ(verdict(0.03, 0.001, 4), Verdict::undecided) << "no decision before the first look";
  EXPECT_EQ(verdict(0, 0.05, 5), Verdict::undecided);
  EXPECT_EQ(verdict(0, 0.05, 19), Verdict::undecided);
  EXPECT_EQ(verdict(0, 0.05, 20), Verdict::inconclusive);
  EXPECT_EQ(verdict(0, 0, 5), Verdict::pass) << "no spread at all";
  EXPECT_EQ(verdict(0.03, 0, 5), Verdict::fail);

  // What comes after the deciding look changes nothing.
  std::vector<double> values = around(0.03, 0.001, 5);
  const Decision first = decide(values, options);
  values.insert(values.end(), 15, -1.0);
  EXPECT_EQ(decide(values, options).verdict, Verdict::fail);
  EXPECT_EQ(decide(values, options).interval.mean, first.interval.mean);
  EXPECT_LT(first.p, options.alpha);
  EXPECT_NEAR(first.p, 3 * first.interval.p_above, 1e-15) << "each of the three looks has a third of the error";
}

TEST(GateDecision, LinearDriftCancels) {
  // Eight processes in time, the second block in the other order; no noise, a drift of 1 % a process, B 3 % slower.
  const auto at = [](int slot, bool b) { return 0.01 * slot + (b ? 0.03 : 0); };
  const BlockLogs abba{at(0, false), at(3, false), at(1, true), at(2, true)};
  const BlockLogs baab{at(5, false), at(6, false), at(4, true), at(7, true)};
  EXPECT_NEAR(abba.value(), 0.03, 1e-15);
  EXPECT_NEAR(baab.value(), 0.03, 1e-15);
  const std::vector<double> control = control_values(std::vector{abba, baab});
  ASSERT_EQ(control.size(), 2u);
  EXPECT_NEAR(control[0] + control[1], 0, 1e-15) << "the two sides of a pair";
  EXPECT_TRUE(control_values(std::vector{abba}).empty());
}

TEST(GateDecision, OrderIsBalancedAndSeeded) {
  int first = 0;
  for (int64_t block = 0; block < 40; block += 2) {
    EXPECT_NE(a_first(7, "first", block), a_first(7, "first", block + 1));
    first += a_first(7, "first", block);
    EXPECT_EQ(a_first(7, "first", block), a_first(7, "first", block));
  }
  EXPECT_GT(first, 2);
  EXPECT_LT(first, 18);
}

TEST(GateDecision, TheControlSeesWhatIsNotTheBinary) {
  const GateOptions options;
  EXPECT_FALSE(control_fails(around(0.03, 0.2, 10), options)) << "noise alone";
  EXPECT_FALSE(control_fails(around(0.01, 0.001, 10), options)) << "below the margin";
  EXPECT_TRUE(control_fails(around(0.03, 0.001, 10), options));
  EXPECT_TRUE(control_fails(around(-0.03, 0.001, 10), options));
  EXPECT_FALSE(control_fails({}, options));
}

// Two items of two choices: probabilities 1/2 and 1/2 against 1/4 and 3/4, whatever the logarithms add up to.
TEST(GateStatistics, ChoiceDivergence) {
  const double want = 0.5 * std::log(0.5 / 0.25) + 0.5 * std::log(0.5 / 0.75);
  const std::vector<double> reference = {-3, -3, std::log(0.2), std::log(0.3)};
  const std::vector<double> own = {std::log(0.1), std::log(0.3), std::log(0.4), std::log(0.6)};
  const std::vector<double> found = choice_divergence(reference, own, 2);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_NEAR(found[0], want, 1e-12);
  EXPECT_NEAR(found[1], 0, 1e-12);
  EXPECT_GE(found[1], 0);
  EXPECT_EQ(choice_divergence({}, {}, 4).size(), 0u);
  EXPECT_SAYS(error_of([&] { choice_divergence(reference, own, 3); }), "as many numbers twice, 3 an item");
  EXPECT_SAYS(error_of([&] { choice_divergence(reference, std::vector<double>{1, 2}, 2); }), "found 4 and 2");
}

TEST(GateDecision, TheSentinelSeesADriftAndNotASide) {
  std::vector<double> logs;
  std::vector<bool> is_b;
  for (int i = 0; i < 20; ++i) {
    is_b.push_back(i % 4 == 1 || i % 4 == 2);
    logs.push_back(is_b.back() ? 0.5 : 0);
  }
  EXPECT_NEAR(sentinel_drift(logs, is_b), 0, 1e-12);
  for (size_t i = 0; i < logs.size(); ++i) logs[i] += 0.01 * static_cast<double>(i);
  EXPECT_NEAR(sentinel_drift(logs, is_b), 0.14, 0.02);
  EXPECT_EQ(sentinel_drift(std::vector<double>(5, 1.0), std::vector<bool>(5)), 0);
}

TEST(GateDecision, OptionsAreChecked) {
  const auto said = [](const std::function<void(GateOptions&)>& edit) {
    GateOptions options;
    edit(options);
    return error_of([&] { check(options); });
  };
  EXPECT_EQ(said([](GateOptions&) {}), "no error");
  EXPECT_SAYS(said([](GateOptions& o) { o.delta = 0; }), "margin above 0");
  EXPECT_SAYS(said([](GateOptions& o) { o.alpha = 1; }), "error rate");
  EXPECT_SAYS(said([](GateOptions& o) { o.looks = {5, 5}; }), "each more than the last");
  EXPECT_SAYS(said([](GateOptions& o) { o.looks = {1}; }), "looks of 2 or more");
  EXPECT_SAYS(said([](GateOptions& o) { o.looks = {}; }), "at least one look");
}

}  // namespace
}  // namespace kdabench::reports
