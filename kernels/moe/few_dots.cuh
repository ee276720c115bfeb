#pragma once
// Products of a few rows with one or two vectors, on the tensor cores of one warp.

#include "kernels/base/device.cuh"

namespace kdabench::device {

// Products of rows and vectors in shared memory: of 2 Pairs rows with every vector. A row is read as 32 lanes of 8
// numbers; in m16n8k16, with the vector read the same way on the N side, entry (g, g) of the result is what the lanes
// from 4 g to 4 g + 3 would have summed, and (g + 8, g) the same of a second row. The rest is not used.
template <int Pairs, int Vectors>
struct Dots {
  static constexpr int kTotals = 2 * Pairs * Vectors;
  float acc[Pairs][Vectors][2][4] = {};

  // high: elements from a row to the next; behind the `rows`-th, the last is read again.
  __device__ void add(const bf16* w, int high, int rows, const bf16* const (&x)[Vectors], int columns) {
    constexpr int kAtOnce = Pairs * Vectors == 1 ? 5 : 4;
    const int first = threadIdx.x % 32 * 8;
    int k = first;
#pragma unroll 1
    for (; k - first + 256 * kAtOnce <= columns; k += 256 * kAtOnce) steps<kAtOnce>(w, high, rows, x, k, columns);
#pragma unroll 1
    for (; k - first < columns; k += 256 * (kAtOnce - 1)) steps<kAtOnce - 1>(w, high, rows, x, k, columns);
  }
  // Lane 8 i + j, any j, gets the i-th of the totals: by vector, by row; where there are two, i + 2 is i.
  __device__ float totals() const {
    const int lane = threadIdx.x % 32, g = lane / 4, from = lane % 8 * 4 + lane % 8 / 2;
    float mine = 0;
#pragma unroll
    for (int v = 0; v < Vectors; ++v)
#pragma unroll
      for (int r = 0; r < 2 * Pairs; ++r) {
        const auto& d = acc[r / 2][v];
        const int at = 2 * (r % 2);
        const float value = g % 2 ? d[0][at + 1] + d[1][at + 1] : d[0][at] + d[1][at];
        const float got = __shfl_sync(0xffffffffu, value, from);
        if (lane / 8 % kTotals == v * 2 * Pairs + r) mine = got;
      }
    return warp_sum<8>(mine);
  }

 private:
  template <int Steps>
  __device__ __forceinline__ void steps(const bf16* w, int high, int rows, const bf16* const (&x)[Vectors], int k,
                                        int columns) {
    uint4 row[Steps][2 * Pairs], v[Steps][Vectors];
    const uint4 zero = make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < Steps; ++i) {
      const bool inside = k + 256 * i < columns;
#pragma unroll
      for (int j = 0; j < Vectors; ++j) v[i][j] = inside ? *reinterpret_cast<const uint4*>(x[j] + k + 256 * i) : zero;
#pragma unroll
      for (int r = 0; r < 2 * Pairs; ++r)
        row[i][r] = inside ? *reinterpret_cast<const uint4*>(w + min(r, rows - 1) * high + k + 256 * i) : zero;
    }
#pragma unroll
    for (int i = 0; i < Steps; ++i)
#pragma unroll
      for (int p = 0; p < Pairs; ++p)
#pragma unroll
        for (int j = 0; j < Vectors; ++j) {
          const uint4 &l = row[i][2 * p], &h = row[i][2 * p + 1];
          const uint32_t a0[4] = {l.x, h.x, l.y, h.y}, a1[4] = {l.z, h.z, l.w, h.w};
          const uint32_t b0[2] = {v[i][j].x, v[i][j].y}, b1[2] = {v[i][j].z, v[i][j].w};
          mma_16x8x16(acc[p][j][0], a0, b0);
          mma_16x8x16(acc[p][j][1], a1, b1);
        }
  }
};

}  // namespace kdabench::device
