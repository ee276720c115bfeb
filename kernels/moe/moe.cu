// A mixture of experts on the GPU: which kernels run for how many tokens, and the sum over a token's experts.
//
//   Math     kernels/moe/moe.h; the truth is moe_cpu<double>.
//   Work     one token: kernels/chain, router included. Otherwise router product (linear_cuda, fp32 out), then
//            up to 8 tokens          moe_few.cu: routing inside, each expert streamed once
//            few tokens an expert    moe_stream.cu: each expert streamed once past 8 or 16 tokens
//            more                    moe_tiles.cu: tiled products, up to 64 or 256 tokens
//            The last two write a row per (token, slot); the kernel here adds them in fp32, in the order of the slots.
//   Cost     The sum reads 4 (2 in prefill) N slots D bytes: 0.2 % of the weights at N = 64.
//   Limits   moe_cuda_unsupported. More than 8192 tokens run in parts, which bounds the scratch memory.
//   Checked  tests/cuda/test_moe_cuda.cpp.

#include "kernels/base/device.cuh"
#include "kernels/chain/chain.h"
#include "kernels/linear/linear.h"
#include "kernels/moe/moe_parts.h"

namespace kdabench {
namespace {

using namespace device;

constexpr int64_t kTokensAtOnce = 8192;

__device__ inline void add4(float (&sum)[4], const float* p) {
  const float4 v = *reinterpret_cast<const float4*>(p);
  sum[0] += v.x, sum[1] += v.y, sum[2] += v.z, sum[3] += v.w;
}
__device__ inline void add4(float (&sum)[4], const Bf16* p) {
  const uint2 v = *reinterpret_cast<const uint2*>(p);
  sum[0] += __uint_as_float(v.x << 16), sum[1] += __uint_as_float(v.x & 0xffff0000u);
  sum[2] += __uint_as_float(v.y << 16), sum[3] += __uint_as_float(v.y & 0xffff0000u);
}

// out[n] = sum over slots of rows[n slots + slot]; a thread 4 columns.
template <class T>
__global__ void __launch_bounds__(256) combine_kernel(const T* rows, bf16* out, int64_t out_stride, int slots,
                                                      int width) {
  let_next_start();
  wait_for_previous();
  const int column = (blockIdx.y * 256 + threadIdx.x) * 4;
  if (column >= width) return;
  const T* const first = rows + int64_t{blockIdx.x} * slots * width + column;
  float sum[4] = {};
#pragma unroll 4
  for (int slot = 0; slot < slots; ++slot) add4(sum, first + int64_t{slot} * width);
  *reinterpret_cast<uint2*>(out + blockIdx.x * out_stride + column) =
      make_uint2(pack_bf16(sum[0], sum[1]), pack_bf16(sum[2], sum[3]));
}

template <class T>
void combine(const Moe<Gpu>& args, View<T, 2> rows, int64_t slots, cudaStream_t stream) {
  const auto [tokens, width] = args.out.size;
  launch(combine_kernel<T>, dim3(tokens, (width + 1023) / 1024), dim3(256), 0, stream, "moe_combine", rows.data,
         as_bf16(args.out.data), args.out.stride[0], static_cast<int>(slots), static_cast<int>(width));
}

// The most tokens an item of the plan has; 0: no plan, moe_few. Tokens fall on experts about as a Poisson variable
// does: mean 2 leaves 8 once in 4000 experts, mean 6 leaves 16 once in 8000.
int choose_chunk(const Moe<Gpu>& args) {
  if (moe_few_fits(args)) return 0;
  const double mean = double(args.x.size[0]) * args.top_k / double(args.router.size[0]);
  if (mean <= 2 && moe_stream_fits(args, 8)) return 8;
  if (mean <= 6 && moe_stream_fits(args, 16)) return 16;
  return mean <= 40 ? kMoeFewTileTokens : kMoeTileTokens;
}

void run(const Moe<Gpu>& args, Arena& scratch, cudaStream_t stream) {
  const int64_t tokens = args.x.size[0], width = args.x.size[1], experts = args.router.size[0];
  const int64_t slots = args.top_k + args.gate_up.size[0] - experts, inner = args.down.size[2];
  if (Chain chain; chain.add(args, scratch)) {
    if (!scratch.measuring()) chain.launch(stream);
    return;
  }
  const int chunk = choose_chunk(args);
  const bool tiles = chunk >= kMoeFewTileTokens;

  const ArenaScope scope(scratch);
  const auto logits = scratch.take<float>(tokens, experts);
  const auto hidden = scratch.take<Bf16>(tokens * slots, inner);
  const MoePlan plan = chunk == 0 ? MoePlan{} : MoePlan::take(args, chunk, scratch);
  const auto rows = scratch.take<float>(chunk == 0 || tiles ? 0 : tokens * slots, width);
  const auto tile_rows = scratch.take<Bf16>(tiles ? tokens * slots : 0, width);
  linear_cuda(Linear<Gpu, float>{args.x, args.router, logits}, scratch, stream);
  if (scratch.measuring()) return;

  if (chunk == 0) {
    moe_few(args, logits, hidden, stream);
    return;
  }
  moe_route(args, logits, stream);
  moe_make_plan(args, plan, stream);
  if (tiles) {
    moe_tiles(args, plan, hidden, tile_rows, stream);
    combine(args, tile_rows, slots, stream);
  } else {
    moe_stream(args, plan, hidden, rows, stream);
    combine(args, rows, slots, stream);
  }
}

template <class T, int N>
bool aligned(const View<T, N>& view) {
  bool holds = reinterpret_cast<uintptr_t>(view.data) % 16 == 0;
  for (int d = 0; d + 1 < N; ++d) holds = holds && view.stride[d] % 8 == 0;
  return holds;
}

}  // namespace

std::string moe_cuda_unsupported(const Moe<Gpu>& args) {
  const int64_t width = args.x.size[1], inner = args.down.size[2];
  const int64_t experts = args.router.size[0], shared = args.gate_up.size[0] - experts;
  if (experts < 1 || experts > kMoeExperts || shared < 0 || shared > kMoeShared || args.top_k < 1 ||
      args.top_k > kMoeTopK || args.top_k > experts)
    return text("moe: ", experts, " experts, ", shared, " shared, top ", args.top_k, "; CUDA kernels exist for up to ",
                kMoeExperts, " experts, ", kMoeShared, " shared, top ", kMoeTopK, ".");
  if (width % 16 != 0 || inner % 16 != 0 || width > 16384 || inner > 16384)
    return text("moe: width ", width, " and hidden width ", inner,
                "; CUDA kernels exist for multiples of 16 up to 16384.");
  if (!aligned(args.x) || !aligned(args.out) || !aligned(args.gate_up) || !aligned(args.down))
    return "moe: rows of x, out, gate_up and down must be aligned to 16 bytes.";
  return {};
}

void moe_cuda(const Moe<Gpu>& args, Arena& scratch, cudaStream_t stream) {
  const std::string unsupported = moe_cuda_unsupported(args);
  require(unsupported.empty(), unsupported);
  for (int64_t first = 0; first < args.x.size[0]; first += kTokensAtOnce) {
    const int64_t count = std::min(kTokensAtOnce, args.x.size[0] - first);
    Moe<Gpu> part = args;
    part.x = args.x.slice(0, first, count);
    part.expert_ids = args.expert_ids.slice(0, first, count);
    part.expert_weights = args.expert_weights.slice(0, first, count);
    part.out = args.out.slice(0, first, count);
    run(part, scratch, stream);
  }
}

}  // namespace kdabench
