#include "suites/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "suites/bounds.h"
#include "suites/fit.h"
#include "suites/runner.h"

namespace kdabench::suites {
namespace {

SessionOptions session_options(const Plan&, int64_t context, int64_t batch) {
  SessionOptions options;
  options.batch = batch;
  options.capacity = context;
  return options;
}

void measure(Bench& bench, reports::Cell& cell) {
  bench.host.progress("largest batch", 0);
  const reports::Axes& axes = cell.axes;
  if (axes.protocol == "same-batch") {
    const Point any{axes.context, 0, {}};
    const Fit most = fit(any, [&](int64_t batch) {
      return bench.model.predict(session_options(bench.plan, axes.context, batch));
    }, device_memory(bench.plan.device));
    cell.validity.reasons.push_back({"largest_batch", most.reason});
  }
  bench.host.progress("allocate", 0.3);
  const SessionOptions options = session_options(bench.plan, axes.context, axes.batch);
  const std::unique_ptr<Session> session = bench.model.open(options);
  record_memory(bench, options, *session, cell);
  bench.host.progress("fill", 0.6);
  session->fill_random(axes.context, bench.plan.seed);  // memory that was never written may not be there
  record_peak(bench, *session, cell);
}

}  // namespace

void record_memory(const Bench& bench, const SessionOptions& options, const Session& session, reports::Cell& cell) {
  const SessionBytes bytes = session.bytes();
  reports::Memory memory = analytic_memory(bench.plan, bench.peer, cell.axes);
  memory.parameters = bench.model.parameters();
  memory.weight_bytes = bench.model.weight_bytes();
  memory.cache_bytes_allocated = bytes.cache + bytes.state;
  memory.workspace_bytes = bytes.workspace;
  memory.cache_bytes_driver = session.driver_cache_bytes();
  if (!memory.cache_bytes_driver) memory.reason = "no driver to ask: host memory";

  const int64_t wanted = cache_bytes(bench.plan.config, bench.peer.layout, number_bytes(bench.plan.precision),
                                     options.batch, options.capacity);
  const double slack = bounds::kAllocationSlack * static_cast<double>(wanted) + bounds::kAllocationSlackBytes;
  const double off = static_cast<double>(memory.cache_bytes_allocated - wanted);
  if (std::abs(off) > slack)
    cell.validity.reasons.push_back(
        {"allocation_differs", fmt::format("Caches and states for {} tokens should take {} bytes; {} were allocated.",
                                           options.capacity, wanted, memory.cache_bytes_allocated)});
  cell.memory = memory;
  record_peak(bench, session, cell);
}

void record_peak(const Bench& bench, const Session& session, reports::Cell& cell) {
  int64_t used = bench.model.weight_bytes() + session.bytes().total();
  if (bench.plan.device == DeviceKind::kCuda) {
    const DeviceMemoryState memory = device_memory(bench.plan.device);
    used = memory.total_bytes - memory.free_bytes;
  }
  cell.memory->peak_device_bytes = std::max(used, cell.memory->peak_device_bytes.value_or(0));
}

Suite memory_suite() {
  return {"memory", "cache and state bytes: analytic, allocated, from the driver; largest batch that fits", false,
          session_options, measure};
}

}  // namespace kdabench::suites
