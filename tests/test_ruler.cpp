// RULER: every task against what NVIDIA's own programs write, byte for byte; lengths that do not fit; files; scores.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#include "harness/cli.h"
#include "suites/ruler/ahead.h"
#include "suites/ruler/ruler.h"
#include "suites/sha256.h"
#include "suites/text.h"
#include "tests/ruler_texts.h"
#include "tests/says.h"

namespace kdabench::suites {
namespace {

using test::message;
using test::Ran;
using test::run_kdabench;

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

std::string lines_of(const std::vector<RulerSample>& samples) {
  std::string lines;
  for (const RulerSample& sample : samples) lines += ruler_jsonl_line(sample) + "\n";
  return lines;
}

// Texts made up by tests/ruler_texts.h.
class RulerTexts : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    fs::remove_all(root());
    test::write_ruler_texts(root() / "ruler", false);
    test::write_ruler_texts(root() / "more", true);
  }
  static void TearDownTestSuite() { fs::remove_all(root()); }
  static fs::path root() { return fs::path(testing::TempDir()) / ("kdabench_ruler_" + std::to_string(getpid())); }
  static std::string ranks() { return (root() / "ruler" / "small.tiktoken").string(); }

  static std::vector<RulerSample> generate(const std::string& task, int64_t length, int64_t samples, uint64_t seed,
                                           const std::string& tokenizer = ranks(), const char* folder = "ruler") {
    return generate_ruler({task, length, samples, seed}, load_ruler_data((root() / folder).string()),
                          Tokenizer::load(tokenizer));
  }
  static std::string refused(const std::string& task, int64_t length, int64_t samples = 1,
                             const std::string& tokenizer = "bytes") {
    return message([&] { generate(task, length, samples, 42, tokenizer); });
  }
};

// SHA-256 of the files that NVIDIA/RULER's scripts/data/prepare.py (commit c3f5e3b4f87f; Python 3.11.7, NumPy 2.4.6,
// SciPy 1.17.1) wrote from the same made-up texts, with tiktoken 0.12 over the same ranks and the sentences of
// essays_sentences.json in place of NLTK's.
TEST_F(RulerTexts, OfficialFiles) {
  const std::map<std::string, const char*> of_8192_seed_7 = {
      {"cwe", "d683b8184ee60d01aaee972b433a57a56993af42b198c347cbe901c955306a33"},
      {"fwe", "0f2fbdce781093d1d1242b3cbd964d173c513d769712cc3e7858838f6bd94ce9"},
      {"niah_multikey_1", "acecd6484d5f2d22ddf1761870c4608aeb3c0babb9f569dab9fba583e089ed3f"},
      {"niah_multikey_2", "1d03108af9e28ca3bbad6239bee06b734efcc35b63e2e81c8cb11b55f0dc056f"},
      {"niah_multikey_3", "11953dec8b9a6253285ef22a51ac00254b8f571187dba8ead569508ab012d7db"},
      {"niah_multiquery", "16cb133ef623181f83b460998ee3680c6a8777b71c9104e2afedb7e5e2c7e1bc"},
      {"niah_multivalue", "e0b4b8d83fa3848263decb2fa744cf6e91156cb726f689ecf9ea769475bffaa2"},
      {"niah_single_1", "cc9f2b71f135c440eac48e9582378f5f831d61659f85bda0205dbec9f7e82924"},
      {"niah_single_2", "b3d5ea36380c9b57245e48640b3df6e1da2d64680be249f49037e025b7317652"},
      {"niah_single_3", "bd755fa6895f8b57459aa97d788abbeccd8aecf63028e92840fc95bf6f56c119"},
      {"qa_1", "bc1c981328501aaa362a57b13085145da1bf1f24b705b1ab5336beaad55bcbd9"},
      {"qa_2", "21427e5f6716195d40f97f577af57530e0d5d1aac2a96afbf4cec15fb213e139"},
      {"vt", "1a058185dc6b5af433f7810de9123ae680410bd12ead14fc40688c544503f42d"}};
  const std::map<std::string, const char*> of_3000_seed_11 = {        // below 4096 some parameters are smaller
      {"cwe", "e01a5a5ce18907d02be52fee85421152b4357d425e22c97aefa9783f826ef236"},
      {"fwe", "7fc101e38c301a3e0c1f2a8c788200c7367f1794d40b4b41df6f1bde625b7c1d"},
      {"niah_multikey_1", "04233dfa3633e8baabd0127a98f751498dd0497fbc77c4fbca55ba28b36ac8d4"},
      {"niah_multikey_2", "7a8494759ea1a4c95f45c5811231002211baf12bfd84c70e4ea73bce4f37029a"},
      {"niah_multikey_3", "c66d892f24fd0a56032f22a0829b2a32882cac0a30d3004f74de5cecd0e0434e"},
      {"niah_multiquery", "f352280ce2016289dbdcd74bebb2a2a4a0b5b4093b77d1835ddecfbd5ce8b5b3"},
      {"niah_multivalue", "22ee456ef8bd2f52e5a79a1b331ac5e9e0a9d59698397461fb1248434e5a1b95"},
      {"niah_single_1", "ba6688a164ae9d8cfd0c6100860c1592e8ff406d67346833dc45c0d0465b985e"},
      {"niah_single_2", "a4becdd04df1a7df6289c164801982c2422da14d5021f9db3ad01f37e606e776"},
      {"niah_single_3", "579e912bd8a1df5c544181d7d344dc1a87f96639ca9ffa0d580eace899789516"},
      {"qa_1", "9539e670c50cafade4f97c34234fed5dbbf973f88fee6a3373ef0211aab32b73"},
      {"qa_2", "906d85328ec1bd0fbd631a581cd66c21b5ec6919f89a7161ab2f6ab6b2c3169f"},
      {"vt", "ab8fc2c3f62eef96352b02be943c5dcc8dc0c31237177412eaea56cbf0e1a9f7"}};
  EXPECT_EQ(of_8192_seed_7.size(), ruler_tasks().size());
  for (const auto& [task, hash] : of_8192_seed_7)
    EXPECT_EQ(sha256(lines_of(generate(task, 8192, 2, 7))), hash) << task;
  for (const auto& [task, hash] : of_3000_seed_11)
    EXPECT_EQ(sha256(lines_of(generate(task, 3000, 2, 11))), hash) << task;
}

