#pragma once
// What a user may say about a run, as text. One list of fields drives the flags, --help, the keys of a plan file and
// meta.options of the report. Text becomes values in resolve().
//
// A visitor is called as visit("flag", member, "group of --help", "one line").

#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/engine/registry.h"
#include "suites/plan.h"
#include "suites/suite.h"

namespace kdabench {

// Choices on which the public code bases disagree; empty text leaves the config's value.
struct ModelFlags {
  std::string rope_theta, kv_norm_eps, gate_lower_bound, state_dtype;
  bool hf_router = false;

  template <class V> void fields(V&& v) {
    constexpr const char* kGroup = "Model";
    v("rope-theta", rope_theta, kGroup, "rotary base of MLA; 0 is NoPE");
    v("kv-norm-eps", kv_norm_eps, kGroup, "epsilon of the latent's norm; HF 1e-6, vLLM 1e-5");
    v("hf-router", hf_router, kGroup, "router weights with the correction bias, as in the first HF code");
    v("state-dtype", state_dtype, kGroup, "recurrent state: fp32, bf16 or bf16-stochastic; default: fp32");
    v("gate-lower-bound", gate_lower_bound, kGroup, "lower bound of the forget gate's logarithm; 0 is unbounded");
  }
};

// The axes that a plan file may list several times, under "sweeps".
struct SweepFlags {
  std::string context = "256,1K,4K", batch = "1", protocol = "same-batch", cache_budget;

  template <class V> void fields(V&& v) {
    constexpr const char* kGroup = "What to measure";
    v("context", context, kGroup, "tokens cached before the first timed step, or of the prompt; 4K is 4096, 1M is 2^20");
    v("batch", batch, kGroup, "sequences decoded together (same-batch)");
    v("protocol", protocol, kGroup, "same-batch, same-memory: the largest batch that fits, or both");
    v("cache-budget", cache_budget, kGroup,
      "same-memory: bytes for caches and states, e.g. 56GB; default: what the GPU has left");
  }
};

// The accuracy suites.
struct AccuracyFlags {
  std::string data, tokenizer, prompt_format = "auto", rows = "0";
  std::string subjects, mmlu_style = "lm-eval", limit = "0", mmlu_pro_style = "official", redux_rows = "ok", gpqa;
  std::string lengths = "4K", tasks, samples = "500", task_seed = "42", jsonl, reference;
  bool allow_random_weights = false;

  template <class V> void fields(V&& v) {
    constexpr const char* kGroup = "Accuracy";
    v("data", data, kGroup, "folder that holds mmlu/, ruler/, mmlu_pro/, mmlu_redux/, bbh/; default: $KDABENCH_DATA");
    v("tokenizer", tokenizer, kGroup, "rank file, folder or bytes; default: the checkpoint's, bytes for 256 ids");
    v("template", prompt_format, kGroup, "generated answers: base (text alone), chat (the checkpoint's turns), or auto");
    v("rows", rows, kGroup, "sequences read together; 0: what suits device and length");
    v("subjects", subjects, kGroup, "some subjects of mmlu or mmlu-redux, categories of mmlu-pro, tasks of bbh");
    v("mmlu-style", mmlu_style, kGroup, "mmlu, mmlu-redux: prompts of lm-eval or of hendrycks");
    v("limit", limit, kGroup, "the first questions of each subject; 0: all");
    v("mmlu-pro-style", mmlu_pro_style, kGroup, "mmlu-pro: prompts and answer reading, official or lm-eval");
    v("redux-rows", redux_rows, kGroup, "mmlu-redux: questions annotated ok, or corrected: with those given another answer");
    v("gpqa", gpqa, kGroup, "gpqa, gpqa-cot: the CSV, which only its authors may hand out");
    v("lengths", lengths, kGroup, "ruler, synthetic: tokens of prompt and answer");
    v("tasks", tasks, kGroup, "ruler: some of the 13; synthetic: palindrome, mqar, mqar-zoology, stack");
    v("samples", samples, kGroup, "ruler, synthetic: prompts of each task and length");
    v("task-seed", task_seed, kGroup, "ruler, synthetic: seed of the prompts");
    v("reference", reference, kGroup, "mmlu, mmlu-redux, gpqa: a report; keep each item's divergence from its log-probabilities");
    v("jsonl", jsonl, kGroup, "ruler: read DIR/TASK.jsonl or DIR/TASK/validation.jsonl instead of making prompts");
    v("allow-random-weights", allow_random_weights, kGroup, "score random weights too: a trial of the machinery");
  }
};

struct RunOptions {
  std::vector<std::string> suites;            // positional
  std::string models = "kimi-linear,mla,gdn-h", config = "tiny", device = "cpu", dtype, hybrid_ratio;
  SweepFlags sweep;
  std::string steps = "32", warmup = "8", chunk = "16K", seconds = "1", fill = "random", seed = "1", timeout = "0";
  ModelFlags model;
  AccuracyFlags accuracy;
  std::string checkpoint;
  std::string out, plan, progress = "auto", device_memory, device_bandwidth, ceilings, inject_slowdown;
  bool resume = false, force = false, dry_run = false, breakdown = false;
  std::vector<SweepFlags> sweeps;             // from a plan file; empty: `sweep` alone

