#pragma once
// Where a long run is: one line that updates itself on a terminal, one line a cell otherwise. Goes to stderr.

#include <chrono>
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

  void starting(const std::string& what);
  void update(const std::string& phase, double fraction);   // of what was started, 0 to 1
  void finished(const std::string& result);                 // one cell is done: a lasting line
  void note(const std::string& line);

 private:
  void clear();
  std::string left() const;                                 // "about 3 min left", once there is something to go by

  ProgressStyle style_;
  size_t cells_, done_ = 0;
  std::string what_;
  double fraction_ = 0;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), drawn_at_{};
};

}  // namespace kdabench
