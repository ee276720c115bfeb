#include "harness/engine/checkpoint.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "kernels/base/types.h"

namespace kdabench {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

// A read-only memory map of a whole file.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    require(file >= 0, "cannot open ", path, ": ", std::strerror(errno), ".");
    struct stat info = {};
    if (fstat(file, &info) == 0) bytes_ = static_cast<size_t>(info.st_size);
    if (bytes_ > 0) data_ = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file, 0);
    const int error = errno;
    close(file);
    require(bytes_ > 0 && data_ != MAP_FAILED, "cannot map ", path, ": ",
            bytes_ == 0 ? "the file is empty" : std::strerror(error), ".");
  }
  MappedFile(MappedFile&& other) noexcept : data_(other.data_), bytes_(other.bytes_) {
    other.data_ = nullptr;
    other.bytes_ = 0;
  }
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile() {
    if (bytes_ > 0) munmap(data_, bytes_);
  }
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), bytes_}; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

int64_t dtype_bytes(const std::string& dtype, const std::string& where) {
  static const std::map<std::string, int64_t> sizes = {{"BF16", 2}, {"F16", 2}, {"F32", 4}, {"F64", 8}, {"I64", 8},
                                                       {"I32", 4},  {"I16", 2}, {"I8", 1},  {"U8", 1},  {"BOOL", 1}};
  const auto at = sizes.find(dtype);
  require(at != sizes.end(), where, " has dtype '", dtype, "'; kdabench reads BF16, F16, F32, F64 and integers.");
  return at->second;
}

float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 0x1f, mantissa = h & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent > 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // subnormal
  return sign ? -magnitude : magnitude;
}

void read_header(const std::string& path, std::span<const std::byte> file, std::map<std::string, TensorInfo>& into) {
  require(file.size() >= 8, path, " is truncated: ", file.size(), " bytes, a safetensors file has at least 8.");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), 8);
  require(header_bytes <= file.size() - 8, path, " is truncated or not safetensors: its header wants ", header_bytes,
          " bytes, the file has ", file.size() - 8, " after the length.");
  json header;
  try {
    const char* text_begin = reinterpret_cast<const char*>(file.data() + 8);
    header = json::parse(text_begin, text_begin + header_bytes);
  } catch (const json::parse_error& e) {
    fail(path, " has a malformed safetensors header (byte ", e.byte, ").");
  }
  require(header.is_object(), path, " has a malformed safetensors header: wanted an object.");
  const std::span<const std::byte> data = file.subspan(8 + header_bytes);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    TensorInfo tensor;
    uint64_t begin = 0, end = 0;
    try {
      entry.at("dtype").get_to(tensor.dtype);
      entry.at("shape").get_to(tensor.shape);
      begin = entry.at("data_offsets").at(0).get<uint64_t>();
      end = entry.at("data_offsets").at(1).get<uint64_t>();
    } catch (const json::exception&) {
      fail(path, ": tensor ", name, " has a malformed entry; wanted dtype, shape and data_offsets.");
    }
    uint64_t wanted = static_cast<uint64_t>(dtype_bytes(tensor.dtype, path + ": tensor " + name));
    for (const int64_t size : tensor.shape) {
      require(size >= 0 && (size == 0 || wanted <= (uint64_t{1} << 62) / static_cast<uint64_t>(size)), path,
              ": tensor ", name, " has an impossible shape.");
      wanted *= static_cast<uint64_t>(size);
    }
    require(begin <= end && end <= data.size(), path, " is truncated: tensor ", name, " ends at data byte ", end,
            ", the file has ", data.size(), ".");
    require(end - begin == wanted, path, ": tensor ", name, " takes ", end - begin, " bytes, its shape and dtype want ",
            wanted, ".");
    tensor.data = data.subspan(begin, end - begin);
    require(into.emplace(name, std::move(tensor)).second, path, ": tensor ", name, " appears twice.");
  }
}

}  // namespace

struct Safetensors::Impl {
  std::string path;
  std::vector<MappedFile> files;
  std::map<std::string, TensorInfo> tensors;
};

