#include "harness/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace kdabench {
namespace {

constexpr double kPlainSeconds = 60;           // a log gets a line this often while a cell lasts

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

size_t terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

}  // namespace

ProgressStyle progress_style(const std::string& name) {
  if (name == "none") return ProgressStyle::kNone;
  if (name == "plain" || !isatty(STDERR_FILENO)) return ProgressStyle::kPlain;
  return ProgressStyle::kTerminal;
}

void ProgressLine::clear() {
  if (drawn_) fmt::print(stderr, "\r\x1b[K");
  drawn_ = false;
}

void ProgressLine::expect(std::map<std::string, double> seconds) {
  expected_ = std::move(seconds);
  expected_sum_ = 0;
  for (const auto& [what, expected] : expected_) expected_sum_ += expected;
}

double ProgressLine::expected_of(const std::string& what) const {
  const auto at = expected_.find(what);
  return at == expected_.end() ? 0 : at->second;
}

std::string ProgressLine::left() const {
  double share = cells_ == 0 ? 0 : (static_cast<double>(done_) + fraction_) / static_cast<double>(cells_);
  if (expected_sum_ > 0) share = (expected_done_ + fraction_ * expected_of(what_)) / expected_sum_;
  const double spent = seconds_since(start_);
  const bool first = done_ == 0;             // nothing to go by but its own share
  if (done_ == cells_ || share <= 0 || spent < (first ? 20 : 2) || (first && fraction_ < 0.02)) return "";
  share = std::min(share, 1.);
  const double left = spent * (1 - share) / share;
  return left < 90 ? fmt::format(", about {:.0f} s left", left) : fmt::format(", about {:.0f} min left", left / 60);
}

void ProgressLine::starting(const std::string& what) {
  what_ = what;
  fraction_ = 0;
  drawn_at_ = {};
  update("", 0);
}

void ProgressLine::update(const std::string& phase, double fraction) {
  fraction_ = fraction;
  if (style_ == ProgressStyle::kPlain && !phase.empty() && seconds_since(drawn_at_) > kPlainSeconds) {
    if (drawn_at_ != std::chrono::steady_clock::time_point{})
      fmt::print(stderr, "[{}/{}{}] {}: {} {:.0f} %\n", done_, cells_, left(), what_, phase, 100 * fraction);
    drawn_at_ = std::chrono::steady_clock::now();
  }
  if (style_ != ProgressStyle::kTerminal) return;
  if (drawn_ && fraction < 1 && seconds_since(drawn_at_) < 0.1) return;
  std::string line = fmt::format("[{}/{}{}] {}", done_, cells_, left(), what_);
  if (!phase.empty()) line += fmt::format(": {} {:.0f} %", phase, 100 * fraction);
  if (line.size() >= terminal_columns()) line.resize(terminal_columns() - 1);
  fmt::print(stderr, "\r\x1b[K{}", line);
  std::fflush(stderr);
  drawn_ = true;
  drawn_at_ = std::chrono::steady_clock::now();
}

void ProgressLine::finished(const std::string& result) {
  clear();
  ++done_;
  expected_done_ += expected_of(what_);
  fraction_ = 0;
  what_.clear();
  if (style_ == ProgressStyle::kNone) return;
  fmt::print(stderr, "[{}/{}] {}{}\n", done_, cells_, result, style_ == ProgressStyle::kPlain ? left() : "");
}

void ProgressLine::note(const std::string& line) {
  clear();
  if (style_ != ProgressStyle::kNone) fmt::print(stderr, "{}\n", line);
}

}  // namespace kdabench
