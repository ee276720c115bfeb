#pragma once
// The full-attention baseline: MLA in every layer, everything else as in the hybrid.

#include "harness/engine/registry.h"

namespace kdabench {

Architecture mla_architecture();

}  // namespace kdabench
