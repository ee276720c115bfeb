// How far a recurrent state drifts from the fp64 recurrence when it is kept in fp32, in bf16 rounded to nearest, or in
// bf16 rounded stochastically: state and output after 10 to 100,000 tokens, for gates from usual to nearly closed.
//
//   state_error --steps 100000 --out reports/results/state-error.json
//
// The runs see the same bf16 inputs. CPU: fp32 arithmetic, the state rounded as asked after every token. CUDA, where
// there is a GPU: the decode kernel, whose output is bf16 too (2e-3 of it is that rounding).

#include "suites/state/state_error.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace kdabench::suites {
namespace {

constexpr int kDim = 128;                      // K = V
constexpr int64_t kChunk = 1000;               // tokens drawn at a time
constexpr int64_t kLastTokens = 10;            // whose outputs are compared

struct Setting {                               // one head each
  double decay;                                // of a token, median over channels and tokens
  const char* writes;                          // beta near 1/2, or near 1/50
  double beta_logit;
};
constexpr Setting kSettings[] = {
    {0.9, "usual", 0},      {0.99, "usual", 0},      {0.999, "usual", 0},      {0.9999, "usual", 0},
    {0.99999, "usual", 0},  {0.9, "small", -4},      {0.99, "small", -4},      {0.999, "small", -4},
    {0.9999, "small", -4},  {0.99999, "small", -4},
};
constexpr int kHeads = std::size(kSettings);

template <class T>
class CpuRun final : public DeltaRun {
 public:
  explicit CpuRun(StateType type) : type_(type) {}
  std::vector<double> run(const DeltaProblem<Cpu<double>>& inputs, int32_t position) override {
    DeltaProblem<Cpu<T>> p = inputs.as<Cpu<T>>();
    p.shape.state = type_;
    if (position > 0) p.state = state_, p.state_bf16 = state_bf16_, p.conv_state = conv_state_;
    else if (type_ != StateType::kAccum) p.state_bf16.assign(p.state.size(), Bf16{0});
    p.lengths = {position};
    delta_rule_cpu(p.args());
    state_ = p.state, state_bf16_ = p.state_bf16, conv_state_ = p.conv_state;
    return {p.out.begin(), p.out.end()};
  }
  std::vector<double> state() override {
    if (type_ == StateType::kAccum) return {state_.begin(), state_.end()};
    std::vector<double> values;
    for (const Bf16 x : state_bf16_) values.push_back(to_float(x));
    return values;
  }

