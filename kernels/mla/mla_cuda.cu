// MLA on the GPU: which kernels a problem gets, and their order. The kernels are in the .cu files beside this
// one.

#include <cmath>
#include <cstdint>

#include "kernels/base/cuda.h"
#include "kernels/base/device.cuh"
#include "kernels/base/error.h"
#include "kernels/mla/mla_kernels.h"

namespace kdabench {
namespace {

enum class Attention { kSplit, kSmall, kGeneric, kExpanded };

bool is(const Mla<Gpu>& args, int N, int P, int V) {
  return args.nope_dim == N && args.rope_dim == P && args.value_dim == V;
}

Attention attention_of(const Mla<Gpu>& args) {
  const bool absorbed = args.form == MlaForm::kAbsorbed ||
                        (args.form == MlaForm::kAutomatic && args.q.size[1] <= kMlaAbsorbedTokens);
  if (!absorbed) return Attention::kExpanded;
  const bool split = is(args, kMlaNope, kMlaRope, kMlaValue) && args.rank == kMlaRank;
  return split ? Attention::kSplit : mla_small_takes(args) ? Attention::kSmall : Attention::kGeneric;
}

constexpr int64_t kMostSequences = 1024;  // of the split decode
constexpr int64_t kMostQueries = 65535;   // of the small decode: what a grid counts

// Kernels that move 16 bytes at a time need rows that begin on 16 bytes.
template <class T>
bool aligned(const View<T, 3>& view) {
  const auto address = reinterpret_cast<uintptr_t>(view.data);
  return address % 16 == 0 && view.stride[0] % 8 == 0 && view.stride[1] % 8 == 0;
}

MlaPartials take_partials(const MlaSplitPlan& plan, Arena& scratch) {
  MlaPartials partials;
  partials.values = scratch.take<Bf16>(plan.row_tiles, plan.slots, kMlaTileRows, kMlaRank);
  partials.stats = scratch.take<float>(plan.row_tiles, plan.slots, kMlaTileRows, 2);
  return partials;
}

void absorbed_split(const Mla<Gpu>& args, Arena& scratch, cudaStream_t stream) {
  const auto query = scratch.take<Bf16>(args.q.size[0], args.q.size[1], args.heads, kMlaRow);
  MlaLatent<Gpu> latent;
  latent.query = query, latent.cache = args.cache, latent.lengths = args.lengths;
  latent.max_context = args.max_context;
  latent.scale = 1 / std::sqrt(static_cast<float>(args.nope_dim + args.rope_dim));
  const MlaSplitPlan plan = mla_split_plan(latent, device::multiprocessors());
  const MlaPartials partials = take_partials(plan, scratch);
  if (scratch.measuring()) return;
  mla_absorb_cuda(args, query, stream);
  mla_split_cuda(latent, partials, plan, stream);
  mla_merge_project_cuda(latent, args.kv_b, args.out, partials, plan, stream);
}

void expanded(const Mla<Gpu>& args, Arena& scratch, cudaStream_t stream) {
  View<Bf16, 4> q_pe;
  const int64_t B = args.q.size[0], T = args.q.size[1];
  if (args.rope_theta > 0) q_pe = scratch.take<Bf16>(B, T, args.heads, args.rope_dim);
  if (!scratch.measuring()) {
    mla_append_cuda(args, stream);
    if (q_pe) mla_rotate_queries_cuda(args, q_pe, stream);
  }
  mla_expanded_cuda(args, q_pe, scratch, stream);
}

}  // namespace

std::string mla_cuda_unsupported(const Mla<Gpu>& args) {
  const int N = args.nope_dim, P = args.rope_dim, V = args.value_dim, R = args.rank;
  const int64_t B = args.q.size[0];
  if (args.max_context > args.cache.size[1])
    return text("max_context is ", args.max_context, " but the cache has ", args.cache.size[1],
                " rows a sequence");
  if (P % 2 != 0) return text("rope_dim is ", P, "; rotation takes pairs, so it must be even");
  switch (attention_of(args)) {
    case Attention::kSplit:
      if (B > kMostSequences)
        return text("the batch is ", B, "; the split decode kernel takes up to ", kMostSequences, " sequences");
      break;
    case Attention::kSmall:
      if (B * args.q.size[1] > kMostQueries)
        return text("the batch times the new tokens is ", B * args.q.size[1], "; the small decode kernel takes up to ",
                    kMostQueries);
      return aligned(args.cache) ? "" : "rows of the cache must begin on 16 bytes";
    case Attention::kGeneric:
      if (2 * R + P > 12000)
        return text("2 rank + rope_dim is ", 2 * R + P, "; the generic decode kernel takes up to 12000");
      return "";
    case Attention::kExpanded:
      if (!is(args, 128, 64, 128) && !is(args, 64, 32, 64))
        return text("expanded attention with nope, rope and value dims (", N, ", ", P, ", ", V,
                    "); CUDA kernels exist for (128, 64, 128) and (64, 32, 64). Use the absorbed form or "
                    "--backend cpu");
      if (R % 8 != 0) return text("rank is ", R, "; expanded attention needs a multiple of 8");
      break;
  }
  if (!aligned(args.q)) return "rows of q must begin on 16 bytes";
  if (!aligned(args.cache)) return "rows of the cache must begin on 16 bytes";
  return "";
}

const char* mla_cuda_kernel(const Mla<Gpu>& args) {
  if (!mla_cuda_unsupported(args).empty()) return "none";
  switch (attention_of(args)) {
    case Attention::kSplit: return "split";
    case Attention::kSmall: return "small";
    case Attention::kGeneric: return "generic";
    case Attention::kExpanded: break;
  }
  return "expanded";
}

std::string mla_latent_cuda_unsupported(const MlaLatent<Gpu>& args) {
  const int64_t B = args.query.size[0], row = args.query.size[3], R = args.out.size[3];
  if (args.max_context > args.cache.size[1])
    return text("max_context is ", args.max_context, " but the cache has ", args.cache.size[1],
                " rows a sequence");
  if (row != kMlaRow || R != kMlaRank)
    return text("latent attention of rows of ", row, " with rank ", R, "; a CUDA kernel exists for ", kMlaRow, " and ",
                kMlaRank);
  if (B > kMostSequences)
    return text("the batch is ", B, "; the split decode kernel takes up to ", kMostSequences, " sequences");
  if (!aligned(args.cache)) return "rows of the cache must begin on 16 bytes";
  if (reinterpret_cast<uintptr_t>(args.query.data) % 16 != 0) return "the queries must begin on 16 bytes";
  return "";
}

void mla_latent_cuda(const MlaLatent<Gpu>& args, Arena& scratch, cudaStream_t stream) {
  const std::string reason = mla_latent_cuda_unsupported(args);
  require(reason.empty(), "mla_latent: ", reason, ".");
  if (args.query.count() == 0) return;
  ArenaScope scope(scratch);
  const MlaSplitPlan plan = mla_split_plan(args, device::multiprocessors());
  const MlaPartials partials = take_partials(plan, scratch);
  if (scratch.measuring()) return;
  mla_split_cuda(args, partials, plan, stream);
  mla_merge_cuda(args, partials, plan, stream);
}

void mla_cuda(const Mla<Gpu>& args, Arena& scratch, cudaStream_t stream) {
  const std::string reason = mla_cuda_unsupported(args);
  require(reason.empty(), "mla: ", reason, ".");
  if (args.q.size[0] == 0 || args.q.size[1] == 0) return;
  ArenaScope scope(scratch);
  switch (attention_of(args)) {
    case Attention::kSplit: return absorbed_split(args, scratch, stream);
    case Attention::kSmall: return mla_small_cuda(args, scratch, stream);
    case Attention::kExpanded: return expanded(args, scratch, stream);
    case Attention::kGeneric: break;
  }
  if (scratch.measuring()) return;
  mla_append_cuda(args, stream);
  mla_generic_cuda(args, stream);
}

}  // namespace kdabench
