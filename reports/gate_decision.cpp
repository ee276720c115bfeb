#include "reports/gate_decision.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "reports/error.h"

namespace kdabench::reports {

void check(const GateOptions& options) {
  if (!(options.delta > 0)) throw Error(fmt::format("wanted a margin above 0, found {}; 0.02 is 2 %", options.delta));
  if (!(options.alpha > 0 && options.alpha < 0.5))
    throw Error(fmt::format("wanted an error rate between 0 and 0.5, found {}; 0.025 is usual", options.alpha));
  int64_t last = 1;
  for (const int64_t look : options.looks) {
    if (look <= last)
      throw Error(fmt::format("wanted looks of 2 or more blocks, each more than the last, found {}; 5,10,20 is usual",
                              fmt::join(options.looks, ",")));
    last = look;
  }
  if (options.looks.empty()) throw Error("wanted at least one look, found none; 5,10,20 is usual");
}

bool a_first(uint64_t seed, const std::string& stage, int64_t block) {
  // splitmix64's finaliser: every bit of seed, stage and pair reaches the coin.
  uint64_t bits = seed * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(block / 2);
  for (const char c : stage) bits = bits * 31 + static_cast<unsigned char>(c);
  bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ bits >> 27) * 0x94d049bb133111ebu;
  const bool coin = (bits ^ bits >> 31) >> 63;
  return coin == (block % 2 == 0);
}

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass: return "pass";
    case Verdict::improved: return "improved";
    case Verdict::fail: return "fail";
    case Verdict::inconclusive: return "inconclusive";
    case Verdict::undecided: return "undecided";
  }
  return "unknown";
}

Decision decide(std::span<const double> values, const GateOptions& options) {
  Decision out;
  const double margin = std::log1p(options.delta);
  for (const int64_t look : options.looks) {
    if (static_cast<size_t>(look) > values.size()) {
      if (look == options.looks.front() && values.size() >= 2) out.interval = mean_interval(values, options.tail());
      return out;
    }
    out.interval = mean_interval(values.first(static_cast<size_t>(look)), options.tail());
    const MeanInterval& d = out.interval;
    out.p = std::min(out.p, static_cast<double>(options.looks.size()) * d.p_above);
    if (d.low > 0 && d.mean > margin) out.verdict = Verdict::fail;
    else if (d.high < margin) out.verdict = d.high < 0 && d.mean < -margin ? Verdict::improved : Verdict::pass;
    if (out.verdict != Verdict::undecided) return out;
  }
  out.verdict = Verdict::inconclusive;
  return out;
}

std::vector<double> control_values(std::span<const BlockLogs> blocks) {
  std::vector<double> values;
  for (size_t i = 0; i + 1 < blocks.size(); i += 2) {
    const BlockLogs &x = blocks[i], &y = blocks[i + 1];
    values.push_back((x.a1 - x.a2 - y.a1 + y.a2) / 2);
    values.push_back((x.b1 - x.b2 - y.b1 + y.b2) / 2);
  }
  return values;
}

bool control_fails(std::span<const double> values, const GateOptions& options) {
  if (values.size() < 2) return false;
  const MeanInterval c = mean_interval(values, options.tail());
  const double margin = std::log1p(options.delta);
  return (c.low > 0 && c.mean > margin) || (c.high < 0 && c.mean < -margin);
}

double sentinel_drift(std::span<const double> logs, const std::vector<bool>& is_b) {
  if (logs.size() < 6 || logs.size() != is_b.size()) return 0;
  std::vector<double> of_side[2];
  for (size_t i = 0; i < logs.size(); ++i) of_side[is_b[i]].push_back(logs[i]);
  const double centre[2] = {median(of_side[0]), median(of_side[1])};
  std::vector<double> centred;
  for (size_t i = 0; i < logs.size(); ++i) centred.push_back(logs[i] - centre[is_b[i]]);
  const auto third = static_cast<std::ptrdiff_t>(logs.size() / 3);
  return std::expm1(median({centred.end() - third, centred.end()}) -
                    median({centred.begin(), centred.begin() + third}));
}

double process_stddev(std::span<const BlockLogs> blocks) {
  double squares = 0;  // of differences of two processes, whose variance is twice that of one
  for (const BlockLogs& block : blocks)
    squares += (block.a1 - block.a2) * (block.a1 - block.a2) + (block.b1 - block.b2) * (block.b1 - block.b2);
  return blocks.empty() ? 0 : std::sqrt(squares / (4 * static_cast<double>(blocks.size())));
}

}  // namespace kdabench::reports
