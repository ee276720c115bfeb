// Needles in a haystack: sentences that say a key's value, hidden in noise, essays or other needles.
// Source of templates and order of draws: NVIDIA/RULER, scripts/data/synthetic/{niah,constants}.py and synthetic.yaml.

#include <cmath>
#include <set>

#include "kernels/base/error.h"
#include "suites/python_random.h"
#include "suites/ruler/generator.h"
#include "suites/text.h"

namespace kdabench::suites::ruler {
namespace {

constexpr const char* kTemplate =
    "Some special magic {values} are hidden within the following text. Make sure to memorize it. I will quiz you about "
    "the {values} afterwards.\n{context}\nWhat are all the special magic {values} for {query} mentioned in the "
    "provided text?";
constexpr const char* kAnswerPrefix = " The special magic {values} for {query} mentioned in the provided text are";
constexpr const char* kNeedle = "One of the special magic {values} for {key} is: {value}.";
constexpr const char* kNoise =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

enum class Haystack { kNoise, kEssay, kNeedle };
enum class Kind { kWords, kNumbers, kUuids };
constexpr const char* kKindNames[] = {"words", "numbers", "uuids"};

struct Variant {
  const char* task;
  Haystack haystack;
  Kind key, value;
  size_t keys = 1, values = 1, queries = 1;
};
constexpr Variant kVariants[] = {
    {"niah_single_1", Haystack::kNoise, Kind::kWords, Kind::kNumbers},
    {"niah_single_2", Haystack::kEssay, Kind::kWords, Kind::kNumbers},
    {"niah_single_3", Haystack::kEssay, Kind::kWords, Kind::kUuids},
    {"niah_multikey_1", Haystack::kEssay, Kind::kWords, Kind::kNumbers, 4, 1, 1},
    {"niah_multikey_2", Haystack::kNeedle, Kind::kWords, Kind::kNumbers},
    {"niah_multikey_3", Haystack::kNeedle, Kind::kUuids, Kind::kUuids},
    {"niah_multivalue", Haystack::kEssay, Kind::kWords, Kind::kNumbers, 1, 4, 1},
    {"niah_multiquery", Haystack::kEssay, Kind::kWords, Kind::kNumbers, 4, 1, 4},
};

// sorted({adjective + "-" + noun}), six million strings, without writing them down: as long as no "adjective-" begins
// another, all of one adjective come before all of the next. Those that do ("blue-", "blue-eyed-") are merged.
class KeyWords {
 public:
  KeyWords(const std::vector<std::string>& adjectives, const std::vector<std::string>& nouns)
      : nouns_(sorted(nouns)) {
    std::set<std::string> prefixes;
    for (const std::string& adjective : adjectives) prefixes.insert(adjective + "-");
    for (auto at = prefixes.begin(); at != prefixes.end();) {
      Group group{*at, {}};
      std::set<std::string> merged;
      auto end = std::next(at);
      while (end != prefixes.end() && end->starts_with(group.prefix)) ++end;
      for (auto one = at; std::distance(at, end) > 1 && one != end; ++one)
        for (const std::string& noun : nouns_) merged.insert(*one + noun);
      group.words.assign(merged.begin(), merged.end());
      size_ += group.words.empty() ? nouns_.size() : group.words.size();
      groups_.push_back(std::move(group));
      ends_.push_back(size_);
      at = end;
    }
  }

  size_t size() const { return size_; }

  std::string operator[](size_t index) const {
    const auto i = static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), index) - ends_.begin());
    const Group& group = groups_[i];
    const size_t within = index - (i == 0 ? 0 : ends_[i - 1]);
    return group.words.empty() ? group.prefix + nouns_[within] : group.words[within];
  }

 private:
  struct Group {
    std::string prefix;
    std::vector<std::string> words;           // empty: the prefix with every noun
  };
  static std::vector<std::string> sorted(const std::vector<std::string>& words) {
    const std::set<std::string> unique(words.begin(), words.end());
    return {unique.begin(), unique.end()};
  }

  std::vector<std::string> nouns_;
  std::vector<Group> groups_;
  std::vector<size_t> ends_;                  // [group] words up to its end
  size_t size_ = 0;
};

// The first `count` words of the essays, repeated where there are not as many, cut into sentences.
std::vector<std::string_view> essay_sentences(const RulerEssays& essays, size_t count) {
  const size_t copies = (count - 1) / essays.words.size();
  const size_t cut = essays.words[(count - 1) % essays.words.size()];
  std::vector<std::string_view> sentences;
  const auto add_until = [&](size_t end) {
    const std::string_view text = right_stripped(std::string_view(essays.text).substr(0, end));
    for (size_t i = 0; i < essays.sentences.size() && essays.sentences[i] < text.size(); ++i) {
      const size_t begin = essays.sentences[i];
      const size_t next = i + 1 < essays.sentences.size() ? essays.sentences[i + 1] : text.size();
      sentences.push_back(right_stripped(text.substr(begin, std::min(next, text.size()) - begin)));
    }
  };
  for (size_t copy = 0; copy < copies; ++copy) add_until(essays.text.size());
  add_until(cut);
  return sentences;
}

class Niah {
 public:
  explicit Niah(const Job& job)
      : job_(job),
        variant_(*std::find_if(std::begin(kVariants), std::end(kVariants),
                               [&](const Variant& variant) { return job.task.name == variant.task; })),
        words_(job.data.adjectives, job.data.nouns),
        random_(job.request.seed) {
    require_text(job, words_.size() > 0, "words/nounlist.txt and words/adjectivelist.txt");
    if (variant_.haystack == Haystack::kEssay)
      require_text(job, !job.data.essays.words.empty(), "essays.json and essays_sentences.json");
  }