Safetensors::Safetensors(const std::string& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  std::vector<std::string> files;
  std::map<std::string, std::string> promised;  // tensor -> shard, from the index
  if (fs::is_directory(path)) {
    const std::string index_path = path + "/model.safetensors.index.json";
    if (fs::exists(index_path)) {
      std::ifstream file(index_path);
      try {
        json::parse(file).at("weight_map").get_to(promised);
      } catch (const json::exception&) {
        fail(index_path, " is malformed or truncated; wanted JSON with a weight_map of names to files.");
      }
      for (const auto& [name, shard] : promised)
        if (files.empty() || std::find(files.begin(), files.end(), path + "/" + shard) == files.end())
          files.push_back(path + "/" + shard);
    } else {
      files.push_back(path + "/model.safetensors");
      require(fs::exists(files[0]), path, " holds neither model.safetensors nor model.safetensors.index.json.");
    }
  } else {
    files.push_back(path);
  }
  for (const std::string& file : files) {
    impl_->files.emplace_back(file);
    read_header(file, impl_->files.back().bytes(), impl_->tensors);
  }
  for (const auto& [name, shard] : promised)
    require(impl_->tensors.count(name), path, ": the index promises tensor ", name, " in ", shard,
            ", which does not have it.");
}

Safetensors::~Safetensors() = default;
Safetensors::Safetensors(Safetensors&&) noexcept = default;
Safetensors& Safetensors::operator=(Safetensors&&) noexcept = default;

const std::map<std::string, TensorInfo>& Safetensors::tensors() const { return impl_->tensors; }

const TensorInfo& Safetensors::find(const std::string& name) const {
  const auto at = impl_->tensors.find(name);
  require(at != impl_->tensors.end(), impl_->path, ": tensor ", name, " is missing.");
  return at->second;
}

std::vector<float> Safetensors::floats(const std::string& name) const {
  const TensorInfo& tensor = find(name);
  const auto convert = [&]<class Stored>(Stored, auto to) {
    std::vector<float> out(tensor.data.size() / sizeof(Stored));
    for (size_t i = 0; i < out.size(); ++i) {
      Stored value;
      std::memcpy(&value, tensor.data.data() + i * sizeof(Stored), sizeof(Stored));
      out[i] = to(value);
    }
    return out;
  };
  if (tensor.dtype == "BF16") return convert(uint16_t{}, [](uint16_t bits) { return to_float(Bf16{bits}); });
  if (tensor.dtype == "F16") return convert(uint16_t{}, half_to_float);
  if (tensor.dtype == "F32") return convert(float{}, [](float x) { return x; });
  fail(impl_->path, ": tensor ", name, " is ", tensor.dtype, "; wanted BF16, F16 or F32.");
}

std::vector<int64_t> Safetensors::integers(const std::string& name) const {
  const TensorInfo& tensor = find(name);
  require(tensor.dtype == "I64", impl_->path, ": tensor ", name, " is ", tensor.dtype, "; wanted I64.");
  std::vector<int64_t> out(tensor.data.size() / sizeof(int64_t));
  std::memcpy(out.data(), tensor.data.data(), tensor.data.size());
  return out;
}

void write_safetensors(const std::string& path, std::span<const FloatTensor> tensors) {
  nlohmann::ordered_json header;
  uint64_t offset = 0;
  for (const FloatTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", "F32"},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.values.size_bytes()}}};
    offset += tensor.values.size_bytes();
  }
  std::string text_header = header.dump();
  text_header.resize((text_header.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text_header.size();
  const std::string part = path + ".tmp";
  {
    std::ofstream file(part, std::ios::binary);
    require(file.good(), "cannot write ", part, "; give a writable --out.");
    file.write(reinterpret_cast<const char*>(&length), sizeof(length));
    file.write(text_header.data(), static_cast<std::streamsize>(text_header.size()));
    for (const FloatTensor& tensor : tensors)
      file.write(reinterpret_cast<const char*>(tensor.values.data()),
                 static_cast<std::streamsize>(tensor.values.size_bytes()));
    file.flush();
    require(file.good(), "writing ", part, " failed; is the disk full?");
  }
  fs::rename(part, path);
}

}  // namespace kdabench
