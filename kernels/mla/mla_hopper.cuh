#pragma once
// What MLA and the experts use of Hopper beyond kernels/base/device.cuh: tensor maps and the copies that read
// them, mbarriers, and wgmma with both operands in shared memory.

#include <cuda.h>  // CUtensorMap; types only, the driver's function is asked for at run time

#include "kernels/base/bulk_copy.cuh"
#include "kernels/base/error.h"

namespace kdabench::device {

// ---- mbarriers, and order between ordinary accesses and those of copies and tensor cores -----------------
__device__ inline void barrier_init(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
}
__device__ inline void barrier_expect(uint64_t* barrier, int bytes) {  // arrives as well
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
}
__device__ inline void barrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ inline void barrier_wait(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra again;\n}\n" ::"r"(
          shared_address(barrier)),
      "r"(parity)
      : "memory");
}
// Makes this thread's ordinary accesses ordered before later ones of the copy engine and the tensor cores;
// fence_async_shared is for shared memory alone, and cheaper.
__device__ inline void fence_async() { asm volatile("fence.proxy.async;" ::: "memory"); }

// ---- tensor copies ---------------------------------------------------------------------------------------
// A box of [rows, 64 bf16] whose 128-byte rows are swizzled (16-byte chunk ^ row % 8) as they arrive.
__device__ inline void copy_box(void* shared, const CUtensorMap& map, int column, int row, int batch,
                                uint64_t* barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(shared_address(shared)),
      "l"(&map), "r"(column), "r"(row), "r"(batch), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}
__device__ inline void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// A map over [batches, rows, columns] bf16 for boxes of [box_rows, 64]. What lies outside is read as zero. Misses
// fetch 128 bytes: promoted to 256 the same stream of boxes reaches 4.14 instead of 4.45 TB/s (H200).
inline CUtensorMap tensor_map(const void* data, int64_t columns, int64_t rows, int64_t batches,
                              int64_t row_stride, int64_t batch_stride, int box_rows, std::string_view name) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault,
                                           &found),
          "ask the driver for tensor maps");
    require(found == cudaDriverEntryPointSuccess, "the driver has no cuTensorMapEncodeTiled.");
    return reinterpret_cast<Encode>(function);
  }();
  const cuuint64_t sizes[3] = {cuuint64_t(columns), cuuint64_t(rows), cuuint64_t(batches)};
  const int64_t batch_bytes = batches > 1 ? batch_stride * 2 : row_stride * 2 * rows;
  const cuuint64_t strides[2] = {cuuint64_t(row_stride * 2), cuuint64_t(batch_bytes)};
  const cuuint32_t box[3] = {64, cuuint32_t(box_rows), 1}, steps[3] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(data), sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  require(result == CUDA_SUCCESS, "tensor map of ", name, ": driver error ", static_cast<int>(result), ".");
  return map;
}

// ---- wgmma m64n32k16, bf16, fp32 accumulation ------------------------------------------------------------
// Operand in shared memory: groups of 8 rows (K-major) or of 8 k (MN-major), `group` bytes apart. One group's
// rows are 128 or 64 bytes long, swizzled over 1024 or 512 bytes.
template <int RowBytes>
__device__ inline uint64_t operand(const void* shared, int group) {
  constexpr uint64_t kSwizzle = RowBytes == 128 ? 1 : 2;
  const uint64_t step = group >> 4;
  return (shared_address(shared) >> 4) | step << 16 | step << 32 | kSwizzle << 62;
}
// Accumulators as in mma: with g = lane / 4, t = lane % 4 and warp w of the four, d[4 j + i] is row
// 16 w + g + 8 (i / 2), column 8 j + 2 t + i % 2. kTransposed: of both operands, whose rows then are k.
template <bool kTransposed>
__device__ inline void wgmma_64x32x16(float (&d)[16], uint64_t a, uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, %16, %17, p, 1, 1, %19, %19;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
      : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposed ? 1 : 0));
}
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

}  // namespace kdabench::device
