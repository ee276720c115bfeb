#pragma once
// What a model is: one struct, one list of fields, read from a Hugging Face config.json (`model_type: kimi_linear`) or
// from a preset with the same fields. Which mixer each layer has is not here: that is the architecture (registry.h).

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/kda/kda.h"

namespace kdabench {

struct ModelConfig {
  std::string name;                      // preset, or the checkpoint folder's name
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t vocab_size = 0;
  int64_t num_attention_heads = 0;       // MLA
  int64_t kv_lora_rank = 0;
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  int64_t v_head_dim = 0;
  int64_t linear_num_heads = 0;          // KDA and GDN; linear_attn_config in config.json
  int64_t linear_head_dim = 0;
  int64_t short_conv_kernel_size = 4;
  std::vector<int64_t> kda_layers;       // 1-based, as in config.json; the others are full attention
  int64_t intermediate_size = 0;         // dense layers
  int64_t moe_intermediate_size = 0;
  int64_t num_experts = 0;
  int64_t num_experts_per_token = 0;
  int64_t num_shared_experts = 0;
  int64_t first_k_dense_replace = 1;
  bool moe_renormalize = true;
  double routed_scaling_factor = 1;
  double rms_norm_eps = 1e-5;
  double kv_norm_eps = 1e-6;             // HF's default for kv_a_layernorm; vLLM uses rms_norm_eps
  double rope_theta = 0;                 // 0: NoPE
  double gate_lower_bound = 0;           // 0: the unbounded softplus gate
  std::string state_dtype = "fp32";      // of KDA's and GDN's state between tokens; see parse_state_dtype
  bool hf_router = false;                // biased router weights, as the first HF code
  int64_t model_max_length = 1048576;
  int64_t eos_token_id = -1;
  int64_t pad_token_id = -1;

  template <class V> void fields(V&& v) {
    v("name", name, "preset or checkpoint folder");
    v("hidden_size", hidden_size, "model width D");
    v("num_hidden_layers", num_hidden_layers, "blocks");
    v("vocab_size", vocab_size, "tokens of the vocabulary");
    v("num_attention_heads", num_attention_heads, "MLA heads");
    v("kv_lora_rank", kv_lora_rank, "MLA latent width");
    v("qk_nope_head_dim", qk_nope_head_dim, "MLA key channels from the latent");
    v("qk_rope_head_dim", qk_rope_head_dim, "MLA key channels shared by all heads");
    v("v_head_dim", v_head_dim, "MLA value channels");
    v("linear_num_heads", linear_num_heads, "KDA and GDN heads");
    v("linear_head_dim", linear_head_dim, "KDA and GDN key and value channels");
    v("short_conv_kernel_size", short_conv_kernel_size, "taps of the short convolution");
    v("kda_layers", kda_layers, "1-based layers with linear attention");
    v("intermediate_size", intermediate_size, "width of a dense feed-forward layer");
    v("moe_intermediate_size", moe_intermediate_size, "width of one expert");
    v("num_experts", num_experts, "routed experts");
    v("num_experts_per_token", num_experts_per_token, "experts a token is routed to");
    v("num_shared_experts", num_shared_experts, "experts every token passes");
    v("first_k_dense_replace", first_k_dense_replace, "leading layers with a dense feed-forward");
    v("moe_renormalize", moe_renormalize, "router weights of a token sum to one before scaling");
    v("routed_scaling_factor", routed_scaling_factor, "factor on the routed experts' sum");
    v("rms_norm_eps", rms_norm_eps, "added under the root in RMSNorm");
    v("kv_norm_eps", kv_norm_eps, "the same for the latent's norm");
    v("rope_theta", rope_theta, "rotary base; 0 is NoPE");
    v("gate_lower_bound", gate_lower_bound, "lower bound of the forget gate's logarithm; 0 is the unbounded gate");
    v("state_dtype", state_dtype, "recurrent state between tokens: fp32, bf16 or bf16-stochastic");
    v("hf_router", hf_router, "router weights include the correction bias");
    v("model_max_length", model_max_length, "longest context");
    v("eos_token_id", eos_token_id, "end of sequence, or -1");
    v("pad_token_id", pad_token_id, "padding, or -1");
  }

  bool is_dense(int64_t layer) const { return layer < first_k_dense_replace || num_experts == 0; }  // 0-based
};

// config.json of a checkpoint folder (or the file itself). Error: missing or mistyped key, unsupported model_type.
ModelConfig read_config(const std::string& path);

// kimi-linear-48b-a3b, scaling-653m ... scaling-1.7b, tiny. Error: unknown name, with the nearest.
ModelConfig preset_config(const std::string& name);
std::vector<std::string> preset_names();

// A preset's name or a folder with config.json.
ModelConfig find_config(const std::string& name_or_path);

// "fp32" is the number that the backend accumulates in (fp64 under --dtype fp64), "bf16" rounds to nearest even,
// "bf16-stochastic" to either neighbour in the right proportion. Error names the choices.
StateType parse_state_dtype(const std::string& name);

// Throws with one sentence when the fields contradict each other.
void check_config(const ModelConfig& config);

}  // namespace kdabench
