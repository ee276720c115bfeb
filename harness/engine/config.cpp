#include "harness/engine/config.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/engine/registry.h"
#include "kernels/base/error.h"

namespace kdabench {
namespace {

using nlohmann::json;

// Reads one key of config.json into a member of the right type; says which key, what was wanted and found.
template <class T>
void read_key(const json& from, const char* key, T& into, const std::string& path, bool needed = true) {
  const auto at = from.find(key);
  if (at == from.end() || at->is_null()) {
    require(!needed, path, ": key \"", key, "\" is missing; a kimi_linear config has it.");
    return;
  }
  try {
    at->get_to(into);
  } catch (const json::exception&) {
    fail(path, ": key \"", key, "\" is ", at->dump(), ", which has the wrong type.");
  }
}

ModelConfig kimi_linear_48b() {
  ModelConfig c;
  c.name = "kimi-linear-48b-a3b";
  c.hidden_size = 2304;
  c.num_hidden_layers = 27;
  c.vocab_size = 163840;
  c.num_attention_heads = 32;
  c.kv_lora_rank = 512;
  c.qk_nope_head_dim = 128;
  c.qk_rope_head_dim = 64;
  c.v_head_dim = 128;
  c.linear_num_heads = 32;
  c.linear_head_dim = 128;
  c.kda_layers = {1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26};
  c.intermediate_size = 9216;
  c.moe_intermediate_size = 1024;
  c.num_experts = 256;
  c.num_experts_per_token = 8;
  c.num_shared_experts = 1;
  c.routed_scaling_factor = 2.446;
  c.eos_token_id = 163586;
  c.pad_token_id = 163839;
  return c;
}

// Three linear layers to one of full attention, which is also the last (paper section 4).
std::vector<int64_t> three_to_one(int64_t layers) {
  std::vector<int64_t> linear;
  for (int64_t i = 1; i <= layers; ++i)
    if (i % 4 != 0 && i != layers) linear.push_back(i);
  return linear;
}

// Paper Table 2: 8 of 64 experts. It gives active parameters, heads, layers and width; the expert width is not stated
// and follows from the active parameters with the 48B model's rule that a dense layer is nine experts wide.
ModelConfig scaling(const char* name, int64_t heads, int64_t layers, int64_t width, int64_t expert_width) {
  ModelConfig c = kimi_linear_48b();
  c.name = name;
  c.hidden_size = width;
  c.num_hidden_layers = layers;
  c.num_attention_heads = c.linear_num_heads = heads;
  c.kda_layers = three_to_one(layers);
  c.moe_intermediate_size = expert_width;
  c.intermediate_size = 9 * expert_width;
  c.num_experts = 64;
  return c;
}

// Every code path of the 48B model in small, at shapes that the CUDA kernels have too.
ModelConfig tiny() {
  ModelConfig c = kimi_linear_48b();
  c.name = "tiny";
  c.hidden_size = 256;
  c.num_hidden_layers = 8;
  c.vocab_size = 512;
  c.num_attention_heads = c.linear_num_heads = 4;
  c.kv_lora_rank = 64;
  c.qk_nope_head_dim = 64;
  c.qk_rope_head_dim = 32;
  c.v_head_dim = 64;
  c.linear_head_dim = 64;
  c.kda_layers = three_to_one(c.num_hidden_layers);
  c.intermediate_size = 1152;
  c.moe_intermediate_size = 128;
  c.num_experts = 16;
  c.num_experts_per_token = 4;
  c.eos_token_id = c.pad_token_id = -1;
  return c;
}

const std::vector<ModelConfig>& presets() {
  static const std::vector<ModelConfig> all = {
      kimi_linear_48b(),
      scaling("scaling-653m", 16, 16, 1216, 928),
      scaling("scaling-878m", 18, 18, 1376, 960),
      scaling("scaling-1.1b", 20, 20, 1536, 960),
      scaling("scaling-1.4b", 22, 22, 1632, 1024),
      scaling("scaling-1.7b", 24, 24, 1776, 1024),
      tiny(),
  };
  return all;
}

}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const ModelConfig& c : presets()) names.push_back(c.name);
  return names;
}

ModelConfig preset_config(const std::string& name) {
  for (const ModelConfig& c : presets())
    if (c.name == name) return c;
  const std::string near = nearest(name, preset_names());
  fail("unknown config '", name, "'; ", near.empty() ? "" : text("did you mean ", near, "? "),
       "Give a preset (see kdabench models) or a folder with config.json.");
}

ModelConfig find_config(const std::string& name_or_path) {
  if (std::filesystem::exists(name_or_path)) return read_config(name_or_path);
  require(name_or_path.find('/') == std::string::npos, "config '", name_or_path,
          "' does not exist; give a folder with config.json or a preset (see kdabench models).");
  return preset_config(name_or_path);
}

