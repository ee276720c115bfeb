#pragma once
// Comma-separated values as RFC 4180 has them: fields in quotes may hold commas, doubled quotes and line breaks.
// Every field is text, byte for byte: "None", "NA" and "1e5" mean nothing here. Records end in LF or CRLF.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kdabench::suites {

struct CsvRow {
  int64_t line = 0;                           // where the record begins, counted from 1
  std::vector<std::string> fields;            // as many as the header has
};

struct CsvTable {
  std::string name;                           // for messages: the path
  std::vector<std::string> header;
  std::vector<CsvRow> rows;

  size_t column(const std::string& wanted) const;   // Error names the column that is missing
};

// Error: not UTF-8, a NUL byte, a stray or unclosed quote, a record of another length than the header; with name and
// line. A byte order mark is skipped.
CsvTable parse_csv(std::string_view text, const std::string& name);

CsvTable read_csv(const std::string& path);

// The code point that starts at `at`, and its bytes; 0 bytes where that is not UTF-8 (RFC 3629).
struct CodePoint {
  char32_t value = 0;
  size_t bytes = 0;
};
CodePoint code_point(std::string_view text, size_t at);

}  // namespace kdabench::suites
