#pragma once
// What a report holds: plain structs, one list of fields each. JSON in and out and the schema visit that
// list. What is absent was not measured; nothing is ever NaN; a wrong result has no speed.
//
// A visitor is called as visit("name", member, "one sentence"). Units end the name. A std::optional value
// that is empty is written as null, and `reason` beside it says why; a std::optional block (timing, ...) is
// left out.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "reports/record_accuracy.h"

namespace kdabench::reports {

inline constexpr const char* kSchema = "kdabench/report";
inline constexpr const char* kSchemaVersion = "1.0.0";

struct Meta {
  std::vector<std::string> argv;
  std::string command;                 // the command line, paths as typed
  std::string tool_version;
  std::string git_commit;
  bool git_dirty = false;
  std::string compiler, build_type, cuda_version, cuda_architectures;
  std::string started_utc, finished_utc;  // ISO 8601
  uint64_t seed = 0;
  std::map<std::string, std::string> options;  // every option of the run, defaults included

  template <class V> void fields(V&& v) {
    v("argv", argv, "command line as given");
    v("command", command, "command line as one string");
    v("tool_version", tool_version, "kdabench version");
    v("git_commit", git_commit, "commit the binary was built from, or unknown");
    v("git_dirty", git_dirty, "whether the tree had uncommitted changes at build time");
    v("compiler", compiler, "C++ compiler and version");
    v("build_type", build_type, "CMake build type");
    v("cuda_version", cuda_version, "CUDA toolkit version, or none");
    v("cuda_architectures", cuda_architectures, "targets of the CUDA code, or none");
    v("started_utc", started_utc, "start of the run, ISO 8601");
    v("finished_utc", finished_utc, "end of the run, ISO 8601; empty while it runs");
    v("seed", seed, "seed of weights, inputs and cell order");
    v("options", options, "every option of the run by flag name, defaults included");
  }
};

struct Machine {
  std::string fingerprint;             // hash of what makes times comparable: GPU, driver, CPU, cores
  std::string os, cpu;
  int64_t cores = 0;
  int64_t memory_bytes = 0;

  template <class V> void fields(V&& v) {
    v("fingerprint", fingerprint, "hash of what makes times comparable: GPU, driver, CPU model, cores");
    v("os", os, "operating system and kernel");
    v("cpu", cpu, "CPU model");
    v("cores", cores, "logical cores");
    v("memory_bytes", memory_bytes, "host memory");
  }
};

struct Device {
  std::string kind;                    // cpu | cuda
  std::string name, driver;
  std::optional<int64_t> memory_bytes, l2_bytes, multiprocessors, power_limit_milliwatts;
  std::optional<std::string> compute_capability, uuid_hash;
  std::optional<bool> ecc;
  std::string reason;                  // why optional entries are null

  template <class V> void fields(V&& v) {
    v("kind", kind, "cpu or cuda");
    v("name", name, "marketing name");
    v("driver", driver, "driver version");
    v("memory_bytes", memory_bytes, "device memory");
    v("l2_bytes", l2_bytes, "last level cache");
    v("multiprocessors", multiprocessors, "streaming multiprocessors");
    v("compute_capability", compute_capability, "major.minor");
    v("power_limit_milliwatts", power_limit_milliwatts, "enforced power limit, from NVML");
    v("uuid_hash", uuid_hash, "hash of the device UUID");
    v("ecc", ecc, "whether ECC is on");
    v("reason", reason, "why entries above are null");
  }
};

// Measured in the same run as the cells; a cell above a ceiling is invalid.
struct Ceilings {
  std::optional<double> copy_bytes_per_s, read_bytes_per_s, gemm_flops_per_s;
  std::string method;

