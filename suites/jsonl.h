#pragma once
// A JSON object a line. For .cpp files: nlohmann/json is slow to compile.

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "kernels/base/error.h"
#include "suites/text.h"

namespace kdabench::suites {

// Calls read(object, line) for every line that is not blank. Error: names file and line; what is not JSON is damaged,
// and a nlohmann exception of `read` means that the line is not what was `wanted`, "a question with text and answer".
template <class Read>
void read_json_lines(const std::string& path, const std::string& wanted, const Read& read) {
  const std::string text = read_text(path, "a JSON object a line, each " + wanted);
  int64_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view bytes = std::string_view(text).substr(begin, end - begin);
    ++line;
    begin = end + 1;
    if (stripped(bytes).empty()) continue;
    try {
      read(nlohmann::json::parse(bytes), line);
    } catch (const nlohmann::json::parse_error&) {
      fail(path, ":", line, end == text.size() ? " is cut off or damaged" : " is damaged",
           "; wanted one JSON object a line.");
    } catch (const nlohmann::json::exception&) {
      fail(path, ":", line, " is not ", wanted, ".");
    }
  }
}

}  // namespace kdabench::suites
