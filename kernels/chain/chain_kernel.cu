// Products of one token behind one another, in one launch.
//
//   Math     kernels/linear/linear.h, kernels/moe/moe.h, kernels/pointwise/pointwise.h; the truth is *_cpu<double>.
//   Work     A block stays for all phases (chain_parts.h). Its warps stream weights by bulk copies, each through a ring
//            of its own of 3 units of up to 4608 bytes, without regard to phases: while the blocks wait for each other,
//            the rings fill with what comes next. Only routed experts must wait, for the router's logits, which blocks
//            hand each other one by one. A unit is multiplied on the tensor cores (chain_vector.cuh), by a piece of x
//            that stays in registers where it is the same for all units of a warp; units of several warps are added up
//            in shared memory, in a fixed order.
//   Grid     A block a multiprocessor, all of them resident: they count each other's arrivals in global memory. Every
//            block chooses the experts and computes the norms itself; block 0 writes them.
//   Cost     The bytes of all phases. 48B model on one H200, a graph of rotating weights, version 6 of the ladder,
//            floors at 4.62 TB/s: head 171 us (163), input projection of KDA 14.4 (12.5), router and experts 38.1
//            (27.8), from one mixer's output projection to the next one's input 62 (44.4). Between the last product of
//            a phase and the first of the next lie 3 to 5 us, of which 4.7 us of reading fit in the rings; between
//            router and routed experts only what the shared expert has, 2 us.
//   Uses     sm_90a, 384 threads, 131 registers, no spills, 162 KB of rings, 17 KB of choice (ptxas, nvcc 13.0).
//   Limits   chain_cuda.cpp: one token, columns a multiple of 8, rows aligned to 16 bytes. One chain at a time.
//   Checked  tests/cuda/test_chain_cuda.cpp, test_moe_cuda.cpp, test_linear_cuda.cpp.

#include "kernels/chain/chain_choose.cuh"
#include "kernels/chain/chain_parts.h"
#include "kernels/chain/chain_stream.cuh"
#include "kernels/chain/chain_vector.cuh"

namespace kdabench {
namespace {

using namespace device;

// Steps of a unit that is one row or less, and of a row when there are several in a unit.
constexpr int kLongSteps = kChainUnitBytes / 512, kShortSteps = (kChainUnitBytes / 2 + 511) / 512;
constexpr int kRingBytes = kChainWarps * kChainDepth * kChainUnitBytes;

// How many phases the blocks have finished, all together, in the chain that runs; 0 between chains.
__device__ unsigned arrivals;

__device__ inline void arrive() {
  asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(&arrivals) : "memory");
}
__device__ inline void await(unsigned target) {
  unsigned now;
  do {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(&arrivals) : "memory");
  } while (now < target);
}

__device__ inline void put(void* y, bool y_float, int row, float value) {
  if (y_float) static_cast<float*>(y)[row] = value;
  else static_cast<bf16*>(y)[row] = __float2bfloat16_rn(value);
}

// A line each block, of the weights of a phase that are not streamed.
__device__ inline void prefetch_small(const ChainArgs& a, const ChainPhase& p) {
  const bool bias = p.kind == ChainKind::kGateUp && !a.experts.given;
  if (!bias && p.input != ChainInput::kNorm) return;
  const void* const from = bias ? static_cast<const void*>(a.experts.bias) : p.norm_weight;
  const int at = 128 * static_cast<int>(blockIdx.x), bytes = bias ? 4 * a.experts.experts : 2 * p.columns;
  if (at < bytes) asm volatile("prefetch.global.L2 [%0];" ::"l"(static_cast<const char*>(from) + at));
}

