#include "harness/engine/model.h"

#include <fstream>

#include "harness/engine/cpu_backend.h"
#include "harness/engine/cuda_model.h"
#include "harness/engine/plan_backend.h"
#include "harness/engine/transformer_model.h"

namespace kdabench {
namespace {

template <class Types>
SessionBytes plan_session(const ModelOptions& options, const SessionOptions& session) {
  Arena weights;
  WeightBuilder<typename Types::Weight> builder(weights);
  Transformer<PlanBackend<Types>> transformer(builder, options.config, options.layout);
  PlanBackend<Types> backend;
  const SessionSize size = measure_session(transformer, backend, options.config, session);
  return {size.cache, size.state, size.workspace};
}

}  // namespace

DeviceKind parse_device(const std::string& name) {
  if (name == "cpu") return DeviceKind::kCpu;
  if (name == "cuda") return DeviceKind::kCuda;
  fail("unknown device '", name, "'; give cpu or cuda.");
}

Precision parse_precision(const std::string& name) {
  if (name == "fp32") return Precision::kFp32;
  if (name == "fp64") return Precision::kFp64;
  if (name == "bf16") return Precision::kBf16;
  fail("unknown dtype '", name, "'; give fp32, fp64 or bf16.");
}

const char* device_name(DeviceKind device) { return device == DeviceKind::kCpu ? "cpu" : "cuda"; }

const char* precision_name(Precision precision) {
  switch (precision) {
    case Precision::kFp32: return "fp32";
    case Precision::kFp64: return "fp64";
    case Precision::kBf16: return "bf16";
  }
  return "?";
}

Precision default_precision(DeviceKind device) {
  return device == DeviceKind::kCpu ? Precision::kFp32 : Precision::kBf16;
}

NumberBytes number_bytes(Precision precision) {
  switch (precision) {
    case Precision::kFp32: return {4, 4};
    case Precision::kFp64: return {8, 8};
    case Precision::kBf16: return {2, 4};
  }
  return {};
}

std::unique_ptr<Model> make_model(const ModelOptions& options) {
  check_config(options.config);
  require(static_cast<int64_t>(options.layout.size()) == options.config.num_hidden_layers, "the layout has ",
          options.layout.size(), " layers, the config ", options.config.num_hidden_layers, ".");
  if (options.device == DeviceKind::kCuda) {
    require(options.precision == Precision::kBf16, "--device cuda computes in bf16, not ",
            precision_name(options.precision), "; use --dtype bf16, or --device cpu for fp32.");
    return make_cuda_model(options);
  }
  switch (options.precision) {
    case Precision::kFp32:
      return std::make_unique<TransformerModel<CpuBackend<float>>>(std::make_unique<CpuBackend<float>>(), options);
    case Precision::kFp64:
      return std::make_unique<TransformerModel<CpuBackend<double>>>(std::make_unique<CpuBackend<double>>(), options);
    case Precision::kBf16: break;
  }
  fail("--device cpu computes in fp32 or fp64, not bf16; use --dtype fp32, or --device cuda for bf16.");
}

SessionBytes predict_session(const ModelOptions& options, const SessionOptions& session) {
  if (options.device == DeviceKind::kCuda) return plan_session<Gpu>(options, session);
  return options.precision == Precision::kFp64 ? plan_session<Cpu<double>>(options, session)
                                               : plan_session<Cpu<float>>(options, session);
}

DeviceMemoryState device_memory(DeviceKind device) {
  if (device == DeviceKind::kCuda) return cuda_memory();
  DeviceMemoryState memory;
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  for (int64_t kib; file >> key >> kib; std::getline(file, unit)) {
    if (key == "MemTotal:") memory.total_bytes = kib * 1024;
    if (key == "MemAvailable:") memory.free_bytes = kib * 1024;
  }
  return memory;
}

}  // namespace kdabench
