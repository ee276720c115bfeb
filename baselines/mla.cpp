#include "baselines/mla.h"

namespace kdabench {
namespace {

// A hybrid ratio of 0:1 is full attention throughout, so the ratio asked for changes nothing here.
Layout mla_layout(const ModelConfig& config, HybridRatio) { return hybrid_layout(config, 0, MixerKind::kMla); }

}  // namespace

Architecture mla_architecture() { return {"mla", "full attention: MLA in every layer", mla_layout}; }

}  // namespace kdabench
