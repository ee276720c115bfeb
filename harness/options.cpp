#include "harness/options.h"

#include <algorithm>
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

suites::Plan resolve(const RunOptions& options, const Registry& registry) {
  suites::Plan plan;
  plan.config = configured(options.config, options.model);
  plan.device = parse_device(options.device);
  plan.precision = options.dtype.empty() ? default_precision(plan.device) : parse_precision(options.dtype);
  require((plan.device == DeviceKind::kCuda) == (plan.precision == Precision::kBf16), "--dtype ",
          precision_name(plan.precision), " is not available on --device ", device_name(plan.device),
          "; the CPU has fp32 and fp64, CUDA has bf16.");
  const std::vector<std::string> models = parse_list("models", options.models);
  require(!models.empty(), "--models wants at least one model, got nothing.");
  plan.peers = peers(registry, plan.config, models, parse_list("hybrid-ratio", options.hybrid_ratio));
  if (options.sweeps.empty()) add_sweep(options.sweep, plan.device, plan.points);
  for (const SweepFlags& sweep : options.sweeps) add_sweep(sweep, plan.device, plan.points);
  plan.steps = parse_integer("steps", options.steps, 1);
  plan.warmup = parse_integer("warmup", options.warmup, 0);
  plan.fill = parse_choice("fill", options.fill, {"random", "prefill"});
  plan.seed = static_cast<uint64_t>(parse_integer("seed", options.seed, 0));
  plan.breakdown = options.breakdown;
  plan.timeout_s = parse_real("timeout", options.timeout, 0);
  parse_choice("progress", options.progress, {"auto", "plain", "none"});
  if (!options.device_memory.empty()) parse_bytes("device-memory", options.device_memory);
  if (!options.device_bandwidth.empty()) parse_bandwidth("device-bandwidth", options.device_bandwidth);
  return plan;
}

}  // namespace kdabench