// With the real texts and cl100k: the files that the official programs wrote.
TEST(Ruler, GoldenFiles) {
  const char* folder = std::getenv("KDABENCH_DATA");
  const fs::path root = folder ? folder : "";
  if (!folder || !fs::exists(root / "ruler" / "golden_4k")) GTEST_SKIP() << "skipped: no data";
  const RulerData data = load_ruler_data(root.string());
  const Tokenizer tokenizer = Tokenizer::load((root / "tokenizers" / "cl100k_base.tiktoken").string());
  for (const RulerTask& task : ruler_tasks()) {
    const std::string path = (root / "ruler" / "golden_4k" / (task.name + ".jsonl")).string();
    const std::string golden = read_text(path, "samples");
    const std::vector<RulerSample> samples = generate_ruler({task.name, 4096, 10, 42}, data, tokenizer);
    EXPECT_TRUE(lines_of(samples) == golden) << task.name;
    EXPECT_TRUE(lines_of(read_ruler_jsonl(path)) == golden) << task.name;
    for (const RulerSample& sample : samples) {
      EXPECT_LE(sample.length, 4096);
      EXPECT_EQ(ruler_sample_score(task.metric, joined(sample.outputs, " "), sample.outputs), 1);
    }
  }
}

TEST_F(RulerTexts, WordsBeyondTheLists) {
  EXPECT_EQ(sha256(lines_of(generate("cwe", 200000, 1, 7, ranks(), "more"))),
            "35b1c1a002ed3585dc816a6809f8ce4d9b9deedcbb2fcf8a5676dd2fcf07e3f4");
  EXPECT_NE(message([&] { generate("cwe", 200000, 1, 7); }).find("wants more than the 4921 words there are; put "
                                                                "english_words.json"), std::string::npos)
      << message([&] { generate("cwe", 200000, 1, 7); });
}

