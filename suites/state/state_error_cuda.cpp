// The decode kernel's run; see state_error.h.

#include <cuda_runtime_api.h>

#include <map>

#include "kernels/base/arena.h"
#include "kernels/base/cuda.h"
#include "suites/state/state_error.h"

namespace kdabench::suites {
namespace {

class CudaRun final : public DeltaRun {
 public:
  explicit CudaRun(StateType type) : type_(type), stream_(make_stream()) {}

  std::vector<double> run(const DeltaProblem<Cpu<double>>& inputs, int32_t position) override {
    DeltaProblem<Gpu> p = inputs.as<Gpu>();
    p.shape.state = type_;
    if (position > 0) p.state = state_, p.state_bf16 = state_bf16_, p.conv_state = conv_state_;
    else if (type_ != StateType::kAccum) p.state_bf16.assign(p.state.size(), Bf16{0}), p.state.clear();
    const int64_t tokens = p.shape.tokens;
    p.lengths.clear();                         // one for every launch
    for (int64_t t = 0; t < tokens; ++t) p.lengths.push_back(position + static_cast<int32_t>(t));

    std::map<const void*, DeviceMemory> memory;
    const auto pointer = [&](auto& vector) {
      return static_cast<std::remove_reference_t<decltype(vector[0])>*>(memory.at(&vector).data());
    };
    p.visit_buffers([&](const char* name, auto& vector) {
      const auto bytes = static_cast<int64_t>(vector.size() * sizeof(vector[0]));
      const auto at = memory.emplace(&vector, DeviceMemory(bytes + 256, name)).first;
      if (bytes > 0) check(cudaMemcpy(at->second.data(), vector.data(), bytes, cudaMemcpyHostToDevice), "upload");
    });
    const DeltaRule<Gpu> whole = p.args_at(pointer);
    std::byte unused;
    Arena scratch(&unused, 0);                 // decode takes none
    for (int64_t t = 0; t < tokens; ++t) {
      DeltaRule<Gpu> one = whole;
      one.qkv = whole.qkv.slice(1, t, 1), one.gate = whole.gate.slice(1, t, 1), one.beta = whole.beta.slice(1, t, 1);
      one.out_gate = whole.out_gate.slice(1, t, 1), one.out = whole.out.slice(1, t, 1);
      one.lengths.data = whole.lengths.data + t;
      delta_rule_cuda(one, scratch, stream_.get());
    }
    check(cudaStreamSynchronize(stream_.get()), "run the decode kernel");
    for (auto* vector : {&p.out, &p.conv_state}) download(*vector, pointer(*vector));
    download(p.state, pointer(p.state)), download(p.state_bf16, pointer(p.state_bf16));
    state_ = p.state, state_bf16_ = p.state_bf16, conv_state_ = p.conv_state;
    std::vector<double> out;
    for (const Bf16 x : p.out) out.push_back(to_float(x));
    return out;
  }

  std::vector<double> state() override {
    std::vector<double> values(state_.begin(), state_.end());
    for (const Bf16 x : state_bf16_) values.push_back(to_float(x));
    return values;
  }

 private:
  template <class T>
  static void download(std::vector<T>& to, const T* from) {
    if (!to.empty()) check(cudaMemcpy(to.data(), from, to.size() * sizeof(T), cudaMemcpyDeviceToHost), "download");
  }

  StateType type_;
  Stream stream_;
  std::vector<float> state_;
  std::vector<Bf16> state_bf16_, conv_state_;
};

}  // namespace

std::unique_ptr<DeltaRun> cuda_delta_run(StateType type) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) return nullptr;
  return std::make_unique<CudaRun>(type);
}

}  // namespace kdabench::suites
