#pragma once
// Number types of the two backends.

#include <bit>
#include <cstdint>

#ifdef __CUDACC__
#define KDABENCH_HD __host__ __device__
#else
#define KDABENCH_HD
#endif

// The CUDA runtime's stream, declared here so that contracts need no CUDA header.
struct CUstream_st;
using cudaStream_t = CUstream_st*;

namespace kdabench {

// bfloat16 as bits; in .cu files the same memory is read as __nv_bfloat16.
struct Bf16 {
  uint16_t bits;
};

KDABENCH_HD inline float to_float(Bf16 x) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(uint32_t{x.bits} << 16);
#else
  return std::bit_cast<float>(uint32_t{x.bits} << 16);
#endif
}
KDABENCH_HD inline float to_float(float x) { return x; }
KDABENCH_HD inline double to_float(double x) { return x; }

// Rounds to nearest, ties to even; NaN stays NaN.
KDABENCH_HD inline Bf16 to_bf16(float x) {
#ifdef __CUDA_ARCH__
  uint32_t u = __float_as_uint(x);
#else
  uint32_t u = std::bit_cast<uint32_t>(x);
#endif
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};
  u += 0x7fffu + ((u >> 16) & 1u);
  return {static_cast<uint16_t>(u >> 16)};
}

// What the numbers of a backend are: activations, weights, and accumulation (residual stream, recurrent state,
// logits). The CPU is one template; T = double is the truth, T = float the backend.
template <class T>
struct Cpu {
  using Act = T;
  using Weight = T;
  using Accum = T;
};
struct Gpu {
  using Act = Bf16;
  using Weight = Bf16;
  using Accum = float;
};

}  // namespace kdabench
