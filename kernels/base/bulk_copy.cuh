#pragma once
// The bulk copy engine (sm_90): one thread asks for a contiguous piece of global memory, a barrier in shared memory
// says when it has come. Pointers and sizes are multiples of 16 bytes.

#include "kernels/base/device.cuh"

namespace kdabench::device {

using CopyBarrier = uint64_t;  // an mbarrier; of one arrival, that of the thread that asks, where it is for copies

__device__ inline void init_copy_barrier(CopyBarrier* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// Behind init_copy_barrier, by the same thread: the copy engine sees the barriers.
__device__ inline void publish_copy_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// What this thread has read of shared memory is read: copies that are asked for behind this may write over it. It goes in
// front of what tells who asks: an mbarrier's arrival does not wait for loads that are on their way, and copies overtook
// them while another kernel's loads kept the multiprocessor busy (kernels/README.md, row 15 of `chain/`).
__device__ inline void fence_async_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// What is read once: first to leave the L2.
__device__ inline uint64_t read_once_policy() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
// Starts the barrier's next phase, which ends when all `bytes` have come; whoever copies parts of them may already do so.
__device__ inline void expect_bytes(CopyBarrier* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}
__device__ inline void copy_part(void* shared, const void* global, int bytes, CopyBarrier* barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(
          shared_address(shared)),
      "l"(global), "r"(bytes), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}
__device__ inline void copy_part(void* shared, const void* global, int bytes, CopyBarrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
          shared_address(shared)),
      "l"(global), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}
__device__ inline void start_copy(void* shared, const void* global, int bytes, CopyBarrier* barrier, uint64_t policy) {
  expect_bytes(barrier, bytes);
  copy_part(shared, global, bytes, barrier, policy);
}
// Ends the barrier's phase without any bytes.
__device__ inline void arrive_at(CopyBarrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Phases have parities 0, 1, 0, 1, ...; whether the one of this parity is over.
__device__ inline bool has_come(CopyBarrier* barrier, uint32_t parity) {
  uint32_t over;
  asm volatile(
      "{\n"
      ".reg .pred over;\n"
      "mbarrier.test_wait.parity.shared::cta.b64 over, [%1], %2;\n"
      "selp.u32 %0, 1, 0, over;\n"
      "}\n"
      : "=r"(over)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
  return over;
}
// Until it is over.
__device__ inline void await_copy(CopyBarrier* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "AGAIN_%=:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra AGAIN_%=;\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

}  // namespace kdabench::device
