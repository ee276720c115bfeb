// The texts that RULER's prompts are made of, from the files that the official generators read.

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/base/error.h"
#include "suites/ruler/ruler.h"
#include "suites/text.h"

namespace kdabench::suites {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

json parsed(const fs::path& path, const std::string& wanted, const json::parser_callback_t& callback = nullptr) {
  const std::string text = read_text(path.string(), wanted);
  try {
    return json::parse(text, callback);
  } catch (const json::parse_error& error) {
    fail(path.string(), " is damaged at byte ", error.byte, "; wanted ", wanted, ".");
  }
}

// Runs `read`; what it finds to be of another shape becomes one sentence.
template <class Read>
auto with_shape(const fs::path& path, const std::string& wanted, const Read& read) {
  try {
    return read(parsed(path, wanted));
  } catch (const json::exception&) {
    fail(path.string(), " is JSON of another shape; wanted ", wanted, ".");
  }
}

// As wonderwords reads its lists: a word a line, white space at its end removed.
std::vector<std::string> read_words(const fs::path& path) {
  const std::string text = read_text(path.string(), "a word a line");
  require_utf8(text, path.string());
  std::vector<std::string> words;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    words.emplace_back(right_stripped(std::string_view(text).substr(begin, end - begin)));
    begin = end + 1;
  }
  require(!words.empty(), path.string(), " is empty; wanted a word a line.");
  return words;
}

// The values of one object, in the file's order.
std::vector<std::string> read_english_words(const fs::path& path) {
  const std::string wanted = "one object whose values are words";
  std::vector<std::string> words;
  bool flat = true;
  parsed(path, wanted, [&](int depth, json::parse_event_t event, json& value) {
    if (event != json::parse_event_t::value) return true;
    flat = flat && depth == 1 && value.is_string();
    if (value.is_string()) words.push_back(value.get<std::string>());
    return false;                             // kept in `words`, not in the object, which would sort them
  });
  require(flat && !words.empty(), path.string(), " is JSON of another shape; wanted ", wanted, ".");
  return words;
}

RulerEssays read_essays(const fs::path& essays, const fs::path& sentences) {
  RulerEssays read;
  read.text = with_shape(essays, "an object with the essays as `text`", [](const json& root) {
    return with_single_spaces(root.at("text").get<std::string>());
  });
  require(!stripped(read.text).empty(), essays.string(), " holds no text.");
  for (size_t at = 0; (at = read.text.find(' ', at)) != std::string::npos; ++at) read.words.push_back(at);
  read.words.push_back(read.text.size());

  const auto list = with_shape(sentences, "a list of sentences", [](const json& root) {
    return root.get<std::vector<std::string>>();
  });
  size_t at = read.text.front() == ' ' ? 1 : 0;
  for (const std::string& sentence : list) {
    if (!read.sentences.empty() && at < read.text.size() && read.text[at] == ' ') ++at;
    require(!sentence.empty() && read.text.compare(at, sentence.size(), sentence) == 0, sentences.string(),
            ": sentence ", read.sentences.size() + 1, " is not the next one of ", essays.string(),
            "; wanted that text, cut into sentences.");
    read.sentences.push_back(at);
    at += sentence.size();
  }
  require(stripped(std::string_view(read.text).substr(at)).empty(), sentences.string(), " ends before ",
          essays.string(), " does; it is cut off.");
  return read;
}

// Sorted without duplicates, as both data sets are indexed.
std::map<std::string, size_t> numbered(const std::set<std::string>& documents) {
  std::map<std::string, size_t> numbers;
  for (const std::string& document : documents) numbers.emplace_hint(numbers.end(), document, numbers.size());
  return numbers;
}

RulerQa squad_of(const json& root) {
  std::set<std::string> contexts;
  for (const json& article : root.at("data"))
    for (const json& paragraph : article.at("paragraphs")) contexts.insert(paragraph.at("context").get<std::string>());
  const std::map<std::string, size_t> numbers = numbered(contexts);
  const auto number = [&](const json& paragraph) { return numbers.at(paragraph.at("context").get<std::string>()); };
  RulerQa qa{{contexts.begin(), contexts.end()}, {}};
  for (const json& article : root.at("data"))
    for (const json& paragraph : article.at("paragraphs"))
      for (const json& asked : paragraph.at("qas")) {
        if (asked.at("is_impossible").get<bool>()) continue;
        RulerQuestion question{asked.at("question"), {}, {number(paragraph)}, {}};
        for (const json& answer : asked.at("answers")) question.answers.push_back(answer.at("text"));
        for (const json& other : article.at("paragraphs"))
          if (number(other) != question.gold.front()) question.related.push_back(number(other));
        qa.questions.push_back(std::move(question));
      }
  return qa;
}

RulerQa hotpotqa_of(const json& root) {
  const auto document = [](const json& context) {
    std::string text = context.at(0).get<std::string>() + "\n";
    for (const json& sentence : context.at(1)) text += sentence.get<std::string>();
    return text;
  };
  std::set<std::string> documents;
  for (const json& asked : root)
    for (const json& context : asked.at("context")) documents.insert(document(context));
  const std::map<std::string, size_t> numbers = numbered(documents);
  RulerQa qa{{documents.begin(), documents.end()}, {}};
  for (const json& asked : root) {
    RulerQuestion question{asked.at("question"), {asked.at("answer")}, {}, {}};
    for (const json& context : asked.at("context")) question.gold.push_back(numbers.at(document(context)));
    qa.questions.push_back(std::move(question));
  }
  return qa;
}

}  // namespace

RulerData load_ruler_data(const std::string& folder) {
  std::error_code ignored;
  require(fs::is_directory(folder, ignored), "no folder ", folder, "; wanted the one that holds ruler/.");
  const fs::path root = there(fs::path(folder) / "ruler") ? fs::path(folder) / "ruler" : fs::path(folder);
  RulerData data;
  data.folder = root.string();
  const fs::path words = root / "words", essays = root / "essays.json", sentences = root / "essays_sentences.json";
  const bool has_words = there(words), has_essays = there(essays) && there(sentences);
  if (has_words) {
    data.nouns = read_words(words / "nounlist.txt");
    data.adjectives = read_words(words / "adjectivelist.txt");
    data.verbs = read_words(words / "verblist.txt");
  }
  if (there(root / "english_words.json")) data.english_words = read_english_words(root / "english_words.json");
  if (has_essays) data.essays = read_essays(essays, sentences);
  if (there(root / "squad.json")) data.squad = with_shape(root / "squad.json", "SQuAD 2.0", squad_of);
  if (there(root / "hotpotqa.json"))
    data.hotpotqa = with_shape(root / "hotpotqa.json", "HotpotQA's distractor set", hotpotqa_of);
  require(has_words || has_essays || !data.squad.documents.empty() || !data.hotpotqa.documents.empty(), root.string(),
          " holds none of RULER's texts; wanted words/, essays.json with essays_sentences.json, squad.json or "
          "hotpotqa.json.");
  return data;
}

}  // namespace kdabench::suites
