// What lies between the command line and a suite: text into values, plans into points, bytes into batches.

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "baselines/gdn_h.h"
#include "baselines/mla.h"
#include "harness/options.h"
#include "harness/parse.h"
#include "kernels/base/error.h"
#include "suites/agreement.h"
#include "suites/decode.h"
#include "suites/fit.h"
#include "suites/memory.h"
#include "suites/prefill.h"
#include "suites/runner.h"
#include "tests/says.h"

namespace kdabench {
namespace {

using test::message;

// The message of the Error that `work` throws.
Registry all_architectures() {
  Registry registry;
  registry.add(kimi_linear_architecture());
  registry.add(mla_architecture());
  registry.add(gdn_h_architecture());
  return registry;
}

TEST(Parse, Lists) {
  EXPECT_EQ(parse_list("models", " a, b ,c"), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(parse_list("models", "  ").empty());
  EXPECT_EQ(message([] { parse_list("models", "a,,b"); }), "--models wants a list without empty entries, got 'a,,b'.");
  EXPECT_THROW(parse_list("models", "a,"), Error);
}

TEST(Parse, CountsAreBinary) {
  EXPECT_EQ(parse_count("context", "1"), 1);
  EXPECT_EQ(parse_count("context", "4K"), 4096);
  EXPECT_EQ(parse_count("context", "1M"), 1 << 20);
  EXPECT_EQ(parse_counts("context", "4K,32k,1m"), (std::vector<int64_t>{4096, 32768, 1 << 20}));
  for (const char* bad : {"", "0", "-1", "4KB", "4.5K", "K", "1e3", "four", " 4", "9999999999999999999", "2000G"})
    EXPECT_THROW(parse_count("context", bad), Error) << bad;
  EXPECT_EQ(message([] { parse_count("context", "0"); }),
            "--context wants a count such as 4096, 4K or 1M, 1 or more, got '0'.");
}

TEST(Parse, BytesKnowBothUnits) {
  EXPECT_EQ(parse_bytes("cache-budget", "1000"), 1000);
  EXPECT_EQ(parse_bytes("cache-budget", "56GiB"), int64_t{56} << 30);
  EXPECT_EQ(parse_bytes("cache-budget", "141GB"), 141'000'000'000);
  EXPECT_EQ(parse_bytes("cache-budget", "1.5KiB"), 1536);
  for (const char* bad : {"", "0", "-1GB", "5XB", "GiB", "nan", "inf", "1e300GB", "0.5B"})
    EXPECT_THROW(parse_bytes("cache-budget", bad), Error) << bad;
  EXPECT_EQ(parse_bandwidth("device-bandwidth", "4.3TB/s"), 4.3e12);
  EXPECT_THROW(parse_bandwidth("device-bandwidth", "4.3TB"), Error);
}

TEST(Parse, Numbers) {
  EXPECT_EQ(parse_integer("steps", "32", 1), 32);
  EXPECT_EQ(message([] { parse_integer("steps", "0", 1); }), "--steps wants a whole number, 1 or more, got '0'.");
  EXPECT_THROW(parse_integer("steps", "3.5", 1), Error);
  EXPECT_EQ(parse_real("threshold", "0.03", 0), 0.03);
  EXPECT_THROW(parse_real("threshold", "nan", 0), Error);
  EXPECT_EQ(message([] { parse_choice("fill", "radom", {"random", "prefill"}); }),
            "--fill wants one of random, prefill, got 'radom'; did you mean random?");
}

TEST(Parse, TokenIds) {
  EXPECT_EQ(parse_ids("1,2, 3\n4", 5), (std::vector<int32_t>{1, 2, 3, 4}));
  EXPECT_EQ(message([] { parse_ids("1,5", 5); }), "--ids has the token 5; the vocabulary has ids 0 to 4.");
  EXPECT_THROW(parse_ids("1,-1", 5), Error);
  EXPECT_THROW(parse_ids("1,two", 5), Error);
  EXPECT_THROW(parse_ids(" ", 5), Error);
}

class PlanFile : public testing::Test {
 protected:
  std::string write(const std::string& text) {
    const auto path = std::filesystem::path(testing::TempDir()) /
                      ("plan_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + ".json");
    std::ofstream(path) << text;
    return path.string();
  }
};

TEST_F(PlanFile, FlagsWin) {
  const std::string path = write(R"({"about": "x", "suites": ["memory"], "steps": 7, "warmup": 3, "hf-router": true,
                                     "context": [16, "1K"], "sweeps": [{"batch": 2}, {"context": 64, "batch": 3}]})");
  RunOptions options;
  options.steps = "5";
  apply_plan(path, {"steps"}, options);
  EXPECT_EQ(options.suites, std::vector<std::string>{"memory"});
  EXPECT_EQ(options.steps, "5");
  EXPECT_EQ(options.warmup, "3");
  EXPECT_TRUE(options.model.hf_router);
  const suites::Plan plan = resolve(options, all_architectures());
  EXPECT_EQ(plan.points, (std::vector<suites::Point>{{16, 2, {}}, {1024, 2, {}}, {64, 3, {}}}));
  EXPECT_EQ(plan.config.name, "tiny+hf-router");
}

TEST_F(PlanFile, MistakesAreNamed) {
  RunOptions options;
  EXPECT_NE(message([&] { apply_plan(write(R"({"contxt": 1})"), {}, options); }).find("did you mean context?"),
            std::string::npos);
  EXPECT_NE(message([&] { apply_plan(write(R"({"sweeps": [{"steps": 1}]})"), {}, options); }).find("unknown key steps"),
            std::string::npos);
  EXPECT_NE(message([&] { apply_plan(write(R"([1])"), {}, options); }).find("wants a JSON object"), std::string::npos);
  EXPECT_NE(message([&] { apply_plan(write(R"({"hf-router": 1})"), {}, options); }).find("wants true or false"),
            std::string::npos);
}

TEST(Plan, EveryFlagIsInTheReport) {
  RunOptions options;
  options.suites = {"decode", "memory"};
  const auto text = as_text(options);
  EXPECT_EQ(text.at("suites"), "decode,memory");
  EXPECT_EQ(text.at("models"), "kimi-linear,mla,gdn-h");
  EXPECT_EQ(text.at("resume"), "false");
  EXPECT_EQ(text.count("rope-theta"), 1u);
}

TEST(Plan, AnotherModelHasAnotherName) {
  const Registry registry = all_architectures();
  const ModelConfig config = preset_config("tiny");
  std::vector<std::string> names;
  for (const suites::Peer& peer : peers(registry, config, {"kimi-linear", "mla"}, {"3:1", "1:1", "0:1"}))
    names.push_back(peer.name);
  EXPECT_EQ(names, (std::vector<std::string>{"kimi-linear", "kimi-linear@1:1", "kimi-linear@0:1", "mla"}));
  ModelFlags flags;
  flags.rope_theta = "10000";
  EXPECT_EQ(configured("tiny", flags).name, "tiny+rope");
  const auto with_state = [](const char* dtype) {
    ModelFlags only;
    only.state_dtype = dtype;
    return configured("tiny", only).name;
  };
  EXPECT_EQ(with_state("bf16"), "tiny+bf16-state");
  EXPECT_EQ(with_state("fp32"), "tiny");
  EXPECT_THROW(with_state("bf"), Error);
  flags.rope_theta = "0";
  EXPECT_EQ(configured("tiny", flags).name, "tiny");
}

TEST(Plan, SameMemoryOnTheCpuNeedsABudget) {
  RunOptions options;
  options.sweep.protocol = "same-memory";
  EXPECT_THROW(resolve(options, all_architectures()), Error);
  options.sweep.cache_budget = "1MiB,2MiB";
  EXPECT_EQ(resolve(options, all_architectures()).points.size(), 6u);
  options.dtype = "bf16";
  EXPECT_THROW(resolve(options, all_architectures()), Error);
}

TEST(Fit, LargestBatchIsExact) {
  for (const int64_t limit : {0, 1, 2, 3, 7, 8, 1000, 32767, 32768})
    EXPECT_EQ(suites::largest_batch([limit](int64_t batch) { return batch <= limit; }), limit);
  EXPECT_EQ(suites::largest_batch([](int64_t) { return true; }), suites::kMostSequences);
}

SessionBytes hundred_a_sequence(int64_t batch) { return {90 * batch, 10 * batch, 1000 + batch}; }

TEST(Fit, SameBatchUsesAllThatIsFree) {
  const SessionBytes two = hundred_a_sequence(2);
  const suites::Fit fits = suites::fit({16, 2, {}}, hundred_a_sequence, {two.total(), 5000});
  EXPECT_TRUE(fits.fits);
  const suites::Fit no = suites::fit({16, 2, {}}, hundred_a_sequence, {two.total() - 1, 5000});
  EXPECT_FALSE(no.fits);
  EXPECT_NE(no.reason.find("2 sequences needs 1.2 kB"), std::string::npos) << no.reason;
}

TEST(Fit, SameMemoryKeepsAReserve) {
  // 2 % of 100000 are 2000; 1000 + 101 batch <= 8000 - 2000.
  const suites::Fit fit = suites::fit({16, 0, {}}, hundred_a_sequence, {8000, 100000});
  EXPECT_EQ(fit.batch, 49);
  EXPECT_FALSE(suites::fit({16, 0, {}}, hundred_a_sequence, {3000, 100000}).fits);
}

TEST(Fit, ABudgetCountsCachesAndStatesAlone) {
  const suites::Fit fit = suites::fit({16, 0, 699}, hundred_a_sequence, {100000, 100000});
  EXPECT_EQ(fit.batch, 6);
  EXPECT_EQ(suites::fit({16, 0, 99}, hundred_a_sequence, {100000, 100000}).batch, 0);
  const suites::Fit too_much = suites::fit({16, 0, 699}, hundred_a_sequence, {1500, 100000});
  EXPECT_FALSE(too_much.fits);
  EXPECT_NE(too_much.reason.find("allows 6 sequences, but"), std::string::npos) << too_much.reason;
}

TEST(Fit, ABatchWithoutAKernelBoundsTheSearch) {
  const auto up_to_seven = [](int64_t batch) {
    if (batch > 7) throw Unsupported("kernels take up to 7 sequences");
    return hundred_a_sequence(batch);
  };
  for (const std::optional<int64_t> budget : {std::optional<int64_t>{}, std::optional<int64_t>{10000}}) {
    const suites::Fit fit = suites::fit({16, 0, budget}, up_to_seven, {100000, 100000});
    EXPECT_EQ(fit.batch, 7);
    EXPECT_NE(fit.reason.find("More are not supported: kernels take up to 7 sequences."), std::string::npos) << fit.reason;
  }
  const auto none = [](int64_t) -> SessionBytes { throw Unsupported("no kernel for this shape"); };
  EXPECT_THROW(suites::fit({16, 0, {}}, none, {100000, 100000}), Unsupported);
}

TEST(Agreement, EveryRowIsHeldAgainstItself) {
  const std::vector<float> want = {1, 0, 0, 100}, got = {1, 0.5f, 0, 100};
  const std::vector<double> errors = suites::row_errors(got, want, 2);
  EXPECT_DOUBLE_EQ(errors[0], 0.5);
  EXPECT_DOUBLE_EQ(errors[1], 0);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isinf(suites::row_errors(std::vector<float>{nan, 0}, std::vector<float>{1, 0}, 1)[0]));
  EXPECT_TRUE(std::isinf(suites::row_errors(std::vector<float>{0, 0}, std::vector<float>{0, 0}, 1)[0]));
}

TEST(Runner, CellsHaveDistinctIds) {
  RunOptions options;
  options.sweep.protocol = "same-batch,same-memory";
  options.sweep.batch = "1,8";
  options.sweep.cache_budget = "1MiB,2MiB";
  const suites::Plan plan = resolve(options, all_architectures());
  const suites::Suite decode = suites::decode_suite(), memory = suites::memory_suite();
  std::set<std::string> ids;
  const std::vector<suites::Task> tasks = suites::tasks({&decode, &memory}, plan);
  for (const suites::Task& task : tasks) ids.insert(task.cell.id);
  EXPECT_EQ(tasks.size(), 3u * 2 * (3 * 2 + 3 * 2));
  EXPECT_EQ(ids.size(), tasks.size());
}

TEST(Agreement, APieceTakesItsOwnRouting) {
  // Two layers, two sequences of three tokens, two experts a token, numbered as they lie.
  std::vector<int32_t> experts(24);
  for (size_t i = 0; i < experts.size(); ++i) experts[i] = static_cast<int32_t>(i);
  EXPECT_EQ(suites::routing_of(experts, 2, 3, 2, 1, 1), (std::vector<int32_t>{2, 3, 8, 9, 14, 15, 20, 21}));
  EXPECT_EQ(suites::routing_of(experts, 2, 3, 2, 0, 3), experts);
  EXPECT_TRUE(suites::routing_of({}, 2, 3, 2, 0, 1).empty());
  EXPECT_THROW(suites::routing_of(experts, 2, 5, 2, 0, 1), Error);
}

TEST(Runner, PrefillIsForecastWithItsSquare) {
  RunOptions options;
  options.config = "kimi-linear-48b-a3b";
  options.models = "mla";
  options.device = "cuda";
  options.sweep.context = "4K,64K,1M";
  options.seconds = "0";
  const suites::Plan plan = resolve(options, all_architectures());
  const suites::Suite prefill = suites::prefill_suite();
  const std::vector<suites::Forecast> rows =
      suites::forecast({&prefill}, plan, {{int64_t{200} << 30, int64_t{200} << 30}, 4.6e12, 790e12});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].task.cell.axes.fill, "empty");
  EXPECT_GT(*rows[2].seconds, 900) << "nobody starts a quarter of an hour by accident";
  EXPECT_GT(*rows[2].seconds / *rows[1].seconds, 100) << "256 times the pairs of 16 times the tokens";
  EXPECT_GT(*rows[0].seconds, rows[0].floor_ns * 1e-9);
  options.seconds = "2.5", options.steps = "7";  // a prompt is read again until the time is over, or often enough
  const double one = *rows[0].seconds;
  EXPECT_NEAR(*suites::forecast({&prefill}, resolve(options, all_architectures()),
                                {{int64_t{200} << 30, int64_t{200} << 30}, 4.6e12, 790e12})[0].seconds - one,
              6 * rows[0].cost.flops / (0.3 * 790e12), 1e-6);
}

TEST(Runner, TheFloorIsTheSlowerOfBytesAndFlops) {
  StepCost cost;
  cost.weight_bytes = 1000;
  cost.flops = 4000;
  EXPECT_DOUBLE_EQ(suites::floor_ns(cost, 1e9, 1e9), 4000);
  EXPECT_DOUBLE_EQ(suites::floor_ns(cost, 1e9, 1e12), 1000);
  EXPECT_DOUBLE_EQ(suites::floor_ns(cost, 0, 0), 0);
}

TEST(Deadline, SpeaksBeforeItIsTooLate) {
  EXPECT_NO_THROW(suites::Deadline(0).expect("anything", 1e18));
  EXPECT_NO_THROW(suites::Deadline(100).expect("a step", 1e9));
  EXPECT_THROW(suites::Deadline(100).expect("a step", 1e12), suites::Timeout);
}

}  // namespace
}  // namespace kdabench
