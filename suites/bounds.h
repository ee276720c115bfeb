#pragma once
// Every bound that a result is held to, with the reason for its size. A bound is never raised to make a test pass.

// ---- decode and memory suites ---------------------------------------------------------------------------------------
namespace kdabench::bounds {

// rel_l2 of next-token logits, five tokens read at once against one by one, for each sequence of the batch.
// fp32: the paths differ in the order of their sums. Worst of 432 sequences of the tiny model (three architectures,
//   three seeds, contexts 1, 100 and 1000): 8.2e-7. One forgotten cached token gives 1.7e-4 at the least.
inline constexpr double kPrefillVsDecodeFp32 = 1e-5;
// bf16, the same routing on both paths: noise of a block's roundings (3e-3 of its output) adds in quadrature over blocks
//   and is carried to the logits: 0.016 to 0.021 in the 42 cells of reports/results/h200-decode.json (48B model, batch 1
//   to 43, 4K to 1M). More than twice that for other configs and the worst of many rows.
inline constexpr double kPrefillVsDecodeBf16 = 0.05;

// All else fp32, the recurrent state bf16: five tokens read at once round it once, one by one five times, by 1.6e-3 of an
//   element each. 4.8e-3 to 6.7e-3 in the tiny models (contexts 256 and 1000).
inline constexpr double kPrefillVsDecodeBf16State = 0.02;

// The parts of a step add up to it within this share; beyond it, validity.reasons says so.
inline constexpr double kBreakdownRemainder = 0.05;

// Caches and states may exceed the arithmetic by their alignment: 256 bytes a tensor, a few tensors a layer.
inline constexpr double kAllocationSlack = 1e-3;
inline constexpr double kAllocationSlackBytes = 1 << 18;

// Below this share of its median the SM clock has dropped within the timed loop (nvbench discards below 0.75).
inline constexpr double kSteadyClock = 0.9;
// Throttled for a larger share of the timed loop than this: said in validity.reasons.
inline constexpr double kThrottledShare = 0.01;

}  // namespace kdabench::bounds
// ---- end of decode and memory suites --------------------------------------------------------------------------------

// ---- kernels: rel_l2 against the double truth, per head or per row (tests/compare.h) ------------------------------
namespace kdabench::bounds {

// Two orders of the same sums in double. 257 tokens of one head differ by up to 1.4e-14 (test_kda with the bound at 0).
inline constexpr double kDouble = 1e-12;
// The CPU backend: every product is rounded at 6e-8 and errors of a sum of n terms grow as sqrt(n).
inline constexpr double kPointwiseFloat = 1e-6;
inline constexpr double kLinearFloat = 1e-6;
inline constexpr double kMoeFloat = 2e-6;    // three linear layers and a silu in a row
inline constexpr double kMlaFloat = 5e-6;    // scores of order 1
// Scores of order 100 are sums rounded at 4e-6 a time, and that is the relative error of each softmax weight; where two
// tokens share a query their values partly cancel. The worst of 25 seeds is 5e-6; a missing maximum gives infinity.
inline constexpr double kMlaPeakedFloat = 5e-5;
inline constexpr double kDeltaFloat = 1e-5;  // an error stays in the state until it is forgotten: 257 tokens, 1.5e-6
// Keys of unit length only to float precision: |k|^2 is off by up to 1e-7, and so is what is read back.
inline constexpr double kUnitKeys = 1e-6;

}  // namespace kdabench::bounds
// ---- end of kernels -------------------------------------------------------------------------------------------------

// ---- MLA on the GPU: rel_l2 against the double truth of the same bf16 inputs, per token and head -------------------
namespace kdabench::bounds {

// A bf16 rounding errs by at most 2^-8 = 3.9e-3 of the value, 1.6e-3 in the root mean square. On the way to an output lie
// at most seven of them (new cache row, q' or k, score error from it, P or v, partial results, attended latent, output):
// 4e-3 together when independent. Four times that, because the worst of up to ten thousand (token, head) groups is held to it, and score
// errors move all channels of a group alike. A lost key in a hundred gives 1e-1.
inline constexpr double kMlaGpu = 1.6e-2;
// Added for each unit of query scale above 1: scores of standard deviation c carry errors of 2.3e-3 c from the rounding
// of q' or k and the cache row; where two keys compete, their weights move by half of the difference of two such errors,
// 1.6e-3 c; the worst of thousands of groups is four deviations out.
inline constexpr double kMlaGpuPerScale = 6.4e-3;
// One rounding to bf16 of an fp32 result.
inline constexpr double kMlaGpuCache = 4e-3;

}  // namespace kdabench::bounds
// ---- end of MLA on the GPU ------------------------------------------------------------------------------------------