  std::vector<RulerSample> samples() {
    const bool essay = variant_.haystack == Haystack::kEssay;
    const int64_t least = essay ? 500 : job_.request.length < 4096 ? 5 : 25;
    const int64_t most = estimated_size(job_.request.length, tokens(draw(least)), least);
    const int64_t size = largest_size(least, most, [&](int64_t middle) {
      return job_.tokens(draw(middle).text()) <= job_.request.length;
    });
    std::vector<RulerSample> samples;
    for (int64_t i = 0; i < job_.request.samples; ++i) {
      job_.progress(static_cast<double>(i + 1) / static_cast<double>(job_.request.samples + 1));
      RulerSample sample = sample_of(fitted(job_, size, least, [&](int64_t n) { return draw(n); }), i);
      const std::string before = sample.input.substr(0, sample.input.find(sample.outputs.front()));
      // The official program reuses the name `index`: what it writes is the position of the answer.
      sample.index = static_cast<int64_t>(characters(before));
      sample.token_position_answer = static_cast<int64_t>(job_.tokenizer.encode(before).size());
      samples.push_back(std::move(sample));
    }
    return samples;
  }

 private:
  int64_t tokens(const Prompt& prompt) const {
    return static_cast<int64_t>(job_.tokenizer.encode(prompt.text()).size());
  }

  std::string any(Kind kind) {
    if (kind == Kind::kNumbers) return std::to_string(random_.integer(1000000, 9999999));
    return kind == Kind::kUuids ? random_.uuid4() : words_[random_.below(words_.size())];
  }

  std::string needle(const std::string& key, const std::string& value) const {
    return formatted(kNeedle, {{"values", kind_name()}, {"key", key}, {"value", value}});
  }

  std::string_view kind_name() const { return kKindNames[static_cast<int>(variant_.value)]; }

  Prompt draw(int64_t size) {
    std::vector<std::string> keys, needles;
    std::vector<std::vector<std::string>> values(variant_.keys);
    for (std::vector<std::string>& of_key : values) {
      keys.push_back(any(variant_.key));
      for (size_t i = 0; i < variant_.values; ++i) {
        of_key.push_back(any(variant_.value));
        needles.push_back(needle(keys.back(), of_key.back()));
      }
    }
    PythonRandom(job_.request.seed).shuffle(needles);
    const auto n = static_cast<size_t>(size);
    const std::string context = variant_.haystack == Haystack::kEssay ? among_essays(needles, n)
                                                                      : among_lines(needles, n);
    std::vector<std::string> answers;
    std::string query;
    const std::vector<size_t> asked = random_.sample(variant_.keys, variant_.queries);
    for (size_t i = 0; i < asked.size(); ++i) {
      if (i > 0) query += i + 1 < asked.size() ? ", " : ", and ";
      query += keys[asked[i]];
      answers.insert(answers.end(), values[asked[i]].begin(), values[asked[i]].end());
    }
    const bool one = answers.size() == 1;
    const std::string_view name = one ? kind_name().substr(0, kind_name().size() - 1) : kind_name();
    const auto filled = [&](std::string text) {
      if (one) text = replaced(replaced(replaced(text, "Some", "A"), "are all", "is"), "are", "is");
      return formatted(text, {{"values", name}, {"context", context}, {"query", query}});
    };
    return {filled(kTemplate), filled(kAnswerPrefix), std::move(answers)};
  }

  // At forty depths, 0 to 100 percent of the sentences; what stands between two needles may be nothing, and keeps its
  // spaces then.
  std::string among_essays(const std::vector<std::string>& needles, size_t words) {
    const std::vector<std::string_view> sentences = essay_sentences(job_.data.essays, words);
    std::vector<size_t> places;
    for (const size_t i : random_.sample(40, needles.size())) {
      const double depth = std::nearbyint(static_cast<double>(i) * (100.0 / 39));
      places.push_back(static_cast<size_t>(static_cast<double>(sentences.size()) * (depth / 100)));
    }
    std::sort(places.begin(), places.end());
    places.push_back(sentences.size());
    std::string text;
    size_t begin = 0;
    for (size_t i = 0; i < places.size(); ++i) {
      for (size_t j = begin; j < places[i]; ++j) {
        if (j > begin) text += ' ';
        text += sentences[j];
      }
      if (i < needles.size()) text.append(" ").append(needles[i]).append(" ");
      begin = places[i];
    }
    return text;
  }

  std::string among_lines(const std::vector<std::string>& needles, size_t count) {
    std::vector<std::string> lines;
    lines.reserve(count + needles.size());
    for (size_t i = 0; i < count; ++i) {
      if (variant_.haystack == Haystack::kNoise) {
        lines.emplace_back(kNoise);
      } else {
        const std::string key = any(variant_.key);
        lines.push_back(needle(key, any(variant_.value)));
      }
    }
    std::vector<size_t> places = random_.sample(count, needles.size());
    std::sort(places.rbegin(), places.rend());
    for (size_t i = 0; i < places.size(); ++i)
      lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(places[i]), needles[i]);
    return joined(lines, "\n");
  }

  const Job& job_;
  const Variant& variant_;
  KeyWords words_;
  PythonRandom random_;
};

}  // namespace

std::vector<RulerSample> niah(const Job& job) { return Niah(job).samples(); }

}  // namespace kdabench::suites::ruler
