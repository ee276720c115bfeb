#pragma once
// Which kernels ran. A launcher chooses among several and is the only one to know; it notes its choice here (every
// launch through device::launch does), and whoever asked takes the note. The log is the thread's innermost one, because
// launchers have no argument for it; without one a note is dropped.

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

namespace kdabench {

struct KernelLaunch {
  std::string_view name;               // the launcher's
  const void* function = nullptr;      // the CUDA runtime's handle of the template instance; null: a library launches it
  int64_t shared_bytes = 0;            // dynamic, of a block
};

class KernelLog {
 public:
  explicit KernelLog(std::function<void(const KernelLaunch&)> take) : take_(std::move(take)), outer_(innermost()) {
    innermost() = this;
  }
  ~KernelLog() { innermost() = outer_; }
  KernelLog(const KernelLog&) = delete;
  KernelLog& operator=(const KernelLog&) = delete;

  static void note(const KernelLaunch& launch) {
    if (const KernelLog* log = innermost()) log->take_(launch);
  }

 private:
  static KernelLog*& innermost() {
    static thread_local KernelLog* log = nullptr;
    return log;
  }
  std::function<void(const KernelLaunch&)> take_;
  KernelLog* outer_;
};

}  // namespace kdabench
