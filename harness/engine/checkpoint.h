#pragma once
// safetensors files: read (single file or sharded index; bf16, fp16, fp32, int64) and written.
// Format: u64 little-endian header length, JSON header, data. https://github.com/huggingface/safetensors

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace kdabench {

struct TensorInfo {
  std::string dtype;                     // "BF16", "F16", "F32", "I64", ...
  std::vector<int64_t> shape;
  std::span<const std::byte> data;       // memory-mapped
};

class Safetensors {
 public:
  // A file, or a folder with model.safetensors or model.safetensors.index.json.
  // Errors name the file and the fault: truncated, malformed header, offsets outside the file, missing shard.
  explicit Safetensors(const std::string& path);
  ~Safetensors();
  Safetensors(Safetensors&&) noexcept;
  Safetensors& operator=(Safetensors&&) noexcept;

  const std::map<std::string, TensorInfo>& tensors() const;
  const TensorInfo& find(const std::string& name) const;   // Error names the tensor
  // Values as float, whatever the stored floating-point type.
  std::vector<float> floats(const std::string& name) const;
  std::vector<int64_t> integers(const std::string& name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct FloatTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::span<const float> values;
};
// Writes fp32 tensors to path.tmp, then renames it into place.
void write_safetensors(const std::string& path, std::span<const FloatTensor> tensors);

}  // namespace kdabench
