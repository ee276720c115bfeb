#pragma once
// Where a long run is: one line that updates itself on a terminal, one line a cell otherwise. Goes to stderr.

#include <chrono>
#include <map>
#include <string>

namespace kdabench {

enum class ProgressStyle { kNone, kPlain, kTerminal };
ProgressStyle progress_style(const std::string& name);   // auto, plain, none

class ProgressLine {
 public:
  ProgressLine(ProgressStyle style, size_t cells) : style_(style), cells_(cells) {}
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // What cells should take, by the name they start with. What is left is then told from the time that was spent on what
  // was expected so far: it corrects itself, whatever the expectation was. Without it all cells count the same.
  void expect(std::map<std::string, double> seconds);

  void starting(const std::string& what);
  void update(const std::string& phase, double fraction);   // of what was started, 0 to 1
  void finished(const std::string& result);                 // one cell is done: a lasting line
  void note(const std::string& line);

 private:
  void clear();
  double expected_of(const std::string& what) const;
  std::string left() const;                                 // "about 3 min left", once there is something to go by

  ProgressStyle style_;
  size_t cells_, done_ = 0;
  std::map<std::string, double> expected_;
  double expected_sum_ = 0, expected_done_ = 0;
  std::string what_;
  double fraction_ = 0;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), drawn_at_{};
};

}  // namespace kdabench
