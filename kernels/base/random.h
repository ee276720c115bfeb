#pragma once
// Counter-based random numbers: the value depends on (stream, index) alone, so that the CPU and the GPU, in any order
// and with any number of threads, make bit-identical weights and inputs.

#include <cstdint>
#include <string_view>

#include "kernels/base/types.h"

namespace kdabench {

// One stream per (seed, name): FNV-1a of the name, mixed with the seed.
inline uint64_t random_stream(uint64_t seed, std::string_view name) {
  uint64_t h = 0xcbf29ce484222325ull ^ (seed * 0x9e3779b97f4a7c15ull);
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return h;
}

// splitmix64's finaliser over the counter (Steele, Lea, Flood 2014).
KDABENCH_HD inline uint64_t random_bits(uint64_t stream, uint64_t index) {
  uint64_t z = stream + (index + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// Uniform in (0, 1), a multiple of 2^-24 plus 2^-25: exact in float.
KDABENCH_HD inline float random_uniform(uint64_t stream, uint64_t index) {
  return (static_cast<float>(random_bits(stream, index) >> 41) + 0.5f) * 0x1p-23f;
}

// Mean 0, variance 1: the sum of four 16-bit uniforms (range +-3.46), in integers up to one final multiplication, so
// host and device agree to the last bit. No libm call.
KDABENCH_HD inline float random_normal(uint64_t stream, uint64_t index) {
  const uint64_t bits = random_bits(stream, index);
  const int32_t sum = static_cast<int32_t>((bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) +
                                           (bits >> 48)) - 131070;  // 2 * 65535
  return static_cast<float>(sum) * 2.642978e-05f;  // 1 / sqrt(4 (2^32 - 1) / 12)
}

}  // namespace kdabench
