// Chooses between the GEMVs, a chain and cuBLASLt. Up to 8 tokens a product is bound by the weights it reads, which a
// GEMV reads once for all of them, and before the previous kernel ends; above, staging the tokens in every block costs
// more.

#include <algorithm>

#include "kernels/chain/chain.h"
#include "kernels/linear/cublaslt.h"
#include "kernels/linear/gemv.h"

namespace kdabench {
namespace {

// Of one token, above which a chain of this product alone is faster than gemv_row.cu (kernel_bench, H200).
constexpr int64_t kChainBytes = 64 << 20;

template <class Out>
void linear(const Linear<Gpu, Out>& args, Arena& scratch, cudaStream_t stream) {
  const auto [tokens, in] = args.x.size;
  const int64_t out = args.w.size[0];
  require(args.w.size[1] == in && args.y.size[0] == tokens && args.y.size[1] == out, "linear: x is [", tokens, ", ", in,
          "], w [", out, ", ", args.w.size[1], "] and y [", args.y.size[0], ", ", args.y.size[1],
          "]; they do not fit.");
  const bool few = gemv_fits(tokens, in);
  const ArenaScope scope(scratch);
  void* const workspace = few ? nullptr : scratch.take<std::byte>(kCublasLtWorkspaceBytes).data;
  if (scratch.measuring() || tokens == 0 || out == 0) return;
  if (small_gemv_fits(args)) small_gemv_cuda(args, stream);
  else if (Chain chain; args.w.count() * 2 >= kChainBytes && chain.add(args)) chain.launch(stream);
  else if (row_gemv_fits(args)) row_gemv_cuda(args, stream);
  else if (few) gemv_cuda(args, stream);
  else cublaslt_cuda(args, workspace, stream);
}

}  // namespace

void linear_cuda(const Linear<Gpu>& args, Arena& scratch, cudaStream_t stream) { linear(args, scratch, stream); }
void linear_cuda(const Linear<Gpu, float>& args, Arena& scratch, cudaStream_t stream) { linear(args, scratch, stream); }

void linear_pair_cuda(const LinearPair<Gpu>& args, Arena& scratch, cudaStream_t stream) {
  const auto &first = args.first, &second = args.second;
  const bool alike = std::ranges::equal(first.x.size, second.x.size) && std::ranges::equal(first.w.size, second.w.size);
  if (alike && first.x.size[0] > 0 && small_gemv_fits(first) && small_gemv_fits(second)) {
    if (!scratch.measuring()) small_gemv_cuda(args, stream);
    return;
  }
  linear_cuda(first, scratch, stream);
  linear_cuda(second, scratch, stream);
}

}  // namespace kdabench
