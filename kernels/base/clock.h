#pragma once
// Device timers, for the SM clock of a sample without asking the driver: two stamps give cycles and nanoseconds of the
// same multiprocessor (as nvbench does).

#include <cstdint>

#include "kernels/base/types.h"

namespace kdabench {

struct ClockStamp {
  uint64_t nanoseconds;   // %globaltimer
  uint64_t cycles;        // clock64 of `multiprocessor`
  uint64_t multiprocessor;
};

// Writes one stamp, in stream order. One thread.
void stamp_clock_cuda(ClockStamp* stamp, cudaStream_t stream);

// Holds the stream, in its order, until `factor` times as long has passed since the stamp as had when the kernel began;
// factor >= 1. One thread, on the device's clock. For tests that need a known slowdown.
void spin_cuda(const ClockStamp* since, double factor, cudaStream_t stream);

}  // namespace kdabench
