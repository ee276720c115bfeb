#pragma once
// CUDA status checks and owners. Host code only; kernels see plain pointers.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <source_location>
#include <string_view>
#include <utility>

#include "kernels/base/error.h"

namespace kdabench {

// Throws when a CUDA call failed. `doing` completes "failed to ...", so messages read as sentences.
inline void check(cudaError_t status, std::string_view doing,
                  std::source_location at = std::source_location::current()) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // clear it: the next check must report its own failure
  const std::string message = text("failed to ", doing, ": ", cudaGetErrorString(status), " (",
                                   cudaGetErrorName(status), ") at ", at.file_name(), ":", at.line());
  if (status == cudaErrorMemoryAllocation) throw OutOfMemory(message);
  throw Error(message);
}

// Call after every launch.
inline void check_launch(std::string_view kernel, std::source_location at = std::source_location::current()) {
  check(cudaGetLastError(), text("launch ", kernel), at);
}

struct StreamDeleter {
  using pointer = cudaStream_t;
  void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
};
using Stream = std::unique_ptr<cudaStream_t, StreamDeleter>;

struct EventDeleter {
  using pointer = cudaEvent_t;
  void operator()(cudaEvent_t event) const noexcept { cudaEventDestroy(event); }
};
using Event = std::unique_ptr<cudaEvent_t, EventDeleter>;

inline Stream make_stream() {
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "create a stream");
  return Stream(stream);
}
inline Event make_event() {
  cudaEvent_t event;
  check(cudaEventCreate(&event), "create an event");
  return Event(event);
}

// `bytes` uninitialised bytes of device memory, freed with the object.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(int64_t bytes, std::string_view purpose,
               std::source_location at = std::source_location::current())
      : bytes_(bytes) {
    if (bytes > 0) check(cudaMalloc(&data_, bytes), text("allocate ", bytes, " bytes for ", purpose), at);
  }
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceMemory() { cudaFree(data_); }

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace kdabench
