// Tokenizers: the splitters against published pieces, merging against the definition, rank files that are damaged.

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "harness/engine/tokenizer.h"
#include "kernels/base/error.h"

namespace kdabench::test {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;
using Ids = std::vector<int32_t>;

// Empty when the data is not there.
std::string data_file(const std::string& name) {
  const char* data = std::getenv("KDABENCH_DATA");
  const std::string path = std::string(data ? data : "") + "/tokenizers/" + name;
  return data && fs::exists(path) ? path : "";
}

Strings cut(Pattern pattern, std::string_view text) {
  const auto pieces = split(pattern, text);
  return {pieces.begin(), pieces.end()};
}

std::string base64(const std::string& bytes) {
  const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](size_t k) { return k < bytes.size() ? static_cast<uint8_t>(bytes[k]) : 0u; };
    const uint32_t bits = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    for (int k = 0; k < 4; ++k) text += i + k > bytes.size() ? '=' : digits[bits >> (18 - 6 * k) & 63];
  }
  return text;
}

// All bytes, then tokens over {a, b, c} whose rank is not their length, then a few words.
Strings tiny_vocabulary() {
  Strings tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(std::string(1, static_cast<char>(byte)));
  for (const char* token : {"bc", "ab", "aa", "abc", "cab", "aaaa", "bca", "aab", "he", "ll", "hell", "hello", " w"})
    tokens.push_back(token);
  return tokens;
}

std::string rank_lines(const Strings& tokens) {
  std::string lines;
  for (size_t rank = 0; rank < tokens.size(); ++rank)
    lines += base64(tokens[rank]) + " " + std::to_string(rank) + "\n";
  return lines;
}

class TokenizerFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("test_tokenizer_" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return (folder_ / name).string();
  }
  void expect_refused(const std::string& content, const std::string& says) const {
    const std::string path = write("bad.tiktoken", content);
    try {
      Tokenizer::load(path);
      FAIL() << "loaded, though: " << says;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }

  fs::path folder_;
};

// The definition: of all adjacent pairs that are tokens, merge the one of lowest rank, the leftmost of equal ones.
Ids merged_by_definition(const Strings& tokens, const std::string& piece) {
  std::map<std::string, int32_t> rank;
  for (size_t i = 0; i < tokens.size(); ++i) rank[tokens[i]] = static_cast<int32_t>(i);
  if (rank.count(piece)) return {rank[piece]};
  Strings parts;
  for (const char byte : piece) parts.push_back(std::string(1, byte));
  while (true) {
    int32_t best = INT32_MAX;
    size_t at = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = rank.find(parts[i] + parts[i + 1]);
      if (found != rank.end() && found->second < best) best = found->second, at = i;
    }
    if (best == INT32_MAX) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<int64_t>(at) + 1);
  }
  Ids ids;
  for (const std::string& part : parts) ids.push_back(rank[part]);
  return ids;
}