TEST_F(RulerTexts, ALengthThatIsTooSmallIsAnError) {
  EXPECT_EQ(refused("niah_single_1", 128), "niah_single_1 does not fit in 128 tokens: 128 are to generate, and the "
                                           "prompt comes on top.");
  for (const RulerTask& task : ruler_tasks()) {
    const std::string says = refused(task.name, 240);
    EXPECT_NE(says.find(task.name + " does not fit in 240 tokens"), std::string::npos) << says;
  }
  // The length that the message names is enough, or nearly: lengths of words differ from draw to draw.
  const std::string says = refused("niah_single_2", 2000);
  const size_t at = says.find("at least ") + 9;
  const int64_t least = std::stoll(says.substr(at));
  EXPECT_LE(generate("niah_single_2", least + 20, 3, 42, "bytes").front().length, least + 20);
  // More documents of its own than fit: no shortest prompt to speak of.
  EXPECT_NE(refused("qa_2", 700).find("qa_2 does not fit in 700 tokens"), std::string::npos);
}

TEST_F(RulerTexts, BytesCountBytes) {
  for (const RulerTask& task : ruler_tasks()) {
    const std::vector<RulerSample> samples = generate(task.name, 16384, 1, 42, "bytes");
    const auto bytes = static_cast<int64_t>(samples.front().prompt().size());
    EXPECT_EQ(samples.front().length, bytes + task.generation_tokens) << task.name;
    EXPECT_LE(samples.front().length, 16384);
    EXPECT_GE(samples.front().length, 16384 * 3 / 5) << task.name;
  }
}

// Threads change neither a byte nor an error, and what is not kept is made when it is asked for.
TEST_F(RulerTexts, PromptsMadeAheadAreThePrompts) {
  const RulerData data = load_ruler_data((root() / "ruler").string());
  const Tokenizer bytes = Tokenizer::bytes(), other = Tokenizer::load(ranks());
  const std::vector<RulerRequest> requests = {{"niah_single_1", 1024, 3, 42}, {"fwe", 2048, 2, 42},
                                              {"niah_single_1", 1024, 3, 7}, {"cwe", 300, 1, 42},
                                              {"niah_single_2", 8192, 4, 42}};
  RulerAhead ahead(data);
  ahead.expect(requests, "bytes", bytes);
  ahead.expect(requests, "bytes", bytes);
  ahead.expect({{"fwe", RulerAhead::kMostTokens, 1, 42}}, "bytes", bytes);  // with the others too much: not begun
  for (const RulerRequest& request : requests) {
    if (request.task == "cwe") {
      EXPECT_NE(message([&] { ahead.take(request, "bytes", bytes); }).find("does not fit in 300"), std::string::npos);
      continue;
    }
    EXPECT_EQ(lines_of(ahead.take(request, "bytes", bytes)), lines_of(generate_ruler(request, data, bytes)));
    EXPECT_EQ(lines_of(ahead.take(request, ranks(), other)), lines_of(generate_ruler(request, data, other)));
  }
  const RulerRequest unexpected{"fwe", 2048, 1, 3};
  EXPECT_EQ(lines_of(ahead.take(unexpected, "bytes", bytes)), lines_of(generate_ruler(unexpected, data, bytes)));
}

TEST_F(RulerTexts, BadRequestsAreOneSentence) {
  EXPECT_EQ(message([] { ruler_task("niah"); }).find("unknown RULER task 'niah'; the tasks are niah_single_1, "), 0u);
  EXPECT_NE(message([] { ruler_task("niah"); }).find(", qa_1, qa_2."), std::string::npos);
  EXPECT_EQ(refused("qa_2", 8192, 21), "qa_2: 21 samples wanted; hotpotqa.json has 20 questions.");
  EXPECT_EQ(refused("vt", 8192, 0), "vt: 0 samples; wanted at least 1.");
  EXPECT_NE(message([] { generate("vt", 8192, 1, uint64_t{1} << 32); }).find("4294967295"), std::string::npos);
}

