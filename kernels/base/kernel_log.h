#pragma once
// Which kernels ran. A launcher chooses among several and is the only one to know; it names its choice here (every
// launch through device::launch does), and whoever asked takes the name. The log is the thread's innermost one, because
// launchers have no argument for it; without one a name is dropped.

#include <functional>
#include <string_view>
#include <utility>

namespace kdabench {

class KernelLog {
 public:
  explicit KernelLog(std::function<void(std::string_view name)> take) : take_(std::move(take)), outer_(innermost()) {
    innermost() = this;
  }
  ~KernelLog() { innermost() = outer_; }
  KernelLog(const KernelLog&) = delete;
  KernelLog& operator=(const KernelLog&) = delete;

  static void note(std::string_view name) {
    if (const KernelLog* log = innermost()) log->take_(name);
  }

 private:
  static KernelLog*& innermost() {
    static thread_local KernelLog* log = nullptr;
    return log;
  }
  std::function<void(std::string_view)> take_;
  KernelLog* outer_;
};

}  // namespace kdabench
