// Products of one token behind one another, in one launch.
//
//   Math     kernels/linear/linear.h, kernels/moe/moe.h, kernels/pointwise/pointwise.h; the truth is *_cpu<double>.
//   Work     A block stays for all phases (chain_parts.h). Nine of its warps multiply, each the units of a ring of its own
//            of 4 times up to 4608 bytes; a tenth fills the rings by bulk copies without regard to phases
//            (chain_stream.cuh): while the blocks wait for each other, the rings fill with what comes next. Only routed
//            experts must wait, for the router's logits. A unit is multiplied on the tensor cores (chain_vector.cuh).
//            The last groups of large phases go to the warps that are ready for them, through the eleventh.
//   Order    Vectors go from block to block number by number (chain_post.cuh). Blocks count each other's arrivals in global
//            memory: a phase begins when all have finished the one before, so that it may write over what that one has read,
//            and the numbers are not asked for in vain. Only the experts begin with the router's logits. Where a phase reads
//            memory that the chain has written, that count comes with release and acquire.
//   Grid     A block a multiprocessor, all of them resident. Every block chooses the experts and computes the norms itself;
//            block 0 writes them, and when all have read what was posted, takes it back.
//   Cost     The bytes of all phases. 48B model on one H200: kernels/README.md, where the time of a layer goes. In the time
//            between the last product of a phase and the first of the next, 4.7 us of reading fit in the rings.
//   Uses     sm_90a, 352 threads, at most 112 registers, no spills, 166 KB of rings, 18 KB of choice and notes (ptxas, nvcc
//            13.0). With 112 registers a block of kernels/kda's low-rank decode fits beside, whose reads in front of its
//            wait are hidden that way.
//   Limits   chain_cuda.cpp: one token, columns a multiple of 8, rows aligned to 16 bytes. One chain at a time.
//   Checked  tests/cuda/test_chain_cuda.cpp, test_moe_cuda.cpp, test_linear_cuda.cpp.

#include <cstdlib>

#include "kernels/chain/chain_choose.cuh"
#include "kernels/chain/chain_parts.h"
#include "kernels/chain/chain_post.cuh"
#include "kernels/chain/chain_stream.cuh"
#include "kernels/chain/chain_vector.cuh"

namespace kdabench {
namespace {

using namespace device;

// Steps of a unit that is one row or less, and of a row when there are several in a unit; and of those, how many are in
// registers at a time.
constexpr int kLongSteps = kChainUnitBytes / 512, kShortSteps = (kChainUnitBytes / 2 + 511) / 512, kStepsAtOnce = 3;
constexpr int kRingBytes = kChainWarps * kChainDepth * kChainUnitBytes;

// How many phases the blocks have finished, all together, in the chain that runs; 0 between chains.
__device__ unsigned arrivals;

__device__ inline void arrive(bool release) {
  if (release) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(&arrivals) : "memory");
  else asm volatile("red.relaxed.gpu.global.add.u32 [%0], 1;" ::"l"(&arrivals) : "memory");
}
__device__ inline void await(unsigned target, bool acquire) {
  unsigned now;
  do {
    if (acquire) asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(&arrivals) : "memory");
    else asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(&arrivals) : "memory");
  } while (now < target);
}

// The warp that makes them arrives and does not wait.
__device__ inline void rings_are_there() { asm volatile("bar.sync 2, %0;" ::"n"(kChainThreads + 64) : "memory"); }

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

