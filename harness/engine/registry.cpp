#include "harness/engine/registry.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "kernels/base/error.h"

namespace kdabench {

const char* mixer_name(MixerKind kind) {
  switch (kind) {
    case MixerKind::kKda: return "kda";
    case MixerKind::kGdn: return "gdn";
    case MixerKind::kMla: return "mla";
  }
  return "?";
}

HybridRatio parse_hybrid_ratio(const std::string& given) {
  if (given.empty()) return {};
  int64_t ratio = -1;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), ratio);
  require(error == std::errc() && std::string(end, given.data() + given.size()) == ":1" && ratio >= 0,
          "hybrid ratio is '", given, "'; wanted R:1 with R >= 0, such as 3:1 or 0:1.");
  return ratio;
}

Layout hybrid_layout(const ModelConfig& config, HybridRatio ratio, MixerKind linear) {
  Layout layout(config.num_hidden_layers, MixerKind::kMla);
  if (!ratio) {
    for (const int64_t layer : config.kda_layers) layout[layer - 1] = linear;
    return layout;
  }
  if (*ratio == 0) return layout;
  for (int64_t i = 1; i < config.num_hidden_layers; ++i)  // the last layer stays full attention, as in the paper
    if (i % (*ratio + 1) != 0) layout[i - 1] = linear;
  return layout;
}

Architecture kimi_linear_architecture() {
  return {"kimi-linear", "KDA in most layers, MLA where the config says and in the last (the paper's model)",
          [](const ModelConfig& config, HybridRatio ratio) {
            return hybrid_layout(config, ratio, MixerKind::kKda);
          }};
}

void Registry::add(Architecture architecture) {
  architectures_.push_back(std::move(architecture));
}

const Architecture& Registry::find(const std::string& name) const {
  std::vector<std::string> names;
  for (const Architecture& a : architectures_) {
    if (a.name == name) return a;
    names.push_back(a.name);
  }
  const std::string near = nearest(name, names);
  std::string known;
  for (const std::string& n : names) known += (known.empty() ? "" : ", ") + n;
  fail("unknown model '", name, "'; ", near.empty() ? "" : text("did you mean ", near, "? "), "Known: ", known, ".");
}

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= candidate.size(); ++j) {
        const size_t substitute = diagonal + (word[i - 1] != candidate[j - 1]);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
      }
    }
    if (row.back() < best_distance) best_distance = row.back(), best = candidate;
  }
  return best;
}

}  // namespace kdabench
