// Linear layers of few tokens whose weights fit in registers: routers and low-rank gates.
//
//   Math     kernels/linear/linear.h; the truth is linear_cpu<double>.
//   Work     16 or 32 lanes a row. All weights are in registers before wait_for_previous(); then x comes straight from
//            the L2, fp32 products, one reduction among the lanes. No shared memory and no barrier: nothing lies
//            between the last kernel's end and this one's result but one read and one sum.
//   Grid     32 (16 lanes) or 2 (32 lanes) rows a block, so that 4096 and 256 rows are 128 blocks; y counts the
//            products of a pair. The next kernel may start at once.
//   Cost     2 M K bytes, at most 4 MB: latency.
//   Uses     sm_90a, no shared memory.
//   Limits   small_gemv_fits: N <= 4, K a multiple of 8 up to 2304, x and w aligned to 16 bytes.
//   Checked  tests/cuda/test_linear_cuda.cpp.

#include "kernels/linear/gemv.h"
#include "kernels/linear/gemv_parts.cuh"

namespace kdabench {
namespace {

using namespace device;

constexpr int64_t kSmallTokens = 4, kSmallColumns = 2304, kNarrowColumns = 128;
constexpr int64_t kSmallBytes = 4 << 20;  // above, a deep queue matters more than a short way

template <class Out>
struct Product {
  const bf16* x;
  const bf16* w;
  Out* y;
  int64_t x_stride, y_stride;
};

template <class Out>
struct SmallArgs {
  Product<Out> products[2];
  int tokens, in, out;
};

template <class Out, int Lanes, int Chunks, int Rows, int Threads>
__global__ void __launch_bounds__(Threads) small_gemv_kernel(const __grid_constant__ SmallArgs<Out> a) {
  constexpr int kRowsAtOnce = Threads / Lanes;
  const Product<Out>& p = a.products[blockIdx.y];
  const int lane = threadIdx.x % Lanes, first = blockIdx.x * Rows * kRowsAtOnce + threadIdx.x / Lanes;
  uint4 w[Rows][Chunks];
#pragma unroll
  for (int i = 0; i < Rows; ++i)
#pragma unroll
    for (int c = 0; c < Chunks; ++c) {
      const int row = first + i * kRowsAtOnce, k = (c * Lanes + lane) * 8;
      w[i][c] = make_uint4(0, 0, 0, 0);
      if (row >= a.out || k >= a.in) continue;
      const Bf16x8 v = load_stream(p.w + int64_t{row} * a.in + k);
      w[i][c] = *reinterpret_cast<const uint4*>(&v);
    }
  let_next_start();
  wait_for_previous();

  for (int n = 0; n < a.tokens; ++n) {
    uint4 x[Chunks];
#pragma unroll
    for (int c = 0; c < Chunks; ++c) {
      const int k = (c * Lanes + lane) * 8;
      x[c] = k < a.in ? *reinterpret_cast<const uint4*>(p.x + n * p.x_stride + k) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int i = 0; i < Rows; ++i) {
      float sum[2] = {};
#pragma unroll
      for (int c = 0; c < Chunks; ++c) {
        sum[0] = dot2(w[i][c].x, x[c].x, sum[0]), sum[1] = dot2(w[i][c].y, x[c].y, sum[1]);
        sum[0] = dot2(w[i][c].z, x[c].z, sum[0]), sum[1] = dot2(w[i][c].w, x[c].w, sum[1]);
      }
      const float total = warp_sum<Lanes>(sum[0] + sum[1]);
      const int row = first + i * kRowsAtOnce;
      if (lane == 0 && row < a.out) store(p.y + n * p.y_stride + row, total);
    }
  }
}

template <class Out>
bool fits(const Linear<Gpu, Out>& args) {
  const auto [tokens, in] = args.x.size;
  return tokens <= kSmallTokens && in % 8 == 0 && in <= kSmallColumns && args.w.size[0] * in * 2 <= kSmallBytes &&
         aligned16(args.w.data) && aligned16(args.x.data) && (tokens == 1 || args.x.stride[0] % 8 == 0);
}

template <class Out>
Product<Out> product(const Linear<Gpu, Out>& args) {
  return {as_bf16(args.x.data), as_bf16(args.w.data), args.y.data, args.x.stride[0], args.y.stride[0]};
}

template <class Out, int Lanes, int Chunks, int Rows, int Threads>
void launch_small(const SmallArgs<Out>& a, int count, cudaStream_t stream) {
  constexpr int kRows = Rows * Threads / Lanes;  // of a block
  launch(small_gemv_kernel<Out, Lanes, Chunks, Rows, Threads>, dim3((a.out + kRows - 1) / kRows, count), dim3(Threads),
         0, stream, "small_gemv", a);
}

template <class Out>
void launch_small(const Linear<Gpu, Out>& first, const Linear<Gpu, Out>* second, cudaStream_t stream) {
  SmallArgs<Out> a = {};
  a.products[0] = product(first);
  if (second) a.products[1] = product(*second);
  a.tokens = static_cast<int>(first.x.size[0]);
  a.in = static_cast<int>(first.x.size[1]);
  a.out = static_cast<int>(first.w.size[0]);
  const int count = second ? 2 : 1;
  if (a.in <= kNarrowColumns) launch_small<Out, 16, 1, 4, 128>(a, count, stream);
  else launch_small<Out, 32, 9, 1, 64>(a, count, stream);
}

}  // namespace

bool small_gemv_fits(const Linear<Gpu>& args) { return fits(args); }
bool small_gemv_fits(const Linear<Gpu, float>& args) { return fits(args); }
void small_gemv_cuda(const Linear<Gpu>& args, cudaStream_t stream) { launch_small<Bf16>(args, nullptr, stream); }
void small_gemv_cuda(const Linear<Gpu, float>& args, cudaStream_t stream) {
  launch_small<float>(args, nullptr, stream);
}
void small_gemv_cuda(const LinearPair<Gpu>& args, cudaStream_t stream) {
  launch_small<Bf16>(args.first, &args.second, stream);
}

}  // namespace kdabench
