#include "baselines/gdn_h.h"

namespace kdabench {
namespace {

Layout gdn_h_layout(const ModelConfig& config, HybridRatio ratio) {
  return hybrid_layout(config, ratio, MixerKind::kGdn);
}

}  // namespace

Architecture gdn_h_architecture() {
  return {"gdn-h", "the same hybrid with GDN, one forget rate a head, in place of KDA", gdn_h_layout};
}

}  // namespace kdabench
