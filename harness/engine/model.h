#pragma once
// A model on a device and a session of it, behind one interface for all architectures, devices and number types. What
// lies behind it is one template over the backend (transformer.h); nothing above this header knows which.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/engine/config.h"
#include "harness/engine/cost.h"
#include "harness/engine/parts.h"
#include "harness/engine/registry.h"

namespace kdabench {

enum class DeviceKind { kCpu, kCuda };
enum class Precision { kFp32, kFp64, kBf16 };   // CPU: fp32, fp64 (the truth); CUDA: bf16

DeviceKind parse_device(const std::string& name);        // Error names the choices
Precision parse_precision(const std::string& name);
const char* device_name(DeviceKind device);
const char* precision_name(Precision precision);
Precision default_precision(DeviceKind device);
NumberBytes number_bytes(Precision precision);

// True when this build has the CUDA backend and a GPU answers; otherwise `reason` says in one sentence why not.
bool cuda_available(std::string* reason = nullptr);

// Called with what is going on and how far it is, 0 to 1. May be empty.
using Progress = std::function<void(const std::string& what, double fraction)>;

struct ModelOptions {
  ModelConfig config;
  Layout layout;
  DeviceKind device = DeviceKind::kCpu;
  Precision precision = Precision::kFp32;
  std::string checkpoint;                // folder with safetensors; empty: seeded random weights
  uint64_t seed = 1;
  Progress progress;
};

struct SessionOptions {
  int64_t batch = 1;
  int64_t capacity = 0;                  // tokens a sequence may grow to
  int64_t forward_tokens = 1;            // most tokens per sequence in one internal pass; longer prompts are cut
  bool all_logits = false;               // whether forward() may be asked for logits at every position
  double slowdown = 1;                   // tests of the gate: each decode step is made to take this many times as long
};

struct SessionBytes {
  int64_t cache = 0;                     // latent caches of all layers and sequences
  int64_t state = 0;                     // recurrent and convolution states
  int64_t workspace = 0;                 // activations, logits, kernel scratch
  int64_t total() const { return cache + state + workspace; }
};

struct PartTime {
  Part part;
  double time_ns = 0;
};

// A step is one token for every sequence of the batch; of a prefill, the whole prompt of every sequence.
struct DecodeSamples {
  std::vector<double> step_ns;           // device time of each step: CUDA events, or the steady clock on the CPU
  std::vector<double> sm_clock_hz;       // SM clock during each step, from device timers; empty on the CPU
  double wall_ns = 0;                    // host clock over all steps
  double build_graph_ns = 0;             // capture and instantiate, 0 without a graph
  bool graph = false;
  std::optional<int64_t> kernels;        // kernel nodes of the graph; empty without one
  std::vector<int32_t> tokens;           // [steps, B], what was sampled
  std::vector<PartTime> parts;           // of a prefill: those that ran; they add up to the step
};

// Where the time of a decode step goes.
struct StepParts {
  double step_ns = 0;                    // the whole step
  std::vector<PartTime> parts;           // those that this model has; what they leave of step_ns is gaps and overlap
  std::string method;
};

enum class Logits { kNone, kLast, kAll };

// What a session keeps of one row: its cached tokens, states, next token and logits, on the device.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  virtual int64_t length() const = 0;
};

class Session {
 public:
  virtual ~Session() = default;

