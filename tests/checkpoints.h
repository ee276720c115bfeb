#pragma once
// The small checkpoints with expected logits (design: truth for the whole model), found through KDABENCH_DATA.

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "harness/engine/checkpoint.h"
#include "harness/engine/model.h"

namespace kdabench::test {

inline const std::vector<std::string> kCheckpoints = {"hf_tiny_a", "hf_tiny_c", "hf_tiny_mla"};

// Empty when the data is not there: the test then says "skipped: no data".
inline std::string checkpoint_folder(const std::string& name) {
  const char* data = std::getenv("KDABENCH_DATA");
  const std::string folder = std::string(data ? data : "") + "/hf_tiny/" + name;
  return data && std::filesystem::exists(folder) ? folder : "";
}

struct Expected {
  std::vector<int32_t> ids;
  std::vector<float> logits;     // [T, vocabulary]
  std::vector<int64_t> greedy;   // what follows, token by token
};

inline std::vector<Expected> read_expected(const std::string& folder) {
  const Safetensors file(folder + "/expected.safetensors");
  std::vector<Expected> all;
  for (int i = 0; file.tensors().count("ids_" + std::to_string(i)); ++i) {
    const std::string n = std::to_string(i);
    const std::vector<int64_t> ids = file.integers("ids_" + n);
    all.push_back({{ids.begin(), ids.end()}, file.floats("logits_" + n), file.integers("greedy_" + n)});
  }
  return all;
}

inline ModelOptions checkpoint_options(const std::string& folder, DeviceKind device, Precision precision) {
  ModelOptions options;
  options.config = read_config(folder);
  options.layout = kimi_linear_architecture().layout(options.config, {});
  options.device = device;
  options.precision = precision;
  options.checkpoint = folder;
  return options;
}

// Difference of the largest and the second largest of n logits.
inline float margin(const float* logits, int64_t n) {
  float best = -1e30f, second = -1e30f;
  for (int64_t i = 0; i < n; ++i) {
    if (logits[i] > best) second = best, best = logits[i];
    else if (logits[i] > second) second = logits[i];
  }
  return best - second;
}

}  // namespace kdabench::test
