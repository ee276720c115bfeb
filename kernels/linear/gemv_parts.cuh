#pragma once
// What the GEMVs share: products of packed bf16 pairs, stores of either output type.

#include "kernels/base/device.cuh"

namespace kdabench::device {

__device__ inline void store(float* p, float x) { *p = x; }
__device__ inline void store(Bf16* p, float x) { *as_bf16(p) = __float2bfloat16_rn(x); }

// sum + the product of two packed pairs, in fp32.
__device__ inline float dot2(uint32_t a, uint32_t b, float sum) {
  sum = fmaf(__uint_as_float(a << 16), __uint_as_float(b << 16), sum);
  return fmaf(__uint_as_float(a & 0xffff0000u), __uint_as_float(b & 0xffff0000u), sum);
}

inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace kdabench::device
