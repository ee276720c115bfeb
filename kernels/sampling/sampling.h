#pragma once
// Greedy sampling:  ids[b] <- argmax_v logits[b, v], the lowest index on a tie, so that every backend decodes alike.

#include "kernels/base/arena.h"
#include "kernels/base/types.h"
#include "kernels/base/view.h"

namespace kdabench {

template <class Types>
struct Argmax {
  View<const typename Types::Accum, 2> logits;  // [B, vocabulary]
  View<int32_t, 1> ids;                         // [B]
};

template <class T> void argmax_cpu(const Argmax<Cpu<T>>& args);
void argmax_cuda(const Argmax<Gpu>& args, Arena& scratch, cudaStream_t stream);

}  // namespace kdabench