 private:
  StateType type_;
  std::vector<T> state_, conv_state_;
  std::vector<Bf16> state_bf16_;
};

// Tokens [position, position + tokens) of the one seeded sequence.
DeltaProblem<Cpu<double>> draw(int64_t tokens, int32_t position, uint64_t seed) {
  const DeltaShape shape{.tokens = tokens, .heads = kHeads, .key_dim = kDim, .value_dim = kDim, .fresh = true};
  DeltaProblem<Cpu<double>> p = delta_problem(shape, seed + static_cast<uint64_t>(position));
  const DeltaProblem<Cpu<double>> weights = delta_problem({.heads = kHeads, .key_dim = kDim, .value_dim = kDim}, seed);
  p.conv = weights.conv, p.norm_weight = weights.norm_weight;
  std::fill(p.a_log.begin(), p.a_log.end(), 0.f);
  std::fill(p.dt_bias.begin(), p.dt_bias.end(), 0.f);
  const Normal gate(seed + position, "gates", 0.5f), beta(seed + position, "betas");
  for (int64_t i = 0; i < std::ssize(p.gate); ++i) {
    const double median = std::log(std::expm1(-std::log(kSettings[i / kDim % kHeads].decay)));  // softplus^-1
    p.gate[i] = bf16_rounded(static_cast<float>(median) + gate(i));
  }
  for (int64_t i = 0; i < std::ssize(p.beta); ++i)
    p.beta[i] = bf16_rounded(static_cast<float>(kSettings[i % kHeads].beta_logit) + beta(i));
  return p;
}

// rel_l2 of head h of [rows, H, width].
double distance(const std::vector<double>& got, const std::vector<double>& want, int64_t first_row, int h, int64_t width) {
  double error = 0, norm = 0;
  for (int64_t row = first_row; row < std::ssize(want) / (kHeads * width); ++row)
    for (int64_t i = (row * kHeads + h) * width; i < (row * kHeads + h + 1) * width; ++i)
      error += (got[i] - want[i]) * (got[i] - want[i]), norm += want[i] * want[i];
  return std::sqrt(error / norm);
}

struct Named {
  const char *device, *state_dtype;
  std::unique_ptr<DeltaRun> run;
};

nlohmann::ordered_json measure(int64_t steps, uint64_t seed, const std::string& device) {
  CpuRun<double> truth(StateType::kAccum);
  std::vector<Named> runs;
  for (const auto& [name, type] : {std::pair{"fp32", StateType::kAccum}, {"bf16", StateType::kBf16},
                                   {"bf16-stochastic", StateType::kBf16Stochastic}}) {
    if (device != "cuda") runs.push_back({"cpu", name, std::make_unique<CpuRun<float>>(type)});
    auto on_gpu = device == "cpu" ? nullptr : cuda_delta_run(type);
    require(device != "cuda" || on_gpu, "--device cuda found no GPU or no CUDA build; give cpu.");
    if (on_gpu) runs.push_back({"cuda", name, std::move(on_gpu)});
  }
  auto rows = nlohmann::ordered_json::array();
  int64_t done = 0, next = 10;
  while (done < steps) {
    const int64_t tokens = std::min({kChunk, next - done, steps - done});
    const DeltaProblem<Cpu<double>> inputs = draw(tokens, static_cast<int32_t>(done), seed);
    const std::vector<double> want = truth.run(inputs, static_cast<int32_t>(done));
    std::vector<std::vector<double>> got;
    for (const Named& named : runs) got.push_back(named.run->run(inputs, static_cast<int32_t>(done)));
    done += tokens;
    if (done != next && done != steps) continue;
    next *= 10;
    const std::vector<double> state = truth.state();
    for (size_t i = 0; i < runs.size(); ++i) {
      const std::vector<double> kept = runs[i].run->state();
      for (int h = 0; h < kHeads; ++h)
        rows.push_back({{"device", runs[i].device}, {"state_dtype", runs[i].state_dtype}, {"decay", kSettings[h].decay},
                        {"writes", kSettings[h].writes}, {"steps", done},
                        {"state_rel_l2", distance(kept, state, 0, h, int64_t{kDim} * kDim)},
                        {"out_rel_l2", distance(got[i], want, std::max<int64_t>(0, tokens - kLastTokens), h, kDim)}});
    }
    fmt::print(stderr, "{} of {} tokens\n", done, steps);
  }
  return rows;
}

void print(const nlohmann::ordered_json& rows) {
  fmt::print("{:6} {:16} {:>8} {:>7} {:>8} {:>11} {:>11}\n", "device", "state", "decay", "writes", "steps", "state", "output");
  for (const auto& row : rows)
    fmt::print("{:6} {:16} {:>8} {:>7} {:>8} {:>11.2e} {:>11.2e}\n", row["device"].get<std::string>(),
               row["state_dtype"].get<std::string>(), row["decay"].get<double>(), row["writes"].get<std::string>(),
               row["steps"].get<int64_t>(), row["state_rel_l2"].get<double>(), row["out_rel_l2"].get<double>());
}

}  // namespace

#ifndef KDABENCH_CUDA
std::unique_ptr<DeltaRun> cuda_delta_run(StateType) { return nullptr; }
#endif

}  // namespace kdabench::suites

int main(int argc, char** argv) {
  CLI::App app("Drift of a recurrent state in fp32 and bf16 from the fp64 recurrence, 128 x 128, one head a setting.");
  int64_t steps = 100000;
  uint64_t seed = 1;
  std::string out, device = "all";
  app.add_option("--steps", steps, "tokens")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--seed", seed, "of the inputs")->capture_default_str();
  app.add_option("--device", device, "cpu, cuda or all there is")->check(CLI::IsMember({"cpu", "cuda", "all"}));
  app.add_option("--out", out, "JSON to write");
  CLI11_PARSE(app, argc, argv);
  try {
    nlohmann::ordered_json result;
    result["about"] = "rel_l2 of state and output against the fp64 recurrence, one head of K = V = 128 a row; decay: of a "
                      "token, median; writes: beta near 1/2 (usual) or 1/50 (small); output: gated and normed, the last 10 "
                      "tokens";
    result["seed"] = seed;
    result["rows"] = kdabench::suites::measure(steps, seed, device);
    kdabench::suites::print(result["rows"]);
    if (!out.empty()) {
      std::ofstream file(out);
      file << result.dump(1) << "\n";
      kdabench::require(file.good(), "cannot write ", out, "; name a file in a folder that exists.");
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "state_error: {}\n", error.what());
    return 2;
  }
}
