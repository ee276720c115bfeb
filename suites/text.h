#pragma once
// What Python's str methods do to UTF-8, where a benchmark's result hangs on it.

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kdabench::suites {

// str.isspace() of one code point, which is also what \s matches in `re`.
bool is_space(char32_t point);

// What \w matches in `re`, one code point.
bool is_word(char32_t point);

// Without the code points of a general category P.
std::string without_punctuation(std::string_view text);

// str.strip(), str.lstrip(), str.rstrip(). A byte that is no part of valid UTF-8 is no white space.
std::string_view stripped(std::string_view text);
std::string_view left_stripped(std::string_view text);
std::string_view right_stripped(std::string_view text);

// str.split(): words between white space.
std::vector<std::string_view> words_of(std::string_view text);

// re.sub(r"\s+", " ", text).
std::string with_single_spaces(std::string_view text);

// separator.join(parts).
std::string joined(const std::vector<std::string>& parts, std::string_view separator);

// str.replace(from, to); `from` is not empty.
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

// str.lower(), Unicode 14.0: also where one letter becomes two, and the final form of a capital sigma. Bytes that are
// no part of valid UTF-8 stay.
std::string lowered(std::string_view text);

// len(text): code points, where each byte that is no part of valid UTF-8 counts as one.
size_t characters(std::string_view text);

// str.format() with named fields. `pattern` holds no other braces; what a field stands for is not looked into.
std::string formatted(std::string_view pattern,
                      std::initializer_list<std::pair<std::string_view, std::string_view>> fields);

// The whole file. Error: not there, not readable, a folder; the message says what was `wanted`.
std::string read_text(const std::string& path, const std::string& wanted);

// Error: names the line that is not UTF-8.
void require_utf8(std::string_view text, const std::string& name);

}  // namespace kdabench::suites
