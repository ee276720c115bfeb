#pragma once
// What the prefill uses of Hopper beyond kernels/mla/mla_hopper.cuh: wgmma of 128 columns, with a left operand in
// registers too, registers that one group of warps leaves to another, and barriers of a part of a block.

#include "kernels/mla/mla_hopper.cuh"

namespace kdabench::device {

// ---- wgmma m64n128k16 and m64n64k16, bf16, fp32 accumulation ------------------------------------------------------
// Accumulators as in wgmma_64x32x16. A right operand that is transposed has its columns in rows of 64, `columns` bytes
// from one 64 to the next, and 1024 from 8 of k to the next 8.
__device__ inline uint64_t operand_transposed(const void* shared, int columns) {
  return (shared_address(shared) >> 4) | uint64_t(columns >> 4) << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

#define KDABENCH_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define KDABENCH_16(d, i) KDABENCH_4(d, i), KDABENCH_4(d, i + 4), KDABENCH_4(d, i + 8), KDABENCH_4(d, i + 12)
#define KDABENCH_32(d, i) KDABENCH_16(d, i), KDABENCH_16(d, i + 16)
#define KDABENCH_D32                                                  \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"            \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define KDABENCH_D64                                                  \
  KDABENCH_D32                                                        \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
  "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

// d = a b, or d += a b: both K-major in shared memory.
__device__ inline void wgmma_64x128x16(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" KDABENCH_D64 "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
      : KDABENCH_32(d, 0), KDABENCH_32(d, 32)
      : "l"(a), "l"(b), "r"(accumulate));
}
// d += a b: a as fragments of mma_16x8x16, b transposed in shared memory.
__device__ inline void wgmma_transposed(float (&d)[64], const uint32_t* a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" KDABENCH_D64 "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;\n"
      : KDABENCH_32(d, 0), KDABENCH_32(d, 32)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
__device__ inline void wgmma_transposed(float (&d)[32], const uint32_t* a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" KDABENCH_D32 "}, {%32,%33,%34,%35}, %36, 1, 1, 1, 1;\n"
      : KDABENCH_32(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
#undef KDABENCH_4
#undef KDABENCH_16
#undef KDABENCH_32
#undef KDABENCH_D32
#undef KDABENCH_D64

// Registers that a wgmma reads or writes: neither read nor written across this point by any other instruction.
template <int Count>
__device__ inline void settle(float (&x)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(x[i])::"memory");
}
template <int Count>
__device__ inline void settle(uint32_t (&x)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+r"(x[i])::"memory");
}

// ---- groups of four warps -----------------------------------------------------------------------------------------
// Registers a thread of this group, which all of its threads ask for; a multiple of 8.
template <int Count>
__device__ inline void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}
template <int Count>
__device__ inline void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}
// Barrier 1 to 15 of the block, for `threads` of it.
__device__ inline void meet(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ inline void announce(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

}  // namespace kdabench::device
