#include "harness/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "kernels/base/error.h"

extern char** environ;

namespace kdabench {

ProcessEnd run_process(const std::vector<std::string>& argv, const std::filesystem::path& log, double timeout_s,
                       const std::function<void(double)>& tick) {
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  const auto start = std::chrono::steady_clock::now();
  pid_t child = 0;
  const int refused = posix_spawnp(&child, words[0], &files, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  require(refused == 0, "cannot start ", argv[0], ": ", std::strerror(refused), ".");

  ProcessEnd end;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    end.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (timeout_s > 0 && end.wall_s > timeout_s && !end.timed_out) {
      kill(child, SIGKILL);
      end.timed_out = true;
    }
    if (tick) tick(end.wall_s);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  end.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  end.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return end;
}

std::string last_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string last;
  for (std::string line; std::getline(file, line);)
    if (line.find_first_not_of(" \t\r") != std::string::npos) last = line;
  return last;
}

}  // namespace kdabench
