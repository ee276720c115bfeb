#pragma once
// Device-side building blocks shared by all .cu files: launches with programmatic dependency, reductions, 16-byte
// loads, cp.async, ldmatrix and mma wrappers. Nothing here knows about a model.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/base/cuda.h"
#include "kernels/base/kernel_log.h"
#include "kernels/base/types.h"

namespace kdabench::device {

using bf16 = __nv_bfloat16;

__host__ __device__ inline const bf16* as_bf16(const Bf16* p) { return reinterpret_cast<const bf16*>(p); }
__host__ __device__ inline bf16* as_bf16(Bf16* p) { return reinterpret_cast<bf16*>(p); }

// ---- programmatic dependent launch -------------------------------------------------------------------------------
// Every kernel launched with `launch` calls wait_for_previous() before it touches memory another kernel writes or
// reads (weights are never written, so they may be loaded before), and may call let_next_start() as soon as all of
// its blocks run. Both are no-ops for an ordinary launch.

__device__ inline void wait_for_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ inline void let_next_start() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }

template <class... Params, class... Args>
void launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
            std::string_view name, Args&&... args) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  KernelLog::note({name, reinterpret_cast<const void*>(kernel), static_cast<int64_t>(shared_bytes)});
  check(cudaLaunchKernelEx(&config, kernel, Params(std::forward<Args>(args))...), text("launch ", name));
}

// Raises the dynamic shared memory limit of a kernel above 48 KB. Cheap enough to call before every launch.
template <class Kernel>
void allow_shared(Kernel* kernel, size_t bytes, std::string_view name) {
  if (bytes > 48 * 1024)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(bytes)),
          text("give ", name, " ", bytes, " bytes of shared memory"));
}

inline int multiprocessors() {
  static const int count = [] {
    int device = 0, n = 0;
    check(cudaGetDevice(&device), "ask for the current device");
    check(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device), "count multiprocessors");
    return n;
  }();
  return count;
}

// ---- reductions --------------------------------------------------------------------------------------------------
template <int Width = 32>
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int offset = Width / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}
template <int Width = 32>
__device__ inline float warp_max(float x) {
#pragma unroll
  for (int offset = Width / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}

// Sum over a block of up to 1024 threads (a multiple of 32); every thread gets it. `partial` is 32 shared floats.
__device__ inline float block_sum(float x, float* partial) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  x = warp_sum(x);
  __syncthreads();  // partial may still be read by the call before
  if (lane == 0) partial[warp] = x;
  __syncthreads();
  return warp_sum(lane < warps ? partial[lane] : 0.f);
}

// ---- 16-byte loads -----------------------------------------------------------------------------------------------
struct alignas(16) Bf16x8 {
  __nv_bfloat162 pair[4];
};
// Streaming read of weights: not through L1, not kept.
__device__ inline Bf16x8 load_stream(const bf16* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return *reinterpret_cast<Bf16x8*>(&v);
}
__device__ inline Bf16x8 load8(const bf16* p) { return *reinterpret_cast<const Bf16x8*>(p); }
__device__ inline void store8(bf16* p, const Bf16x8& v) { *reinterpret_cast<Bf16x8*>(p) = v; }

// ---- cp.async ----------------------------------------------------------------------------------------------------
__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }
// 16 bytes global -> shared; zeros when !valid (the source is then not read).
__device__ inline void cp_async16(void* shared, const void* global, bool valid = true) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Pending>
__device__ inline void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// ---- tensor cores, m16n8k16 bf16, fp32 accumulation ---------------------------------------------------------------
// Fragments as in the PTX manual, with g = lane / 4, t = lane % 4:
//   A (16x16): a[0] = (g, 2t..), a[1] = (g + 8, 2t..), a[2] = (g, 2t + 8..), a[3] = (g + 8, 2t + 8..)
//   B (16x8):  b[0] = (k = 2t.., n = g), b[1] = (k = 2t + 8.., n = g)
//   C (16x8):  c[0..1] = (g, 2t..), c[2..3] = (g + 8, 2t..)
__device__ inline void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Four 8x8 matrices; lane i gives the address of row i % 8 of matrix i / 8.
__device__ inline void ldmatrix4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void ldmatrix4_trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// ---- pointwise math ------------------------------------------------------------------------------------------------
// __expf here: 2 ulp + 2^-21.4 |x| relative (CUDA math manual); far below bf16's 2^-9 for the arguments of a sigmoid.
__device__ inline float sigmoid(float x) { return 1.f / (1.f + __expf(-x)); }
__device__ inline float silu(float x) { return x * sigmoid(x); }

}  // namespace kdabench::device
