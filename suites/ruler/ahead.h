#pragma once
// Prompts made by other threads before they are wanted, once for all models that read them with the same tokenizer: a
// GPU that scores a small model would otherwise wait for the CPU.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "suites/ruler/ruler.h"

namespace kdabench::suites {

class RulerAhead {
 public:
  // `data` outlives this.
  explicit RulerAhead(const RulerData& data);
  ~RulerAhead();                         // waits for the requests that have begun, drops the others
  RulerAhead(const RulerAhead&) = delete;
  RulerAhead& operator=(const RulerAhead&) = delete;

  // Starts on them in this order, as far as kMostTokens allows. `tokenizer_path` tells one tokenizer from another;
  // asking again for one changes nothing.
  void expect(const std::vector<RulerRequest>& requests, const std::string& tokenizer_path, const Tokenizer& tokenizer);

  // The samples, as generate_ruler makes them, with its errors. Those that were not expected, or were too many, are made
  // by the caller's thread.
  std::vector<RulerSample> take(const RulerRequest& request, const std::string& tokenizer_path,
                                const Tokenizer& tokenizer, const RulerProgress& progress = {});

  static constexpr int64_t kMostTokens = int64_t{64} << 20;  // of all prompts that are kept

 private:
  using Samples = std::vector<RulerSample>;
  static std::string key(const RulerRequest& request, const std::string& tokenizer_path);
  void work();

  const RulerData& data_;
  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<std::packaged_task<Samples()>> queue_;
  std::map<std::string, std::shared_future<Samples>> kept_;
  int64_t tokens_ = 0;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace kdabench::suites
