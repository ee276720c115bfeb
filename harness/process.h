#pragma once
// Another program, run to its end.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace kdabench {

struct ProcessEnd {
  int exit_code = 0;           // 128 + signal when a signal ended it, as in a shell
  bool timed_out = false;      // it was killed
  double wall_s = 0;           // from its start to its end
};

// Standard output and error go to `log`, standard input is empty. `tick` is called every few milliseconds with the
// seconds so far; `timeout_s` 0 is no limit. Error: the program cannot be started.
ProcessEnd run_process(const std::vector<std::string>& argv, const std::filesystem::path& log, double timeout_s,
                       const std::function<void(double)>& tick);

// The last line of a text file that is not blank; empty without one.
std::string last_line(const std::filesystem::path& path);

}  // namespace kdabench
