// Linear layers of one token: a warp a row.
//
//   Math     kernels/linear/linear.h; the truth is linear_cpu<double>.
//   Work     Each warp streams whole rows through a ring of its own in shared memory, 512 bytes a step, and
//            multiplies in fp32. No warp waits for another: in gemv.cu all eight meet at every tile, and one slow load
//            stops them all.
//   Grid     Two blocks of 256 threads a multiprocessor; rows in turn. The ring is filled before wait_for_previous(). x
//            is staged in shared memory once a block.
//   Cost     2 M K bytes, about 40 instructions a warp for 512 of them.
//   Uses     sm_90a, 256 threads, 64 KB of rings + 2 K bytes of x shared.
//   Limits   row_gemv_fits: N = 1, K a multiple of 8 up to 16384, x and w aligned to 16 bytes. From 48 MB of weights on
//            kernels/chain is faster (kernel_bench, H200).
//   Checked  tests/cuda/test_linear_cuda.cpp.

#include "kernels/linear/gemv.h"
#include "kernels/linear/gemv_parts.cuh"
#include "kernels/linear/weight_stream.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int kStepColumns = 256, kDepth = 16;

template <class Out>
struct RowArgs {
  const bf16* x;
  const bf16* w;
  Out* y;
  int in, out;
};

template <class Out>
__global__ void __launch_bounds__(kStreamThreads, 3) row_gemv_kernel(const __grid_constant__ RowArgs<Out> a) {
  extern __shared__ __align__(128) unsigned char shared[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = gridDim.x * kStreamWarps;
  const int steps = (a.in + kStepColumns - 1) / kStepColumns, first = warp * gridDim.x + blockIdx.x;
  bf16* const x = reinterpret_cast<bf16*>(shared) + kStreamWarps * kDepth * kStepColumns;
  bf16* const begin = reinterpret_cast<bf16*>(shared) + warp * kDepth * kStepColumns + lane * 8;
  bf16* slot = begin;

  const bf16* from = a.w + int64_t{first} * a.in + lane * 8;
  const int64_t jump = int64_t{warps} * a.in - steps * kStepColumns;
  int row = first, column = lane * 8;
  const auto push = [&] {
    if (row < a.out) {
      cp_async16(slot, from, column < a.in);
      from += kStepColumns, column += kStepColumns;
      if (column >= steps * kStepColumns) {
        column = lane * 8, row += warps, from += jump;
        if (row >= a.out) let_next_start();
      }
    }
    cp_async_commit();
    slot += kStepColumns;
    if (slot == begin + kDepth * kStepColumns) slot = begin;
  };
#pragma unroll 1
  for (int i = 0; i < kDepth; ++i) push();

  wait_for_previous();
  stage_rows(x, 0, 1, a.in, steps * kStepColumns, true, [&](int) { return a.x; });
  __syncthreads();

  for (int mine = first; mine < a.out; mine += warps) {
    float sum[2] = {};
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      cp_async_wait<kDepth - 1>();
      const uint4 w = *reinterpret_cast<const uint4*>(slot);  // in a full ring the oldest slot is the next to fill
      push();
      const uint4 v = *reinterpret_cast<const uint4*>(x + step * kStepColumns + lane * 8);
      sum[0] = dot2(w.x, v.x, sum[0]), sum[1] = dot2(w.y, v.y, sum[1]);
      sum[0] = dot2(w.z, v.z, sum[0]), sum[1] = dot2(w.w, v.w, sum[1]);
    }
    const float total = warp_sum(sum[0] + sum[1]);
    if (lane == 0) store(a.y + mine, total);
  }
}

template <class Out>
void launch_rows(const Linear<Gpu, Out>& args, cudaStream_t stream) {
  const RowArgs<Out> a{as_bf16(args.x.data), as_bf16(args.w.data), args.y.data, static_cast<int>(args.x.size[1]),
                       static_cast<int>(args.w.size[0])};
  const int steps = (a.in + kStepColumns - 1) / kStepColumns;
  const int bytes = (kStreamWarps * kDepth + steps) * kStepColumns * 2;
  allow_shared(row_gemv_kernel<Out>, bytes, "row_gemv");
  const int blocks = (a.out + kStreamWarps - 1) / kStreamWarps;
  launch(row_gemv_kernel<Out>, dim3(stream_blocks(blocks, bytes)), dim3(kStreamThreads), bytes, stream, "row_gemv", a);
}

template <class Out>
bool fits(const Linear<Gpu, Out>& args) {
  return args.x.size[0] == 1 && args.x.size[1] % 8 == 0 && args.x.size[1] <= 16384 &&
         aligned16(args.x.data) && aligned16(args.w.data);
}

}  // namespace

bool row_gemv_fits(const Linear<Gpu>& args) { return fits(args); }
bool row_gemv_fits(const Linear<Gpu, float>& args) { return fits(args); }
void row_gemv_cuda(const Linear<Gpu>& args, cudaStream_t stream) { launch_rows(args, stream); }
void row_gemv_cuda(const Linear<Gpu, float>& args, cudaStream_t stream) { launch_rows(args, stream); }

}  // namespace kdabench
