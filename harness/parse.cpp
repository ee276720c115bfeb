#include "harness/parse.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>

#include "harness/engine/registry.h"
#include "kernels/base/error.h"

namespace kdabench {
namespace {

[[noreturn]] void malformed(const std::string& flag, const char* wanted, const std::string& text) {
  fail("--", flag, " wants ", wanted, ", got '", text, "'.");
}

// The number that starts the text, and what follows it.
template <class T> bool split_number(const std::string& text, T& number, std::string& unit) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  unit.assign(stop, end);
  return error == std::errc() && stop != text.data();
}

struct Unit {
  const char* name;
  double factor;
};
constexpr Unit kByteUnits[] = {{"", 1},          {"B", 1},           {"kB", 1e3},        {"KB", 1e3},
                               {"MB", 1e6},      {"GB", 1e9},        {"TB", 1e12},       {"KiB", 0x1p10},
                               {"MiB", 0x1p20},  {"GiB", 0x1p30},    {"TiB", 0x1p40}};

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

}  // namespace

std::vector<std::string> parse_list(const std::string& flag, const std::string& text) {
  std::vector<std::string> items;
  if (trimmed(text).empty()) return items;
  size_t from = 0;
  while (true) {
    const size_t comma = text.find(',', from);
    const std::string item = trimmed(text.substr(from, comma == std::string::npos ? comma : comma - from));
    if (item.empty()) malformed(flag, "a list without empty entries", text);
    items.push_back(item);
    if (comma == std::string::npos) return items;
    from = comma + 1;
  }
}

int64_t parse_count(const std::string& flag, const std::string& text) {
  constexpr const char* kWanted = "a count such as 4096, 4K or 1M, 1 or more";
  int64_t number = 0;
  std::string unit;
  if (!split_number(text, number, unit) || number < 1) malformed(flag, kWanted, text);
  int shift = 0;
  if (unit == "K" || unit == "k") shift = 10;
  else if (unit == "M" || unit == "m") shift = 20;
  else if (unit == "G" || unit == "g") shift = 30;
  else if (!unit.empty()) malformed(flag, kWanted, text);
  if (number > (int64_t{1} << 40) >> shift) malformed(flag, "a count of 1T at the most", text);
  return number << shift;
}

std::vector<int64_t> parse_counts(const std::string& flag, const std::string& text) {
  std::vector<int64_t> counts;
  for (const std::string& item : parse_list(flag, text)) counts.push_back(parse_count(flag, item));
  if (counts.empty()) malformed(flag, "at least one count", text);
  return counts;
}

int64_t parse_bytes(const std::string& flag, const std::string& text) {
  constexpr const char* kWanted = "a size such as 64MB, 141GB or 56GiB, 1 byte or more";
  double number = 0;
  std::string unit;
  if (!split_number(text, number, unit) || !std::isfinite(number)) malformed(flag, kWanted, text);
  for (const Unit& known : kByteUnits)
    if (unit == known.name) {
      const double bytes = std::floor(number * known.factor);
      if (bytes < 1 || bytes > 0x1p60) malformed(flag, kWanted, text);
      return static_cast<int64_t>(bytes);
    }
  malformed(flag, kWanted, text);
}

double parse_bandwidth(const std::string& flag, const std::string& text) {
  const bool per_second = text.size() > 2 && text.substr(text.size() - 2) == "/s";
  if (!per_second) malformed(flag, "a bandwidth such as 4.3TB/s", text);
  return static_cast<double>(parse_bytes(flag, text.substr(0, text.size() - 2)));
}

int64_t parse_integer(const std::string& flag, const std::string& text, int64_t least) {
  int64_t number = 0;
  std::string rest;
  if (!split_number(text, number, rest) || !rest.empty() || number < least)
    malformed(flag, fmt::format("a whole number, {} or more", least).c_str(), text);
  return number;
}

double parse_real(const std::string& flag, const std::string& text, double least) {
  double number = 0;
  std::string rest;
  if (!split_number(text, number, rest) || !rest.empty() || !std::isfinite(number) || number < least) {
    const bool any = least == std::numeric_limits<double>::lowest();
    malformed(flag, any ? "a number" : fmt::format("a number, {} or more", least).c_str(), text);
  }
  return number;
}

std::string parse_choice(const std::string& flag, const std::string& text, const std::vector<std::string>& choices) {
  std::string known;
  for (const std::string& choice : choices) {
    if (text == choice) return text;
    known += (known.empty() ? "" : ", ") + choice;
  }
  const std::string near = nearest(text, choices);
  fail("--", flag, " wants one of ", known, ", got '", text, "'", near.empty() ? "" : "; did you mean " + near + "?",
       near.empty() ? "." : "");
}

std::vector<int32_t> parse_ids(const std::string& text, int64_t vocabulary) {
  std::vector<int32_t> ids;
  const char* const separators = ", \t\r\n";
  size_t at = text.find_first_not_of(separators);
  while (at != std::string::npos) {
    const size_t end = text.find_first_of(separators, at);
    const std::string word = text.substr(at, end == std::string::npos ? end : end - at);
    int64_t id = 0;
    std::string rest;
    if (!split_number(word, id, rest) || !rest.empty()) malformed("ids", "token ids such as 1,2,3", word);
    require(id >= 0 && id < vocabulary, "--ids has the token ", id, "; the vocabulary has ids 0 to ", vocabulary - 1,
            ".");
    ids.push_back(static_cast<int32_t>(id));
    at = text.find_first_not_of(separators, end);
  }
  require(!ids.empty(), "--ids has no token; give at least one, such as --ids 1,2,3.");
  return ids;
}

}  // namespace kdabench
