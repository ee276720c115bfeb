#include "harness/engine/cost.h"

#include <algorithm>
#include <cmath>

namespace kdabench {
namespace {

struct Widths {
  int64_t D, key, value, H, conv;              // linear attention: H heads, key = value = H * head_dim
  int64_t A, nope, rope, v, R;                 // MLA: A heads
  explicit Widths(const ModelConfig& c)
      : D(c.hidden_size), key(c.linear_num_heads * c.linear_head_dim), value(key), H(c.linear_num_heads),
        conv(c.short_conv_kernel_size), A(c.num_attention_heads), nope(c.qk_nope_head_dim), rope(c.qk_rope_head_dim),
        v(c.v_head_dim), R(c.kv_lora_rank) {}
};

// Parameters of one mixer that go through a matrix product, and the rest.
struct Parameters {
  int64_t matrix = 0, other = 0;
};

// Of a linear layer, what makes its gates of a token's low-rank numbers: part of the recurrence (kernels/kda).
int64_t gate_parameters(const ModelConfig& c, MixerKind kind) {
  const Widths w(c);
  return (w.value + (kind == MixerKind::kKda ? w.key : 0)) * c.linear_head_dim;
}

Parameters mixer_parameters(const ModelConfig& c, MixerKind kind) {
  const Widths w(c);
  const int64_t rank = c.linear_head_dim;      // of the low-rank pairs f and g (paper section 4)
  if (kind == MixerKind::kMla)
    return {w.A * (w.nope + w.rope) * w.D + (w.R + w.rope) * w.D + w.A * (w.nope + w.v) * w.R + w.D * w.A * w.v, w.R};
  Parameters p;
  p.matrix = (2 * w.key + w.value) * w.D;                                     // q, k, v
  p.matrix += rank * w.D + w.value * rank;                                    // output gate g
  p.matrix += w.H * w.D;                                                      // beta
  p.matrix += w.D * w.value;                                                  // output
  p.other = (2 * w.key + w.value) * w.conv + w.H + rank;                      // convolutions, A_log, o_norm
  if (kind == MixerKind::kKda) {
    p.matrix += rank * w.D + w.key * rank;                                    // forget gate f
    p.other += w.key;                                                         // dt_bias
  } else {
    p.matrix += w.H * w.D;
    p.other += w.H;
  }
  return p;
}

int64_t expert_parameters(const ModelConfig& c) { return 3 * c.hidden_size * c.moe_intermediate_size; }

// Of the routed experts hit, all layers.
int64_t expert_bytes(const ModelConfig& c, NumberBytes bytes, double distinct) {
  int64_t sum = 0;
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer)
    if (!c.is_dense(layer)) sum += static_cast<int64_t>(std::llround(distinct * expert_parameters(c) * bytes.act));
  return sum;
}

// Recurrent and convolution state of one linear layer and sequence.
int64_t state_bytes(const ModelConfig& c, NumberBytes bytes) {
  const Widths w(c);
  const int64_t number = parse_state_dtype(c.state_dtype) == StateType::kAccum ? bytes.accum : int64_t{sizeof(Bf16)};
  return w.key * c.linear_head_dim * number + (2 * w.key + w.value) * (w.conv - 1) * bytes.act;
}

}  // namespace

int64_t parameter_count(const ModelConfig& c, const Layout& layout) {
  int64_t n = 2 * c.vocab_size * c.hidden_size + c.hidden_size;
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    const Parameters mixer = mixer_parameters(c, layout[layer]);
    n += mixer.matrix + mixer.other + 2 * c.hidden_size;
    if (c.is_dense(layer))
      n += 3 * c.hidden_size * c.intermediate_size;
    else
      n += c.num_experts * (c.hidden_size + 1) + (c.num_experts + c.num_shared_experts) * expert_parameters(c);
  }
  return n;
}

int64_t weight_bytes(const ModelConfig& config, const Layout& layout, NumberBytes bytes) {
  return parameter_count(config, layout) * bytes.act;
}