  template <class V> void fields(V&& v) {
    constexpr const char* kWhat = "What to measure";
    v("models", models, kWhat, "architectures, see `kdabench models`");
    v("config", config, kWhat, "preset, or a folder with config.json");
    v("checkpoint", checkpoint, kWhat,
      "weights and config: a folder, a folder of folders named after the models, or MODEL=DIR,...");
    v("device", device, kWhat, "cpu or cuda");
    v("dtype", dtype, kWhat, "fp32, fp64 or bf16; default: fp32 on the CPU, bf16 on CUDA");
    v("hybrid-ratio", hybrid_ratio, kWhat, "linear layers to each full-attention layer, e.g. 3:1 or 1:1,7:1");
    sweep.fields(v);
    constexpr const char* kHow = "How";
    v("steps", steps, kHow, "timed decode steps; prefill: most repetitions of a prompt");
    v("warmup", warmup, kHow, "decode steps before the clock; they end at the context asked for");
    v("chunk", chunk, kHow, "prefill: tokens of all prompts read in one pass");
    v("seconds", seconds, kHow, "prefill: a prompt is read again until so many seconds have passed");
    v("fill", fill, kHow, "how the cache is filled: random (seeded) or prefill (real)");
    v("seed", seed, kHow, "seed of weights and inputs");
    v("breakdown", breakdown, kHow, "take the decode step apart: time and floor of each part");
    v("timeout", timeout, kHow, "seconds for one cell, checked between its phases; 0 is no limit");
    model.fields(v);
    accuracy.fields(v);
    constexpr const char* kOutput = "Output and control";
    v("out", out, kOutput, "report to write; without it only the table is printed");
    v("resume", resume, kOutput, "keep the finished cells of an interrupted run with this --out");
    v("force", force, kOutput, "replace an existing report");
    v("dry-run", dry_run, kOutput, "print cells, bytes and floors; needs no GPU and builds nothing");
    v("plan", plan, kOutput, "JSON file whose keys are these flags; flags given as well win");
    v("progress", progress, kOutput, "auto, plain or none");
    v("ceilings", ceilings, kOutput, "take the device's ceilings from this report of the same machine");
    v("device-memory", device_memory, kOutput, "memory that --dry-run assumes, e.g. 141GB");
    v("device-bandwidth", device_bandwidth, kOutput, "read bandwidth that --dry-run assumes, e.g. 4.3TB/s");
    constexpr const char* kHidden = "";       // for `kdabench ab --inject-slowdown`
    v("inject-slowdown", inject_slowdown, kHidden, "make every timed step this many times as long; cells are invalid");
  }
};

// The config that the plan at `path` names: a folder with config.json beside the plan, where there is one; otherwise what
// --config takes.
std::string config_of_plan(const std::string& path, const std::string& config);

// Sets what `given` (flags on the command line) does not, from a plan file. Keys are flag names; values text, numbers,
// booleans or lists. Besides: "suites", "sweeps" (a list of objects with axes) and "about" (free text).
void apply_plan(const std::string& path, const std::set<std::string>& given, RunOptions& options);

// Flag names and values as text, defaults included: meta.options.
std::map<std::string, std::string> as_text(RunOptions& options);

// A config with its flags applied; its name then says so, e.g. tiny+rope, because it is another model.
ModelConfig configured(const std::string& name_or_path, const ModelFlags& flags);

// One peer for each model, and for each hybrid ratio that changes its layers: kimi-linear, kimi-linear@7:1.
std::vector<suites::Peer> peers(const Registry& registry, const ModelConfig& config,
                                const std::vector<std::string>& models, const std::vector<std::string>& ratios);

// One peer for each checkpoint that --checkpoint names, with its own config. Folders beside each other share their
// parent's name, so that they stand in one table.
std::vector<suites::Peer> checkpoint_peers(const Registry& registry, const std::string& where,
                                           const std::vector<std::string>& models, const ModelFlags& flags);

suites::Plan resolve(const RunOptions& options, const Registry& registry);

}  // namespace kdabench
