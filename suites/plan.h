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

// A model to measure: its name in the report, a mixer for each layer, and its weights.
struct Peer {
  std::string name;
  Layout layout;
  std::string checkpoint = {};                // folder; empty: random weights from the seed
  std::optional<ModelConfig> config = {};     // the checkpoint's own; empty: the plan's
};

// One point of the sweep, the same for every peer.
struct Point {
  int64_t context = 0;                        // tokens cached before the first timed step
  int64_t batch = 0;                          // 0: same-memory, as many sequences as fit
  std::optional<int64_t> cache_budget_bytes;  // same-memory: for caches and states; empty: what the device has
  std::string task = {};                      // accuracy: which of a suite's cells at this context
  bool same_memory() const { return batch == 0; }
  bool operator==(const Point&) const = default;
};

// What the accuracy suites are asked.
struct AccuracyPlan {
  std::string data;                           // folder of mmlu/ and ruler/
  std::string tokenizer;                      // as in Tokenizer::load; empty: the checkpoint's own
  std::string prompt_format = "auto";         // auto | base | chat
  int64_t rows = 0;                           // sequences read together; 0: what suits device and length
  bool allow_random_weights = false;
  std::vector<std::string> subjects;          // MMLU's (and -Redux's), or categories of MMLU-Pro, or tasks of BBH; empty: all
  std::string mmlu_style = "lm-eval";         // lm-eval | hendrycks
  int64_t limit = 0;                          // first questions of each subject; 0: all
  std::string mmlu_pro_style = "official";    // official | lm-eval
  std::string redux_rows = "ok";              // MMLU-Redux: ok | corrected
  std::string gpqa;                           // GPQA's CSV
  std::vector<int64_t> lengths = {4096};      // RULER
  std::vector<std::string> tasks;             // RULER; empty: all
  int64_t samples = 500;                      // RULER, each task and length
  uint64_t task_seed = 42;                    // RULER
  std::string reference;                      // report whose log-probabilities MMLU's and GPQA's are compared with
  std::string jsonl;                          // RULER: official files instead of generated prompts
};

struct Plan {
  ModelConfig config;                         // its name is the report's `config` axis
  std::vector<Peer> peers;
  DeviceKind device = DeviceKind::kCpu;
  Precision precision = Precision::kFp32;
  std::vector<Point> points;
  int64_t steps = 32;
  int64_t warmup = 8;
  int64_t chunk = 16384;                      // prefill: tokens of all sequences in a pass
  double seconds = 1;                         // prefill: read a prompt again until they have passed, at most `steps` times
  std::string fill = "random";                // random | prefill
  uint64_t seed = 1;
  double timeout_s = 0;                       // for one cell; 0: none
  bool breakdown = false;                     // take the decode step apart, too
  AccuracyPlan accuracy;
  double inject_slowdown = 1;                 // tests of the gate: steps made this many times as long; cells are invalid
};

// The plan as one peer sees it: with the config of its checkpoint.
Plan plan_of(const Plan& plan, const Peer& peer);

ModelOptions model_options(const Plan& plan, const Peer& peer);

}  // namespace kdabench::suites