std::string random_bytes(std::mt19937& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST(Split, KimiByHand) {
  const auto kimi = [](std::string_view text) { return cut(Pattern::kKimi, text); };
  EXPECT_EQ(kimi("HTTPRequestHandler"), (Strings{"HTTPRequest", "Handler"}));
  EXPECT_EQ(kimi("Mixed混合Text文字"), (Strings{"Mixed", "混合", "Text", "文字"}));
  EXPECT_EQ(kimi("I'VE we'll x'q"), (Strings{"I'VE", " we'll", " x", "'q"}));
  EXPECT_EQ(kimi("it'\u017F"), (Strings{"it'\u017F"}));               // the long s is an s, whatever its case
  EXPECT_EQ(kimi("a  b \n\n  c  "), (Strings{"a", " ", " b", " \n\n", " ", " c", "  "}));
  EXPECT_EQ(kimi("12345 (a) !!\r\n"), (Strings{"123", "45", " (", "a", ")", " !!\r\n"}));
  EXPECT_EQ(kimi("\u0301A"), (Strings{"\u0301", "A"}));               // the mark is U*L+ alone, not a prefix of A
  EXPECT_EQ(kimi("\u0301a"), (Strings{"\u0301a"}));
  EXPECT_EQ(kimi("AあB"), (Strings{"Aあ", "B"}));                       // U* gives back up to the last letter of L
  EXPECT_EQ(kimi("〇々12"), (Strings{"〇々", "12"}));                   // a number and a modifier, both Han
  EXPECT_TRUE(kimi("").empty());
}

TEST(Split, Cl100kByHand) {
  const auto cl100k = [](std::string_view text) { return cut(Pattern::kCl100k, text); };
  EXPECT_EQ(cl100k("HTTPRequest getUserName"), (Strings{"HTTPRequest", " getUserName"}));
  EXPECT_EQ(cl100k("I'VE we'll 'sx"), (Strings{"I", "'VE", " we", "'ll", " '", "sx"}));
  EXPECT_EQ(cl100k("a\u0301b混合"), (Strings{"a", "\u0301b混合"}));
  EXPECT_EQ(cl100k("1234\u00A0x\n y"), (Strings{"123", "4", "\u00A0x", "\n", " y"}));
}

TEST(Split, InvalidUtf8IsSymbols) {
  for (const char* bad : {"\xFF", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE4\xBD", "\x80\x80"}) {
    EXPECT_EQ(cut(Pattern::kKimi, std::string("a 1") + bad + "\n"), (Strings{"a", " ", "1", std::string(bad) + "\n"}));
    EXPECT_EQ(cut(Pattern::kCl100k, std::string(" ") + bad), (Strings{std::string(" ") + bad}));
  }
}

TEST(Split, PiecesCoverAnyBytes) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    const std::string text = random_bytes(random, random() % 40);
    for (const Pattern pattern : {Pattern::kKimi, Pattern::kCl100k}) {
      std::string whole;
      for (const std::string& piece : cut(pattern, text)) whole += piece;
      EXPECT_EQ(whole, text);
    }
  }
}

TEST(Split, KimiSlices) {
  const auto sizes = [](const std::string& text) {
    std::vector<size_t> all;
    for (const auto slice : kimi_slices(text)) all.push_back(slice.size());
    return all;
  };
  EXPECT_EQ(sizes(std::string(25000, 'a') + " b"), (std::vector<size_t>{25002}));
  EXPECT_EQ(sizes(std::string(60000, 'a')), (std::vector<size_t>{25000, 25000, 10000}));
  std::string words;
  for (int i = 0; i < 250000; ++i) words += "é ";
  EXPECT_EQ(sizes(words), (std::vector<size_t>{600000, 150000}));      // 400,000 and 100,000 characters
}

TEST(Split, PublishedKimiPieces) {
  const std::string path = data_file("kimi_pieces.json");
  if (path.empty()) GTEST_SKIP() << "skipped: no data";
  const auto cases = nlohmann::json::parse(std::ifstream(path)).at("cases");
  EXPECT_EQ(cases.size(), 350u);
  for (const auto& one : cases)
    EXPECT_EQ(cut(Pattern::kKimi, one.at("text").get<std::string>()), one.at("pieces").get<Strings>());
}

// Kimi's rank file comes with the checkpoint; the pieces above need none.
TEST(Kimi, PublishedIds) {
  const std::string ranks = data_file("tiktoken.model"), path = data_file("kimi_pieces.json");
  if (ranks.empty() || path.empty()) GTEST_SKIP() << "skipped: no data";
  const Tokenizer tokenizer = Tokenizer::load(ranks);
  for (const auto& one : nlohmann::json::parse(std::ifstream(path)).at("cases")) {
    if (!one.contains("ids")) continue;
    EXPECT_EQ(tokenizer.encode(one.at("text").get<std::string>()), one.at("ids").get<Ids>());
  }
}

TEST_F(TokenizerFile, MergesByDefinition) {
  const Strings tokens = tiny_vocabulary();
  const Bpe bpe = Bpe::load(write("tiny.tiktoken", rank_lines(tokens)));
  EXPECT_EQ(bpe.size(), static_cast<int64_t>(tokens.size()));
  std::mt19937 random(2);
  for (int round = 0; round < 3000; ++round) {
    std::string piece(1 + random() % 30, 'a');
    for (char& byte : piece) byte = static_cast<char>('a' + random() % 3);
    Ids ids;
    bpe.encode(piece, ids);
    EXPECT_EQ(ids, merged_by_definition(tokens, piece)) << piece;
  }
}

