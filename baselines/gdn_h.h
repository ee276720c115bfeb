#pragma once
// GDN-H, head-wise Gated DeltaNet: the hybrid with GDN where kimi-linear has KDA. It keeps the short convolutions, the
// output gate and its low rank, so that only the forget gate (one rate a head, not one a channel) differs.

#include "harness/engine/registry.h"

namespace kdabench {

Architecture gdn_h_architecture();

}  // namespace kdabench
