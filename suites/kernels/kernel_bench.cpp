// Every operation on its own, under Google Benchmark. On a GPU at the shapes of the 48B model, with the share of the
// measured read bandwidth that each reaches (kernels_cuda.cpp); on the CPU, float kernels at small shapes.
//
//   kernel_bench --benchmark_filter=moe --benchmark_out=kernels.json --benchmark_out_format=json

#include <benchmark/benchmark.h>

#include "kernels/problems.h"
#include "suites/kernels/kernel_bench.h"

namespace kdabench::suites {
namespace {

// Runs `operation(args)` of one seeded problem, which counts as `tokens`.
template <class Problem, class Operation>
void add(const std::string& name, Problem problem, int64_t tokens, Operation operation) {
  benchmark::RegisterBenchmark(name.c_str(), [problem, tokens, operation](benchmark::State& state) {
    auto mine = problem;
    const auto args = mine.args();
    for (auto _ : state) operation(args);
    state.SetItemsProcessed(state.iterations() * tokens);
  });
}

void add_cpu_benchmarks() {
  using Host = Cpu<float>;
  constexpr uint64_t kSeed = 1;
  for (const int64_t n : {1, 64}) {
    const std::string suffix = "/cpu/N=" + std::to_string(n);
    add("linear" + suffix, linear_problem<Host>({.tokens = n, .in = 512, .out = 1024}, kSeed), n,
        [](const Linear<Host>& args) { linear_cpu(args); });
    add("moe" + suffix,
        moe_problem<Host>(
            {.tokens = n, .width = 256, .hidden = 128, .experts = 16, .top_k = 4, .clear_choice = false}, kSeed),
        n, [](const Moe<Host>& args) { moe_cpu(args); });
    add("add_rms_norm" + suffix, norm_problem<Host>({.tokens = n, .width = 2304}, kSeed), n,
        [](const AddRmsNorm<Host>& args) { add_rms_norm_cpu(args); });
    add("silu_mul" + suffix, silu_problem<Host>({.tokens = n, .hidden = 1024}, kSeed), n,
        [](const SiluMul<Host>& args) { silu_mul_cpu(args); });
    add("argmax" + suffix, argmax_problem<Host>({.batch = n, .vocabulary = 10000}, kSeed), n,
        [](const Argmax<Host>& args) { argmax_cpu(args); });
  }
  for (const int gates : {0, 1}) {
    const std::string name = gates == 0 ? "kda" : "gdn";
    const DeltaShape decode{.batch = 1, .tokens = 1, .heads = 4, .key_dim = 64, .value_dim = 64, .gate_dim = gates};
    DeltaShape prefill = decode;
    prefill.tokens = 256;
    add(name + "/cpu/decode", delta_problem<Host>(decode, kSeed), 1,
        [](const DeltaRule<Host>& args) { delta_rule_cpu(args); });
    add(name + "/cpu/prefill/T=256", delta_problem<Host>(prefill, kSeed), 256,
        [](const DeltaRule<Host>& args) { delta_rule_chunked_cpu(args); });
  }
  for (const int32_t context : {256, 4096})
    add("mla/cpu/decode/context=" + std::to_string(context),
        mla_problem<Host>(
            {.heads = 4, .nope_dim = 32, .rope_dim = 16, .value_dim = 32, .rank = 64, .lengths = {context}}, kSeed),
        1, [](const Mla<Host>& args) { mla_cpu(args); });
}

}  // namespace
}  // namespace kdabench::suites

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
#ifdef KDABENCH_CUDA
  if (!kdabench::suites::add_cuda_benchmarks()) kdabench::suites::add_cpu_benchmarks();
#else
  kdabench::suites::add_cpu_benchmarks();
#endif
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
