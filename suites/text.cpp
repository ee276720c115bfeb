#include "suites/text.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <unordered_map>

#include "kernels/base/error.h"
#include "suites/csv.h"

namespace kdabench::suites {
namespace {

#include "suites/text_tables.inc"

constexpr char32_t kCapitalSigma = 0x3A3, kSigma = 0x3C3, kFinalSigma = 0x3C2, kDottedI = 0x130, kDotAbove = 0x307;

char32_t lowercase(char32_t point) {
  static const std::unordered_map<char32_t, char32_t> table = [] {
    std::unordered_map<char32_t, char32_t> built;
    for (const auto& [first, count, stride, delta] : kLowercase)
      for (int32_t i = 0; i < count; ++i)
        built[static_cast<char32_t>(first + stride * i)] = static_cast<char32_t>(first + stride * i + delta);
    return built;
  }();
  if (point < 0x80) return point >= 'A' && point <= 'Z' ? point + 32 : point;
  const auto found = table.find(point);
  return found == table.end() ? point : found->second;
}

enum PointClass { kCased = 1, kIgnored = 2, kWord = 4, kPunctuation = 8 };

int point_class(char32_t point) {
  static const std::vector<char32_t> ends = [] {
    std::vector<char32_t> built;
    char32_t end = 0;
    for (const auto& [length, unused] : kClassRuns) built.push_back(end += static_cast<char32_t>(length));
    return built;
  }();
  return kClassRuns[std::upper_bound(ends.begin(), ends.end(), point) - ends.begin()][1];
}

// The code point at a byte, or an uncased one where the byte is no UTF-8.
struct Point {
  char32_t value;
  size_t bytes;
  bool valid;
};
Point point_at(std::string_view text, size_t at) {
  const CodePoint point = code_point(text, at);
  return point.bytes > 0 ? Point{point.value, point.bytes, true} : Point{0, 1, false};
}

void append(std::string& text, char32_t point) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80 | (point >> shift & 0x3F)); };
  if (point < 0x80) {
    text += static_cast<char>(point);
  } else if (point < 0x800) {
    text += static_cast<char>(0xC0 | point >> 6), tail(0);
  } else if (point < 0x10000) {
    text += static_cast<char>(0xE0 | point >> 12), tail(6), tail(0);
  } else {
    text += static_cast<char>(0xF0 | point >> 18), tail(12), tail(6), tail(0);
  }
}

// Unicode's Final_Sigma: a cased letter before it and none after it, looking through what is ignored for case.
bool ends_a_word(const std::vector<Point>& points, size_t sigma) {
  const auto first_that_counts = [&](size_t begin, size_t step) {      // step is 1, or -1 as an unsigned number
    size_t i = begin;
    while (i < points.size() && (point_class(points[i].value) & kIgnored) != 0) i += step;
    return i < points.size() && (point_class(points[i].value) & kCased) != 0;
  };
  return first_that_counts(sigma - 1, static_cast<size_t>(-1)) && !first_that_counts(sigma + 1, 1);
}

}  // namespace

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word(char32_t c) { return (point_class(c) & kWord) != 0; }

std::string without_punctuation(std::string_view text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const Point point = point_at(text, at);
    if (!point.valid || !(point_class(point.value) & kPunctuation)) result += text.substr(at, point.bytes);
    at += point.bytes;
  }
  return result;
}

std::string_view stripped(std::string_view text) { return left_stripped(right_stripped(text)); }

std::string_view left_stripped(std::string_view text) {
  size_t begin = 0;
  while (begin < text.size()) {
    const Point point = point_at(text, begin);
    if (!is_space(point.value)) break;
    begin += point.bytes;
  }
  return text.substr(begin);
}

std::string_view right_stripped(std::string_view text) {
  size_t end = 0;
  for (size_t at = 0; at < text.size();) {
    const Point point = point_at(text, at);
    at += point.bytes;
    if (!is_space(point.value)) end = at;
  }
  return text.substr(0, end);
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const Point point = point_at(text, at);
    if (is_space(point.value)) {
      if (begin < at) words.push_back(text.substr(begin, at - begin));
      begin = at + point.bytes;
    }
    at += point.bytes;
  }
  if (begin < text.size()) words.push_back(text.substr(begin));
  return words;
}

std::string with_single_spaces(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  bool in_space = false;
  for (size_t at = 0; at < text.size();) {
    const Point point = point_at(text, at);
    const bool space = is_space(point.value);
    if (!space) result += text.substr(at, point.bytes);
    else if (!in_space) result += ' ';
    in_space = space;
    at += point.bytes;
  }
  return result;
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += separator;
    text += parts[i];
  }
  return text;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  assert(!from.empty());
  std::string result;
  size_t begin = 0;
  for (size_t at; (at = text.find(from, begin)) != text.npos; begin = at + from.size()) {
    result += text.substr(begin, at - begin);
    result += to;
  }
  return result += text.substr(begin);
}

std::string lowered(std::string_view text) {
  std::vector<Point> points;
  for (size_t at = 0; at < text.size(); at += points.back().bytes) points.push_back(point_at(text, at));
  std::string result;
  result.reserve(text.size());
  size_t at = 0;
  for (size_t i = 0; i < points.size(); at += points[i++].bytes) {
    const Point& point = points[i];
    if (!point.valid) {
      result += text[at];
    } else if (point.value == kCapitalSigma) {
      append(result, ends_a_word(points, i) ? kFinalSigma : kSigma);
    } else if (point.value == kDottedI) {
      result += 'i';
      append(result, kDotAbove);
    } else {
      append(result, lowercase(point.value));
    }
  }
  return result;
}

size_t characters(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) at += point_at(text, at).bytes;
  return count;
}

std::string formatted(std::string_view pattern,
                      std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
  std::string result;
  for (size_t begin = 0; begin < pattern.size();) {
    const size_t open = std::min(pattern.find('{', begin), pattern.size());
    result += pattern.substr(begin, open - begin);
    if (open == pattern.size()) break;
    const size_t close = pattern.find('}', open);
    assert(close != pattern.npos);
    const std::string_view name = pattern.substr(open + 1, close - open - 1);
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.first == name; });
    assert(field != fields.end());
    result += field->second;
    begin = close + 1;
  }
  return result;
}

std::string read_text(const std::string& path, const std::string& wanted) {
  std::error_code ignored;
  require(std::filesystem::is_regular_file(path, ignored), path, " is not there; wanted ", wanted, ".");
  std::ifstream file(path, std::ios::binary);
  require(file.is_open(), path, " cannot be opened; check its permissions.");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  require(!file.bad(), path, " cannot be read to its end.");
  return text;
}

void require_utf8(std::string_view text, const std::string& name) {
  int64_t line = 1;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = code_point(text, at);
    require(point.bytes > 0, name, ":", line, " is not UTF-8.");
    line += point.value == '\n';
    at += point.bytes;
  }
}

}  // namespace kdabench::suites