__global__ void __launch_bounds__(kChainThreads, 1) chain_kernel(const __grid_constant__ ChainArgs a) {
  extern __shared__ __align__(128) unsigned char ring[];
  __shared__ CopyBarrier full[kChainWarps * kChainDepth];
  __shared__ Choice choice;
  __shared__ float partial[32];
  bf16* const x = reinterpret_cast<bf16*>(ring + kRingBytes);
  float* const sums = reinterpret_cast<float*>(ring + kRingBytes + a.x_bytes);
  float* const kept = reinterpret_cast<float*>(ring + kRingBytes + a.x_bytes + a.sums_bytes);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  // What is small and comes from memory would later wait behind full rings.
  if (static_cast<int>(threadIdx.x) < a.phases) prefetch_small(a, a.phase[threadIdx.x]);
  UnitStream stream(a, choice, ring, full);

  int pending = -1;  // phase whose residual block 0 has yet to write
  const auto write_residual = [&] {
    if (blockIdx.x == 0 && pending >= 0)
      for (int i = threadIdx.x; i < a.phase[pending].columns; i += kChainThreads)
        a.phase[pending].residual[i] = kept[i];
    pending = -1;
  };
  const unsigned blocks = gridDim.x;
#pragma unroll 1
  for (int phase = 0; phase < a.phases; ++phase) {
    const ChainPhase& p = a.phase[phase];
    const int count = indices(p), mine = units(p), stride = p.row_bytes / 2, parts = p.parts;
    void* const y = p.y;
    const bool y_float = p.y_float;
    // Of this lane's unit: columns it starts at and has, its rows, and where their sums go.
    uint32_t piece = 0;
    int target = 0;
    const auto describe = [&](int first) {
      const Unit unit(p, first + lane);
      const int columns = p.group > 1 ? stride : unit.bytes(p) / 2;
      const int start = (p.kind == ChainKind::kDown ? unit.matrix * stride : 0) + unit.segment * p.segment_bytes / 2;
      piece = start / 8 | columns / 8 << 16 | unit.rows(p) << 28;
      target = parts == 1 ? unit.index * p.group : (unit.i * parts + unit.matrix * p.segments + unit.segment) * p.group;
    };
    describe(0);
    const bool chooses = p.kind == ChainKind::kGateUp;
    if (chooses) {  // waits for the logits, not for the blocks
      choose(a.experts, choice);
      if (warp == kChainWarps - 1) weigh(a.experts, choice);  // read when the phase ends
      stream.set_chosen();
    }
    stream.fill();
    if (phase == 0) {
      wait_for_previous();
    } else if (!chooses) {
      if (threadIdx.x == 0) await(phase * blocks);
      __syncthreads();
      write_residual();
      if (p.kind == ChainKind::kDown && blockIdx.x == 0)
        for (int e = threadIdx.x; e < a.experts.experts; e += kChainThreads) router_logits[e] = 0;
    }
    if (p.input != ChainInput::kSame) {
      stage(p, x, kept, partial);
      if (p.input == ChainInput::kNorm) pending = phase;
      __syncthreads();
    }
    // All units of this warp are multiplied by the same piece of x, which stays in registers.
    const bool fixed = p.kind != ChainKind::kDown && p.group == 1 && kChainWarps % p.segments == 0;
    Slice<kLongSteps> vector;
    if (fixed && mine > 0) {
      const uint32_t of = __shfl_sync(0xffffffffu, piece, 0);
      vector.load(x + (of & 0xffff) * 8, (of >> 16 & 0xfff) * 8);
    }
    const bool last = phase + 1 == a.phases;
    if (last && a.counts && threadIdx.x == 0) arrive();  // all that others wait for is that x has been read

#pragma unroll 1
    for (int n = 0; n < mine; ++n) {
      if (n % 32 == 0 && n > 0) describe(n);
      const uint32_t of = __shfl_sync(0xffffffffu, piece, n % 32);
      const int to = __shfl_sync(0xffffffffu, target, n % 32);
      const int columns = (of >> 16 & 0xfff) * 8, rows = of >> 28;
      const bf16* const v = x + (of & 0xffff) * 8;
      const bf16* const w = stream.front();
      const auto keep = [&](int row, float total) {
        if (lane != 0) return;
        if (parts > 1) sums[row] = total;
        else if (p.posts) post_logit(row, total);
        else put(y, y_float, row, total);
      };
      const bool refill = mine > 1;  // of a short phase the others wait for: not before it is finished
      if (p.group == 1) {
        if (!fixed) vector.load(v, columns);
        Dot dot;
        dot.add(w, columns, vector);
        stream.pop(refill);
        keep(to, dot.total());
      } else {
        Slice<kShortSteps> part;
        part.load(v, columns);
#pragma unroll 1
        for (int r = 0; r < rows; ++r) {
          Dot dot;
          dot.add(w + r * stride, columns, part);
          if (r + 1 == rows) stream.pop(refill);
          keep(to + r, dot.total());
        }
      }
    }

    if (p.parts > 1) {
      __syncthreads();
      for (int j = threadIdx.x; j < count * p.group; j += kChainThreads) {
        const int i = p.group == 1 ? j : j / p.group, r = j - i * p.group;
        const int index = static_cast<int>(blockIdx.x + i * gridDim.x), row = index * p.group + r;
        if (row >= p.rows) continue;
        const float* const from = sums + i * p.parts * p.group + r;
        const auto add = [&](int first, int end) {
          float total = 0;
          for (int part = first; part < end; ++part) total += from[part * p.group];
          return total;
        };
        if (p.kind == ChainKind::kGateUp) {
          const int item = quotient(row, p.per_inner);
          const float weight = item < a.experts.shared ? 1.f : choice.weight[item - a.experts.shared];
          put(y, y_float, row, silu(add(0, p.segments)) * add(p.segments, p.parts) * weight);
        } else if (p.posts) {
          post_logit(row, add(0, p.parts));
        } else {
          put(y, y_float, row, add(0, p.parts));
        }
      }
    }
    if (!last) {
      __syncthreads();
      if (threadIdx.x == kChainThreads - 1) arrive();  // a warp that has no experts to choose from
    }
  }

  if (blockIdx.x != 0 || !a.counts) return;
  if (threadIdx.x == 0) await(a.phases * blocks);
  __syncthreads();
  write_residual();
  if (threadIdx.x == 0) arrivals = 0;
}

}  // namespace

int chain_blocks() { return multiprocessors(); }

void launch_chain(const ChainArgs& args, cudaStream_t stream) {
  const int bytes = kRingBytes + args.x_bytes + args.sums_bytes + args.kept_bytes;
  allow_shared(chain_kernel, bytes, "chain");
  launch(chain_kernel, dim3(chain_blocks()), dim3(kChainThreads), bytes, stream, "chain", args);
}

}  // namespace kdabench
