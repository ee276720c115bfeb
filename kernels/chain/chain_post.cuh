#pragma once
// How the blocks of a chain hand each other results without a barrier: number by number, 0 until it is there. A barrier's
// release waits for everything that its multiprocessor has on its way, full rings of weights among it: 2 to 4 us (clock
// stamps). Posted by atomic operations, which were there 1 us before plain stores.

#include "kernels/base/device.cuh"
#include "kernels/chain/chain_parts.h"
#include "kernels/moe/moe_parts.h"

namespace kdabench::device {

// The router's logits, and results of whole phases as bf16: 0 until they are there, and again between chains. A number that
// is 0 is kept as -0.
__device__ uint32_t router_logits[kMoeExperts];
__device__ uint4 posted_eights[(kChainPosted + 7) / 8];

__device__ inline void post_bits(uint32_t* to, uint32_t bits) {
  asm volatile("red.relaxed.gpu.global.or.b32 [%0], %1;" ::"l"(to), "r"(bits) : "memory");
}
__device__ inline void post_logit(int expert, float logit) {
  post_bits(router_logits + expert, logit == 0.f ? 0x80000000u : __float_as_uint(logit));
}
__device__ inline float await_logit(int expert) {
  uint32_t bits;
  do {
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(bits) : "l"(router_logits + expert) : "memory");
  } while (bits == 0);
  return __uint_as_float(bits);
}

__device__ inline void post(int at, float value) {
  const uint32_t bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
  post_bits(reinterpret_cast<uint32_t*>(posted_eights) + at / 2, (bits == 0 ? 0x8000u : bits) << at % 2 * 16);
}
// Eight numbers from a multiple of 8 on, or four from one of 4, as far as they are there.
__device__ inline uint4 look_at_eight(int at) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(posted_eights + at / 8)
               : "memory");
  return v;
}
__device__ inline uint2 look_at_four(int at) {
  uint2 v;
  asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];"
               : "=r"(v.x), "=r"(v.y)
               : "l"(reinterpret_cast<uint2*>(posted_eights) + at / 4)
               : "memory");
  return v;
}
__device__ inline bool there(uint32_t pair) { return (pair & 0xffffu) && pair >> 16; }
__device__ inline bool there(const uint2& four) { return there(four.x) && there(four.y); }
__device__ inline bool there(const uint4& eight) {
  return there(eight.x) && there(eight.y) && there(eight.z) && there(eight.w);
}

}  // namespace kdabench::device