ModelConfig read_config(const std::string& given) {
  namespace fs = std::filesystem;
  const std::string path = fs::is_directory(given) ? given + "/config.json" : given;
  std::ifstream file(path);
  require(file.good(), "cannot read ", path, "; wanted a Hugging Face config.json.");
  json j;
  try {
    j = json::parse(file);
  } catch (const json::parse_error& e) {
    fail(path, " is not valid JSON (byte ", e.byte, "); it may be truncated.");
  }
  std::string type;
  read_key(j, "model_type", type, path);
  require(type == "kimi_linear", path, ": model_type is '", type, "'; kdabench reads kimi_linear.");

  ModelConfig c;
  fs::path folder = fs::path(path).parent_path();
  c.name = fs::weakly_canonical(folder.empty() ? fs::path(".") : folder).filename().string();
  read_key(j, "hidden_size", c.hidden_size, path);
  read_key(j, "num_hidden_layers", c.num_hidden_layers, path);
  read_key(j, "vocab_size", c.vocab_size, path);
  read_key(j, "num_attention_heads", c.num_attention_heads, path);
  read_key(j, "kv_lora_rank", c.kv_lora_rank, path);
  read_key(j, "qk_nope_head_dim", c.qk_nope_head_dim, path);
  read_key(j, "qk_rope_head_dim", c.qk_rope_head_dim, path);
  read_key(j, "v_head_dim", c.v_head_dim, path);
  read_key(j, "intermediate_size", c.intermediate_size, path);
  read_key(j, "moe_intermediate_size", c.moe_intermediate_size, path);
  read_key(j, "num_experts", c.num_experts, path);
  read_key(j, j.contains("num_experts_per_token") ? "num_experts_per_token" : "num_experts_per_tok",
           c.num_experts_per_token, path);
  read_key(j, "num_shared_experts", c.num_shared_experts, path);
  read_key(j, "first_k_dense_replace", c.first_k_dense_replace, path, false);
  read_key(j, "moe_renormalize", c.moe_renormalize, path, false);
  read_key(j, "routed_scaling_factor", c.routed_scaling_factor, path);
  read_key(j, "rms_norm_eps", c.rms_norm_eps, path);
  read_key(j, "model_max_length", c.model_max_length, path, false);
  for (const auto& [key, id] : {std::pair{"eos_token_id", &c.eos_token_id}, {"pad_token_id", &c.pad_token_id}})
    if (j.contains(key) && j[key].is_number_integer()) j[key].get_to(*id);

  json linear;
  read_key(j, "linear_attn_config", linear, path);
  read_key(linear, "num_heads", c.linear_num_heads, path);
  read_key(linear, "head_dim", c.linear_head_dim, path);
  read_key(linear, "short_conv_kernel_size", c.short_conv_kernel_size, path);
  read_key(linear, "kda_layers", c.kda_layers, path);

  bool nope = true;
  read_key(j, "mla_use_nope", nope, path, false);
  if (!nope) read_key(j, "rope_theta", c.rope_theta, path);
  if (const auto q_lora = j.find("q_lora_rank"); q_lora != j.end() && !q_lora->is_null())
    fail(path, ": q_lora_rank is ", q_lora->dump(), "; kdabench has MLA without a query latent (null).");
  for (const char* key : {"num_expert_group", "topk_group", "moe_layer_freq"}) {
    int64_t groups = 1;
    read_key(j, key, groups, path, false);
    require(groups == 1, path, ": ", key, " is ", groups, "; kdabench supports 1.");
  }
  std::string activation = "sigmoid";
  read_key(j, "moe_router_activation_func", activation, path, false);
  require(activation == "sigmoid", path, ": moe_router_activation_func is '", activation, "'; kdabench has sigmoid.");
  bool tied = false;
  read_key(j, "tie_word_embeddings", tied, path, false);
  require(!tied, path, ": tie_word_embeddings is true; kdabench has an untied head.");
  check_config(c);
  return c;
}

StateType parse_state_dtype(const std::string& name) {
  if (name == "fp32") return StateType::kAccum;
  if (name == "bf16") return StateType::kBf16;
  if (name == "bf16-stochastic") return StateType::kBf16Stochastic;
  fail("unknown state dtype '", name, "'; give fp32, bf16 or bf16-stochastic.");
}

void check_config(const ModelConfig& c) {
  parse_state_dtype(c.state_dtype);
  const auto positive = [&](const char* key, int64_t value) {
    require(value > 0, "config ", c.name, ": ", key, " is ", value, "; it must be positive.");
  };
  positive("hidden_size", c.hidden_size);
  positive("num_hidden_layers", c.num_hidden_layers);
  positive("vocab_size", c.vocab_size);
  positive("num_attention_heads", c.num_attention_heads);
  positive("kv_lora_rank", c.kv_lora_rank);
  positive("qk_nope_head_dim", c.qk_nope_head_dim);
  positive("v_head_dim", c.v_head_dim);
  positive("linear_num_heads", c.linear_num_heads);
  positive("linear_head_dim", c.linear_head_dim);
  positive("intermediate_size", c.intermediate_size);
  require(c.qk_rope_head_dim >= 0 && c.qk_rope_head_dim % 2 == 0, "config ", c.name, ": qk_rope_head_dim is ",
          c.qk_rope_head_dim, "; it must be even.");
  require(c.short_conv_kernel_size >= 2, "config ", c.name, ": short_conv_kernel_size is ", c.short_conv_kernel_size,
          "; it must be at least 2.");
  require(c.num_experts == 0 || (c.num_experts_per_token >= 1 && c.num_experts_per_token <= c.num_experts), "config ",
          c.name, ": num_experts_per_token is ", c.num_experts_per_token, " of ", c.num_experts, " experts.");
  require(c.num_experts == 0 || c.moe_intermediate_size > 0, "config ", c.name,
          ": moe_intermediate_size is 0, but there are experts.");
  require(c.gate_lower_bound <= 0, "config ", c.name, ": gate_lower_bound is ", c.gate_lower_bound,
          "; it is a logarithm and must be negative, or 0 for the unbounded gate.");
  for (const int64_t layer : c.kda_layers)
    require(layer >= 1 && layer <= c.num_hidden_layers, "config ", c.name, ": kda_layers holds ", layer,
            "; layers run from 1 to ", c.num_hidden_layers, ".");
}

}  // namespace kdabench
