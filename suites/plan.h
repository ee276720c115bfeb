#pragma once
// What to measure, as data. The command line and plan files become a Plan; a suite reads nothing else, and does not
// know whom it measures.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/engine/config.h"
#include "harness/engine/model.h"
#include "harness/engine/registry.h"

namespace kdabench::suites {

// A model to measure: its name in the report and a mixer for each layer.
struct Peer {
  std::string name;
  Layout layout;
};

// One point of the sweep, the same for every peer.
struct Point {
  int64_t context = 0;                        // tokens cached before the first timed step
  int64_t batch = 0;                          // 0: same-memory, as many sequences as fit
  std::optional<int64_t> cache_budget_bytes;  // same-memory: for caches and states; empty: what the device has
  bool same_memory() const { return batch == 0; }
  bool operator==(const Point&) const = default;
};

struct Plan {
  ModelConfig config;                         // its name is the report's `config` axis
  std::vector<Peer> peers;
  DeviceKind device = DeviceKind::kCpu;
  Precision precision = Precision::kFp32;
  std::vector<Point> points;
  int64_t steps = 32;
  int64_t warmup = 8;
  std::string fill = "random";                // random | prefill
  uint64_t seed = 1;
  double timeout_s = 0;                       // for one cell; 0: none
  bool breakdown = false;                     // take the decode step apart, too
};

ModelOptions model_options(const Plan& plan, const Peer& peer);

}  // namespace kdabench::suites
