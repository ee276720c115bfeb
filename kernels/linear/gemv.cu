// Linear layers of few tokens: every weight is read once from HBM for all of them.
//
//   Math     kernels/linear/linear.h; the truth is linear_cpu<double>.
//   Work     kernels/linear/weight_stream.cuh: 16 weight rows a tile, tokens on the N side of the tensor cores, the
//            columns split over 8, 4, 2 or 1 warps (rows of 2048 bytes and less need fewer).
//   Grid     Two blocks of 256 threads a multiprocessor, tile b, b + grid, ... each. The weight queue is filled before
//            wait_for_previous(): weights are never written. x is staged in shared memory once a block.
//   Cost     2 M K bytes, 2 N M K flops: N flops per byte, so bandwidth is the floor.
//   Uses     sm_90a, 256 threads, 64 KB of queue + 2 N K bytes of x (+ 1.3 N KB of partial sums) shared.
//   Limits   N <= 8 and N K up to about 78000 (gemv_fits). K a multiple of 8 and w aligned to 16 bytes; otherwise a
//            slow warp-a-row kernel with 2-byte loads. Any M, any strides.
//   Checked  tests/cuda/test_linear_cuda.cpp.

#include "kernels/linear/gemv.h"

#include "kernels/linear/gemv_parts.cuh"
#include "kernels/linear/weight_stream.cuh"

namespace kdabench {
namespace {

using namespace device;

template <class Out>
struct GemvArgs {
  const bf16* x;
  const bf16* w;
  Out* y;
  int64_t x_stride, y_stride;
  int tokens, in, out;
  int splits;    // warps that share a tile's columns
  int blocks;    // k-blocks a warp
  int stride;    // of a token in shared memory
  bool aligned;  // rows of x, to 16 bytes
};

template <class Out>
__global__ void __launch_bounds__(kStreamThreads, 3) gemv_kernel(const __grid_constant__ GemvArgs<Out> a) {
  extern __shared__ __align__(128) unsigned char shared[];
  bf16* const ring = reinterpret_cast<bf16*>(shared);
  bf16* const x = ring + kStreamRingBytes / 2;
  float* const sums = reinterpret_cast<float*>(x + a.tokens * a.stride);

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4;
  const int groups = kStreamWarps / a.splits, group = warp / a.splits, split = warp % a.splits;
  const int block_rows = groups * kStreamRows;
  const int tiles = (a.out + block_rows - 1) / block_rows;
  const ColumnShare share(split, a.splits, a.blocks, a.in);

  const auto rows_of = [&](int tile, int) {
    const int row = tile * block_rows + group * kStreamRows + g;
    return WeightRows{a.w + int64_t{row} * a.in + share.first, row < a.out, row + 8 < a.out};
  };
  WeightStream stream(ring, rows_of, share, 8 * a.in);
  stream.set_tiles(blockIdx.x, tiles, gridDim.x);
  stream.fill();

  wait_for_previous();
  stage_rows(x, a.stride, a.tokens, a.in, a.splits * a.blocks * kStreamColumns, a.aligned,
             [&](int n) { return a.x + n * a.x_stride; });
  __syncthreads();

  PartialSums partial(sums, a.tokens);
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    float acc[1][4];
    stream.multiply(acc, [from = x + min(g, a.tokens - 1) * a.stride](int, int, int column) {
      return *reinterpret_cast<const uint4*>(from + column);
    });
    partial.write(acc);
    __syncthreads();
    for (int i = threadIdx.x; i < block_rows * a.tokens; i += kStreamThreads) {
      const int n = i / block_rows, r = i % block_rows, row = tile * block_rows + r;
      if (row < a.out)
        store(a.y + n * a.y_stride + row, partial.sum(r % kStreamRows, n, r / kStreamRows * a.splits, a.splits));
    }
    partial.flip();
  }
}

// Any K, any alignment: a warp a row, 2-byte loads.
template <class Out>
__global__ void __launch_bounds__(kStreamThreads) gemv_unaligned_kernel(const __grid_constant__ GemvArgs<Out> a) {
  const int lane = threadIdx.x % 32;
  const int64_t row = int64_t{blockIdx.x} * kStreamWarps + threadIdx.x / 32;
  let_next_start();
  wait_for_previous();
  if (row >= a.out) return;
  for (int n = 0; n < a.tokens; ++n) {
    float sum = 0;
    for (int k = lane; k < a.in; k += 32)
      sum += __bfloat162float(a.w[row * a.in + k]) * __bfloat162float(a.x[n * a.x_stride + k]);
    sum = warp_sum(sum);
    if (lane == 0) store(a.y + n * a.y_stride + row, sum);
  }
}

int shared_bytes(int64_t tokens, int stride) {
  return static_cast<int>(kStreamRingBytes + tokens * stride * 2 + partial_bytes(static_cast<int>(tokens)));
}

// Columns rounded up so that every warp has the same number of k-blocks.
struct Split {
  int splits, blocks;
  explicit Split(int64_t in) {
    const int all = static_cast<int>((in + kStreamColumns - 1) / kStreamColumns);
    splits = kStreamWarps;
    while (splits > 1 && all < 2 * splits) splits /= 2;
    blocks = (all + splits - 1) / splits;
  }
  int stride() const { return token_stride(splits * blocks * kStreamColumns); }
};

template <class Out>
void launch_gemv(const Linear<Gpu, Out>& args, cudaStream_t stream) {
  const Split split(args.x.size[1]);
  GemvArgs<Out> a;
  a.x = as_bf16(args.x.data);
  a.w = as_bf16(args.w.data);
  a.y = args.y.data;
  a.x_stride = args.x.stride[0];
  a.y_stride = args.y.stride[0];
  a.tokens = static_cast<int>(args.x.size[0]);
  a.in = static_cast<int>(args.x.size[1]);
  a.out = static_cast<int>(args.w.size[0]);
  a.splits = split.splits;
  a.blocks = split.blocks;
  a.stride = split.stride();
  a.aligned = aligned16(a.x) && (a.tokens == 1 || a.x_stride % 8 == 0);
  if (a.in % 8 != 0 || !aligned16(a.w)) {
    launch(gemv_unaligned_kernel<Out>, dim3((a.out + kStreamWarps - 1) / kStreamWarps), dim3(kStreamThreads), 0, stream,
           "gemv_unaligned", a);
    return;
  }
  const int bytes = shared_bytes(a.tokens, a.stride);
  const int rows = kStreamWarps / a.splits * kStreamRows;
  const dim3 grid(stream_blocks((a.out + rows - 1) / rows, bytes));
  allow_shared(gemv_kernel<Out>, bytes, "gemv");
  launch(gemv_kernel<Out>, grid, dim3(kStreamThreads), bytes, stream, "gemv", a);
}

}  // namespace

bool gemv_fits(int64_t tokens, int64_t in) {
  return tokens <= kGemvTokens && shared_bytes(tokens, Split(in).stride()) <= kMaxSharedBytes;
}

void gemv_cuda(const Linear<Gpu>& args, cudaStream_t stream) { launch_gemv(args, stream); }
void gemv_cuda(const Linear<Gpu, float>& args, cudaStream_t stream) { launch_gemv(args, stream); }

}  // namespace kdabench