  template <class V> void fields(V&& v) {
    v("copy_bytes_per_s", copy_bytes_per_s, "device copy, bytes read plus bytes written");
    v("read_bytes_per_s", read_bytes_per_s, "read-only stream");
    v("gemm_flops_per_s", gemm_flops_per_s, "large bf16 (CPU: fp32) matrix product on random data");
    v("method", method, "how the ceilings were measured");
  }
};

struct Axes {
  std::string model, config, device, dtype, protocol, fill;
  int64_t context = 0, batch = 0, steps = 0;
  std::optional<int64_t> cache_budget_bytes;
  std::optional<std::string> task;     // what tells cells of one point apart: a kernel, a RULER task

  template <class V> void fields(V&& v) {
    v("model", model, "architecture, by registered name");
    v("config", config, "preset or checkpoint folder name, and what differs from it: +rope, +bf16-state");
    v("device", device, "cpu or cuda");
    v("dtype", dtype, "activations and weights: fp32 or bf16");
    v("context", context, "tokens cached before the first timed step; prefill: tokens of the prompt");
    v("batch", batch, "sequences decoded together");
    v("protocol", protocol, "same-batch, same-memory, or accuracy");
    v("cache_budget_bytes", cache_budget_bytes, "same-memory: bytes the caches of all sequences may take");
    v("fill", fill, "how the cache was filled: random or prefill; empty: nothing was cached");
    v("steps", steps, "timed decode steps; prefill: most repetitions");
    v("task", task, "kernel or task, in suites with several cells at one point");
  }
};

struct Reason {
  std::string code, detail;
  template <class V> void fields(V&& v) {
    v("code", code, "machine-readable reason");
    v("detail", detail, "one sentence");
  }
};

struct Validity {
  bool valid = true;
  std::vector<Reason> reasons;
  template <class V> void fields(V&& v) {
    v("valid", valid, "whether the measurement may be used");
    v("reasons", reasons, "why not, or warnings worth reading");
  }
};

struct Stats {
  int64_t n = 0;
  double min_ns = 0, q1_ns = 0, median_ns = 0, q3_ns = 0, p95_ns = 0, p99_ns = 0, max_ns = 0, mean_ns = 0,
         stddev_ns = 0, mad_ns = 0;
  template <class V> void fields(V&& v) {
    v("n", n, "samples");
    v("min_ns", min_ns, "smallest");
    v("q1_ns", q1_ns, "first quartile");
    v("median_ns", median_ns, "median");
    v("q3_ns", q3_ns, "third quartile");
    v("p95_ns", p95_ns, "95th percentile");
    v("p99_ns", p99_ns, "99th percentile");
    v("max_ns", max_ns, "largest");
    v("mean_ns", mean_ns, "mean");
    v("stddev_ns", stddev_ns, "sample standard deviation");
    v("mad_ns", mad_ns, "median absolute deviation");
  }
};

struct Timing {
  std::string clock;                   // cuda_event | steady_clock
  bool graph = false;
  Stats stats;                         // one step of the whole batch
  double tpot_ns = 0;                  // median step / batch: time per output token, amortised over the batch
  std::optional<double> wall_median_ns;
  std::optional<double> build_graph_ns;
  template <class V> void fields(V&& v) {
    v("clock", clock, "cuda_event or steady_clock");
    v("graph", graph, "whether a step was one CUDA graph launch");
    v("stats", stats, "one decode step of the whole batch; prefill: the whole prompt of every sequence");
    v("tpot_ns", tpot_ns, "median step / batch; prefill: time to the first token, median / batch");
    v("wall_median_ns", wall_median_ns, "host clock over the timed loop / steps");
    v("build_graph_ns", build_graph_ns, "time to capture and instantiate the graph");
  }
};

struct Throughput {
  double tokens_per_s = 0;
  std::optional<double> bytes_per_s;   // floor bytes / median
  template <class V> void fields(V&& v) {
    v("tokens_per_s", tokens_per_s, "tokens of all sequences in a step / median step: one each in decode, the prompts' in prefill");
    v("bytes_per_s", bytes_per_s, "floor bytes / median step");
  }
};

struct Memory {
  int64_t weight_bytes = 0, parameters = 0;
  int64_t cache_bytes_per_token = 0, state_bytes_per_sequence = 0;
  int64_t cache_bytes_analytic = 0, cache_bytes_allocated = 0;
  std::optional<int64_t> cache_bytes_driver, workspace_bytes, peak_device_bytes;
  std::string reason;
  template <class V> void fields(V&& v) {
    v("parameters", parameters, "parameters of the model");
    v("weight_bytes", weight_bytes, "bytes of weights on the device");
    v("cache_bytes_per_token", cache_bytes_per_token, "latent cache, all layers");
    v("state_bytes_per_sequence", state_bytes_per_sequence, "recurrent and convolution state, all layers");
    v("cache_bytes_analytic", cache_bytes_analytic, "batch * (context * per token + state)");
    v("cache_bytes_allocated", cache_bytes_allocated, "what our allocator handed out for caches and states");
    v("cache_bytes_driver", cache_bytes_driver, "what the driver says the allocation took");
    v("workspace_bytes", workspace_bytes, "activations and kernel scratch");
    v("peak_device_bytes", peak_device_bytes, "most device memory in use during the cell");
    v("reason", reason, "why entries above are null");
  }
};

// The physical floor of one step.
struct Floor {
  int64_t bytes = 0, flops = 0;
  double time_ns = 0;                  // larger of bytes / read bandwidth and flops / rate
  std::optional<double> fraction;      // floor / median
  int64_t weight_bytes = 0, expert_bytes = 0, cache_bytes = 0, state_bytes = 0, head_bytes = 0;
  std::optional<double> distinct_experts;
  std::string distinct_experts_source;
  template <class V> void fields(V&& v) {
    v("bytes", bytes, "bytes one step must move");
    v("flops", flops, "floating-point operations one step must do");
    v("time_ns", time_ns, "larger of bytes / measured read bandwidth and flops / measured rate");
    v("fraction", fraction, "floor / median step");
    v("weight_bytes", weight_bytes, "mixers, norms, router, shared experts, dense layer");
    v("expert_bytes", expert_bytes, "routed experts actually hit");
    v("cache_bytes", cache_bytes, "latent cache read and written");
    v("state_bytes", state_bytes, "recurrent and convolution state read and written");
    v("head_bytes", head_bytes, "LM head and embedding rows");
    v("distinct_experts", distinct_experts, "distinct routed experts hit, mean over MoE layers");
    v("distinct_experts_source", distinct_experts_source, "measured or expected under uniform routing");
  }
};

// Of the board over the timed loop, where that lasts long enough for the driver's counter to mean something.
struct Energy {
  std::optional<double> joules, joules_per_token, mean_watts;
  double window_ns = 0;
  std::string reason;
  template <class V> void fields(V&& v) {
    v("joules", joules, "energy of the board over the window, from the driver's counter");
    v("joules_per_token", joules_per_token, "joules / tokens decoded, or read in prefill, in the window");
    v("mean_watts", mean_watts, "joules / window");
    v("window_ns", window_ns, "the timed loop by the host's clock");
    v("reason", reason, "why entries above are null");
  }
};

struct GpuState {
  std::optional<double> sm_clock_hz_median, sm_clock_hz_min, sm_clock_hz_max;
  std::optional<double> throttle_power_ns, throttle_thermal_ns, power_watts, temperature_celsius;
  std::optional<int64_t> other_processes;
  std::string reason;
  std::optional<Energy> energy;
  template <class V> void fields(V&& v) {
    v("sm_clock_hz_median", sm_clock_hz_median, "SM clock from device timers, median over samples");
    v("sm_clock_hz_min", sm_clock_hz_min, "lowest");
    v("sm_clock_hz_max", sm_clock_hz_max, "highest");
    v("throttle_power_ns", throttle_power_ns, "time throttled for power during the cell");
    v("throttle_thermal_ns", throttle_thermal_ns, "time throttled for heat during the cell");
    v("power_watts", power_watts, "board power after the timed loop");
    v("temperature_celsius", temperature_celsius, "GPU temperature after the timed loop");
    v("other_processes", other_processes, "foreign compute processes on the GPU");
    v("reason", reason, "why entries above are null");
    v("energy", energy, "energy of the timed loop");
  }
};

// What the host asks of the device for one step.
struct Launches {
  std::optional<int64_t> kernels_per_step;
  std::string reason;
  template <class V> void fields(V&& v) {
    v("kernels_per_step", kernels_per_step, "kernel nodes in the captured CUDA graph of a step");
    v("reason", reason, "why the entry above is null");
  }
};

struct Samples {
  std::vector<double> step_ns;
  std::vector<double> sm_clock_hz;
  template <class V> void fields(V&& v) {
    v("step_ns", step_ns, "every timed step, in order");
    v("sm_clock_hz", sm_clock_hz, "SM clock of each step, in order; empty without device timers");
  }
};

// One part of a step.
struct PartOfStep {
  std::string name;                    // projections attention recurrence experts dense head norms
  double time_ns = 0;
  int64_t bytes = 0;
  double floor_ns = 0;
  template <class V> void fields(V&& v) {
    v("name", name, "the part");
    v("time_ns", time_ns, "what the part takes of the step");
    v("bytes", bytes, "bytes it must move");
    v("floor_ns", floor_ns, "larger of its bytes / measured read bandwidth and its flops / measured rate");
  }
};

// Where the time of a step goes. The parts and the remainder add up to step_ns.
struct Breakdown {
  std::string method;
  double step_ns = 0;
  std::vector<PartOfStep> parts;
  double remainder_ns = 0;
  template <class V> void fields(V&& v) {
    v("method", method, "how a part was timed");
    v("step_ns", step_ns, "the whole step, in the same pass as the parts");
    v("parts", parts, "parts that this model has");
    v("remainder_ns", remainder_ns, "step less all parts: what none of them takes; below 0 by noise");
  }
};

// The kernels that ran in a step, for each part of it: names with commas between them.
struct Kernels {
  std::optional<std::string> projections, attention, recurrence, experts, dense, head, norms;
  template <class V> void fields(V&& v) {
    v("projections", projections, "the mixers' input and output projections");
    v("attention", attention, "MLA");
    v("recurrence", recurrence, "KDA or GDN, with the products that make their gates of a low rank");
    v("experts", experts, "router, routed and shared experts");
    v("dense", dense, "feed-forward of the leading dense layers");
    v("head", head, "logits and sampling");
    v("norms", norms, "embedding, residual stream, RMSNorm, lengths");
  }
};

// A template instance of a kernel, as the compiler made it and as a step launched it.
struct KernelResources {
  std::string name;
  std::optional<std::string> instance;
  int64_t launches = 0;
  std::optional<int64_t> registers, local_bytes, static_shared_bytes, dynamic_shared_bytes;
  template <class V> void fields(V&& v) {
    v("name", name, "the launcher's name, as in kernels");
    v("instance", instance, "the template instance, one row each; null: a library chose it");
    v("launches", launches, "launches in a step; prefill: in a prompt; of a library: calls");
    v("registers", registers, "registers of a thread");
    v("local_bytes", local_bytes, "local memory of a thread: its stack frame, where spilled registers and arrays with a "
                                  "computed index lie");
    v("static_shared_bytes", static_shared_bytes, "shared memory of a block that the kernel declares");
    v("dynamic_shared_bytes", dynamic_shared_bytes, "shared memory of a block that the launch adds, the most of its "
                                                    "launches");
  }
};

// What the kernels of a step take of the GPU, in the order in which they first ran.
struct Resources {
  std::vector<KernelResources> kernels;
  std::string reason;
  template <class V> void fields(V&& v) {
    v("kernels", kernels, "every kernel that was launched in a step, by template instance");
    v("reason", reason, "why entries above are null");
  }
};

// How a prompt was read.
struct Prefill {
  int64_t pass_tokens = 0, passes = 0;
  double seconds_asked = 0;
  template <class V> void fields(V&& v) {
    v("pass_tokens", pass_tokens, "most tokens of a sequence read in one pass");
    v("passes", passes, "passes a prompt was cut into");
    v("seconds_asked", seconds_asked, "the prompt was read again until this much time had passed, at most axes.steps times");
  }
};

struct Cell {
  std::string id;                      // suite/model=..;config=..;..: canonical, the join key
  std::string suite;
  Axes axes;
  std::string status;                  // ok incorrect invalid oom skipped timeout error
  std::string status_reason;
  Validity validity;
  std::optional<Timing> timing;        // only with status ok
  std::optional<Throughput> throughput;
  std::optional<Memory> memory;
  std::optional<Floor> floor;
  std::optional<Kernels> kernels;
  std::optional<Resources> resources;
  std::optional<Breakdown> breakdown;
  std::optional<Launches> launches;
  std::optional<Prefill> prefill;
  std::optional<Accuracy> accuracy;
  std::optional<Items> items;
  std::optional<GpuState> gpu_state;
  std::optional<Samples> samples;
  template <class V> void fields(V&& v) {
    v("id", id, "canonical name, the key of every join");
    v("suite", suite, "suite that made the cell");
    v("axes", axes, "the point of the sweep");
    v("status", status, "ok, incorrect, invalid, oom, skipped, timeout or error; only ok has timing");
    v("status_reason", status_reason, "one sentence when the status is not ok");
    v("validity", validity, "whether the measurement may be used, and why not");
    v("timing", timing, "present only when status is ok");
    v("throughput", throughput, "present only when status is ok");
    v("memory", memory, "bytes");
    v("floor", floor, "physical floor of one step");
    v("kernels", kernels, "kernels that served each part of the step, as the launchers chose them; null: no such part");
    v("resources", resources, "registers, local and shared memory of each of these kernels, on a GPU");
    v("breakdown", breakdown, "where the time of a step goes: of decode when it was asked for, of a prefill always");
    v("launches", launches, "what the host asks of the device for one step");
    v("prefill", prefill, "how the prompt was read, in the suite prefill");
    v("accuracy", accuracy, "the check that ran before the clock, or a score");
    v("items", items, "single results behind the score");
    v("gpu_state", gpu_state, "what the GPU did meanwhile");
    v("samples", samples, "raw samples");
  }
};

struct Report {
  std::string schema = kSchema;
  std::string schema_version = kSchemaVersion;
  Meta meta;
  Machine machine;
  std::vector<Device> devices;
  Ceilings ceilings;
  std::vector<Cell> cells;
  template <class V> void fields(V&& v) {
    v("schema", schema, "always kdabench/report");
    v("schema_version", schema_version, "semantic version of this format");
    v("meta", meta, "what was run, by which build");
    v("machine", machine, "the host");
    v("devices", devices, "the devices used");
    v("ceilings", ceilings, "measured physical ceilings of the device");
    v("cells", cells, "the measurements");
  }
};

// Canonical cell id: the axes that name the point, in this order:
//   suite/model=..;config=..;device=..;dtype=..;context=..;batch=..;protocol=..[;cache_budget=..][;task=..]
// Same-memory cells have no batch in it: how many sequences fit is a result. Nor have accuracy cells: who is read
// beside a prompt does not change its score. Steps and fill are settings, not identity.
std::string cell_id(const std::string& suite, const Axes& axes);

// Quantiles of type 7 (linear between order statistics); stddev is 0 for one sample. Throws
// Error (reports/error.h) for no samples.
Stats summarize(std::vector<double> samples_ns);

}  // namespace kdabench::reports
