// Embedding, RMSNorm over the residual stream, SwiGLU's product, and the running lengths, on the GPU.
//
//   Math     kernels/pointwise/pointwise.h; the truth is *_cpu<double>.
//   Work     A block a token (embed, norm), a thread 4 or 8 consecutive elements. The norm keeps its row in registers
//            between the sum of squares and the product: the residual is read once and written once.
//   Grid     N blocks; silu_mul (N, columns) blocks.
//   Cost     Memory traffic of a few KB a token: launch latency at batch 1, which programmatic launches hide. Weights
//            are loaded before wait_for_previous().
//   Limits   add_rms_norm: D <= 16384; 8192 when rows are not aligned for vectors, which takes the scalar instances.
//   Checked  tests/cuda/test_pointwise_cuda.cpp.

#include "kernels/pointwise/pointwise.h"

#include "kernels/base/device.cuh"

namespace kdabench {
namespace {

using namespace device;

// `Width` consecutive elements, as floats; Width is 1 or 4.
template <int Width>
struct Pack {
  float x[Width];
};

template <int Width>
__device__ inline Pack<Width> load(const bf16* p) {
  Pack<Width> out;
  if constexpr (Width == 4) {
    const uint2 v = *reinterpret_cast<const uint2*>(p);
    out.x[0] = __uint_as_float(v.x << 16), out.x[1] = __uint_as_float(v.x & 0xffff0000u);
    out.x[2] = __uint_as_float(v.y << 16), out.x[3] = __uint_as_float(v.y & 0xffff0000u);
  } else {
    out.x[0] = __bfloat162float(*p);
  }
  return out;
}
template <int Width>
__device__ inline Pack<Width> load(const float* p) {
  Pack<Width> out;
  if constexpr (Width == 4) {
    const float4 v = *reinterpret_cast<const float4*>(p);
    out.x[0] = v.x, out.x[1] = v.y, out.x[2] = v.z, out.x[3] = v.w;
  } else {
    out.x[0] = *p;
  }
  return out;
}
template <int Width>
__device__ inline void store(bf16* p, const Pack<Width>& v) {
  if constexpr (Width == 4)
    *reinterpret_cast<uint2*>(p) = make_uint2(pack_bf16(v.x[0], v.x[1]), pack_bf16(v.x[2], v.x[3]));
  else *p = __float2bfloat16_rn(v.x[0]);
}
template <int Width>
__device__ inline void store(float* p, const Pack<Width>& v) {
  if constexpr (Width == 4) *reinterpret_cast<float4*>(p) = make_float4(v.x[0], v.x[1], v.x[2], v.x[3]);
  else *p = v.x[0];
}

// Whether rows of `view` may be read four elements at a time.
template <class T>
bool by_four(const View<T, 2>& view) {
  constexpr int bytes = 4 * sizeof(T);
  return reinterpret_cast<uintptr_t>(view.data) % bytes == 0 && view.size[1] % 4 == 0 &&
         (view.size[0] <= 1 || view.stride[0] % 4 == 0);
}

// ---- embedding ----------------------------------------------------------------------------------------------------

struct EmbedArgs {
  const int32_t* ids;
  const bf16* table;
  float* residual;
  int64_t table_stride, residual_stride;
  int width;
};

template <int Width>
__global__ void embed_kernel(const __grid_constant__ EmbedArgs a) {
  let_next_start();
  wait_for_previous();
  const bf16* const from = a.table + a.ids[blockIdx.x] * a.table_stride;
  float* const to = a.residual + blockIdx.x * a.residual_stride;
  for (int i = threadIdx.x * Width; i < a.width; i += blockDim.x * Width) store<Width>(to + i, load<Width>(from + i));
}

// ---- RMSNorm ------------------------------------------------------------------------------------------------------

struct NormArgs {
  const bf16* delta;  // may be null
  float* residual;
  const bf16* weight;
  bf16* out;
  int64_t delta_stride, residual_stride, out_stride;
  int width;
  float eps;
};

template <int Width, int Items>
__global__ void __launch_bounds__(1024) add_rms_norm_kernel(const __grid_constant__ NormArgs a) {
  __shared__ float partial[32];
  Pack<Width> x[Items], weight[Items];
#pragma unroll
  for (int j = 0; j < Items; ++j) {
    const int i = (j * blockDim.x + threadIdx.x) * Width;
    if (i < a.width) weight[j] = load<Width>(a.weight + i);
  }
  let_next_start();
  wait_for_previous();

  float* const residual = a.residual + blockIdx.x * a.residual_stride;
  const bf16* const delta = a.delta == nullptr ? nullptr : a.delta + blockIdx.x * a.delta_stride;
  float sum = 0;
#pragma unroll
  for (int j = 0; j < Items; ++j) {
    const int i = (j * blockDim.x + threadIdx.x) * Width;
    if (i >= a.width) continue;
    x[j] = load<Width>(residual + i);
    if (delta != nullptr) {
      const Pack<Width> d = load<Width>(delta + i);
#pragma unroll
      for (int k = 0; k < Width; ++k) x[j].x[k] += d.x[k];
      store<Width>(residual + i, x[j]);
    }
#pragma unroll
    for (int k = 0; k < Width; ++k) sum += x[j].x[k] * x[j].x[k];
  }
  // One division a row: 1 / sqrtf is exact to 1 ulp each, rsqrtf to 2.
  const float factor = 1.f / sqrtf(block_sum(sum, partial) / a.width + a.eps);
  bf16* const out = a.out + blockIdx.x * a.out_stride;
#pragma unroll
  for (int j = 0; j < Items; ++j) {
    const int i = (j * blockDim.x + threadIdx.x) * Width;
    if (i >= a.width) continue;
#pragma unroll
    for (int k = 0; k < Width; ++k) x[j].x[k] *= factor * weight[j].x[k];
    store<Width>(out + i, x[j]);
  }
}

template <int Width>
constexpr int kMostItems = Width == 1 ? 8 : 4;  // what fits in the registers of 1024 threads

template <int Width>
void launch_norm(const NormArgs& a, int64_t tokens, cudaStream_t stream) {
  const int packs = (a.width + Width - 1) / Width;
  const int threads = std::min(1024, (packs + 31) / 32 * 32);
  const int items = (packs + threads - 1) / threads;
  require(items <= kMostItems<Width>, "add_rms_norm: rows have ", a.width, " elements; the CUDA kernel keeps at most ",
          1024 * Width * kMostItems<Width>, Width == 1 ? " of rows that are not aligned to four elements." : ".");
  const auto kernel = items == 1   ? add_rms_norm_kernel<Width, 1>
                      : items == 2 ? add_rms_norm_kernel<Width, 2>
                                   : add_rms_norm_kernel<Width, kMostItems<Width>>;
  launch(kernel, dim3(tokens), dim3(threads), 0, stream, "add_rms_norm", a);
}

// ---- SwiGLU's product ---------------------------------------------------------------------------------------------

struct SiluArgs {
  const bf16* gate_up;
  bf16* out;
  int64_t gate_stride, out_stride;
  int64_t tokens;
  int hidden;
};

template <int Width>
__global__ void __launch_bounds__(256) silu_mul_kernel(const __grid_constant__ SiluArgs a) {
  let_next_start();
  wait_for_previous();
  const int i = (blockIdx.x * 256 + threadIdx.x) * Width;
  if (i >= a.hidden) return;
  for (int64_t n = blockIdx.y; n < a.tokens; n += gridDim.y) {
    const Pack<Width> gate = load<Width>(a.gate_up + n * a.gate_stride + i);
    Pack<Width> up = load<Width>(a.gate_up + n * a.gate_stride + a.hidden + i);
#pragma unroll
    for (int k = 0; k < Width; ++k) up.x[k] *= silu(gate.x[k]);
    store<Width>(a.out + n * a.out_stride + i, up);
  }
}

// ---- lengths ------------------------------------------------------------------------------------------------------

__global__ void advance_kernel(int32_t* lengths, int64_t stride, int64_t batch, int32_t tokens) {
  let_next_start();
  wait_for_previous();
  const int64_t b = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (b < batch) lengths[b * stride] += tokens;
}

}  // namespace

void embed_cuda(const Embed<Gpu>& args, cudaStream_t stream) {
  const int64_t tokens = args.ids.size[0];
  if (tokens == 0) return;
  require(args.ids.stride[0] == 1, "embed: ids have stride ", args.ids.stride[0], "; the CUDA kernel needs 1.");
  const EmbedArgs a{args.ids.data, as_bf16(args.table.data), args.residual.data, args.table.stride[0],
                    args.residual.stride[0], static_cast<int>(args.table.size[1])};
  const bool vectors = by_four(args.table) && by_four(args.residual);
  launch(vectors ? embed_kernel<4> : embed_kernel<1>, dim3(tokens), dim3(256), 0, stream, "embed", a);
}

void add_rms_norm_cuda(const AddRmsNorm<Gpu>& args, cudaStream_t stream) {
  const auto [tokens, width] = args.residual.size;
  if (tokens == 0 || width == 0) return;
  const bool with_delta = static_cast<bool>(args.delta);
  const NormArgs a{as_bf16(args.delta.data), args.residual.data,       as_bf16(args.weight.data),
                   as_bf16(args.out.data),   args.delta.stride[0],     args.residual.stride[0],
                   args.out.stride[0],       static_cast<int>(width),  args.eps};
  const bool vectors = (!with_delta || by_four(args.delta)) && by_four(args.residual) && by_four(args.out) &&
                       reinterpret_cast<uintptr_t>(args.weight.data) % 8 == 0;
  if (vectors) launch_norm<4>(a, tokens, stream);
  else launch_norm<1>(a, tokens, stream);
}

void silu_mul_cuda(const SiluMul<Gpu>& args, cudaStream_t stream) {
  const auto [tokens, hidden] = args.out.size;
  if (tokens == 0 || hidden == 0) return;
  const SiluArgs a{as_bf16(args.gate_up.data), as_bf16(args.out.data), args.gate_up.stride[0], args.out.stride[0],
                   tokens, static_cast<int>(hidden)};
  const bool vectors = by_four(args.gate_up) && by_four(args.out);  // the up half begins at a multiple of 4 then
  const int width = vectors ? 4 : 1;
  const dim3 grid((hidden + 256 * width - 1) / (256 * width), std::min<int64_t>(tokens, 65535));
  launch(vectors ? silu_mul_kernel<4> : silu_mul_kernel<1>, grid, dim3(256), 0, stream, "silu_mul", a);
}

void advance_cuda(const Advance& args, cudaStream_t stream) {
  const int64_t batch = args.lengths.size[0];
  if (batch == 0) return;
  launch(advance_kernel, dim3((batch + 255) / 256), dim3(256), 0, stream, "advance", args.lengths.data,
         args.lengths.stride[0], batch, args.tokens);
}

}  // namespace kdabench
