#pragma once
// An architecture is a name and a rule that says which mixer each layer has, and nothing else. Everything around the
// mixers (norms, feed-forward, embedding, head, decoding, timing) is shared by all of them.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/engine/config.h"

namespace kdabench {

enum class MixerKind { kKda, kGdn, kMla };
const char* mixer_name(MixerKind kind);

using Layout = std::vector<MixerKind>;   // one entry a layer

// R linear layers to each full-attention layer (paper section 5.2's ablation); 0 is full attention throughout.
using HybridRatio = std::optional<int64_t>;
HybridRatio parse_hybrid_ratio(const std::string& text);   // "3:1"; empty for ""

struct Architecture {
  std::string name;
  std::string summary;                   // one line for `kdabench models`
  Layout (*layout)(const ModelConfig& config, HybridRatio ratio);
};

// `linear` where the config (or the ratio) has linear attention, MLA elsewhere and in the last layer.
Layout hybrid_layout(const ModelConfig& config, HybridRatio ratio, MixerKind linear);

Architecture kimi_linear_architecture();

class Registry {
 public:
  void add(Architecture architecture);
  const Architecture& find(const std::string& name) const;   // Error names the nearest known one
  const std::vector<Architecture>& all() const { return architectures_; }

 private:
  std::vector<Architecture> architectures_;
};

// The candidate closest to `word` by edit distance, or empty when nothing is near. For "did you mean".
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace kdabench
