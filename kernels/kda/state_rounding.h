#pragma once
// How a recurrent state is kept in bf16 between tokens; the same bits on every device.
//
// To nearest, a change below half an ulp, 2^-9 of the element, is lost, and lost again at every token: a state under
// gates nearer to 1 than 0.998 never forgets, and small writes never arrive. Stochastic rounding goes up with the
// probability of the distance: each change survives in the mean, at the price of noise. The delta rule overwrites much of
// what is lost, so the noise is worth it only for small writes under decays of 0.999 to 0.9999: by a factor of 1.5 to 2.4
// there, and it costs 1.3 elsewhere (reports/results/state-error.json).
//
// The random bits are a function of the sequence's position, the head and the element, not of the row of the batch: a
// sequence gives the same bits alone and in company, and T tokens the same at once and one by one.

#include "kernels/base/types.h"

namespace kdabench {

// Well mixed, once for a head and a token; `position` is the number of tokens cached before this one.
KDABENCH_HD inline uint32_t rounding_seed(int32_t position, int head) {
  uint32_t x = static_cast<uint32_t>(position) * 0x9e3779b9u ^ static_cast<uint32_t>(head) * 0x85ebca6bu;
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}
// 16 bits for each of the channels 2 `pair` (the lower half) and 2 `pair` + 1 of a head's [V, K] state.
// rounding_bits(seed + i * kRoundingPair, pair) is rounding_bits(seed, pair + i).
inline constexpr uint32_t kRoundingPair = 0x9e3779b9u;
KDABENCH_HD inline uint32_t rounding_bits(uint32_t seed, uint32_t pair) {
  uint32_t x = seed + pair * kRoundingPair;
  x = (x ^ (x >> 16)) * 0x7feb352du;
  return x ^ (x >> 15);
}

// To one of the two neighbours in bf16, to the farther from 0 when the 16 bits that are cut off and `random` carry. NaN
// stays NaN.
inline Bf16 to_bf16_stochastic(float x, uint32_t random) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return to_bf16(x);
  return {static_cast<uint16_t>((bits + (random & 0xffffu)) >> 16)};
}

}  // namespace kdabench
