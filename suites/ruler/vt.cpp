// Variable tracking: a chain of assignments in noise, after one worked example.
// Source of templates and order of draws: NVIDIA/RULER, scripts/data/synthetic/{variable_tracking,constants}.py.

#include <set>

#include "suites/python_random.h"
#include "suites/ruler/generator.h"
#include "suites/text.h"

namespace kdabench::suites::ruler {
namespace {

constexpr const char* kTemplate =
    "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{context}\nQuestion: Find "
    "all variables that are assigned the value {query} in the text above.";
constexpr const char* kAnswerPrefix =
    " Answer: According to the chain(s) of variable assignment in the text above, 5 variables are assigned the value "
    "{query}, they are: ";
constexpr const char* kNoise =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
constexpr const char* kCapitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr const char* kExampleValue = "12345";
constexpr size_t kNames = 5;                  // of one chain with 4 hops
constexpr int64_t kExampleTokens = 500;

class VariableTracking {
 public:
  explicit VariableTracking(const Job& job)
      : job_(job), random_(job.request.seed), numbers_(static_cast<uint32_t>(job.request.seed)) {}

  std::vector<RulerSample> samples() {
    const std::string example = worked_example();
    const int64_t limit = job_.request.length, extra = tokens(example) + job_.task.generation_tokens;
    const int64_t least = limit < 4096 ? 5 : 10;
    const int64_t most = estimated_size(limit, tokens(drawn(least, false).text()), least);
    const int64_t size = largest_size(least, most, [&](int64_t middle) {
      return tokens(drawn(middle, false).text()) + extra <= limit;
    });
    const auto draw = [&](int64_t noise) {
      std::optional<Prompt> prompt = draw_once(noise, false);
      if (prompt) prompt->input = with_other_names(example) + '\n' + prompt->input;
      return prompt;
    };
    std::vector<RulerSample> samples;
    for (int64_t i = 0; i < job_.request.samples; ++i) {
      job_.progress(static_cast<double>(i + 1) / static_cast<double>(job_.request.samples + 1));
      samples.push_back(sample_of(fitted(job_, size, least, draw), i));
    }
    return samples;
  }

 private:
  int64_t tokens(const std::string& text) const { return static_cast<int64_t>(job_.tokenizer.encode(text).size()); }

  std::string name(size_t letters) { return random_.letters(kCapitals, static_cast<int>(letters)); }

  std::string value() { return std::to_string(numbers_.integer(10000, 99999)); }

  // Nothing where the official program raises an exception: fewer noise lines than assignments, or a name drawn twice,
  // which leaves it with a second chain of a single name.
  std::optional<Prompt> draw_once(int64_t noise, bool example) {
    std::vector<std::string> names;
    for (size_t i = 0; i < kNames; ++i) names.push_back(name(example ? 3 : 5));
    while (std::set<std::string>(names.begin(), names.end()).size() < kNames) names.push_back(name(example ? 3 : 5));
    const std::string first = example ? kExampleValue : value();
    if (names.size() > kNames) {
      if (!example) value();
      return {};
    }
    if (noise < static_cast<int64_t>(kNames)) return {};

    std::vector<std::string> lines(static_cast<size_t>(noise), kNoise);
    std::vector<size_t> places = random_.sample(lines.size(), kNames);
    std::sort(places.begin(), places.end());
    for (size_t i = 0; i < kNames; ++i) {
      const std::string assigned = i == 0 ? first : "VAR " + names[i - 1] + " ";
      lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(places[i] + i), "VAR " + names[i] + " = " + assigned);
    }
    return Prompt{formatted(kTemplate, {{"context", joined(lines, "\n")}, {"query", first}}),
                  formatted(kAnswerPrefix, {{"query", first}}), std::move(names)};
  }

  // For the searches, where an exception would end the official program.
  Prompt drawn(int64_t noise, bool example) {
    while (true)
      if (std::optional<Prompt> prompt = draw_once(noise, example)) return std::move(*prompt);
  }

  // The example that all samples share, before its names are changed.
  std::string worked_example() {
    constexpr int64_t kLeast = 5;
    const int64_t most = estimated_size(kExampleTokens, tokens(drawn(kLeast, true).text()), kLeast);
    int64_t size = largest_size(kLeast, most, [&](int64_t middle) {
      return tokens(drawn(middle, true).text()) <= kExampleTokens;
    });
    std::optional<Prompt> prompt = draw_once(size, true);
    while (!prompt || (tokens(prompt->text()) > kExampleTokens && size > kLeast)) {
      size = std::max(size - kLeast, kLeast);
      prompt = draw_once(size, true);
    }
    return prompt->text() + ' ' + joined(prompt->answers, " ") + '\n';
  }

  // Replaced wherever they stand, as the official program does, a name that is part of a word included.
  std::string with_other_names(std::string example) {
    const std::vector<std::string_view> words = words_of(example);
    const std::vector<std::string> names(words.end() - kNames, words.end());
    for (const std::string& old : names) example = replaced(example, old, name(old.size()));
    return replaced(example, kExampleValue, value());
  }

  const Job& job_;
  PythonRandom random_;
  NumpyRandom numbers_;
};

}  // namespace

std::vector<RulerSample> variable_tracking(const Job& job) { return VariableTracking(job).samples(); }

}  // namespace kdabench::suites::ruler
