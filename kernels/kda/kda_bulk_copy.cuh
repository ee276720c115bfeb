#pragma once
// The bulk copy engine (sm_90): one thread asks for a contiguous piece of global memory, a barrier in shared
// memory says when it has come. Pointers and sizes are multiples of 16 bytes.

#include "kernels/base/device.cuh"

namespace kdabench::kda {

using Barrier = uint64_t;  // an mbarrier of one arrival, that of the thread that asks

__device__ inline void init_barrier(Barrier& barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(device::shared_address(&barrier)) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// Starts the barrier's next phase, which ends when `bytes` have been copied.
__device__ inline void expect_bytes(Barrier& barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(device::shared_address(&barrier)),
      "r"(bytes)
      : "memory");
}
__device__ inline void bulk_copy(void* shared, const void* global, uint32_t bytes, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
          device::shared_address(shared)),
      "l"(global), "r"(bytes), "r"(device::shared_address(&barrier))
      : "memory");
}
// Phases have parities 0, 1, 0, 1, ...
__device__ inline void wait_for_phase(Barrier& barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "AGAIN_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra AGAIN_%=;\n"
      "}\n" ::"r"(device::shared_address(&barrier)),
      "r"(parity)
      : "memory");
}

}  // namespace kdabench::kda
