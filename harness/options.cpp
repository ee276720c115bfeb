#include "harness/options.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <type_traits>

#include "harness/parse.h"
#include "kernels/base/error.h"
#include "reports/json.h"

namespace kdabench {
namespace {

using reports::Json;

// A value of a plan file, as it would be typed.
std::string as_typed(const std::string& where, const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number()) return value.dump();
  require(value.is_array(), where, " wants text, a number or a list, got ", value.dump(), ".");
  std::string text;
  for (const Json& item : value) {
    require(!item.is_array(), where, " has a list within a list.");
    text += (text.empty() ? "" : ",") + as_typed(where, item);
  }
  return text;
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

// Visits fields and sets the one with this name.
struct Setter {
  const std::string& where;
  const std::string& key;
  const Json& value;
  std::vector<std::string> known = {};
  bool found = false;

  template <class T> void operator()(const char* name, T& member, const char*, const char*) {
    known.push_back(name);
    if (name != key) return;
    found = true;
    if constexpr (std::is_same_v<T, bool>) {
      require(value.is_boolean(), where, " wants true or false for ", key, ", got ", value.dump(), ".");
      member = value.get<bool>();
    } else {
      member = as_typed(where + ": " + key, value);
    }
  }
  void require_found() const {
    if (found) return;
    const std::string near = nearest(key, known);
    fail(where, " has an unknown key ", key, near.empty() ? "" : "; did you mean " + near + "?",
         near.empty() ? "." : "");
  }
};

void add(std::vector<suites::Point>& points, const suites::Point& point) {
  if (std::find(points.begin(), points.end(), point) == points.end()) points.push_back(point);
}

void add_sweep(const SweepFlags& sweep, DeviceKind device, std::vector<suites::Point>& points) {
  const std::vector<int64_t> contexts = parse_counts("context", sweep.context);
  const std::vector<int64_t> batches = parse_counts("batch", sweep.batch);
  const std::vector<std::string> protocols = parse_list("protocol", sweep.protocol);
  require(!protocols.empty(), "--protocol wants same-batch, same-memory or both, got nothing.");
  std::vector<std::optional<int64_t>> budgets;
  for (const std::string& item : parse_list("cache-budget", sweep.cache_budget))
    budgets.push_back(parse_bytes("cache-budget", item));
  for (const std::string& protocol : protocols) {
    parse_choice("protocol", protocol, {"same-batch", "same-memory"});
    if (protocol == "same-batch") {
      for (const int64_t context : contexts)
        for (const int64_t batch : batches) add(points, {context, batch, {}});
      continue;
    }
    // All free host memory would push other programs out; on a GPU the memory is ours alone.
    require(!budgets.empty() || device == DeviceKind::kCuda,
            "--protocol same-memory on the CPU needs --cache-budget, such as 64MiB.");
    for (const int64_t context : contexts)
      if (budgets.empty())
        add(points, {context, 0, {}});
      else
        for (const auto& budget : budgets) add(points, {context, 0, budget});
  }
}

}  // namespace

std::string config_of_plan(const std::string& path, const std::string& config) {
  const std::filesystem::path beside = std::filesystem::path(path).parent_path() / config;
  return std::filesystem::exists(beside / "config.json") ? beside.lexically_normal().string() : config;
}

void apply_plan(const std::string& path, const std::set<std::string>& given, RunOptions& options) {
  const Json plan = reports::read_json(path);
  require(plan.is_object(), path, " wants a JSON object whose keys are flags of `kdabench run`, got ", plan.type_name(),
          ".");
  for (const auto& [key, value] : plan.items()) {
    if (key == "about" || key == "sweeps") continue;
    require(key != "plan", path, " names another plan; a plan stands alone.");
    if (key == "suites") {
      if (options.suites.empty()) options.suites = parse_list("suites", as_typed(path + ": suites", value));
      continue;
    }
    RunOptions scratch = options;
    Setter setter{path, key, value};
    scratch.fields(setter);
    setter.require_found();
    if (key == "config") scratch.config = config_of_plan(path, scratch.config);
    if (!given.count(key)) options = scratch;
  }
  if (!plan.contains("sweeps")) return;
  require(plan["sweeps"].is_array(), path, ": sweeps wants a list of objects, got ", plan["sweeps"].dump(), ".");
  for (const Json& entry : plan["sweeps"]) {
    require(entry.is_object(), path, ": sweeps wants objects, got ", entry.dump(), ".");
    SweepFlags sweep = options.sweep;
    for (const auto& [key, value] : entry.items()) {
      const std::string where = path + ": sweeps";
      SweepFlags scratch = sweep;
      Setter setter{where, key, value};
      scratch.fields(setter);
      setter.require_found();
      if (!given.count(key)) sweep = scratch;
    }
    options.sweeps.push_back(sweep);
  }
}

std::map<std::string, std::string> as_text(RunOptions& options) {
  std::map<std::string, std::string> text;
  for (const std::string& suite : options.suites) text["suites"] += (text["suites"].empty() ? "" : ",") + suite;
  options.fields([&text](const char* name, const auto& member, const char*, const char*) {
    if constexpr (std::is_same_v<std::decay_t<decltype(member)>, bool>)
      text[name] = member ? "true" : "false";
    else
      text[name] = member;
  });
  // a plan's sweeps stand in the place of the flags they override
  for (SweepFlags& sweep : options.sweeps) {
    std::string& sweeps = text["sweeps"];
    if (!sweeps.empty()) sweeps += " | ";
    bool first = true;
    sweep.fields([&](const char* name, const std::string& member, const char*, const char*) {
      text.erase(name);
      if (member.empty()) return;
      sweeps += (first ? "" : "; ") + std::string(name) + " " + member;
      first = false;
    });
  }
  return text;
}

ModelConfig configured(const std::string& name_or_path, const ModelFlags& flags) {
  ModelConfig config = find_config(name_or_path);
  const auto set = [&config](const char* flag, const std::string& text, double least, double& value, const char* tag) {
    if (text.empty()) return;
    const double wanted = parse_real(flag, text, least);
    if (wanted == value) return;
    value = wanted;
    config.name += tag;
  };
  set("rope-theta", flags.rope_theta, 0, config.rope_theta, "+rope");
  set("kv-norm-eps", flags.kv_norm_eps, 0, config.kv_norm_eps, "+kv-norm-eps");
  set("gate-lower-bound", flags.gate_lower_bound, -1e6, config.gate_lower_bound, "+bounded-gate");
  if (!flags.state_dtype.empty() && flags.state_dtype != config.state_dtype) {
    parse_state_dtype(flags.state_dtype);
    config.state_dtype = flags.state_dtype;
    config.name += "+" + flags.state_dtype + "-state";
  }
  if (flags.hf_router && !config.hf_router) {
    config.hf_router = true;
    config.name += "+hf-router";
  }
  check_config(config);
  return config;
}

std::vector<suites::Peer> peers(const Registry& registry, const ModelConfig& config,
                                const std::vector<std::string>& models, const std::vector<std::string>& ratios) {
  std::vector<suites::Peer> result;
  const auto add_peer = [&result](suites::Peer peer) {
    for (const suites::Peer& known : result)
      if (known.name == peer.name) return;
    result.push_back(std::move(peer));
  };
  for (const std::string& model : models) {
    const Architecture& architecture = registry.find(model);
    const Layout usual = architecture.layout(config, {});
    if (ratios.empty()) add_peer({model, usual});
    for (const std::string& ratio : ratios) {
      const Layout layout = architecture.layout(config, parse_hybrid_ratio(ratio));
      add_peer({layout == usual ? model : model + "@" + ratio, layout});
    }
  }
  return result;
}

namespace {

namespace fs = std::filesystem;

// MODEL -> folder, in the order of the models asked for.
std::vector<std::pair<std::string, std::string>> checkpoint_folders(const std::string& where,
                                                                    const std::vector<std::string>& models) {
  const bool all_models = join(models) == RunOptions().models;  // nobody asked for these
  std::vector<std::pair<std::string, std::string>> found;
  if (where.find('=') != std::string::npos) {
    for (const std::string& item : parse_list("checkpoint", where)) {
      const size_t equals = item.find('=');
      require(equals != std::string::npos && equals > 0 && equals + 1 < item.size(), "--checkpoint wants MODEL=DIR, got ",
              item, ".");
      const std::string model = item.substr(0, equals);
      if (all_models || std::find(models.begin(), models.end(), model) != models.end())
        found.emplace_back(model, item.substr(equals + 1));
    }
    for (const std::string& model : models)
      require(all_models || std::any_of(found.begin(), found.end(), [&](const auto& f) { return f.first == model; }),
              "--models names ", model, ", for which --checkpoint has no folder.");
    return found;
  }
  require(fs::is_directory(where), "--checkpoint ", where, " is no folder.");
  if (fs::exists(fs::path(where) / "config.json")) {
    require(all_models || models.size() == 1, "--checkpoint ", where, " is one model's, --models names ", models.size(),
            "; name one, or give MODEL=DIR,MODEL=DIR.");
    return {{all_models ? "kimi-linear" : models.front(), where}};
  }
  for (const std::string& model : models) {
    const fs::path folder = fs::path(where) / model;
    const bool there = fs::exists(folder / "config.json");
    require(there || all_models, "--checkpoint ", where, " has no folder ", model, " with config.json.");
    if (there) found.emplace_back(model, folder.string());
  }
  require(!found.empty(), "--checkpoint ", where, " has no config.json, and no folder named after a model that has one.");
  return found;
}

suites::AccuracyPlan accuracy_plan(const AccuracyFlags& flags) {
  suites::AccuracyPlan plan;
  const char* const data = std::getenv("KDABENCH_DATA");
  plan.data = !flags.data.empty() ? flags.data : data ? data : "";
  plan.tokenizer = flags.tokenizer;
  plan.prompt_format = parse_choice("template", flags.prompt_format, {"auto", "base", "chat"});
  plan.rows = parse_integer("rows", flags.rows, 0);
  plan.allow_random_weights = flags.allow_random_weights;
  plan.subjects = parse_list("subjects", flags.subjects);
  plan.mmlu_style = parse_choice("mmlu-style", flags.mmlu_style, {"lm-eval", "hendrycks"});
  plan.limit = parse_integer("limit", flags.limit, 0);
  plan.mmlu_pro_style = parse_choice("mmlu-pro-style", flags.mmlu_pro_style, {"official", "lm-eval"});
  plan.redux_rows = parse_choice("redux-rows", flags.redux_rows, {"ok", "corrected"});
  plan.gpqa = flags.gpqa;
  plan.lengths = parse_counts("lengths", flags.lengths);
  plan.tasks = parse_list("tasks", flags.tasks);
  plan.samples = parse_integer("samples", flags.samples, 1);
  plan.task_seed = static_cast<uint64_t>(parse_integer("task-seed", flags.task_seed, 0));
  plan.reference = flags.reference;
  plan.jsonl = flags.jsonl;
  return plan;
}

}  // namespace

std::vector<suites::Peer> checkpoint_peers(const Registry& registry, const std::string& where,
                                           const std::vector<std::string>& models, const ModelFlags& flags) {
  const auto folders = checkpoint_folders(where, models);
  const auto parent = [](const std::string& folder) { return fs::weakly_canonical(folder).parent_path(); };
  bool beside = folders.size() > 1;
  for (const auto& [model, folder] : folders) beside = beside && parent(folder) == parent(folders.front().second);
  std::vector<suites::Peer> result;
  for (const auto& [model, folder] : folders) {
    const Architecture& architecture = registry.find(model);
    for (const suites::Peer& known : result)
      require(known.name != model, "--checkpoint names two folders for ", model, "; give one each.");
    ModelConfig config = configured(folder, flags);
    const std::string own = fs::weakly_canonical(folder).filename().string();
    // lm-s0/mla is the mla of lm-s0, with its neighbours or alone
    if (beside || own == model) config.name = parent(folder).filename().string() + config.name.substr(own.size());
    result.push_back({model, architecture.layout(config, {}), folder, config});
  }
  return result;
}

suites::Plan resolve(const RunOptions& options, const Registry& registry) {
  suites::Plan plan;
  plan.device = parse_device(options.device);
  plan.precision = options.dtype.empty() ? default_precision(plan.device) : parse_precision(options.dtype);
  require((plan.device == DeviceKind::kCuda) == (plan.precision == Precision::kBf16), "--dtype ",
          precision_name(plan.precision), " is not available on --device ", device_name(plan.device),
          "; the CPU has fp32 and fp64, CUDA has bf16.");
  const std::vector<std::string> models = parse_list("models", options.models);
  require(!models.empty(), "--models wants at least one model, got nothing.");
  if (options.checkpoint.empty()) {
    plan.config = configured(options.config, options.model);
    plan.peers = peers(registry, plan.config, models, parse_list("hybrid-ratio", options.hybrid_ratio));
  } else {
    require(options.hybrid_ratio.empty(), "--hybrid-ratio changes layers whose weights --checkpoint has; give one of them.");
    plan.peers = checkpoint_peers(registry, options.checkpoint, models, options.model);
    plan.config = *plan.peers.front().config;
  }
  plan.accuracy = accuracy_plan(options.accuracy);
  if (options.sweeps.empty()) add_sweep(options.sweep, plan.device, plan.points);
  for (const SweepFlags& sweep : options.sweeps) add_sweep(sweep, plan.device, plan.points);
  plan.steps = parse_integer("steps", options.steps, 1);
  plan.warmup = parse_integer("warmup", options.warmup, 0);
  plan.chunk = parse_count("chunk", options.chunk);
  plan.seconds = parse_real("seconds", options.seconds, 0);
  plan.fill = parse_choice("fill", options.fill, {"random", "prefill"});
  plan.seed = static_cast<uint64_t>(parse_integer("seed", options.seed, 0));
  plan.breakdown = options.breakdown;
  if (!options.inject_slowdown.empty())
    plan.inject_slowdown = parse_real("inject-slowdown", options.inject_slowdown, 1);
  plan.timeout_s = parse_real("timeout", options.timeout, 0);
  parse_choice("progress", options.progress, {"auto", "plain", "none"});
  if (!options.device_memory.empty()) parse_bytes("device-memory", options.device_memory);
  if (!options.device_bandwidth.empty()) parse_bandwidth("device-bandwidth", options.device_bandwidth);
  return plan;
}

}  // namespace kdabench
