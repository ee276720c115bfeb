#pragma once
// Comparing a result with the truth, group by group: one wrong head in 64 barely moves a norm over all of them.
//
//   EXPECT_TRUE(close("out", got.out, want.out, {"bthv", {B, T, H, V}, "bh"}, bounds::kDeltaFloat, seed));

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/base/types.h"
#include "kernels/problems.h"

namespace kdabench {

// A new seed every run; KDABENCH_TEST_SEED repeats one. Every failure prints it.
inline uint64_t fresh_seed() {
  if (const char* asked = std::getenv("KDABENCH_TEST_SEED")) return std::strtoull(asked, nullptr, 10);
  static std::random_device device;
  return device();
}

// The dimensions of a dense tensor, one letter each, and the letters that tell the groups apart.
struct Axes {
  std::string letters;
  std::vector<int64_t> sizes;
  std::string group;

  int64_t count() const {
    int64_t n = 1;
    for (const int64_t s : sizes) n *= s;
    return n;
  }

  // "b=0 t=3 h=2 v=47"
  std::string at(int64_t i) const {
    std::string out;
    for (size_t d = sizes.size(); d-- > 0; i /= sizes[d])
      out = std::string(1, letters[d]) + "=" + std::to_string(i % sizes[d]) + (out.empty() ? "" : " ") + out;
    return out;
  }

  int64_t group_of(int64_t i) const {
    int64_t group_index = 0, step = 1;
    for (size_t d = sizes.size(); d-- > 0; i /= sizes[d])
      if (group.find(letters[d]) != std::string::npos) group_index += i % sizes[d] * step, step *= sizes[d];
    return group_index;
  }
};

// Passes when in every group  sqrt(sum (got - want)^2 / sum want^2) <= bound. NaN never passes, nor does a value where
// the truth is zero throughout the group.
template <class Got, class Want>
testing::AssertionResult close(const std::string& name, const std::vector<Got>& got, const std::vector<Want>& want,
                               const Axes& axes, double bound, uint64_t seed) {
  const auto failure = [&]() -> testing::AssertionResult {
    return testing::AssertionFailure() << name << " (seed " << seed << "): ";
  };
  const int64_t count = axes.count();
  if (int64_t(got.size()) != count || int64_t(want.size()) != count)
    return failure() << "got " << got.size() << " and want " << want.size() << " elements, expected " << count;

  struct Group {
    double error = 0, size = 0, worst = -1;
    int64_t worst_at = 0;
  };
  std::vector<Group> groups;
  for (int64_t i = 0; i < count; ++i) {
    const double g = to_float(got[i]), w = to_float(want[i]);
    if (!std::isfinite(g) || !std::isfinite(w))
      return failure() << "at [" << axes.at(i) << "]: got " << g << ", want " << w;
    const size_t at = axes.group_of(i);
    if (at >= groups.size()) groups.resize(at + 1);
    Group& group = groups[at];
    group.error += (g - w) * (g - w);
    group.size += w * w;
    if (std::abs(g - w) > group.worst) group.worst = std::abs(g - w), group.worst_at = i;
  }
  const Group* worst = nullptr;
  double worst_relative = -1;
  for (const Group& group : groups) {
    const double relative = group.error == 0 ? 0 : std::sqrt(group.error / group.size);  // infinite when size is 0
    if (relative > worst_relative) worst_relative = relative, worst = &group;
  }
  if (worst_relative <= bound) return testing::AssertionSuccess();
  const int64_t i = worst->worst_at;
  std::ostringstream message;
  message.precision(9);
  message << "rel_l2 " << worst_relative << ", bound " << bound << "; worst at [" << axes.at(i) << "]: got "
          << to_float(got[i]) << ", want " << to_float(want[i]);
  return failure() << message.str();
}

// Without the `padding` elements behind every row, which must still be as they began: NaN.
template <class T>
std::vector<T> without_padding(const std::vector<T>& padded, int64_t width, int64_t padding) {
  std::vector<T> out;
  for (size_t i = 0; i < padded.size(); ++i) {
    if (int64_t(i) % (width + padding) < width) out.push_back(padded[i]);
    else EXPECT_TRUE(std::isnan(to_float(padded[i]))) << "written beyond the row's end at " << i;
  }
  return out;
}

}  // namespace kdabench
