// The operations of the 48B model on the GPU: every projection, the experts, the mixers, norms and sampling.

#include <benchmark/benchmark.h>

#include <set>
#include <utility>
#include <vector>

#include "kernels/base/ceilings.h"
#include "kernels/gdn/gdn.h"
#include "kernels/kda/kda.h"
#include "kernels/linear/linear.h"
#include "kernels/mla/mla.h"
#include "kernels/moe/moe.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/sampling/sampling.h"
#include "suites/kernels/gpu_case.h"
#include "suites/kernels/kernel_bench.h"

namespace kdabench::suites {

const Ceilings& ceilings() {
  static const Ceilings measured{read_bytes_per_s(), gemm_flops_per_s()};
  return measured;
}

namespace {

constexpr int64_t kWidth = 2304, kHeads = 32, kHeadDim = 128, kVocabulary = 163840;
constexpr int64_t kExperts = 256, kShared = 1, kTopK = 8, kExpertWidth = 1024;
constexpr int64_t kRank = 512, kRope = 64;

void add_ceilings() {
  benchmark::RegisterBenchmark("ceiling/copy", [](benchmark::State& state) {
    double rate = 0;
    for (auto _ : state) state.SetIterationTime(2. * kCeilingBytes / (rate = copy_bytes_per_s()));
    state.counters["bytes_per_s"] = rate;
  })->UseManualTime()->Iterations(1);
  benchmark::RegisterBenchmark("ceiling/read", [](benchmark::State& state) {
    for (auto _ : state) state.SetIterationTime(kCeilingBytes / ceilings().read_bytes_per_s);
    state.counters["bytes_per_s"] = ceilings().read_bytes_per_s;
  })->UseManualTime()->Iterations(1);
  benchmark::RegisterBenchmark("ceiling/gemm", [](benchmark::State& state) {
    for (auto _ : state) state.SetIterationTime(2. * 8192 * 8192 * 8192 / ceilings().gemm_flops_per_s);
    state.counters["flops_per_s"] = ceilings().gemm_flops_per_s;
  })->UseManualTime()->Iterations(1);
}

template <class Out>
void add_linear(const std::string& name, int64_t out, int64_t in, int64_t tokens) {
  add_gpu<Linear<Gpu, Out>>(
      {.name = "linear/" + name + "/N=" + std::to_string(tokens),
       .tokens = tokens,
       .bytes = 2. * out * in + 2. * tokens * in + double(sizeof(Out)) * tokens * out,
       .flops = tokens >= 64 ? 2. * tokens * in * out : 0,
       .make = [=](Tensors& t) {
         return Linear<Gpu, Out>{t.normal(1, tokens, in), t.normal(0.02f, out, in), t.normal<Out>(1, tokens, out)};
       },
       .run = [](const Linear<Gpu, Out>& a, Arena& scratch, cudaStream_t stream) { linear_cuda(a, scratch, stream); }});
}

void add_linears() {
  for (const int64_t n : {1, 4, 8, 16, 32, 64, 256}) {
    add_linear<Bf16>("kda_in", 12576, kWidth, n);
    add_linear<Bf16>("out", kWidth, 4096, n);
    add_linear<float>("lm_head", kVocabulary, kWidth, n);
  }
  for (const int64_t n : {1, 16}) {
    add_linear<Bf16>("low_rank", 4096, 128, n);
    add_linear<Bf16>("mla_in", 6144 + kRank + kRope, kWidth, n);
    add_linear<Bf16>("dense_gate_up", 18432, kWidth, n);
    add_linear<Bf16>("dense_down", kWidth, 9216, n);
    add_linear<float>("router", kExperts, kWidth, n);
  }
  for (const int64_t n : {2048, 8192}) add_linear<Bf16>("kda_in", 12576, kWidth, n);
}

// What one call reads: every expert hit once, the shared ones, the router.
double moe_bytes(const Moe<Gpu>& args) {
  std::vector<int32_t> ids(args.expert_ids.count());
  check(cudaMemcpy(ids.data(), args.expert_ids.data, ids.size() * 4, cudaMemcpyDeviceToHost), "download");
  const std::set<int32_t> hit(ids.begin(), ids.end());
  return (hit.size() + kShared) * 6. * kWidth * kExpertWidth + 2. * kExperts * kWidth;
}

void add_moe(int64_t tokens) {
  const double expert_bytes = 6. * kWidth * kExpertWidth;
  const double all_bytes = (kExperts + kShared) * expert_bytes;
  // Three copies of all weights; the tokens differ in each, so that other experts are hit.
  add_gpu<Moe<Gpu>>({.name = "moe/N=" + std::to_string(tokens),
                     .tokens = tokens,
                     .bytes = expert_bytes,
                     .flops = tokens >= 256 ? double(tokens) * (kTopK + kShared) * expert_bytes : 0,
                     .make = [=](Tensors& t) {
                       Moe<Gpu> a;
                       a.x = t.normal(1, tokens, kWidth);
                       a.router = t.normal(0.02f, kExperts, kWidth);
                       a.bias = t.constant(0.f, kExperts);
                       a.gate_up = t.normal(0.02f, kExperts + kShared, 2 * kExpertWidth, kWidth);
                       a.down = t.normal(0.03f, kExperts + kShared, kWidth, kExpertWidth);
                       a.top_k = kTopK, a.scale = 2.446f, a.renormalize = true, a.biased_weights = false;
                       a.expert_ids = t.constant(int32_t{0}, tokens, kTopK);
                       a.expert_weights = t.constant(0.f, tokens, kTopK);
                       a.out = t.normal(1, tokens, kWidth);
                       return a;
                     },
                     .run = moe_cuda,
                     .unsupported = moe_cuda_unsupported,
                     .bytes_of = moe_bytes,
                     .launches = tokens <= 64 ? 9 : 3,
                     .copied_bytes = tokens <= 64 ? 100e6 : all_bytes});
}

void add_pointwise() {
  for (const int64_t n : {1, 64, 8192})
    add_gpu<AddRmsNorm<Gpu>>({.name = "add_rms_norm/N=" + std::to_string(n),
                              .tokens = n,
                              .bytes = 12. * n * kWidth,
                              .flops = 0,
                              .make = [=](Tensors& t) {
                                AddRmsNorm<Gpu> a;
                                a.delta = t.normal(1, n, kWidth);
                                a.residual = t.normal<float>(1, n, kWidth);
                                a.weight = t.normal(1, kWidth);
                                a.eps = 1e-5f;
                                a.out = t.normal(1, n, kWidth);
                                return a;
                              },
                              .run = [](const AddRmsNorm<Gpu>& a, Arena& arena, cudaStream_t stream) {
                                if (!arena.measuring()) add_rms_norm_cuda(a, stream);
                              }});
  for (const int64_t b : {1, 64})
    add_gpu<Argmax<Gpu>>({.name = "argmax/B=" + std::to_string(b),
                          .tokens = b,
                          .bytes = 4. * b * kVocabulary,
                          .flops = 0,
                          .make = [=](Tensors& t) {
                            return Argmax<Gpu>{t.normal<float>(1, b, kVocabulary), t.constant(int32_t{0}, b)};
                          },
                          .run = argmax_cuda});
}

// KDA (one gate a channel) or GDN (one a head).
DeltaRule<Gpu> delta_args(Tensors& t, int64_t gates, int64_t batch, int64_t tokens, StateType state_type) {
  const int64_t channels = 3 * kHeads * kHeadDim;
  DeltaRule<Gpu> a;
  a.qkv = t.normal(1, batch, tokens, channels);
  a.gate = t.normal(1, batch, tokens, kHeads * gates);
  a.beta = t.normal(1, batch, tokens, kHeads);
  a.out_gate = t.normal(1, batch, tokens, kHeads * kHeadDim);
  a.conv = t.normal(0.5f, channels, 4);
  a.a_log = t.normal<float>(0.1f, kHeads);
  a.dt_bias = t.normal<float>(0.1f, kHeads * gates);
  a.norm_weight = t.normal(1, kHeadDim);
  a.norm_eps = 1e-5f;
  a.lower_bound = 0;
  a.conv_state = t.normal(1, batch, channels, 3);
  a.state_type = state_type;
  if (state_type != StateType::kAccum) a.state_bf16 = t.normal(0.1f, batch, kHeads, kHeadDim, kHeadDim);
  else a.state = t.normal<float>(0.1f, batch, kHeads, kHeadDim, kHeadDim);
  a.states_at_rest = true;  // the launch before has another copy
  a.lengths = t.constant(int32_t{1000}, batch);
  a.out = t.normal(1, batch, tokens, kHeads * kHeadDim);
  a.heads = kHeads, a.key_dim = kHeadDim, a.value_dim = kHeadDim;
  a.gate_dim = static_cast<int>(gates);
  return a;
}
double delta_bytes(int64_t gates, int64_t batch, int64_t tokens, StateType state_type) {
  const int64_t channels = 3 * kHeads * kHeadDim;
  const double state = (state_type != StateType::kAccum ? 2. : 4.) * kHeads * kHeadDim * kHeadDim;
  const double row = 2. * (channels + kHeads * (gates + 1 + 2 * kHeadDim));
  return batch * (2 * state + 2 * 6. * channels + tokens * row);
}
void add_delta(const std::string& name, int64_t gates, int64_t batch, int64_t tokens,
               StateType state_type = StateType::kAccum) {
  const std::string shape = tokens == 1 ? "decode/B=" + std::to_string(batch) : "prefill/T=" + std::to_string(tokens);
  add_gpu<DeltaRule<Gpu>>({.name = name + "/" + shape,
                           .tokens = batch * tokens,
                           .bytes = delta_bytes(gates, batch, tokens, state_type),
                           .flops = 0,
                           .make = [=](Tensors& t) { return delta_args(t, gates, batch, tokens, state_type); },
                           .run = delta_rule_cuda,
                           .unsupported = delta_rule_cuda_unsupported,
                           .least_copies = 2});
}

// One token with the low-rank products of its gates, in the recurrence's kernel or (`apart`) in front of it.
void add_low_rank_delta(const std::string& name, int64_t gates, int64_t batch, bool apart) {
  using Args = LowRankDeltaRule<Gpu>;
  const auto row_major = [](const View<const Bf16, 3>& x) { return View<const Bf16, 2>(x.data, {x.size[0], x.size[2]}); };
  const auto product = [=](const LowRank<Gpu>& low, const View<const Bf16, 3>& y) {
    return Linear<Gpu>{row_major(low.x), low.w, View<Bf16, 2>(const_cast<Bf16*>(y.data), {y.size[0], y.size[2]})};
  };
  const auto run_apart = [=](const Args& a, Arena& arena, cudaStream_t stream) {
    const Linear<Gpu> out_gate = product(a.out_gate, a.rule.out_gate);
    if (gates > 1) linear_pair_cuda({product(a.gate, a.rule.gate), out_gate}, arena, stream);
    else linear_cuda(out_gate, arena, stream);
    delta_rule_cuda(a.rule, arena, stream);
  };
  const double weights = (gates > 1 ? 2 : 1) * 2. * kHeads * kHeadDim * kHeadDim;
  add_gpu<Args>({.name = name + (apart ? "_low_rank_apart" : "_low_rank") + "/decode/B=" + std::to_string(batch),
                 .tokens = batch,
                 .bytes = delta_bytes(gates, batch, 1, StateType::kAccum) + weights,
                 .flops = 0,
                 .make = [=](Tensors& t) {
                   Args a{delta_args(t, gates, batch, 1, StateType::kAccum), {}, {}};
                   const auto low = [&] {
                     return LowRank<Gpu>{t.normal(1, batch, int64_t{1}, kHeadDim),
                                         t.normal(0.02f, kHeads * kHeadDim, kHeadDim)};
                   };
                   if (gates > 1) a.gate = low();
                   a.out_gate = low();
                   return a;
                 },
                 .run = apart ? std::function<void(const Args&, Arena&, cudaStream_t)>(run_apart)
                              : [](const Args& a, Arena& arena, cudaStream_t stream) {
                                  if (!arena.measuring()) low_rank_delta_rule_cuda(a, stream);
                                },
                 .unsupported = low_rank_delta_rule_cuda_unsupported,
                 .least_copies = 2});
}

// Decode: `context` tokens are cached. Prefill: `tokens` tokens of an empty cache.
void add_mla(int64_t batch, int64_t context, int64_t tokens) {
  const int64_t row = kRank + kRope, query = kHeadDim + kRope, all = context + tokens;
  const bool decode = tokens == 1;
  const double weights = 2. * kHeads * 2 * kHeadDim * kRank;
  const double causal_pairs = decode ? double(all) : tokens * (tokens + 1) / 2.;
  const std::string shape = decode ? "decode/context=" + std::to_string(context) + "/B=" + std::to_string(batch)
                                   : "prefill/T=" + std::to_string(tokens);
  add_gpu<Mla<Gpu>>({.name = "mla/" + shape,
                     .tokens = batch * tokens,
                     .bytes = weights + 2. * batch * row * all,
                     .flops = decode ? 0 : 2. * kHeads * (query + kHeadDim) * causal_pairs,
                     .make = [=](Tensors& t) {
                       Mla<Gpu> a;
                       a.q = t.normal(1, batch, tokens, kHeads * query);
                       a.kv_a = t.normal(1, batch, tokens, row);
                       a.kv_norm = t.normal(1, kRank);
                       a.kv_norm_eps = 1e-6f;
                       a.kv_b = t.normal(0.04f, kHeads * 2 * kHeadDim, kRank);
                       a.cache = t.normal(1, batch, all, row);
                       a.lengths = t.constant(static_cast<int32_t>(context), batch);
                       a.max_context = all;
                       a.rope_theta = 0;
                       a.out = t.normal(1, batch, tokens, kHeads * kHeadDim);
                       a.heads = kHeads, a.nope_dim = kHeadDim, a.rope_dim = kRope, a.value_dim = kHeadDim;
                       a.rank = kRank;
                       return a;
                     },
                     .run = mla_cuda,
                     .unsupported = mla_cuda_unsupported});
}

// The attention alone: absorbed queries in, attended latents out, as other decode kernels are measured.
void add_mla_attention(int64_t batch, int64_t context) {
  const int64_t row = kRank + kRope, all = context + 1;
  add_gpu<MlaLatent<Gpu>>(
      {.name = "mla/attention/context=" + std::to_string(context) + "/B=" + std::to_string(batch),
       .tokens = batch,
       .bytes = 2. * batch * (row * all + kHeads * (row + kRank)),
       .flops = 0,
       .make = [=](Tensors& t) {
         MlaLatent<Gpu> a;
         a.query = t.normal(1, batch, int64_t{1}, kHeads, row);
         a.cache = t.normal(1, batch, all, row);
         a.lengths = t.constant(static_cast<int32_t>(context), batch);
         a.max_context = all;
         a.scale = 0.0722f;  // 1 / sqrt(192)
         a.out = t.normal(1, batch, int64_t{1}, kHeads, kRank);
         return a;
       },
       .run = mla_latent_cuda,
       .unsupported = mla_latent_cuda_unsupported});
}

}  // namespace

bool add_cuda_benchmarks() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) return false;
  add_ceilings();
  add_linears();
  for (const int64_t n : {1, 4, 16, 64, 256, 2048, 8192}) add_moe(n);
  add_pointwise();
  for (const int64_t b : {1, 16, 64, 256}) {
    add_delta("kda", kHeadDim, b, 1);
    add_delta("kda_bf16", kHeadDim, b, 1, StateType::kBf16);
    add_delta("kda_bf16_stochastic", kHeadDim, b, 1, StateType::kBf16Stochastic);
    add_delta("gdn", 1, b, 1);
  }
  for (const int64_t b : {1, 2, 4})
    for (const bool apart : {false, true}) {
      add_low_rank_delta("kda", kHeadDim, b, apart);
      add_low_rank_delta("gdn", 1, b, apart);
    }
  const std::pair<int64_t, std::vector<int64_t>> kMlaDecode[] = {
      {1, {4 << 10, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20}},
      {4, {16 << 10, 128 << 10, 1 << 20}},
      {16, {4 << 10, 32 << 10, 64 << 10, 128 << 10}},
      {64, {4 << 10}}};
  for (const auto& [batch, contexts] : kMlaDecode)
    for (const int64_t context : contexts) {
      add_mla(batch, context, 1);
      add_mla_attention(batch, context);
    }
  for (const int64_t t : {2048, 8192}) {
    add_delta("kda", kHeadDim, 1, t);
    add_delta("gdn", 1, 1, t);
    add_mla(1, 0, t);
  }
  return true;
}

}  // namespace kdabench::suites
