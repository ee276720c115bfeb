#pragma once
// What the GPU did during a timed loop, from two readings of its management library and the device timers.

#include <optional>

#include "harness/engine/model.h"
#include "reports/record.h"
#include "suites/suite.h"

namespace kdabench::suites {

// The driver's energy counter steps every 20 to 100 ms, and what it adds is sampled in a quarter of the time on an H100
// (arXiv 2312.02741): over a shorter window than this the energy is null.
inline constexpr double kEnergyWindowNs = 2e9;

// Sets cell.gpu_state, and a reason in cell.validity for each thing that makes times doubtful: an SM clock that fell,
// throttling, other processes. Counters are differences; a driver counts throttled time in steps of about 100 ms, so of
// a short loop only the sum over many runs means something. Does nothing without `after`: there is no GPU.
void record_gpu_state(const std::optional<GpuReading>& before, const std::optional<GpuReading>& after,
                      const DecodeSamples& samples, reports::Cell& cell);

// Sets cell.launches.
void record_launches(const DecodeSamples& samples, reports::Cell& cell);

}  // namespace kdabench::suites
