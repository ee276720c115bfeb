// The delta rule on the GPU: what is supported, scratch memory, and the order of the kernels.

#include "kernels/kda/kda_cuda.cuh"

namespace kdabench {
namespace kda {
namespace {

constexpr int kNormWarps = 8;

// Gated RMSNorm, in place: a warp a (token, head), blocks (token, head / 8, sequence).
template <int V>
__global__ void __launch_bounds__(32 * kNormWarps) kda_norm_kernel(const __grid_constant__ DeltaRule<Gpu> a) {
  constexpr int N = V / 32;
  const int lane = threadIdx.x % 32, h = blockIdx.y * kNormWarps + threadIdx.x / 32,
            column = h * V + lane * N;
  const int64_t t = blockIdx.x, b = blockIdx.z;
  const Bits<N> weight = load_bits<N>(device::as_bf16(a.norm_weight.data) + lane * N);
  device::let_next_start();
  device::wait_for_previous();
  if (h >= a.heads) return;

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
    o.at[n] = round_to_bits(__fdividef(from_bits(o.at[n]) * inverse * from_bits(weight.at[n]),
                                       1.f + exp_of(-from_bits(gate.at[n]))));
  store_bits<N>(out, o);
}

template <int V>
void launch_norm(const DeltaRule<Gpu>& args, cudaStream_t stream) {
  const dim3 grid(args.out.size[1], (args.heads + kNormWarps - 1) / kNormWarps, args.out.size[0]);
  device::launch(kda_norm_kernel<V>, grid, dim3(32 * kNormWarps), 0, stream, "kda_norm", args);
}

// Every access of a warp to a row is 4 or 8 bytes a lane.
template <class T>
bool aligned(const View<T, 3>& view) {
  return reinterpret_cast<uintptr_t>(view.data) % 8 == 0 && view.stride[0] % 4 == 0 &&
         view.stride[1] % 4 == 0 && view.stride[2] == 1;
}

// Weights and inputs of a low rank are read 16 bytes at a time.
bool aligned(const LowRank<Gpu>& low) {
  return reinterpret_cast<uintptr_t>(low.x.data) % 16 == 0 && reinterpret_cast<uintptr_t>(low.w.data) % 16 == 0 &&
         low.x.stride[0] % 8 == 0 && low.x.stride[2] == 1 && low.w.stride[0] == low.w.size[1] && low.w.stride[1] == 1;
}
bool fits(const LowRank<Gpu>& low, int64_t sequences, int64_t channels, int64_t rank) {
  return low.x.size[0] == sequences && low.x.size[1] == 1 && low.x.size[2] == rank && low.w.size[0] == channels &&
         low.w.size[1] == rank;
}

}  // namespace
}  // namespace kda

std::string delta_rule_cuda_unsupported(const DeltaRule<Gpu>& args) {
  const int K = args.key_dim, V = args.value_dim, G = args.gate_dim;
  if (K != V || (K != 64 && K != 128))
    return text("delta rule: K is ", K, " and V is ", V, "; CUDA kernels exist for K = V in {64, 128}.");
  if (G != 1 && G != K)
    return text("delta rule: ", G, " gate channels a head; CUDA kernels exist for 1 and K.");
  if (args.conv.size[1] != kda::kConvWidth)
    return text("delta rule: the short convolution has width ", args.conv.size[1],
                "; CUDA kernels exist for 4.");
  if (!kda::aligned(args.qkv) || !kda::aligned(args.out_gate) || !kda::aligned(args.out) ||
      (G > 1 && !kda::aligned(args.gate)))
    return "delta rule: rows of qkv, gate, out_gate and out must start at multiples of 8 bytes.";
  const bool bf16 = args.state_type != StateType::kAccum;
  const int64_t* const stride = bf16 ? args.state_bf16.stride : args.state.stride;
  if (args.conv_state.stride[2] != 1 || args.conv_state.stride[1] != kda::kConvWidth - 1 ||
      args.conv_state.stride[0] % 4 != 0 || stride[2] != K || stride[3] != 1 || stride[0] % 4 != 0 ||
      stride[1] % 4 != 0)
    return "delta rule: the states of a sequence must be contiguous and aligned.";
  if (args.state_type == StateType::kBf16Stochastic && args.lengths.size[0] != args.qkv.size[0])
    return "delta rule: stochastic rounding needs the sequences' lengths.";
  if (args.qkv.size[0] > 65535 || args.heads > 65535)
    return "delta rule: at most 65535 sequences and heads a call.";
  return "";
}

std::string low_rank_delta_rule_cuda_unsupported(const LowRankDeltaRule<Gpu>& args) {
  const DeltaRule<Gpu>& rule = args.rule;
  const std::string reason = delta_rule_cuda_unsupported(rule);
  if (!reason.empty()) return reason;
  const int64_t B = rule.qkv.size[0], T = rule.qkv.size[1], K = rule.key_dim;
  if (T != 1) return text("low-rank delta rule: ", T, " tokens a sequence; the kernel takes 1.");
  const auto taken = [&](const LowRank<Gpu>& low) { return kda::fits(low, B, rule.heads * K, K) && kda::aligned(low); };
  if (!taken(args.out_gate) || (rule.gate_dim > 1 && !taken(args.gate)))
    return text("low-rank delta rule: wanted x [", B, ", 1, ", K, "] and w [", rule.heads * K, ", ", K,
                "] with rows at multiples of 16 bytes.");
  if (!kda::two_blocks_a_head(rule))
    return text("low-rank delta rule: ", B * rule.heads, " heads of all sequences; beyond the number of multiprocessors "
                "products of their own are faster.");
  // Blocks that have a second one beside them on their multiprocessor are late, and the more so the more each reads.
  const int64_t chip = device::multiprocessors(), blocks = 2 * B * rule.heads, more = blocks % chip;
  if (rule.gate_dim > 1 && blocks > chip && more > 0 && more < chip * 3 / 4)
    return text("low-rank delta rule: ", blocks, " blocks on ", chip, " multiprocessors; where so few have one more than "
                "others, products of their own are faster.");
  return "";
}

void low_rank_delta_rule_cuda(const LowRankDeltaRule<Gpu>& args, cudaStream_t stream) {
  const std::string reason = low_rank_delta_rule_cuda_unsupported(args);
  require(reason.empty(), reason);
  if (args.rule.qkv.size[0] > 0 && args.rule.heads > 0) kda::launch_low_rank_decode(args, stream);
}

void delta_rule_cuda(const DeltaRule<Gpu>& args, Arena& scratch, cudaStream_t stream) {
  const int64_t B = args.qkv.size[0], T = args.qkv.size[1], H = args.heads, K = args.key_dim;
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
  const int64_t tile_bytes = K == 128 ? sizeof(kda::Tile<128>) : sizeof(kda::Tile<64>);
  tiles.tiles = scratch.take<unsigned char>(B * H * tiles.chunks, tile_bytes).data;
  if (scratch.measuring()) return;
  kda::launch_chunks(args, tiles, stream);
  kda::launch_scan(args, tiles, stream);
  K == 128 ? kda::launch_norm<128>(args, stream) : kda::launch_norm<64>(args, stream);
}

}  // namespace kdabench