// ---- CUDA kernels: linear, mixture of experts, pointwise ------------------------------------------------------------
namespace kdabench::bounds {

// One rounding to bf16 (8 bits of significand) is at most 2^-8 = 3.91e-3 of each element, so rel_l2 cannot exceed that;
// fp32 sums of up to 16384 terms add below 1e-5.
inline constexpr double kBf16Once = 4e-3;
// fp32 sums of exact bf16 products, in any order: tensor cores cut off below 2^-23 of the largest term of 16, a few
// hundred times a row, in random directions.
inline constexpr double kSumCuda = 1e-5;
// Routing weights: a sigmoid and a division in fp32, of a logit whose sum is off by up to 1e-6.
inline constexpr double kRouteWeight = 1e-5;
// Three independent roundings to bf16 of at most 2^-8 each: silu(gate) * up, the row of each expert (prefill), and the
// sum over experts. sqrt(3) 2^-8 = 6.8e-3.
inline constexpr double kMoeCuda = 7e-3;

}  // namespace kdabench::bounds
// ---- end of CUDA kernels: linear, mixture of experts, pointwise -----------------------------------------------------

// ---- the delta rule on the GPU: rel_l2 against the double truth, per sequence and head ------------------------------
// One rounding to bf16 is a relative error of at most 2^-8, 1.6e-3 in the mean square.
namespace kdabench::bounds {

// Decode computes in fp32; only the output is rounded (kBf16Once: a head's output may be one large channel, and then the
// mean square of many roundings is no bound). 130 tokens one after another leave errors of a few times 1e-7 in the state,
// and the fast exponential of silu one of 1e-6.
inline constexpr double kDeltaDecodeState = 1e-5;
// A state kept in bf16 is rounded by the truth, too, from the same bits. Where the 1e-5 of an fp32 result reach across a
// boundary between two bf16 numbers, which are 2^-8 apart, an element is its neighbour: one in 400 (fp32 on the CPU: one in
// 2000). One such element may be most of a head's state, so that only their number tells a wrong kernel: a rounding of
// 1e-4, or another sequence of random bits, moves one in 40. A neighbour is off by at most 2^-7 of itself.
inline constexpr double kDeltaNeighbours = 1e-2;
inline constexpr double kDeltaDecodeStateBf16 = 0x1p-7 + 1e-5;
// Such steps stay in the state until they are forgotten: over 130 tokens sqrt(130 / 400) 2^-8 = 2e-3, times three.
inline constexpr double kDeltaDecodeStateBf16Long = 6e-3;
// Prefill multiplies bf16 matrices, sums and state in fp32. On the way to the state v, U, W, the state as a factor and
// what is written are rounded once each: sqrt(5) * 1.6e-3 = 3.6e-3, and up to 1.4 times that where nothing is forgotten
// and beta is near 1, since an error then returns in the next prediction. The output adds q, its products with k, o
// and itself: sqrt(9) * 1.6e-3 * 1.4 = 6.8e-3. A wrong mask, chunk boundary or gate gives 1e-1.
inline constexpr double kDeltaPrefillState = 7e-3;
inline constexpr double kDeltaPrefillOut = 1e-2;
// With one key throughout, what a token writes replaces what the last one wrote: the sum of a chunk's writes is as large
// as one of them, while their roundings, of U and of what is written, add up: sqrt(2 * 64) * 1.6e-3 = 1.8e-2.
inline constexpr double kDeltaOneKey = 2.5e-2;

}  // namespace kdabench::bounds
// ---- end of the delta rule on the GPU -------------------------------------------------------------------------------
