#pragma once
// The line of cache tiles that the split decode cuts and the merge follows (see MlaSplitPlan), on the device.

#include "kernels/base/device.cuh"
#include "kernels/mla/mla_kernels.h"

namespace kdabench::device {

// prefix[b] is the number of tiles of all sequences before b; prefix[B] of all. Every sequence has at least
// one. `kept`, where given, takes the lengths. Called by all threads of a block; ends with a barrier.
__device__ inline void mla_tile_prefix(int* prefix, int* kept, const int32_t* lengths, int B, int T) {
  for (int b = threadIdx.x; b < B; b += blockDim.x) {
    const int length = __ldcg(lengths + b);
    if (kept != nullptr) kept[b] = length;
    prefix[b + 1] = (length + T + kMlaTileTokens - 1) / kMlaTileTokens;
  }
  if (threadIdx.x == 0) prefix[0] = 0;
  __syncthreads();
  if (B == 1) return;
  if (threadIdx.x < 32) {
    int before = 0;
#pragma unroll 1
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

// The sequence that a tile of the line belongs to.
__device__ inline int mla_sequence_of(const int* prefix, int B, int tile) {
  int low = 0, high = B;  // prefix[low] <= tile < prefix[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (prefix[middle] <= tile ? low : high) = middle;
  }
  return low;
}

struct MlaLine {
  uint32_t groups;      // that get work
  uint32_t few, longer;  // tiles of a group; the first `longer` groups have one more

  // The slowest group decides, so as few groups as keep its number of tiles: fewer results to merge.
  __device__ MlaLine(uint32_t tiles, uint32_t most_groups) {
    const uint32_t slowest = (tiles + most_groups - 1) / most_groups;
    groups = (tiles + slowest - 1) / slowest;
    few = tiles / groups, longer = tiles - few * groups;
  }
  // Group i owns tiles [first(i), first(i + 1)).
  __device__ int first(uint32_t i) const { return static_cast<int>(i * few + min(i, longer)); }
  __device__ int owner(uint32_t tile) const {
    const uint32_t border = longer * (few + 1);
    return static_cast<int>(tile < border ? tile / (few + 1) : longer + (tile - border) / few);
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
// double: at position 2^20 a float angle would be off by 0.06. The fast sine and cosine err by 2^-21 there (CUDA
// math manual), and need no local memory.
__device__ inline float2 mla_rotate(float2 pair, int i, int P, float theta, int64_t position) {
  constexpr double kTurn = 6.283185307179586;
  const double angle = position * exp2(-2.0 * i / P * log2(static_cast<double>(theta)));
  float sine, cosine;
  __sincosf(static_cast<float>(angle - kTurn * rint(angle / kTurn)), &sine, &cosine);
  return {pair.x * cosine - pair.y * sine, pair.x * sine + pair.y * cosine};
}

}  // namespace kdabench::device