int64_t cache_bytes_per_token(const ModelConfig& c, const Layout& layout, NumberBytes bytes) {
  return std::count(layout.begin(), layout.end(), MixerKind::kMla) * (c.kv_lora_rank + c.qk_rope_head_dim) * bytes.act;
}

int64_t state_bytes_per_sequence(const ModelConfig& c, const Layout& layout, NumberBytes bytes) {
  return (c.num_hidden_layers - std::count(layout.begin(), layout.end(), MixerKind::kMla)) * state_bytes(c, bytes);
}

int64_t cache_bytes(const ModelConfig& config, const Layout& layout, NumberBytes bytes, int64_t batch,
                    int64_t context) {
  return batch * (context * cache_bytes_per_token(config, layout, bytes) +
                  state_bytes_per_sequence(config, layout, bytes));
}

double expected_distinct_experts(const ModelConfig& c, int64_t batch) {
  if (c.num_experts == 0) return 0;
  const double E = static_cast<double>(c.num_experts);
  return E * (1 - std::pow(1 - static_cast<double>(c.num_experts_per_token) / E, static_cast<double>(batch)));
}

std::array<PartCost, kParts> decode_part_costs(const ModelConfig& c, const Layout& layout, NumberBytes bytes,
                                               int64_t batch, int64_t context, double distinct_experts) {
  const Widths w(c);
  std::array<PartCost, kParts> parts;
  const auto at = [&](Part part) -> PartCost& { return parts[static_cast<size_t>(part)]; };
  const auto product = [&](Part part, int64_t parameters) {
    at(part).bytes += parameters * bytes.act;
    at(part).flops += 2 * batch * parameters;
  };
  at(Part::kNorms).bytes = (c.hidden_size + batch * c.hidden_size) * bytes.act;  // final norm, embedding rows
  product(Part::kHead, c.vocab_size * c.hidden_size);
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    const Parameters mixer = mixer_parameters(c, layout[layer]);
    at(Part::kNorms).bytes += 2 * c.hidden_size * bytes.act;
    if (layout[layer] == MixerKind::kMla) {
      const int64_t up = w.A * (w.nope + w.v) * w.R;   // W_UK and W_UV, applied inside the attention
      product(Part::kProjections, mixer.matrix - up);
      product(Part::kAttention, up);
      at(Part::kAttention).bytes += mixer.other * bytes.act + batch * (context + 1) * (w.R + w.rope) * bytes.act;
      at(Part::kAttention).flops += 2 * batch * w.A * (context + 1) * (2 * w.R + w.rope);  // absorbed form
    } else {
      const int64_t gates = gate_parameters(c, layout[layer]);
      product(Part::kProjections, mixer.matrix - gates);
      product(Part::kRecurrence, gates);
      // the state is read and written; decay, recall, correct, read are about 7 operations an element
      at(Part::kRecurrence).bytes += mixer.other * bytes.act + 2 * batch * state_bytes(c, bytes);
      at(Part::kRecurrence).flops += 7 * batch * w.key * c.linear_head_dim;
    }
    if (c.is_dense(layer)) {
      product(Part::kDense, 3 * c.hidden_size * c.intermediate_size);
      continue;
    }
    product(Part::kRouter, c.num_experts * c.hidden_size);
    at(Part::kExperts).bytes += (c.num_experts + c.num_shared_experts * expert_parameters(c)) * bytes.act +
                                static_cast<int64_t>(std::llround(distinct_experts * expert_parameters(c) * bytes.act));
    at(Part::kExperts).flops += 2 * batch * (c.num_experts_per_token + c.num_shared_experts) * expert_parameters(c);
  }
  return parts;
}

StepCost decode_cost(const ModelConfig& c, const Layout& layout, NumberBytes bytes, int64_t batch, int64_t context,
                     double distinct_experts) {
  StepCost cost;
  int64_t all = 0;
  for (const PartCost& part : decode_part_costs(c, layout, bytes, batch, context, distinct_experts))
    all += part.bytes, cost.flops += part.flops;
  cost.expert_bytes = expert_bytes(c, bytes, distinct_experts);
  cost.cache_bytes = batch * (context + 1) * cache_bytes_per_token(c, layout, bytes);
  cost.state_bytes = 2 * batch * state_bytes_per_sequence(c, layout, bytes);
  cost.head_bytes = (c.vocab_size * c.hidden_size + batch * c.hidden_size) * bytes.act;
  cost.weight_bytes = all - cost.expert_bytes - cost.cache_bytes - cost.state_bytes - cost.head_bytes;
  return cost;
}

