#pragma once
// Gated DeltaNet in its own paper's form (Yang, Kautz, Hatamizadeh, arXiv 2412.06464), one forget gate for a head:
//
//   S <- S (a (I - beta k k^T)) + beta v k^T,   o = S q / sqrt(K),   a = exp(g)
//
// with S of [V, K] as it stands there. It exists for one law: KDA whose gate is equal across channels is GDN. The
// transition matrix is formed and multiplied out, K^2 V flops a token, so that nothing is shared with kernels/kda.
// Models run GDN through kernels/kda with gate_dim = 1.

#include "kernels/kda/kda.h"

namespace kdabench {

// args.g has one channel.
template <class T> void gdn_recurrence_cpu(const DeltaRecurrence<T>& args);

}  // namespace kdabench
