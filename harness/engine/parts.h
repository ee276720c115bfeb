#pragma once
// The parts of a decode step, for saying where its time goes. Every operation of a pass belongs to one of them.

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/kernel_use.h"

namespace kdabench {

enum class Part {
  kProjections,   // the mixers' input and output projections
  kAttention,     // MLA: append, absorb, attention over the latent cache, value up-projection
  kRecurrence,    // KDA and GDN: gates from their low rank, short convolution, state update and read, output norm
  kRouter,        // the router's product; where it is not apart, it counts to the experts
  kExperts,       // choice, routed and shared experts
  kDense,         // feed-forward of the leading dense layers
  kHead,          // final logits and sampling
  kNorms,         // embedding, residual stream and RMSNorm, running lengths
};
inline constexpr int kParts = 8;
inline constexpr std::array<Part, kParts> kAllParts = {Part::kProjections, Part::kAttention, Part::kRecurrence, Part::kRouter,
                                                       Part::kExperts,     Part::kDense,     Part::kHead,       Part::kNorms};

inline const char* part_name(Part part) {
  switch (part) {
    case Part::kProjections: return "projections";
    case Part::kAttention: return "attention";
    case Part::kRecurrence: return "recurrence";
    case Part::kRouter: return "router";
    case Part::kExperts: return "experts";
    case Part::kDense: return "dense";
    case Part::kHead: return "head";
    case Part::kNorms: return "norms";
  }
  return "?";
}

// The kernels that served each part of a step, by the part's name, in the order in which they first ran.
using PartKernels = std::map<std::string, std::vector<std::string>>;

// Of a step: a kernel that serves several parts in one launch is named in each of them, and launched once.
struct StepKernels {
  PartKernels parts;
  std::vector<KernelUse> launched;           // on a GPU
};

inline void add_kernel(PartKernels& kernels, Part part, std::string_view name) {
  std::vector<std::string>& of_part = kernels[part_name(part)];
  if (std::find(of_part.begin(), of_part.end(), name) == of_part.end()) of_part.emplace_back(name);
}

// Products belong to the mixers' projections unless a scope says otherwise.
class PartScope {
 public:
  PartScope(Part& label, Part part) : label_(label), before_(label) { label_ = part; }
  ~PartScope() { label_ = before_; }
  PartScope(const PartScope&) = delete;
  PartScope& operator=(const PartScope&) = delete;

 private:
  Part& label_;
  Part before_;
};

}  // namespace kdabench
