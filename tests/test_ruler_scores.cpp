// RULER's scores against a table that NVIDIA's functions filled in, its files at their edges, and what Python's str
// methods do.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "kernels/base/error.h"
#include "suites/ruler/ruler.h"
#include "suites/text.h"

namespace kdabench::suites {
namespace {

using Strings = std::vector<std::string>;

struct Replay {
  std::string prediction;
  Strings references;
  std::string processed;
  double all, part;
};

// What postprocess_pred(), string_match_all() and string_match_part() of NVIDIA/RULER (scripts/eval/, commit
// c3f5e3b4f87f; Python 3.11.7) make of each.
TEST(RulerScores, ReplayOfNvidias) {
  const std::vector<Replay> table = {
      {"", {"7"}, "", 0.0, 0.0},
      {"", {""}, "", 1.0, 1.0},
      {" 1234567.", {"1234567"}, "1234567.", 1.0, 1.0},
      {"12345678", {"1234567"}, "12345678", 1.0, 1.0},
      {"123 4567", {"1234567"}, "123 4567", 0.0, 0.0},
      {"abcde, FGHIJ and klmno", {"ABCDE", "fghij", "KLMNO", "PQRST"}, "abcde, FGHIJ and klmno", 0.75, 1.0},
      {"the France", {"France", "france", "FRANCE", "Gaul"}, "the France", 0.75, 1.0},
      {"No.", {"yes", "no"}, "No.", 0.5, 1.0},
      {"nowhere", {"no"}, "nowhere", 1.0, 1.0},
      {std::string("\000\001 4 \0372\n", 8), {"4", "2", "4 \n2"}, "4 \n2", 1.0, 1.0},
      {"a\007b", {"a\nb", "ab"}, "a\nb", 0.5, 1.0},
      {"\034\302\205\u3000x\u200b ", {"x", "x\u200b"}, "x\u200b", 1.0, 1.0},
      {"\u0130STANBUL", {"i\u0307stanbul", "istanbul"}, "\u0130STANBUL", 0.5, 1.0},
      {"\u039f\u0394\u039f\u03a3 \u03a3\u0391", {"\u03bf\u03b4\u03bf\u03c2", "\u03c3\u03b1", "\u03a3"},
       "\u039f\u0394\u039f\u03a3 \u03a3\u0391", 1.0, 1.0},
      {"STRASSE", {"stra\u00dfe"}, "STRASSE", 0.0, 0.0},
      {"\u1e9e", {"\u00df"}, "\u1e9e", 1.0, 1.0},
      {"caf\u00c9", {"CAF\u00e9"}, "caf\u00c9", 1.0, 1.0},
      {"\U00010400", {"\U00010428"}, "\U00010400", 1.0, 1.0},
      {"a,b", {"a", "b", "c"}, "a,b", 0.6666666666666666, 1.0},
      {"a\tb", {"a\tb", "a b"}, "a\nb", 0.0, 0.0},
  };
  for (const Replay& row : table) {
    const std::string processed = ruler_postprocess(row.prediction);
    EXPECT_EQ(processed, row.processed) << row.prediction;
    EXPECT_DOUBLE_EQ(ruler_sample_score(RulerMetric::kMatchAll, processed, row.references), row.all) << row.prediction;
    EXPECT_DOUBLE_EQ(ruler_sample_score(RulerMetric::kMatchPart, processed, row.references), row.part)
        << row.prediction;
  }
  EXPECT_THROW(ruler_sample_score(RulerMetric::kMatchAll, "x", {}), Error);
}

TEST(Text, LowerAsPython) {
  EXPECT_EQ(lowered("AZaz[`{"), "azaz[`{");
  EXPECT_EQ(lowered("\u00c0\u00de\u0100\u0101\u0178\u01c4\u01c5\u0410\u1e9e\u2126\u212b\uff21"),
            "\u00e0\u00fe\u0101\u0101\u00ff\u01c6\u01c6\u0430\u00df\u03c9\u00e5\uff41");
  EXPECT_EQ(lowered("\u0130"), "i\u0307");
  EXPECT_EQ(lowered("\u03a3"), "\u03c3");                                  // nothing before it
  EXPECT_EQ(lowered("A\u03a3"), "a\u03c2");
  EXPECT_EQ(lowered("A\u03a3B"), "a\u03c3b");
  EXPECT_EQ(lowered("A'\u03a3.\u0301"), "a'\u03c2.\u0301");                // looked through: ' . and the accent
  EXPECT_EQ(lowered("A \u03a3"), "a \u03c3");
  EXPECT_EQ(lowered("A\xff\u03a3\xc3"), "a\xff\u03c3\xc3");                // bytes that are no UTF-8 stay, uncased
}

TEST(Text, SpacesWordsAndFields) {
  EXPECT_EQ(stripped("\u3000\x1c a b\u200b \u0085"), "a b\u200b");
  EXPECT_EQ(stripped(" \n"), "");
  EXPECT_EQ(right_stripped(" a \xff "), " a \xff");
  EXPECT_EQ(words_of(" a\u00a0b \n"), (std::vector<std::string_view>{"a", "b"}));
  EXPECT_EQ(with_single_spaces(" a\t\u2003b\n"), " a b ");
  EXPECT_EQ(replaced("aaa", "aa", "b"), "ba");
  EXPECT_EQ(joined({"a", "", "b"}, ", "), "a, , b");
  EXPECT_EQ(joined({}, ", "), "");
  EXPECT_EQ(formatted("{x}-{y}{x}", {{"x", "{y}"}, {"y", ""}}), "{y}-{y}");
  EXPECT_EQ(characters("a\u00e9\U0001d11e\xff"), 4u);
}

class RulerFile : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  std::string says(const std::string& content) const {
    std::ofstream(path_, std::ios::binary) << content;
    try {
      read_ruler_jsonl(path_);
    } catch (const Error& error) {
      return std::string(error.what()).substr(path_.size());
    }
    return "no error";
  }
  const std::string path_ = testing::TempDir() + "ruler_" + std::to_string(getpid()) + ".jsonl";
};

TEST_F(RulerFile, LinesAsPythonWritesThem) {
  RulerSample sample{3, "a\"\\/\n\r\t\b\f\x1f\x7f\u00e9\u2028\U0001d11e", {"x", ""}, 9, 10, " A:", {}};
  EXPECT_EQ(ruler_jsonl_line(sample),
            "{\"index\": 3, \"input\": \"a\\\"\\\\/\\n\\r\\t\\b\\f\\u001f\x7f\\u00e9\\u2028\\ud834\\udd1e\", "
            "\"outputs\": [\"x\", \"\"], \"length\": 9, \"length_w_model_temp\": 10, \"answer_prefix\": \" A:\"}");
  sample.token_position_answer = 0;
  const std::string line = ruler_jsonl_line(sample);
  EXPECT_TRUE(line.ends_with("\" A:\", \"token_position_answer\": 0}")) << line;
  ASSERT_EQ(says(line + "\n\n" + line), "no error");
  const std::vector<RulerSample> read = read_ruler_jsonl(path_);
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(ruler_jsonl_line(read[1]), line);
  sample.input = "\xff";
  EXPECT_THROW(ruler_jsonl_line(sample), Error);
}

TEST_F(RulerFile, OlderFilesHaveFewerFields) {
  ASSERT_EQ(says("{\"input\": \"q\", \"outputs\": [\"a\"], \"others\": {}}\n"), "no error");
  const RulerSample sample = read_ruler_jsonl(path_).front();
  EXPECT_EQ(sample.prompt(), "q");
  EXPECT_EQ(sample.length, 0);
  EXPECT_FALSE(sample.token_position_answer);
}

TEST_F(RulerFile, BadLinesAreNamed) {
  const std::string good = "{\"input\": \"q\", \"outputs\": [\"a\"]}\n";
  EXPECT_EQ(says(""), " holds no samples.");
  EXPECT_EQ(says(good + good.substr(0, 20)), ":2 is cut off or damaged; wanted one JSON object a line.");
  EXPECT_EQ(says("{\"input\" \n" + good), ":1 is damaged; wanted one JSON object a line.");
  EXPECT_EQ(says(good + "{\"input\": \"\xff\", \"outputs\": [\"a\"]}\n" + good),
            ":2 is damaged; wanted one JSON object a line.");
  for (const char* bad : {"[]", "{\"outputs\": [\"a\"]}", "{\"input\": \"q\"}",
                          "{\"input\": \"q\", \"outputs\": \"a\"}", "{\"input\": 1, \"outputs\": [\"a\"]}",
                          "{\"input\": \"q\", \"outputs\": [1]}"})
    EXPECT_EQ(says(bad), ":1 is not a RULER sample with a string `input` and a list of strings `outputs`.") << bad;
  EXPECT_EQ(says("{\"input\": \"q\", \"outputs\": []}"), ":1 has no references; wanted at least one in `outputs`.");
  std::filesystem::remove(path_);
  EXPECT_THROW(read_ruler_jsonl(path_), Error);
}

}  // namespace
}  // namespace kdabench::suites
