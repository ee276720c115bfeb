#pragma once
// Text into the formats that give some characters a meaning of their own.

#include <string>
#include <string_view>

namespace kdabench::reports {

std::string markdown_escaped(std::string_view text);  // for a cell of a table
std::string latex_escaped(std::string_view text);
std::string html_escaped(std::string_view text);      // for text and for attributes in double quotes
std::string csv_escaped(std::string_view text);       // quoted when it must be (RFC 4180)
std::string one_line(std::string_view text);          // control characters become spaces

std::string base64(std::string_view bytes);

}  // namespace kdabench::reports