TEST_F(TokenizerFile, RoundTripsAnyBytes) {
  const std::string path = write("tiny.tiktoken", rank_lines(tiny_vocabulary()));
  std::mt19937 random(3);
  for (const Tokenizer& tokenizer : {Tokenizer::load(path), Tokenizer::bpe(path, Pattern::kKimi),
                                     Tokenizer::load("bytes")}) {
    for (int round = 0; round < 300; ++round) {
      const std::string text = random_bytes(random, random() % 60) + "hello w\n";
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
    }
    EXPECT_THROW(tokenizer.decode(Ids{static_cast<int32_t>(tokenizer.size())}), Error);
    EXPECT_THROW(tokenizer.decode(Ids{-1}), Error);
  }
  EXPECT_EQ(Tokenizer::load(path).encode("hello w"), (Ids{267, 268}));
  EXPECT_EQ(Tokenizer::bytes().encode("a\xFF"), (Ids{97, 255}));
}

// 4 MB in one piece take seconds; quadratic merging would take hours.
TEST_F(TokenizerFile, LongPiecesAreNotQuadratic) {
  const Tokenizer tokenizer = Tokenizer::load(write("tiny.tiktoken", rank_lines(tiny_vocabulary())));
  const std::string text(size_t{4} << 20, 'a');
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(tokenizer.encode(text).size(), text.size() / 4);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST_F(TokenizerFile, DamagedFilesAreRefused) {
  const Strings tokens = tiny_vocabulary();
  const std::string good = rank_lines(tokens);
  EXPECT_NO_THROW(Tokenizer::load(write("good.tiktoken", good)));
  EXPECT_NO_THROW(Tokenizer::load(write("good.tiktoken", good.substr(0, good.size() - 1))));
  expect_refused("", "is empty");
  expect_refused(good.substr(0, good.size() - 3), "rank 2 occurs on line 3 already");   // 268, cut
  expect_refused(good.substr(0, good.size() - 5), "line 269, the last: wanted a token in base64");
  expect_refused(good + "aGk=\n", "line 270");
  expect_refused(good + "aGk= x\n", "line 270");
  expect_refused(good + "aGk= -1\n", "line 270");
  expect_refused(good + "a!k= 269\n", "line 270");
  expect_refused(good + "\n", "line 270");
  expect_refused(good + "aGk= 7\n", "rank 7 occurs on line 8 already");
  expect_refused(good + "aGk= 270\n", "rank 269 is missing, though line 270 has rank 270");
  expect_refused(good + "aGk= 99999999999\n", "line 270");
  expect_refused(good + base64("abc") + " 269\n", "the token with rank 269 has rank 259 already");
  expect_refused(rank_lines(Strings(tokens.begin(), tokens.begin() + 200)), "no rank for the single byte 200");
}

TEST_F(TokenizerFile, FoldersAndNames) {
  const auto refused = [](const std::string& where, const std::string& says) {
    try {
      Tokenizer::load(where);
      ADD_FAILURE() << where << " was loaded";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
    }
  };
  const std::string good = rank_lines(tiny_vocabulary());
  refused((folder_ / "none").string(), "no tokenizer at");
  refused(folder_.string(), "wanted tiktoken.model (Kimi) or one *.tiktoken file");
  refused(write("vocab.txt", good), "no tokenizer by its name");
  write("a.tiktoken", good);
  EXPECT_EQ(Tokenizer::load(folder_.string()).size(), 269);
  write("b.tiktoken", good);
  refused(folder_.string(), "holds 2 *.tiktoken files");
  refused(write("cl100k_base.tiktoken", good), "a file of that name has 100256");
  write("tiktoken.model", good);
  refused(folder_.string(), "a file of that name has 163584");
}

TEST(Cl100k, KnownIdsAndAnyBytes) {
  const std::string path = data_file("cl100k_base.tiktoken");
  if (path.empty()) GTEST_SKIP() << "skipped: no data";
  const Tokenizer tokenizer = Tokenizer::load(path);
  EXPECT_EQ(tokenizer.size(), 100256);
  EXPECT_EQ(tokenizer.encode("Hello world"), (Ids{9906, 1917}));
  EXPECT_EQ(tokenizer.encode("tiktoken is great!"), (Ids{83, 1609, 5963, 374, 2294, 0}));
  std::mt19937 random(4);
  for (int round = 0; round < 500; ++round) {
    const std::string text = random_bytes(random, random() % 200);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

}  // namespace
}  // namespace kdabench::test
