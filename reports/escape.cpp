#include "reports/escape.h"

#include <algorithm>
#include <cstdint>

namespace kdabench::reports {
namespace {

template <class Replace> std::string each(std::string_view text, Replace replace) {
  std::string out;
  for (const char c : text) {
    const std::string_view with = replace(c);
    if (with.empty())
      out += c;
    else
      out += with;
  }
  return out;
}

bool control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

}  // namespace

std::string markdown_escaped(std::string_view text) {
  return each(text, [](char c) -> std::string_view {
    switch (c) {
      case '|': return "\\|";
      case '*': return "\\*";
      case '`': return "\\`";
      case '<': return "&lt;";
      default: return control(c) ? " " : "";
    }
  });
}

std::string latex_escaped(std::string_view text) {
  return each(text, [](char c) -> std::string_view {
    switch (c) {
      case '&': return "\\&";
      case '%': return "\\%";
      case '$': return "\\$";
      case '#': return "\\#";
      case '_': return "\\_";
      case '{': return "\\{";
      case '}': return "\\}";
      case '~': return "\\textasciitilde{}";
      case '^': return "\\textasciicircum{}";
      case '\\': return "\\textbackslash{}";
      case '<': return "\\textless{}";
      case '>': return "\\textgreater{}";
      default: return control(c) ? " " : "";
    }
  });
}

std::string html_escaped(std::string_view text) {
  return each(text, [](char c) -> std::string_view {
    switch (c) {
      case '&': return "&amp;";
      case '<': return "&lt;";
      case '>': return "&gt;";
      case '"': return "&quot;";
      case '\'': return "&#39;";
      default: return control(c) && c != '\n' && c != '\t' ? " " : "";
    }
  });
}

std::string csv_escaped(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  return "\"" + each(text, [](char c) -> std::string_view { return c == '"' ? "\"\"" : ""; }) + "\"";
}

std::string one_line(std::string_view text) {
  return each(text, [](char c) -> std::string_view { return control(c) ? " " : ""; });
}

std::string base64(std::string_view bytes) {
  constexpr const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t block = 0;
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    for (size_t j = 0; j < 3; ++j) block = block << 8 | (j < n ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (size_t j = 0; j < 4; ++j) out += j <= n ? kDigits[block >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

}  // namespace kdabench::reports
