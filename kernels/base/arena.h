#pragma once
// A bump allocator over one block of memory, on any device. An arena without a block measures: `take` hands out null
// views and counts, so one dry pass through the very code that will run says how much memory it needs.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/base/error.h"
#include "kernels/base/view.h"

namespace kdabench {

class Arena {
 public:
  static constexpr int64_t kAlignment = 256;  // bytes; what cudaMalloc gives, and more than any vector load needs

  Arena() = default;  // measures
  Arena(void* block, int64_t capacity_bytes) : block_(static_cast<std::byte*>(block)), capacity_(capacity_bytes) {}

  bool measuring() const { return block_ == nullptr; }

  // An uninitialised contiguous view; its memory is valid until `release` of an earlier mark.
  template <class T, class... Size>
  View<T, sizeof...(Size)> take(Size... sizes) {
    View<T, sizeof...(Size)> view(nullptr, {static_cast<int64_t>(sizes)...});
    const int64_t first = used_;
    used_ += (view.count() * int64_t{sizeof(T)} + kAlignment - 1) / kAlignment * kAlignment;
    peak_ = std::max(peak_, used_);
    if (measuring()) return view;
    require(used_ <= capacity_, "arena: wanted ", used_, " bytes, has ", capacity_, "; the measuring pass missed a path.");
    view.data = reinterpret_cast<T*>(block_ + first);
    return view;
  }

  int64_t mark() const { return used_; }
  void release(int64_t mark) { used_ = mark; }

  int64_t used_bytes() const { return used_; }
  int64_t peak_bytes() const { return peak_; }
  int64_t capacity_bytes() const { return capacity_; }

 private:
  std::byte* block_ = nullptr;
  int64_t capacity_ = 0;
  int64_t used_ = 0;
  int64_t peak_ = 0;
};

// Gives back what was taken from the arena since it was made.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.release(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  int64_t mark_;
};

}  // namespace kdabench
