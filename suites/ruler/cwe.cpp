// Common words: ten words that stand ten times as often as the others in a numbered list, after one worked example.
// Source of templates and order of draws: NVIDIA/RULER, scripts/data/synthetic/{common_words_extraction,constants}.py.

#include <cmath>
#include <set>

#include "kernels/base/error.h"
#include "suites/python_random.h"
#include "suites/ruler/generator.h"
#include "suites/text.h"

namespace kdabench::suites::ruler {
namespace {

constexpr const char* kTemplate =
    "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that "
    "appear most often.\n{context}\nQuestion: What are the 10 most common words in the above list?";
constexpr const char* kAnswerPrefix = " Answer: The top 10 words that appear most often in the list are:";
constexpr size_t kCommon = 10;
constexpr int64_t kLeast = 10, kFirstProbe = 4096;

// How often a common and another word stands in a list.
struct Repeats {
  int common, other;
};

struct WordList {
  std::string text;                           // "1. word 2. word ..."
  std::vector<std::string> common;
};

std::string numbered(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += ' ';
    text.append(std::to_string(i + 1)).append(". ").append(words[i]);
  }
  return text;
}

// a // b of two positive floats, as Python rounds it.
double floor_division(double a, double b) {
  const double quotient = (a - std::fmod(a, b)) / b, floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

class CommonWords {
 public:
  explicit CommonWords(const Job& job) : job_(job), random_(job.request.seed) {
    require_text(job, !job.data.nouns.empty(), "words/nounlist.txt, adjectivelist.txt and verblist.txt");
    std::set<std::string> unique;
    for (const auto* list : {&job.data.nouns, &job.data.adjectives, &job.data.verbs})
      unique.insert(list->begin(), list->end());
    words_.assign(unique.begin(), unique.end());
    PythonRandom(job.request.seed).shuffle(words_);
    available_ = static_cast<int64_t>(std::max(words_.size(), job.data.english_words.size()));
    require(words_.size() >= static_cast<size_t>(kFirstProbe), "cwe needs ", kFirstProbe, " different words; ",
            job.data.folder, "/words has ", words_.size(), ".");
  }

  std::vector<RulerSample> samples() {
    const int64_t limit = job_.request.length;
    const auto tokens = static_cast<double>(job_.tokenizer.encode(draw(kFirstProbe).text()).size());
    const double tokens_per_word = tokens / static_cast<double>(kFirstProbe);
    const int64_t most = 2 * static_cast<int64_t>(floor_division(static_cast<double>(limit), tokens_per_word));
    bool too_few_words = false;
    const int64_t size = largest_size(kLeast, most, [&](int64_t words) {
      too_few_words = too_few_words || words > available_;
      return words <= available_ && job_.tokens(draw(words).text()) <= limit;
    });
    require(!too_few_words || size < available_, "cwe at ", limit, " tokens wants more than the ", available_,
            " words there are; put english_words.json of NVIDIA/RULER (scripts/data/synthetic/json) into ",
            job_.data.folder, ".");
    std::vector<RulerSample> samples;
    for (int64_t i = 0; i < job_.request.samples; ++i) {
      job_.progress(static_cast<double>(i + 1) / static_cast<double>(job_.request.samples + 1));
      samples.push_back(sample_of(fitted(job_, size, kLeast, [&](int64_t words) { return draw(words); }), i));
    }
    return samples;
  }

 private:
  Prompt draw(int64_t words) {
    const bool small = job_.request.length < 4096;
    const WordList example = small ? draw_list(20, {3, 1}) : draw_list(40, {10, 3});
    WordList list = draw_list(words, small ? Repeats{6, 1} : Repeats{30, 3});
    const auto asked = [](const WordList& about) { return formatted(kTemplate, {{"context", about.text}}); };
    return {asked(example) + kAnswerPrefix + " " + numbered(example.common) + "\n" + asked(list), kAnswerPrefix,
            std::move(list.common)};
  }

  WordList draw_list(int64_t size, Repeats repeats) {
    const auto n = static_cast<size_t>(size);
    const std::vector<std::string>& source = n <= words_.size() ? words_ : job_.data.english_words;
    WordList list;
    std::vector<std::string> others, all;
    for (const size_t i : random_.sample(source.size(), n))
      (list.common.size() < kCommon ? list.common : others).push_back(source[i]);
    for (int i = 0; i < repeats.common; ++i) all.insert(all.end(), list.common.begin(), list.common.end());
    for (int i = 0; i < repeats.other; ++i) all.insert(all.end(), others.begin(), others.end());
    PythonRandom(job_.request.seed).shuffle(all);
    list.text = numbered(all);
    return list;
  }

  const Job& job_;
  PythonRandom random_;
  std::vector<std::string> words_;            // unique, in the order that the seed gives
  int64_t available_ = 0;
};

}  // namespace

std::vector<RulerSample> common_words(const Job& job) { return CommonWords(job).samples(); }

}  // namespace kdabench::suites::ruler
