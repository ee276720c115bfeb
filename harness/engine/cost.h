#pragma once
// Bytes and flops of a model, from its config and layout alone: what `--dry-run` prints and what a measured step is
// held against. Counts follow reference tables of the paper's architecture (48B: 49,122,681,728 parameters).

#include <array>
#include <cstdint>

#include "harness/engine/config.h"
#include "harness/engine/parts.h"
#include "harness/engine/registry.h"

namespace kdabench {

// Bytes of one number. The recurrent state is one of accumulation, unless the config keeps it in bf16.
struct NumberBytes {
  int64_t act = 2;     // activations, weights, latent cache, convolution state
  int64_t accum = 4;   // accumulation
};

int64_t parameter_count(const ModelConfig& config, const Layout& layout);
int64_t weight_bytes(const ModelConfig& config, const Layout& layout, NumberBytes bytes);
int64_t cache_bytes_per_token(const ModelConfig& config, const Layout& layout, NumberBytes bytes);
int64_t state_bytes_per_sequence(const ModelConfig& config, const Layout& layout, NumberBytes bytes);
// batch * (context * per token + state)
int64_t cache_bytes(const ModelConfig& config, const Layout& layout, NumberBytes bytes, int64_t batch, int64_t context);

// E (1 - (1 - k/E)^batch): distinct routed experts a batch hits in one layer under uniform routing.
double expected_distinct_experts(const ModelConfig& config, int64_t batch);

// What one decode step must move and compute at the least. Every weight used is read once, every cached row is read
// once, every state is read and written once; activations are not counted (they stay in L2).
struct StepCost {
  int64_t weight_bytes = 0;   // mixers, norms, routers, shared experts, dense layers
  int64_t expert_bytes = 0;   // distinct routed experts hit
  int64_t cache_bytes = 0;    // latent rows read, plus the new ones written
  int64_t state_bytes = 0;    // recurrent and convolution state, read and written
  int64_t head_bytes = 0;     // LM head and embedding rows
  int64_t flops = 0;
  int64_t bytes() const { return weight_bytes + expert_bytes + cache_bytes + state_bytes + head_bytes; }
};
StepCost decode_cost(const ModelConfig& config, const Layout& layout, NumberBytes bytes, int64_t batch,
                     int64_t context, double distinct_experts);

// What reading `tokens` more of each sequence must move and compute at the least, in however many passes: every weight
// hit is read once, cached rows are read and new ones written once, states are written once (and read where there are
// cached tokens); activations are not counted. Attention is the expanded form under its causal mask, keys and values of a
// token made once, T (T + 1) / 2 pairs a head; the recurrence as in a decode step, a token at a time; the head sees the
// last position of a sequence. Experts hit are expected under uniform routing.
StepCost prefill_cost(const ModelConfig& config, const Layout& layout, NumberBytes bytes, int64_t batch, int64_t cached,
                      int64_t tokens);

// The same, by part, in the order of kAllParts.
struct PartCost {
  int64_t bytes = 0, flops = 0;
};
std::array<PartCost, kParts> prefill_part_costs(const ModelConfig& config, const Layout& layout, NumberBytes bytes,
                                                int64_t batch, int64_t cached, int64_t tokens);
std::array<PartCost, kParts> decode_part_costs(const ModelConfig& config, const Layout& layout, NumberBytes bytes,
                                               int64_t batch, int64_t context, double distinct_experts);

}  // namespace kdabench
