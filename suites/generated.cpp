#include "suites/generated.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "suites/csv.h"
#include "suites/text.h"

namespace kdabench::suites {

std::string_view until_stop(std::string_view generated, const std::vector<std::string>& stops) {
  size_t end = generated.size();
  for (const std::string& stop : stops) end = std::min(end, generated.find(stop));
  return generated.substr(0, end);
}

std::optional<std::string_view> after_phrase(std::string_view generated, std::string_view phrase) {
  for (size_t at = 0; (at = generated.find(phrase, at)) != generated.npos; ++at) {
    const std::string_view rest = generated.substr(at + phrase.size());
    size_t last = std::min(rest.find('\n'), rest.size());
    if (last == 0) continue;
    do --last;                                // back to where the last character begins
    while (last > 0 && (static_cast<unsigned char>(rest[last]) & 0xC0) == 0x80);
    return rest.substr(0, last);
  }
  return {};
}

std::optional<char> lone_letter(std::string_view text, char last, Which which) {
  std::optional<char> found;
  bool word_before = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = code_point(text, at);
    const size_t next = at + std::max<size_t>(point.bytes, 1);
    if (!word_before && text[at] >= 'A' && text[at] <= last) {
      const CodePoint after = next < text.size() ? code_point(text, next) : CodePoint{};
      if (after.bytes == 0 || !is_word(after.value)) found = text[at];
      if (found && which == Which::kFirst) break;
    }
    word_before = point.bytes > 0 && is_word(point.value);
    at = next;
  }
  return found;
}

double GeneratedScore::accuracy() const {
  assert(questions > 0);
  return static_cast<double>(correct) / static_cast<double>(questions);
}

std::optional<double> GeneratedScore::standard_error() const {
  if (questions < 2) return std::nullopt;
  const double p = accuracy();
  return std::sqrt(p * (1 - p) / static_cast<double>(questions - 1));
}

double GeneratedResult::mean_of_parts() const {
  assert(!parts.empty());
  double sum = 0;
  for (const GeneratedScore& part : parts) sum += part.accuracy();
  return sum / static_cast<double>(parts.size());
}

GeneratedResult generated_result(const std::string& name, std::vector<GeneratedScore> parts) {
  GeneratedResult result{std::move(parts), {name}};
  for (const GeneratedScore& part : result.parts) {
    result.total.questions += part.questions;
    result.total.correct += part.correct;
    result.total.unread += part.unread;
  }
  return result;
}

}  // namespace kdabench::suites
