#pragma once
// A backend that computes nothing: it lets the model's own code count what it would allocate, for --dry-run on a machine
// or in a build without a GPU. It counts activations exactly; scratch inside CUDA kernels is not in it.

#include "harness/engine/cpu_backend.h"

namespace kdabench {

template <class T>
class PlanBackend {
 public:
  using Types = T;
  struct Graph {};
  struct Memory {
    void* data() const { return nullptr; }
    int64_t bytes() const { return 0; }
  };
  Part linear_part = Part::kProjections;
  template <class U>
  void upload(View<U, 2>, const U*) {}
  template <class U>
  void copy(View<U, 2>, View<const U, 2>) {}
  void embed(const Embed<Types>&, Arena&) {}
  void add_rms_norm(const AddRmsNorm<Types>&, Arena&) {}
  void silu_mul(const SiluMul<Types>&, Arena&) {}
  void advance(const Advance&, Arena&) {}
  template <class Out>
  void linear(const Linear<Types, Out>&, Arena&) {}
  void linear_pair(const LinearPair<Types>&, Arena&) {}
  void argmax(const Argmax<Types>&, Arena&) {}
  void moe(const Moe<Types>&, Arena&) {}
  void mla(const Mla<Types>&, Arena&) {}
  void delta_rule(const DeltaRule<Types>&, Arena&) {}
  bool low_rank_delta_rule(const LowRankDeltaRule<Types>&, Arena&) { return false; }
};

}  // namespace kdabench
