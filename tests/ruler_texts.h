#pragma once
// Made-up texts for RULER's generators, small enough to stand in code, and a tokenizer that goes with them: with
// accents, quotes, words in several lists, adjectives that begin others, and passages in one article.

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/base/error.h"

namespace kdabench::test {

inline std::string base64(const std::string& bytes) {
  const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](size_t k) { return k < bytes.size() ? static_cast<uint8_t>(bytes[k]) : 0u; };
    const uint32_t bits = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    for (size_t k = 0; k < 4; ++k) text += i + k > bytes.size() ? '=' : digits[bits >> (18 - 6 * k) & 63];
  }
  return text;
}

// Writes the texts as RULER's files, and small.tiktoken. `english_words`: with english_words.json.
inline void write_ruler_texts(const std::filesystem::path& folder, bool english_words) {
  using nlohmann::json;
  namespace fs = std::filesystem;
  fs::create_directories(folder / "words");
  const auto write = [&](const std::string& name, const std::string& content) {
    std::ofstream(folder / name, std::ios::binary) << content;
  };
  const std::string letters = "abcdefghijklmnopq";
  const auto coded = [&](size_t number, int digits) {
    std::string word;
    for (; digits > 0; --digits, number /= 17) word.insert(word.begin(), letters[number % 17]);
    return word;
  };

  std::string nouns, english;
  for (size_t i = 0; i < 4913; ++i) nouns += text("n", coded(i, 3), "\n");
  write("words/nounlist.txt", nouns);
  write("words/adjectivelist.txt", "blue\nwet \nblue-eyed \nold\ncaf\u00e9\nold-fashioned\n");
  write("words/verblist.txt", "run\nwalk\nblue\n");
  // As text, because a json object would sort its keys.
  for (size_t i = 0; i < 12000; ++i) english += text(i > 0 ? ", " : "{", "\"", i, "\": \"w", coded(i, 4), "\"");
  if (english_words) write("english_words.json", english + "}");

  std::vector<std::string> sentences;
  std::string essays;
  for (int i = 0; i < 3000; ++i) {
    std::string sentence = text("Sentence ", i, " of the essays");
    for (int j = 0; j < i % 7; ++j) sentence += " goes on";
    sentences.push_back(sentence + (i % 5 == 0 ? "; and ends." : "."));
    if (i > 0) essays += '\n';
    essays += sentences.back();
  }
  write("essays.json", json{{"text", essays}}.dump());
  write("essays_sentences.json", json(sentences).dump());

  json articles = json::array(), hotpotqa = json::array();
  for (int a = 0; a < 40; ++a) {
    json paragraphs = json::array();
    for (int p = 0; p < 3; ++p) {
      const std::string number = text(3 * a + p);
      const json answers = {{{"text", number + " \u00b0C"}}, {{"text", number}}};
      const json asked = {{"question", text("How warm is ", a, ", ", p, "?")}, {"is_impossible", false},
                          {"answers", answers}};
      const json unanswerable = {{"question", "Why?"}, {"is_impossible", true}, {"answers", json::array()}};
      paragraphs.push_back({{"context", text("Passage ", p, " of article ", a, " says that ", number,
                                             " \u00b0C is \"the\" answer.")},
                            {"qas", {asked, unanswerable}}});
    }
    articles.push_back({{"paragraphs", paragraphs}});
  }
  write("squad.json", json{{"data", articles}}.dump());
  for (int q = 0; q < 20; ++q) {
    json contexts = json::array();
    for (int c = 0; c < 10; ++c)
      contexts.push_back(json::array({text("Title ", q % 5, "-", c), {"First sentence.", " Second \U0001d11e one."}}));
    hotpotqa.push_back({{"question", text("Who is ", q, "?")}, {"answer", text("number ", q)}, {"context", contexts}});
  }
  write("hotpotqa.json", hotpotqa.dump());

  std::string ranks;
  int rank = 0;
  for (int byte = 0; byte < 256; ++byte) ranks += text(base64({static_cast<char>(byte)}), " ", rank++, "\n");
  for (const char* word :
       {"The", " grass", " is", " green", " sky", " blue", " sun", " yellow", " Here", " we", " go", " There", " and",
        " back", " again", " VAR", " the", " of", " special", " magic", " sentence", "Sentence", " One", "One",
        " numbers", " for", " value", " variable", " variables", " assignment", " assigned", " text", " above",
        " chain", " following", "Question", " Answer", " that", " are", " in"})
    ranks += text(base64(word), " ", rank++, "\n");
  write("small.tiktoken", ranks);
}

}  // namespace kdabench::test
