// The delta rule on the GPU: what is supported, scratch memory, and the order of the kernels.

#include "kernels/kda/kda_cuda.cuh"

namespace kdabench {
namespace kda {
namespace {

constexpr int kNormWarps = 8;

// Gated RMSNorm, in place: a warp a (token, head).
template <int V>
__global__ void __launch_bounds__(32 * kNormWarps) kda_norm_kernel(const __grid_constant__ DeltaRule<Gpu> a) {
  constexpr int N = V / 32;
  const int lane = threadIdx.x % 32;
  const int64_t T = a.out.size[1], heads = a.heads;
  const int64_t row = int64_t{blockIdx.x} * kNormWarps + threadIdx.x / 32;
  const bool valid = row < a.out.size[0] * T * heads;
  const Bits<N> weight = load_bits<N>(device::as_bf16(a.norm_weight.data) + lane * N);
  device::wait_for_previous();
  device::let_next_start();
  if (!valid) return;

  const int64_t h = row % heads, t = row / heads % T, b = row / heads / T, column = h * V + lane * N;
  bf16* const out = device::as_bf16(a.out.data) + b * a.out.stride[0] + t * a.out.stride[1] + column;
  const bf16* const gates =
      device::as_bf16(a.out_gate.data) + b * a.out_gate.stride[0] + t * a.out_gate.stride[1] + column;
  Bits<N> o = load_bits<N>(out);
  const Bits<N> gate = load_bits<N>(gates);
  float sum = 0;
#pragma unroll
  for (int n = 0; n < N; ++n) sum += from_bits(o.at[n]) * from_bits(o.at[n]);
  const float inverse = rsqrtf(device::warp_sum(sum) / V + a.norm_eps);
#pragma unroll
  for (int n = 0; n < N; ++n)
    o.at[n] = round_to_bits(from_bits(o.at[n]) * inverse * from_bits(weight.at[n]) *
                            device::sigmoid(from_bits(gate.at[n])));
  store_bits<N>(out, o);
}

template <int V>
void launch_norm(const DeltaRule<Gpu>& args, cudaStream_t stream) {
  const int64_t rows = args.out.size[0] * args.out.size[1] * args.heads;
  device::launch(kda_norm_kernel<V>, dim3((rows + kNormWarps - 1) / kNormWarps), dim3(32 * kNormWarps), 0, stream,
                 "kda_norm", args);
}

// Every access of a warp to a row is 4 or 8 bytes a lane.
template <class T>
bool aligned(const View<T, 3>& view) {
  return reinterpret_cast<uintptr_t>(view.data) % 8 == 0 && view.stride[0] % 4 == 0 && view.stride[1] % 4 == 0 &&
         view.stride[2] == 1;
}

}  // namespace
}  // namespace kda

std::string delta_rule_cuda_unsupported(const DeltaRule<Gpu>& args) {
  const int K = args.key_dim, V = args.value_dim, G = args.gate_dim;
  if (K != V || (K != 64 && K != 128)) return text("delta rule: K is ", K, " and V is ", V, "; CUDA kernels exist for K = V in {64, 128}.");
  if (G != 1 && G != K) return text("delta rule: ", G, " gate channels a head; CUDA kernels exist for 1 and K.");
  if (args.conv.size[1] != kda::kConvWidth)
    return text("delta rule: the short convolution has width ", args.conv.size[1], "; CUDA kernels exist for 4.");
  if (!kda::aligned(args.qkv) || !kda::aligned(args.out_gate) || !kda::aligned(args.out) ||
      (G > 1 && !kda::aligned(args.gate)))
    return "delta rule: rows of qkv, gate, out_gate and out must start at multiples of 8 bytes.";
  if (args.conv_state.stride[2] != 1 || args.conv_state.stride[1] != kda::kConvWidth - 1 ||
      args.conv_state.stride[0] % 4 != 0 || args.state.stride[2] != K || args.state.stride[3] != 1 ||
      args.state.stride[0] % 4 != 0 || args.state.stride[1] % 4 != 0)
    return "delta rule: the states of a sequence must be contiguous and aligned.";
  if (args.qkv.size[0] > 65535 || args.heads > 65535) return "delta rule: at most 65535 sequences and heads a call.";
  return "";
}

void delta_rule_cuda(const DeltaRule<Gpu>& args, Arena& scratch, cudaStream_t stream) {
  const int64_t B = args.qkv.size[0], T = args.qkv.size[1], H = args.heads, K = args.key_dim, V = args.value_dim;
  const std::string reason = delta_rule_cuda_unsupported(args);
  require(reason.empty(), reason);
  if (B == 0 || T == 0 || H == 0) return;
  if (T == 1) {
    if (!scratch.measuring()) kda::launch_decode(args, stream);
    return;
  }

  const ArenaScope scope(scratch);
  kda::Chunked tiles;
  tiles.chunks = static_cast<int>((T + kda::kChunk - 1) / kda::kChunk);
  const int64_t count = B * H * tiles.chunks;
  tiles.minus_w = scratch.take<Bf16>(count, kda::kChunk, K);
  tiles.q = scratch.take<Bf16>(count, kda::kChunk, K);
  tiles.k = scratch.take<Bf16>(count, kda::kChunk, K);
  tiles.k_low = scratch.take<Bf16>(count, kda::kChunk, K);
  tiles.u = scratch.take<Bf16>(count, V, kda::kChunk);
  tiles.a = scratch.take<Bf16>(count, kda::kChunk, kda::kChunk);
  tiles.decay = scratch.take<float>(count, K);
  if (scratch.measuring()) return;
  kda::launch_chunks(args, tiles, stream);
  kda::launch_scan(args, tiles, stream);
  K == 128 ? kda::launch_norm<128>(args, stream) : kda::launch_norm<64>(args, stream);
}

}  // namespace kdabench
