// Frequent words: coded words whose counts follow a zeta distribution; the most frequent one is written as dots.
// Source of templates and order of draws: NVIDIA/RULER, scripts/data/synthetic/{freq_words_extraction,constants}.py.

#include <cmath>
#include <set>

#include "kernels/base/error.h"
#include "suites/python_random.h"
#include "suites/ruler/generator.h"
#include "suites/text.h"

namespace kdabench::suites::ruler {
namespace {

constexpr const char* kTemplate =
    "Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared "
    "coded words. {context}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the "
    "three most frequently appeared words in the above coded text?";
constexpr const char* kAnswerPrefix =
    " Answer: According to the coded text above, the three most frequently appeared words are:";
constexpr const char* kLetters = "abcdefghijklmnopqrstuvwxyz";
constexpr int kWordLetters = 6;
constexpr size_t kAnswers = 3;
constexpr double kZetaOf2 = 1.6449340668482264;                   // scipy.special.zeta(2.0)

class FrequentWords {
 public:
  explicit FrequentWords(const Job& job)
      : job_(job),
        random_(job.request.seed),
        limit_(job.request.length - job.task.generation_tokens),
        step_(limit_ / 32),
        vocabulary_(static_cast<size_t>(limit_ / 50)) {
    require(vocabulary_ > kAnswers, "fwe does not fit in ", job.request.length, " tokens: a word for every 50 makes ",
            vocabulary_, ", and 4 are asked about; use a length of at least ", 4 * 50 + job.task.generation_tokens,
            ".");
  }

  std::vector<RulerSample> samples() {
    // Words until the text is too long, with a vocabulary of its own.
    const std::vector<std::string> words = draw_words();
    int64_t count = limit_ / kWordLetters;
    while (tokens(prompt(words, count)) < limit_) count += step_;
    count -= step_;

    std::vector<RulerSample> samples;
    for (int64_t i = 0; i < job_.request.samples; ++i) {
      job_.progress(static_cast<double>(i + 1) / static_cast<double>(job_.request.samples + 1));
      const std::vector<std::string> own = draw_words();
      Prompt text = prompt(own, count);
      for (int64_t fewer = count - step_; tokens(text) > limit_; fewer -= step_) {
        const int64_t length = tokens(text) + job_.task.generation_tokens;
        require(fewer > 0, "fwe does not fit in ", job_.request.length, " tokens: the shortest prompt that was drawn "
                "takes ", length, " with the ", job_.task.generation_tokens, " to generate; use a length of at least ",
                length, ".");
        text = prompt(own, fewer);
      }
      const int64_t length = tokens(text) + job_.task.generation_tokens;
      samples.push_back(sample_of({std::move(text), length}, i));
    }
    return samples;
  }

 private:
  int64_t tokens(const Prompt& prompt) const {
    return static_cast<int64_t>(job_.tokenizer.encode(prompt.text()).size());
  }

  // By rank; the first is the noise.
  std::vector<std::string> draw_words() {
    std::set<std::string> unique;
    for (size_t i = 0; i < vocabulary_; ++i) unique.insert(random_.letters(kLetters, kWordLetters));
    while (unique.size() < vocabulary_) unique.insert(random_.letters(kLetters, kWordLetters));
    std::vector<std::string> words(unique.begin(), unique.end());
    PythonRandom(job_.request.seed).shuffle(words);
    words.front() = "...";
    return words;
  }

  Prompt prompt(const std::vector<std::string>& words, int64_t count) const {
    std::vector<const std::string*> drawn;
    for (size_t rank = 0; rank < words.size(); ++rank) {
      const double share = std::pow(static_cast<double>(rank + 1), -2.0);
      const double times = static_cast<double>(count) * share / kZetaOf2;
      drawn.insert(drawn.end(), static_cast<size_t>(times), &words[rank]);
    }
    PythonRandom(job_.request.seed).shuffle(drawn);
    std::string context;
    for (const std::string* word : drawn) {
      if (!context.empty()) context += ' ';
      context += *word;
    }
    return {formatted(kTemplate, {{"context", context}}), kAnswerPrefix,
            {words.begin() + 1, words.begin() + 1 + kAnswers}};
  }

  const Job& job_;
  PythonRandom random_;
  int64_t limit_;                             // tokens of the prompt
  int64_t step_;
  size_t vocabulary_;
};

}  // namespace

std::vector<RulerSample> frequent_words(const Job& job) { return FrequentWords(job).samples(); }

}  // namespace kdabench::suites::ruler
