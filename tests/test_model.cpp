// The laws of tests/model_laws.h on the CPU, for every registered architecture; and the engine's own contracts: bytes,
// errors, random weights.

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "harness/engine/checkpoint.h"
#include "harness/engine/ragged.h"
#include "kernels/base/error.h"
#include "tests/checkpoints.h"
#include "tests/model_laws.h"

namespace kdabench::test {
namespace {

// fp64: only the order of sums differs. fp32: 6e-8 amplified by the layers; a router flip would be 1e-2 and more.
constexpr LawBounds kFp64{1e-10, 1e-10};
constexpr LawBounds kFp32{2e-4, 2e-4};

class ModelLaws : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Model> fp64() { return tiny_model(GetParam(), DeviceKind::kCpu, Precision::kFp64); }
  std::unique_ptr<Model> fp32() { return tiny_model(GetParam(), DeviceKind::kCpu, Precision::kFp32); }
};

// fp64 logits leave the session as fp32, hence 1e-6.
TEST_P(ModelLaws, ForwardTIsTTimesForward1) {
  const auto model = fp64();
  for (const int64_t T : {2, 65, 130}) law_forward_T_is_T_times_forward_1(*model, 1, T, {1e-6, 1e-6});
  law_forward_T_is_T_times_forward_1(*fp32(), 3, 20, kFp32);
}
TEST_P(ModelLaws, CuttingAPromptChangesNothing) {
  law_cutting_a_prompt_changes_nothing(*fp64(), 130, {1, 63, 64, 129}, {1e-6, 1e-6});
}
TEST_P(ModelLaws, RowsDoNotSeeEachOther) { law_rows_do_not_see_each_other(*fp32(), 33, 5, kFp32); }
TEST_P(ModelLaws, RaggedRowsAreRowsAlone) {
  law_ragged_rows_are_rows_alone(*fp32(), {65, 1, 0, 130, 130, 7, 64}, kFp32);
  law_ragged_rows_are_rows_alone(*fp64(), {3, 200}, {1e-6, 1e-6});
}
// A row's sums are taken in the same order whoever stands beside it and however often the prompt is cut: not one bit
// differs, where every row chooses its own experts.
TEST_P(ModelLaws, RaggedRowsAreBitForBitRowsAlone) {
  const auto model = fp32();
  const std::vector<std::vector<int32_t>> prompts = {random_ids(150, 512, 1), {}, random_ids(48, 512, 2), random_ids(5, 512, 3)};
  const SessionOptions options{.batch = 4, .capacity = 160, .forward_tokens = 48, .all_logits = false};
  const auto together = model->open(options);
  together->append(prompts);
  const std::vector<float> logits = together->last_logits();
  const auto alone = model->open({.batch = 1, .capacity = 160, .forward_tokens = 48, .all_logits = false});
  for (const int64_t b : {0, 2, 3}) {
    alone->reset();
    EXPECT_EQ(alone->forward(prompts[b], Logits::kLast), all_logits_of_one_row(logits, 4, b)) << "row " << b;
    EXPECT_EQ(together->length(b), static_cast<int64_t>(prompts[b].size()));
  }
}
TEST_P(ModelLaws, ARestoredPrefixIsAReadPrefix) {
  for (const int64_t length : {1, 64, 150}) law_a_restored_prefix_is_a_read_prefix(*fp32(), length);
}
// A state in bf16: half its bytes, the same laws but for how often it is rounded, and its kernel in the step.
TEST_P(ModelLaws, StatesMayBeKeptInBf16) {
  const auto full = fp32();
  for (const char* dtype : {"bf16", "bf16-stochastic"}) {
    const auto model = tiny_model(GetParam(), DeviceKind::kCpu, Precision::kFp32, 7, "tiny", dtype);
    law_rows_do_not_see_each_other(*model, 4, 5, kFp32);
    law_a_restored_prefix_is_a_read_prefix(*model, 70);
    law_reset_forgets(*model);
    law_decode_is_forward(*model, 3, 100, kFp32);
    const SessionOptions options{.batch = 2, .capacity = 8, .forward_tokens = 4, .all_logits = false};
    const SessionBytes kept = model->predict(options), whole = full->predict(options);
    EXPECT_EQ(kept.cache, whole.cache);
    if (GetParam() == "mla") EXPECT_EQ(kept.state, 0);
    else EXPECT_LT(kept.state, 0.6 * whole.state);  // the convolutions' inputs stay
    const auto session = model->open(options);
    session->decode(1);
    EXPECT_EQ(session->kernels().parts.count("recurrence"), GetParam() == "mla" ? 0u : 1u);
    EXPECT_EQ(session->kernels().parts.at("head"), (std::vector<std::string>{"linear_cpu", "argmax_cpu"}));
  }
}
TEST_P(ModelLaws, PrefillIsForwardFromNothing) { law_prefill_is_forward_from_nothing(*fp32(), {0, 0}); }
TEST_P(ModelLaws, ResetForgets) { law_reset_forgets(*fp32()); }
TEST_P(ModelLaws, DecodeIsForward) {
  law_decode_is_forward(*fp32(), 1, 100, kFp32);
  law_decode_is_forward(*fp32(), 5, 0, kFp32);
}

// Given the routing it would choose, a model computes what it computes; given another one, it does not.
TEST_P(ModelLaws, GivenExpertsAreTaken) {
  const auto model = fp32();
  const std::vector<int32_t> ids = random_ids(2 * 7, 512, 31);
  const auto session = model->open({.batch = 2, .capacity = 7, .forward_tokens = 7, .all_logits = true});
  const std::vector<float> free = session->forward(ids, Logits::kAll);
  std::vector<int32_t> chosen = session->chosen_experts();
  EXPECT_EQ(chosen.size(), 7u * 2 * 7 * 4);  // MoE layers, rows, tokens, top k
  session->reset();
  EXPECT_EQ(session->forward(ids, Logits::kAll, chosen), free);
  for (int32_t& expert : chosen) expert = (expert + 1) % 16;
  session->reset();
  EXPECT_FALSE(rows_close(session->forward(ids, Logits::kAll, chosen), free, 512, kFp32));
  EXPECT_EQ(session->chosen_experts(), chosen);
}

// A step taken apart: every part has a time, and they add up to the step.
TEST_P(ModelLaws, BreakdownAddsUp) {
  const auto model = fp32();
  const auto session = model->open({.batch = 2, .capacity = 120, .forward_tokens = 1, .all_logits = false});
  session->fill_random(100, 1);
  session->decode(20);
  const StepParts step = session->breakdown(20);
  EXPECT_EQ(session->length(), 120);
  double sum = 0;
  std::set<Part> parts;
  for (const PartTime& part : step.parts) {
    EXPECT_GT(part.time_ns, 0) << part_name(part.part);
    sum += part.time_ns;
    parts.insert(part.part);
  }
  const bool linear = GetParam() != "mla";
  EXPECT_EQ(parts.count(Part::kRecurrence), linear ? 1u : 0u);
  EXPECT_EQ(parts.size(), linear ? 8u : 7u);
  EXPECT_LE(sum, step.step_ns);
  EXPECT_GE(sum, 0.95 * step.step_ns);
}

TEST_P(ModelLaws, BytesAreThoseOfTheCostModel) {
  const auto model = fp32();
  const ModelOptions& o = model->options();
  const NumberBytes bytes = number_bytes(o.precision);
  EXPECT_EQ(model->parameters(), parameter_count(o.config, o.layout));
  const SessionOptions session{.batch = 3, .capacity = 1000, .forward_tokens = 8, .all_logits = false};
  const SessionBytes predicted = model->predict(session), planned = predict_session(o, session);
  const auto opened = model->open(session);
  EXPECT_EQ(opened->bytes().total(), predicted.total());
  EXPECT_EQ(planned.total(), predicted.total());  // --dry-run's count is the real one
  EXPECT_EQ(predicted.cache, 3 * 1000 * cache_bytes_per_token(o.config, o.layout, bytes));
  // each tensor is rounded up to 256 bytes
  const int64_t state = 3 * state_bytes_per_sequence(o.config, o.layout, bytes);
  EXPECT_GE(predicted.state, state);
  EXPECT_LE(predicted.state, state + 2 * 256 * o.config.num_hidden_layers);
}

TEST_P(ModelLaws, SameSeedSameModel) {
  const std::vector<int32_t> ids = random_ids(6, 512, 9);
  const SessionOptions options{.batch = 1, .capacity = 6, .forward_tokens = 6, .all_logits = false};
  const auto logits = [&](uint64_t seed) {
    return tiny_model(GetParam(), DeviceKind::kCpu, Precision::kFp32, seed)->open(options)->forward(ids, Logits::kLast);
  };
  EXPECT_EQ(logits(1), logits(1));
  EXPECT_NE(logits(1), logits(2));
}

INSTANTIATE_TEST_SUITE_P(Tiny, ModelLaws, testing::ValuesIn(architecture_names()), [](const auto& param) {
  std::string name = param.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// Every token of every row once, in order; all rows end in the last pass; a row's cuts do not depend on the others; before
// the last pass, neighbours of any lengths are one segment.
TEST(Engine, RaggedPasses) {
  for (const int64_t most : {1, 3, 64})
    for (const std::vector<int64_t>& lengths : {std::vector<int64_t>{5, 0, 7, 7, 200}, {1}, {0, 0}, {64, 65, 63}}) {
      const std::vector<std::vector<RowPart>> passes = ragged_passes(lengths, most);
      std::vector<int64_t> seen(lengths.size(), 0);
      for (size_t i = 0; i < passes.size(); ++i) {
        int64_t tokens = 0, rows = 0;
        for (const RowPart& part : passes[i]) {
          EXPECT_EQ(part.first, seen[part.row]);
          seen[part.row] += part.tokens;
          EXPECT_TRUE(part.tokens == most || seen[part.row] == lengths[part.row]);
          if (i + 1 == passes.size()) EXPECT_EQ(seen[part.row], lengths[part.row]);
          else EXPECT_LT(seen[part.row], lengths[part.row]);
        }
        for (const Segment& segment : segments_of(passes[i])) {
          EXPECT_EQ(segment.first_token, tokens);
          tokens += segment.count(), rows += segment.rows;
        }
        EXPECT_EQ(rows, static_cast<int64_t>(passes[i].size()));
        EXPECT_FALSE(passes[i].empty());
      }
      EXPECT_EQ(seen, lengths);
    }
  const std::vector<std::vector<RowPart>> passes = ragged_passes(std::vector<int64_t>{130, 150, 200, 129}, 64);
  ASSERT_EQ(passes.size(), 4u);
  EXPECT_EQ(segments_of(passes[0]).size(), 1u);
  EXPECT_EQ(segments_of(passes[1]).size(), 1u);
  EXPECT_EQ(segments_of(passes[2]).size(), 1u);  // the third row alone
  EXPECT_EQ(segments_of(passes[3]).size(), 4u);
}

TEST(Engine, ParametersOfThePaper) {
  const ModelConfig config = preset_config("kimi-linear-48b-a3b");
  const auto count = [&](const char* name) {
    return parameter_count(config, all_architectures().find(name).layout(config, {}));
  };
  EXPECT_EQ(count("kimi-linear"), 49122681728);  // the released checkpoint's inventory
  EXPECT_EQ(count("mla"), 48914693888);
  EXPECT_NEAR(static_cast<double>(count("gdn-h")) / count("kimi-linear"), 1, 0.02);
}

// The parts of a step are the step: bytes and flops add up, for every architecture, batch and context.
TEST(Engine, PartsAddUpToTheStep) {
  for (const char* preset : {"kimi-linear-48b-a3b", "tiny"})
    for (const std::string& name : architecture_names())
      for (const int64_t batch : {1, 33})
        for (const int64_t context : {0, 4096, 1 << 20}) {
          const ModelConfig config = preset_config(preset);
          const Layout layout = all_architectures().find(name).layout(config, {});
          const double experts = expected_distinct_experts(config, batch);
          const StepCost step = decode_cost(config, layout, {}, batch, context, experts);
          int64_t bytes = 0, flops = 0;
          for (const PartCost& part : decode_part_costs(config, layout, {}, batch, context, experts))
            bytes += part.bytes, flops += part.flops;
          EXPECT_EQ(bytes, step.bytes());
          EXPECT_EQ(flops, step.flops);
          EXPECT_GE(step.weight_bytes, 0);
          EXPECT_EQ(step.cache_bytes, batch * (context + 1) * cache_bytes_per_token(config, layout, {}));
        }
}

// A prompt costs what its pairs of tokens and its weights say: of twice the tokens, everything is double but the pairs.
TEST(Engine, APromptCostsItsPairsAndItsWeights) {
  const ModelConfig config = preset_config("kimi-linear-48b-a3b");
  for (const std::string& name : architecture_names()) {
    const Layout layout = all_architectures().find(name).layout(config, {});
    const int64_t layers = name == "mla" ? 27 : 7, T = 1 << 17, head = 2 * config.vocab_size * config.hidden_size;
    const StepCost once = prefill_cost(config, layout, {}, 1, 0, T), twice = prefill_cost(config, layout, {}, 1, 0, 2 * T);
    EXPECT_EQ(twice.flops - 2 * once.flops + head, layers * 32 * 2 * (192 + 128) * T * T);  // head: one position
    EXPECT_EQ(prefill_cost(config, layout, {}, 3, 0, T).flops, 3 * once.flops);
    // Behind a cache, only the cached keys and values are made again.
    const StepCost tail = prefill_cost(config, layout, {}, 1, T / 2, T / 2), front = prefill_cost(config, layout, {}, 1, 0, T / 2);
    EXPECT_EQ(front.flops + tail.flops - once.flops - head, layers * 2 * (T / 2) * 32 * (128 + 128) * 512);
    int64_t bytes = 0, flops = 0;
    for (const PartCost& part : prefill_part_costs(config, layout, {}, 1, T / 2, T / 2)) bytes += part.bytes, flops += part.flops;
    EXPECT_EQ(bytes, tail.bytes());
    EXPECT_EQ(flops, tail.flops);
    // Long prompts hit every expert and every row of the embedding: each weight once.
    EXPECT_EQ(once.weight_bytes + once.expert_bytes + twice.head_bytes, weight_bytes(config, layout, {}));
    EXPECT_EQ(once.cache_bytes + once.state_bytes, cache_bytes(config, layout, {}, 1, T));
  }
}

TEST(Engine, HybridRatios) {
  const ModelConfig config = preset_config("kimi-linear-48b-a3b");
  const auto linear_layers = [&](const char* ratio) {
    const Layout layout = kimi_linear_architecture().layout(config, parse_hybrid_ratio(ratio));
    return std::count(layout.begin(), layout.end(), MixerKind::kKda);
  };
  EXPECT_EQ(linear_layers(""), 20);
  EXPECT_EQ(linear_layers("3:1"), 20);  // the released layout is the 3:1 rule
  EXPECT_EQ(linear_layers("0:1"), 0);
  EXPECT_EQ(linear_layers("1:1"), 13);
  EXPECT_EQ(linear_layers("7:1"), 23);
  EXPECT_EQ(linear_layers("15:1"), 25);
  EXPECT_THROW(parse_hybrid_ratio("3"), Error);
  EXPECT_THROW(parse_hybrid_ratio("-1:1"), Error);
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Engine, ErrorsNameWhatIsWrong) {
  EXPECT_NE(message_of([] { preset_config("tinny"); }).find("did you mean tiny?"), std::string::npos);
  EXPECT_NE(message_of([] { all_architectures().find("kimi-liner"); }).find("kimi-linear"), std::string::npos);
  const auto model = tiny_model("kimi-linear", DeviceKind::kCpu, Precision::kFp32);
  const auto session = model->open({.batch = 1, .capacity = 4, .forward_tokens = 4, .all_logits = false});
  const std::vector<int32_t> outside = {512}, five(5, 1);
  EXPECT_NE(message_of([&] { session->forward(outside, Logits::kLast); }).find("512"), std::string::npos);
  EXPECT_NE(message_of([&] { session->forward(five, Logits::kLast); }).find("capacity"), std::string::npos);
  EXPECT_NE(message_of([&] { session->decode(5); }).find("capacity"), std::string::npos);
  EXPECT_EQ(session->length(), 0);
  EXPECT_NE(message_of([&] { session->append({}); }).find("wanted 1 rows"), std::string::npos);
  EXPECT_NE(message_of([&] { session->append(std::vector<std::vector<int32_t>>{five}); }).find("capacity"), std::string::npos);
  EXPECT_NE(message_of([&] { session->save(1); }).find("row 1"), std::string::npos);
  const auto other = tiny_model("kimi-linear", DeviceKind::kCpu, Precision::kFp32);
  const auto elsewhere = other->open({.batch = 1, .capacity = 4, .forward_tokens = 4, .all_logits = false});
  const int64_t first[] = {0};
  EXPECT_NE(message_of([&] { elsewhere->restore(*session->save(0), first); }).find("another model"), std::string::npos);
  EXPECT_THROW(model->open({.batch = 1'000'000, .capacity = 1 << 20, .forward_tokens = 1, .all_logits = false}),
               OutOfMemory);
}

// A file made here, so that every fault of a file can be made too.
class SafetensorsFile : public testing::Test {
 protected:
  void SetUp() override {
    path = (std::filesystem::temp_directory_path() / ("kdabench_test_" + std::to_string(::getpid()) + ".safetensors")).string();
    const std::vector<float> a = {1, 2, 3, 4, 5, 6}, b = {-1};
    const std::vector<FloatTensor> tensors = {{"a", {2, 3}, a}, {"b", {1}, b}};
    write_safetensors(path, tensors);
    std::ifstream file(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  void TearDown() override { std::filesystem::remove(path); }
  std::string error_with(std::string content) {
    std::ofstream(path, std::ios::binary) << content;
    return message_of([&] { Safetensors file(path); });
  }
  std::string path, bytes;
};

TEST_F(SafetensorsFile, RoundTrip) {
  const Safetensors file(path);
  EXPECT_EQ(file.find("a").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file.floats("a"), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_NE(message_of([&] { file.find("c"); }).find("tensor c is missing"), std::string::npos);
}
TEST_F(SafetensorsFile, FaultsAreNamed) {
  EXPECT_EQ(error_with(bytes), "");
  EXPECT_NE(error_with(bytes.substr(0, bytes.size() - 2)).find("truncated"), std::string::npos);
  EXPECT_NE(error_with(bytes.substr(0, 5)).find("truncated"), std::string::npos);
  EXPECT_NE(error_with("").find("empty"), std::string::npos);
  std::string broken = bytes;
  broken[8] = '[';
  EXPECT_NE(error_with(broken).find("malformed"), std::string::npos);
  broken = bytes;
  broken.replace(broken.find("[2,3]"), 5, "[2,4]");
  EXPECT_NE(error_with(broken).find("tensor a takes 24 bytes, its shape and dtype want 32"), std::string::npos);
  broken = bytes;
  broken.replace(broken.find("F32"), 3, "Q32");
  EXPECT_NE(error_with(broken).find("Q32"), std::string::npos);
}

// Any prefix and any flipped byte of the header either loads or is a clear error; nothing crashes.
TEST_F(SafetensorsFile, DamageNeverCrashes) {
  for (size_t n = 0; n < bytes.size(); n += 3) error_with(bytes.substr(0, n));
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string broken = bytes;
    broken[i] = static_cast<char>(broken[i] ^ (1 << (i % 8)));
    error_with(broken);
  }
}

TEST(Loader, MissingExtraAndMisshapenTensorsAreNamed) {
  const std::string folder = checkpoint_folder("hf_tiny_mla");
  if (folder.empty()) GTEST_SKIP() << "skipped: no data";
  ModelOptions options = checkpoint_options(folder, DeviceKind::kCpu, Precision::kFp32);
  options.config.kv_lora_rank = 48;
  const std::string misshapen = message_of([&] { make_model(options); });
  EXPECT_NE(misshapen.find("kv_a_proj_with_mqa.weight has shape [96, 256]; wanted [80, 256]"), std::string::npos) << misshapen;
  options = checkpoint_options(folder, DeviceKind::kCpu, Precision::kFp32);
  options.config.num_hidden_layers = 4;
  options.layout.push_back(MixerKind::kMla);
  const std::string missing = message_of([&] { make_model(options); });
  EXPECT_NE(missing.find("model.layers.3.input_layernorm.weight of shape [256] is missing"), std::string::npos) << missing;
  options = checkpoint_options(folder, DeviceKind::kCpu, Precision::kFp32);
  options.config.num_experts = 7;
  const std::string extra = message_of([&] { make_model(options); });
  EXPECT_NE(extra.find("model.layers.1.block_sparse_moe"), std::string::npos) << extra;
}

}  // namespace
}  // namespace kdabench::test
