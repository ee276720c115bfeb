#include "suites/ruler/ahead.h"

#include <algorithm>

#include "kernels/base/error.h"

namespace kdabench::suites {
namespace {

constexpr unsigned kMostThreads = 8;     // ahead of one GPU; the prompts of a small model's run are made in seconds

}  // namespace

RulerAhead::RulerAhead(const RulerData& data) : data_(data) {}

RulerAhead::~RulerAhead() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    queue_.clear();
  }
  more_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::string RulerAhead::key(const RulerRequest& request, const std::string& tokenizer_path) {
  return text(request.task, " ", request.length, " ", request.samples, " ", request.seed, " ", tokenizer_path);
}

void RulerAhead::expect(const std::vector<RulerRequest>& requests, const std::string& tokenizer_path,
                        const Tokenizer& tokenizer) {
  std::shared_ptr<const Tokenizer> own;
  const std::lock_guard lock(mutex_);
  for (const RulerRequest& request : requests) {
    const int64_t tokens = request.length * request.samples;
    const std::string name = key(request, tokenizer_path);
    if (tokens_ + tokens > kMostTokens || kept_.count(name)) continue;
    tokens_ += tokens;
    if (!own) own = std::make_shared<const Tokenizer>(tokenizer);
    std::packaged_task<Samples()> task([this, request, own] { return generate_ruler(request, data_, *own); });
    kept_[name] = task.get_future().share();
    queue_.push_back(std::move(task));
  }
  const size_t wanted = std::min<size_t>(queue_.size(), std::clamp(std::thread::hardware_concurrency(), 1u, kMostThreads));
  while (threads_.size() < wanted) threads_.emplace_back([this] { work(); });
  more_.notify_all();
}

std::vector<RulerSample> RulerAhead::take(const RulerRequest& request, const std::string& tokenizer_path,
                                          const Tokenizer& tokenizer, const RulerProgress& progress) {
  std::shared_future<Samples> ready;
  {
    const std::lock_guard lock(mutex_);
    const auto at = kept_.find(key(request, tokenizer_path));
    if (at != kept_.end()) ready = at->second;
  }
  return ready.valid() ? ready.get() : generate_ruler(request, data_, tokenizer, progress);
}

void RulerAhead::work() {
  for (;;) {
    std::packaged_task<Samples()> task;
    {
      std::unique_lock lock(mutex_);
      more_.wait(lock, [this] { return ending_ || !queue_.empty(); });
      if (ending_) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

}  // namespace kdabench::suites
