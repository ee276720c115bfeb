#pragma once
// The line of cache tiles that the split decode cuts and the merge follows (see MlaSplitPlan), on the device.

#include "kernels/base/device.cuh"
#include "kernels/mla/mla_kernels.h"

namespace kdabench::device {

// prefix[b] is the number of tiles of all sequences before b; prefix[B] of all. Every sequence has at least
// one. Called by all threads of a block; ends with a barrier.
__device__ inline void mla_tile_prefix(int* prefix, const int32_t* lengths, int B, int T) {
  for (int b = threadIdx.x; b < B; b += blockDim.x)
    prefix[b + 1] = (__ldcg(lengths + b) + T + kMlaTileTokens - 1) / kMlaTileTokens;
  if (threadIdx.x == 0) prefix[0] = 0;
  __syncthreads();
  if (B > 1 && threadIdx.x < 32) {
    int before = 0;
    for (int first = 1; first <= B; first += 32) {
      const int at = first + static_cast<int>(threadIdx.x);
      int sum = at <= B ? prefix[at] : 0;
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const int left = __shfl_up_sync(0xffffffffu, sum, offset);
        if (static_cast<int>(threadIdx.x) >= offset) sum += left;
      }
      if (at <= B) prefix[at] = before + sum;
      before += __shfl_sync(0xffffffffu, sum, 31);
    }
  }
  __syncthreads();
}

struct MlaLine {
  int64_t tiles;
  int64_t groups;  // that get work

  // The slowest group decides, so as few groups as keep its number of tiles: fewer results to merge.
  __device__ MlaLine(int tiles_, int most_groups) : tiles(tiles_) {
    const int slowest = (tiles_ + most_groups - 1) / most_groups;
    groups = (tiles_ + slowest - 1) / slowest;
  }
  // Group i owns tiles [first(i), first(i + 1)).
  __device__ int first(int i) const { return static_cast<int>(tiles * i / groups); }
  __device__ int owner(int tile) const {
    return static_cast<int>(((tile + int64_t{1}) * groups - 1) / tiles);
  }
};

// Kernels overlap only on a multiprocessor that need not move the border between its L1 cache and its shared
// memory, so all of a decode step ask for the most shared memory.
template <class Kernel>
void share_multiprocessor(Kernel* kernel, std::string_view name) {
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared),
        text("ask for shared memory for ", name));
}

// Rotates the pair (2 i, 2 i + 1) of P channels by position * theta^(-2 i / P). The angle is reduced in
// double: at position 2^20 a float angle would be off by 0.06.
__device__ inline float2 mla_rotate(float2 pair, int i, int P, float theta, int64_t position) {
  constexpr double kTurn = 6.283185307179586;
  const double angle = position * exp2(-2.0 * i / P * log2(static_cast<double>(theta)));
  float sine, cosine;
  sincosf(static_cast<float>(angle - kTurn * rint(angle / kTurn)), &sine, &cosine);
  return {pair.x * cosine - pair.y * sine, pair.x * sine + pair.y * cosine};
}

}  // namespace kdabench::device