template <bool kOneLane>
__global__ void __maxnreg__(112) chain_kernel(const __grid_constant__ ChainArgs a) {
  extern __shared__ __align__(128) unsigned char slots[];
  __shared__ Rings rings;
  __shared__ Choice choice;
  __shared__ float partial[kChainWarps];
  bf16* const x = reinterpret_cast<bf16*>(slots + kRingBytes);
  float* const kept = reinterpret_cast<float*>(slots + kRingBytes + a.x_bytes);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  if (warp == kChainWarps) {
    init_rings(rings);
    asm volatile("bar.arrive 2, %0;" ::"n"(kChainThreads + 64) : "memory");  // not waiting for the others
    feed<kOneLane>(a, choice, slots, rings);
    return;
  }
  // What is small and comes from memory would later wait behind full rings.
  if (static_cast<int>(threadIdx.x) < a.phases) prefetch_small(a, a.phase[threadIdx.x]);
  rings_are_there();
  if (warp > kChainWarps) {
    hand_out(a, rings);
    return;
  }
  UnitRing ring(slots, rings);

  int normed = -1;  // the last phase whose input was a norm's
#pragma unroll 1
  for (int phase = 0; phase < a.phases; ++phase) {
    const ChainPhase& p = a.phase[phase];
    void* const y = p.y;
    const bool y_float = p.y_float, gate_up = p.kind == ChainKind::kGateUp;
    if (gate_up) {  // waits for the logits, not for the blocks
      choose(a.experts, choice);
      arrive_at(&rings.chosen);
      if (warp == kChainWarps - 1) {
        weigh(a.experts, choice);
        arrive_at(&rings.weighed);
      }
    }
    if (phase == 0) {
      wait_for_previous();
    } else if (!gate_up || p.acquires) {
      if (threadIdx.x == 0) await(phase * gridDim.x, p.acquires);
      meet();
    }
    if (p.input == ChainInput::kGlobal) stage_vector(p, x);
    if (p.input == ChainInput::kNorm) stage_norm(p, x, kept, partial), normed = phase;
    if (p.input != ChainInput::kSame) meet();
    const bool last = phase + 1 == a.phases;
    if (last && a.counts && threadIdx.x == 0) arrive(false);  // all that others wait for is that x has been read

    // A group's sums are finished while the words of the next one are on their way.
    bool more = first_group(warp) < p.groups, unfinished = false;
    int target = 0;
    const auto keep = [&](int row, float total) {
      if (p.posts) {
        post_logit(row, total);
        return;
      }
      if (p.posted >= 0) post(p.posted + row, total);
      if (y) put(y, y_float, row, total);
    };
    if (p.group == 1) {
      float mine = 0, gate = 0, sum = 0;
      const auto finish = [&] {
        float total = sum_of_dots(sum);
        if (gate_up) {
          const float gated = silu(sum_of_dots(gate));
          float weight = 1;
          const int chosen = quotient(target, p.per_inner) - a.experts.shared;
          if (lane == 0 && chosen >= 0) {
            await_copy(&rings.weighed, 0);
            weight = choice.weight[chosen];
          }
          total *= gated * weight;
        }
        if (lane == 0) keep(target, total);
        unfinished = false;
      };
#pragma unroll 1
      while (more) {
        const bf16* const w = ring.front();
        const UnitNote note = ring.note();
        const bf16* const v = x + note.start();
        const int columns = note.columns();
        Dot<2> dot;
#pragma unroll
        for (int first = 0; first < kLongSteps; first += kStepsAtOnce) {
          Slice<kStepsAtOnce> row, vector;
          row.load(w + 256 * first, columns - 256 * first), vector.load(v + 256 * first, columns - 256 * first);
          if (first == 0 && unfinished) finish();
          if (first + kStepsAtOnce >= kLongSteps) ring.pop();
          dot.add(row, vector);
        }
        mine += dot.mine();
        if (note.ends_group()) unfinished = true, target = note.target, sum = mine, mine = 0;
        else if (note.ends_matrix() && gate_up) gate = mine, mine = 0;
        more = !note.ends_phase();
      }
      if (unfinished) finish();
    } else {
      const int stride = p.row_bytes / 2;
      float mine[4] = {}, sum[4] = {};
      int had = 0;
      const auto finish = [&] {
#pragma unroll
        for (int r = 0; r < 4; r += 2) {
          if (r >= had) break;
          const float even = sum_of_dots(sum[r]), odd = sum_of_dots(sum[r + 1]);
          if (lane == 0) keep(target + r, even);
          if (lane == 0 && r + 1 < had) keep(target + r + 1, odd);
        }
        unfinished = false;
      };
#pragma unroll 1
      while (more) {
        const bf16* const w = ring.front();
        const UnitNote note = ring.note();
        const int columns = note.columns(), rows = note.rows();
        const bf16* const v = x + note.start();
#pragma unroll
        for (int r = 0; r < 4; r += 2) {
          if (r >= rows) break;
          Dot<1> even, odd;
#pragma unroll
          for (int first = 0; first < kShortSteps; first += kStepsAtOnce) {
            Slice<kStepsAtOnce> vector, row[2];
            const int left = columns - 256 * first;
            vector.load(v + 256 * first, left);
            row[0].load(w + r * stride + 256 * first, left);
            row[1].load(w + (r + 1) * stride + 256 * first, r + 1 < rows ? left : 0);
            if (r == 0 && first == 0 && unfinished) finish();
            if (r + 2 >= rows && first + kStepsAtOnce >= kShortSteps) ring.pop();
            even.add(row[0], vector), odd.add(row[1], vector);
          }
          mine[r] += even.mine(), mine[r + 1] += odd.mine();
        }
        if (note.ends_group()) {
          unfinished = true, target = note.target, had = rows;
#pragma unroll
          for (int r = 0; r < 4; ++r) sum[r] = mine[r], mine[r] = 0;
        }
        more = !note.ends_phase();
      }
      if (unfinished) finish();
    }
    if (!last) {
      meet();
      if (threadIdx.x == kChainThreads - 1) arrive(a.phase[phase + 1].acquires);
    }
  }

  if (blockIdx.x != 0 || !a.counts) return;
  if (threadIdx.x == 0) await(a.phases * gridDim.x, true);
  meet();
  if (normed >= 0)
    for (int i = threadIdx.x; i < a.phase[normed].columns; i += kChainThreads) a.phase[normed].residual[i] = kept[i];
  for (int i = threadIdx.x; i < (a.posted + 7) / 8; i += kChainThreads) posted_eights[i] = make_uint4(0, 0, 0, 0);
  for (int e = threadIdx.x; e < a.experts.experts; e += kChainThreads) router_logits[e] = 0;
  if (threadIdx.x == 0) arrivals = 0;
}

}  // namespace

int chain_blocks() { return multiprocessors(); }

void launch_chain(const ChainArgs& args, cudaStream_t stream) {
  // scripts/gpu_check.sh; see feed.
  static const bool one_lane = std::getenv("KDABENCH_RACECHECK") != nullptr;
  const auto run = [&](auto* kernel, const char* name) {
    const int bytes = kRingBytes + args.x_bytes + args.kept_bytes;
    allow_shared(kernel, bytes, name);
    launch(kernel, dim3(chain_blocks()), dim3(kChainThreads + 64), bytes, stream, name, args);
  };
  one_lane ? run(chain_kernel<true>, "chain_for_racecheck") : run(chain_kernel<false>, "chain");
}

}  // namespace kdabench
