#pragma once
// Scores of benchmarks whose answer is read out of generated text.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kdabench::suites {

// The text before the first of the stops; all of it where there is none.
std::string_view until_stop(std::string_view generated, const std::vector<std::string>& stops);

// What lm-eval's filter (?<=PHRASE)(.*)(?=.) finds first: what follows the phrase on its line, without the last
// character. Nothing where no phrase has anything after it on its line.
std::optional<std::string_view> after_phrase(std::string_view generated, std::string_view phrase);

// What \b[A-LAST]\b finds first or last: a letter that is a word by itself. Bytes that are no UTF-8 are no words.
enum class Which { kFirst, kLast };
std::optional<char> lone_letter(std::string_view text, char last, Which which);

struct GeneratedScore {
  std::string name;
  int64_t questions = 0, correct = 0;
  int64_t unread = 0;                         // no answer could be read: wrong, and worth a look

  double accuracy() const;
  // sqrt(p (1 - p) / (n - 1)); nothing for a single question.
  std::optional<double> standard_error() const;
};

struct GeneratedResult {
  std::vector<GeneratedScore> parts;          // categories or tasks
  GeneratedScore total;                       // every question weighs the same: the micro average
  double mean_of_parts() const;               // every part weighs the same: the macro average
};

GeneratedResult generated_result(const std::string& name, std::vector<GeneratedScore> parts);

}  // namespace kdabench::suites
