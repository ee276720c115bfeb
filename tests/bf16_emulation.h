#pragma once
// How far bf16 alone moves a model: the CPU backend in fp32, rounded to bf16 wherever the GPU stores bf16 (projections,
// normed inputs, mixer and expert outputs, the latent cache). No kernel of ours takes part beyond the CPU ones, so the
// error of this model is what a right GPU implementation must expect, and the bound of the GPU tests follows from it.

#include "harness/engine/cpu_backend.h"
#include "harness/engine/transformer_model.h"

namespace kdabench::test {

class Bf16Emulation : public CpuBackend<float> {
 public:
  using Base = CpuBackend<float>;
  explicit Bf16Emulation(int64_t vocabulary) : vocabulary_(vocabulary) {}

  void add_rms_norm(const AddRmsNorm<Types>& a, Arena& arena) { Base::add_rms_norm(a, arena), round(a.out, arena); }
  void silu_mul(const SiluMul<Types>& a, Arena& arena) { Base::silu_mul(a, arena), round(a.out, arena); }
  void moe(const Moe<Types>& a, Arena& arena) { Base::moe(a, arena), round(a.out, arena); }
  void linear(const Linear<Types>& a, Arena& arena) {
    Base::linear(a, arena);
    if (a.y.size[1] != vocabulary_) round(a.y, arena);  // logits stay fp32
  }
  void mla(const Mla<Types>& a, Arena& arena) {
    Base::mla(a, arena);
    round(a.out, arena);
    round(a.cache, arena);
  }
  void delta_rule(const DeltaRule<Types>& a, Arena& arena) { Base::delta_rule(a, arena), round(a.out, arena); }

 private:
  static void round_row(float* row, int64_t n) {
    for (int64_t i = 0; i < n; ++i) row[i] = to_float(to_bf16(row[i]));
  }
  static void round(View<float, 2> v, const Arena& arena) {
    if (!arena.measuring())
      for (int64_t i = 0; i < v.size[0]; ++i) round_row(&v(i, 0), v.size[1]);
  }
  static void round(View<float, 3> v, const Arena& arena) {
    if (!arena.measuring())
      for (int64_t b = 0; b < v.size[0]; ++b)
        for (int64_t i = 0; i < v.size[1]; ++i) round_row(&v(b, i, 0), v.size[2]);
  }
  int64_t vocabulary_;
};

inline std::unique_ptr<Model> emulated_bf16_model(ModelOptions options) {
  options.device = DeviceKind::kCpu;
  options.precision = Precision::kFp32;
  return std::make_unique<TransformerModel<Bf16Emulation>>(
      std::make_unique<Bf16Emulation>(options.config.vocab_size), options);
}

}  // namespace kdabench::test
