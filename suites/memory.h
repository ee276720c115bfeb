#pragma once
// Cache and state memory at a point, three ways: analytic, our allocator, the driver. Nothing is timed.

#include "harness/engine/model.h"
#include "suites/suite.h"

namespace kdabench::suites {

Suite memory_suite();

// What an open session says of its bytes, beside what config and layout say. A disagreement beyond alignment becomes
// a reason of cell.validity.
void record_memory(const Bench& bench, const SessionOptions& options, const Session& session, reports::Cell& cell);

// Raises memory.peak_device_bytes to what is in use now.
void record_peak(const Bench& bench, const Session& session, reports::Cell& cell);

}  // namespace kdabench::suites