std::array<PartCost, kParts> prefill_part_costs(const ModelConfig& c, const Layout& layout, NumberBytes bytes,
                                                int64_t batch, int64_t cached, int64_t tokens) {
  const Widths w(c);
  const int64_t N = batch * tokens, keys = batch * (cached + tokens);
  const int64_t pairs = batch * (tokens * cached + tokens * (tokens + 1) / 2);
  const double distinct = expected_distinct_experts(c, N);
  std::array<PartCost, kParts> parts;
  const auto at = [&](Part part) -> PartCost& { return parts[static_cast<size_t>(part)]; };
  const auto product = [&](Part part, int64_t parameters, int64_t rows) {
    at(part).bytes += parameters * bytes.act;
    at(part).flops += 2 * rows * parameters;
  };
  at(Part::kNorms).bytes = (c.hidden_size + std::min(N, c.vocab_size) * c.hidden_size) * bytes.act;
  product(Part::kHead, c.vocab_size * c.hidden_size, batch);
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    const Parameters mixer = mixer_parameters(c, layout[layer]);
    at(Part::kNorms).bytes += 2 * c.hidden_size * bytes.act;
    if (layout[layer] == MixerKind::kMla) {
      const int64_t up = w.A * (w.nope + w.v) * w.R;   // W_UK and W_UV: of every key, not of every query
      product(Part::kProjections, mixer.matrix - up, N);
      product(Part::kAttention, up, keys);
      at(Part::kAttention).bytes += mixer.other * bytes.act + keys * (w.R + w.rope) * bytes.act;
      at(Part::kAttention).flops += 2 * pairs * w.A * (w.nope + w.rope + w.v);
    } else {
      const int64_t gates = gate_parameters(c, layout[layer]);
      product(Part::kProjections, mixer.matrix - gates, N);
      product(Part::kRecurrence, gates, N);
      at(Part::kRecurrence).bytes += mixer.other * bytes.act + (cached > 0 ? 2 : 1) * batch * state_bytes(c, bytes);
      at(Part::kRecurrence).flops += 7 * N * w.key * c.linear_head_dim;
    }
    if (c.is_dense(layer)) {
      product(Part::kDense, 3 * c.hidden_size * c.intermediate_size, N);
      continue;
    }
    at(Part::kExperts).bytes += (c.num_experts * (c.hidden_size + 1) + c.num_shared_experts * expert_parameters(c)) * bytes.act +
                                static_cast<int64_t>(std::llround(distinct * expert_parameters(c) * bytes.act));
    at(Part::kExperts).flops += 2 * N * (c.num_experts * c.hidden_size +
                                         (c.num_experts_per_token + c.num_shared_experts) * expert_parameters(c));
  }
  return parts;
}

StepCost prefill_cost(const ModelConfig& c, const Layout& layout, NumberBytes bytes, int64_t batch, int64_t cached,
                      int64_t tokens) {
  const int64_t N = batch * tokens;
  StepCost cost;
  int64_t all = 0;
  for (const PartCost& part : prefill_part_costs(c, layout, bytes, batch, cached, tokens))
    all += part.bytes, cost.flops += part.flops;
  cost.expert_bytes = expert_bytes(c, bytes, expected_distinct_experts(c, N));
  cost.cache_bytes = batch * (cached + tokens) * cache_bytes_per_token(c, layout, bytes);
  cost.state_bytes = (cached > 0 ? 2 : 1) * batch * state_bytes_per_sequence(c, layout, bytes);
  cost.head_bytes = (c.vocab_size + std::min(N, c.vocab_size)) * c.hidden_size * bytes.act;
  cost.weight_bytes = all - cost.expert_bytes - cost.cache_bytes - cost.state_bytes - cost.head_bytes;
  return cost;
}

}  // namespace kdabench
