// The CPU's ceilings: a read stream, a copy and fused multiply-adds on all cores, best of several repetitions.
//
// Small models live in the caches, and a ceiling must lie above whatever a step can do. The streams therefore run
// over memory and over a block a core's cache holds, and the faster one counts.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "harness/ceilings.h"

namespace kdabench {
namespace {

constexpr size_t kMemoryWords = size_t{32} << 20;   // 256 MiB over all threads: beyond any cache we know
constexpr size_t kCacheWords = size_t{16} << 10;    // 128 KiB a thread: within the second level
constexpr int kRepetitions = 5;

int threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

// Best seconds of several runs of `work`.
template <class Work> double best_seconds(const Work& work) {
  double best = 1e30;
  for (int i = 0; i < kRepetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

// Bytes per second when every thread sums its own block `passes` times.
double read_rate(size_t words_a_thread, int passes) {
  const auto T = static_cast<size_t>(threads());
  std::vector<uint64_t> data(words_a_thread * T, 3);
  uint64_t total = 0;
  const double seconds = best_seconds([&] {
#pragma omp parallel for schedule(static, 1) reduction(+ : total)
    for (size_t t = 0; t < T; ++t) {
      const uint64_t* const mine = data.data() + t * words_a_thread;
      for (int pass = 0; pass < passes; ++pass) {
        uint64_t sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < words_a_thread; ++i) sum += mine[i];
        total += sum ^ static_cast<uint64_t>(pass);  // no pass is like another, so none can be dropped
      }
    }
  });
  volatile uint64_t sink = total;
  (void)sink;
  return static_cast<double>(words_a_thread * T * sizeof(uint64_t)) * passes / seconds;
}

// Bytes read plus bytes written per second.
double copy_rate(size_t words_a_thread, int passes) {
  const auto T = static_cast<size_t>(threads());
  std::vector<uint64_t> from(words_a_thread * T, 3), to(words_a_thread * T, 5);
  const double seconds = best_seconds([&] {
#pragma omp parallel for schedule(static, 1)
    for (size_t t = 0; t < T; ++t)
      for (int pass = 0; pass < passes; ++pass) {
        const size_t first = t * words_a_thread;
        from[first] = static_cast<uint64_t>(pass);
        std::memcpy(to.data() + first, from.data() + first, words_a_thread * sizeof(uint64_t));
      }
  });
  volatile uint64_t sink = to.back();
  (void)sink;
  return 2.0 * static_cast<double>(words_a_thread * T * sizeof(uint64_t)) * passes / seconds;
}

// fp32 multiply-adds on registers: twelve independent vectors hide the latency of each.
double multiply_add_rate() {
  constexpr int kVectors = 12, kLanes = 16, kSteps = 400'000;
  const int T = threads();
  float total = 0;
  const double seconds = best_seconds([&] {
#pragma omp parallel for schedule(static, 1) reduction(+ : total)
    for (int t = 0; t < T; ++t) {
      float sums[kVectors][kLanes] = {}, factor[kLanes], step[kLanes];
      for (int i = 0; i < kLanes; ++i) factor[i] = 0.999f - 1e-5f * static_cast<float>(i + t), step[i] = 0.5f;
      for (int s = 0; s < kSteps; ++s)
        for (int v = 0; v < kVectors; ++v)
#pragma omp simd
          for (int i = 0; i < kLanes; ++i) sums[v][i] = sums[v][i] * factor[i] + step[i];
      for (int v = 0; v < kVectors; ++v)
        for (int i = 0; i < kLanes; ++i) total += sums[v][i];
    }
  });
  volatile float sink = total;
  (void)sink;
  return 2.0 * kVectors * kLanes * kSteps * T / seconds;
}

}  // namespace

reports::Ceilings measure_cpu_ceilings() {
  const size_t memory = kMemoryWords / static_cast<size_t>(threads());
  reports::Ceilings ceilings;
  const double memory_read = read_rate(memory, 1), cache_read = read_rate(kCacheWords, 2000);
  ceilings.read_bytes_per_s = std::max(memory_read, cache_read);
  ceilings.copy_bytes_per_s = std::max(copy_rate(memory, 1), copy_rate(kCacheWords, 2000));
  ceilings.gemm_flops_per_s = multiply_add_rate();
  ceilings.method =
      fmt::format("{} threads, best of {}: sum and copy over 256 MiB ({:.3g} GB/s read) and over 128 KiB a thread "
                  "({:.3g} GB/s read), the faster one; fp32 multiply-adds on registers",
                  threads(), kRepetitions, memory_read * 1e-9, cache_read * 1e-9);
  return ceilings;
}

#ifndef KDABENCH_CUDA
reports::Ceilings measure_ceilings(DeviceKind) { return measure_cpu_ceilings(); }
#endif

}  // namespace kdabench