  // Forgets everything: lengths and states are zero.
  virtual void reset() = 0;
  // Appends rows[b] to row b: prompts of any lengths, in passes of at most forward_tokens a row. A row that gets nothing
  // stays as it is. Nothing is padded: a row computes what it computes alone. The argmax of the last logits becomes
  // the row's next token. `experts` as in forward, for the tokens of all rows one after another, in a single pass.
  virtual void append(std::span<const std::vector<int32_t>> rows, std::span<const int32_t> experts = {}) = 0;
  // A prompt's beginning that several rows share is read once: saved, and restored into each of them. The snapshot
  // serves any session of the same model with enough capacity.
  virtual std::unique_ptr<Snapshot> save(int64_t row) = 0;
  virtual void restore(const Snapshot& snapshot, std::span<const int64_t> rows) = 0;
  // Seeded random latents and states, as if `context` tokens had been read. The next token of each row is seeded too.
  virtual void fill_random(int64_t context, uint64_t seed) = 0;
  // Appends ids [B, T] (row-major) and returns fp32 logits: none, [B, vocabulary] of the last position, or
  // [B, T, vocabulary]. The argmax of the last position becomes each row's next token. T = 1 takes the decode
  // kernels, T > 1 the prefill kernels. Error: an id outside the vocabulary, more tokens than the capacity.
  // `experts` gives the routing instead of choosing it (the layout of chosen_experts, in a single pass): two runs of one
  // model can then be compared tightly, because no rounding can push a token across the edge of the router's top k.
  virtual std::vector<float> forward(std::span<const int32_t> ids, Logits logits,
                                     std::span<const int32_t> experts = {}) = 0;
  // Greedy decode: each step feeds every row's next token, appends it, and takes the argmax as the new next token.
  virtual DecodeSamples decode(int64_t steps) = 0;
  // Reads prompts ids [B, T] from nothing cached, in passes of at most forward_tokens a row, and samples each row's first
  // new token: one step, timed from the ids on the host to the tokens there. `after_pass`, when given, is called between
  // passes with the tokens of a row read so far; what it throws ends the reading.
  virtual DecodeSamples prefill(std::span<const int32_t> ids, const std::function<void(int64_t)>& after_pass = {}) = 0;
  // Which kernels served the parts of the last decode steps or prefill: what the launchers chose when the step was captured
  // (CUDA) or ran.
  virtual const StepKernels& kernels() const = 0;
  // Runs the last `steps` steps again, by part. CPU: each operation is timed. CUDA: steps of some of the parts are captured
  // and timed; a part's time is what it adds to those before it, mean of two opposite orders, so that parts that overlap
  // share what that saves. Leaves caches, states and tokens unspecified.
  virtual StepParts breakdown(int64_t steps) = 0;
  // The token each row will feed next, [B].
  virtual std::vector<int32_t> next_tokens() = 0;
  // Logits [B, vocabulary] of the last step or forward.
  virtual std::vector<float> last_logits() = 0;
  virtual int64_t length() const = 0;    // tokens cached in the longest row
  virtual int64_t length(int64_t row) const = 0;
  // Experts that the last pass or step chose, [MoE layers, tokens, top_k].
  virtual std::vector<int32_t> chosen_experts() = 0;
  // Distinct routed experts the last step or pass hit, mean over MoE layers; empty when the model has no MoE layer.
  virtual std::optional<double> distinct_experts() = 0;
  virtual SessionBytes bytes() const = 0;             // what the session's allocator handed out
  // What the driver says the caches and states took (free memory before minus after), when there is a driver.
  virtual std::optional<int64_t> driver_cache_bytes() const = 0;
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelOptions& options() const = 0;
  virtual int64_t parameters() const = 0;             // counted over the tensors that exist
  virtual int64_t weight_bytes() const = 0;           // allocated
  // What open() would allocate, without allocating. Exact: the same code runs in measuring mode.
  virtual SessionBytes predict(const SessionOptions& options) const = 0;
  // Error or OutOfMemory when it does not fit.
  virtual std::unique_ptr<Session> open(const SessionOptions& options) = 0;
};

// Builds the model and its weights. Errors: unknown device, missing/extra/misshapen tensors, shapes without a CUDA
// kernel; OutOfMemory.
std::unique_ptr<Model> make_model(const ModelOptions& options);

// Free and total bytes of the device a model would live on; host memory for the CPU.
struct DeviceMemoryState {
  int64_t free_bytes = 0;
  int64_t total_bytes = 0;
};
DeviceMemoryState device_memory(DeviceKind device);

// What a session would take on a device without a model or a device being there (for --dry-run).
SessionBytes predict_session(const ModelOptions& options, const SessionOptions& session);

}  // namespace kdabench