TEST_F(RulerTexts, MissingAndDamagedTexts) {
  const fs::path folder = root() / "spoilt";
  const auto load = [&] { return message([&] { load_ruler_data(folder.string()); }); };
  const auto write = [&](const std::string& name, const std::string& content) {
    fs::create_directories((folder / name).parent_path());
    std::ofstream(folder / name, std::ios::binary) << content;
  };
  const auto need = [&](const std::string& task) {
    return message([&] { generate_ruler({task, 8192, 1, 42}, load_ruler_data(folder.string()), Tokenizer::bytes()); });
  };
  EXPECT_EQ(load(), "no folder " + folder.string() + "; wanted the one that holds ruler/.");
  fs::create_directories(folder);
  EXPECT_NE(load().find("holds none of RULER's texts"), std::string::npos);
  fs::copy(root() / "ruler" / "words", folder / "words");
  EXPECT_EQ(need("niah_single_1"), "no error");
  EXPECT_NE(need("niah_single_2").find("niah_single_2 needs essays.json and essays_sentences.json"), std::string::npos);
  EXPECT_NE(need("qa_1").find("qa_1 needs squad.json"), std::string::npos);
  EXPECT_NE(need("qa_2").find("qa_2 needs hotpotqa.json"), std::string::npos);

  write("words/verblist.txt", "run\ncaf\xE9\n");
  EXPECT_NE(load().find("verblist.txt:2 is not UTF-8."), std::string::npos);
  fs::remove(folder / "words" / "verblist.txt");
  EXPECT_NE(load().find("verblist.txt is not there; wanted a word a line."), std::string::npos);
  fs::remove_all(folder / "words");
  write("squad.json", "{\"data\": [");
  EXPECT_NE(load().find("squad.json is damaged at byte"), std::string::npos);
  write("squad.json", "{\"data\": [{}]}");
  EXPECT_NE(load().find("squad.json is JSON of another shape; wanted SQuAD 2.0."), std::string::npos);
  fs::remove(folder / "squad.json");
  write("essays.json", "{\"text\": \"One. Two.\"}");
  write("essays_sentences.json", "[\"One.\", \"Three.\"]");
  EXPECT_NE(load().find("sentence 2 is not the next one"), std::string::npos);
  write("essays_sentences.json", "[\"One.\"]");
  EXPECT_NE(load().find("essays_sentences.json ends before"), std::string::npos);
  write("essays_sentences.json", "[\"One.\", \"Two.\"]");
  EXPECT_EQ(load(), "no error");
  write("english_words.json", "[1]");
  EXPECT_NE(load().find("english_words.json is JSON of another shape"), std::string::npos);
  fs::remove_all(folder);
}

TEST_F(RulerTexts, TheCommand) {
  const fs::path out = root() / "out";
  const auto generated = [&](Strings more) {
    Strings words = {"ruler-generate", "--tokenizer", "bytes", "--data", root().string(), "--out", out.string(),
                     "--samples", "2"};
    words.insert(words.end(), more.begin(), more.end());
    return run_kdabench(words);
  };
  Ran ran = generated({"--task", "vt,qa_1,vt", "--length", "8K"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.err.find("[2/2] qa_1: 2 samples of "), std::string::npos) << ran.err;
  EXPECT_EQ(read_text((out / "vt.jsonl").string(), ""), lines_of(generate("vt", 8192, 2, 42, "bytes")));
  EXPECT_EQ(read_ruler_jsonl((out / "qa_1.jsonl").string()).size(), 2u);

  ran = generated({"--task", "vt"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("vt.jsonl exists; give --force"), std::string::npos) << ran.err;
  ran = generated({"--task", "all", "--length", "2K", "--force"});
  EXPECT_EQ(ran.code, 2);                     // the others are written, and these are named
  EXPECT_NE(ran.err.find("of 13 tasks did not work: niah_single_2 does not fit in 2048 tokens"), std::string::npos)
      << ran.err;
  EXPECT_TRUE(fs::exists(out / "fwe.jsonl"));
  EXPECT_FALSE(fs::exists(out / "niah_single_2.jsonl"));
  ran = generated({"--task", "niah"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("the tasks are niah_single_1"), std::string::npos) << ran.err;
  EXPECT_EQ(generated({"--length", "-1"}).code, 2);
  EXPECT_EQ(generated({"--seed", "x"}).code, 2);
}

}  // namespace
}  // namespace kdabench::suites
