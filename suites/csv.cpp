#include "suites/csv.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "kernels/base/error.h"

namespace kdabench::suites {
namespace {

void check_text(std::string_view text, const std::string& name) {
  int64_t line = 1;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = code_point(text, at);
    require(point.bytes > 0, name, ":", line, " is not UTF-8.");
    // Prompts are told apart by NUL bytes, so none may hold one.
    require(point.value != 0, name, ":", line, " holds a NUL byte; wanted text.");
    line += point.value == '\n';
    at += point.bytes;
  }
}

class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  bool done() const { return at_ == text_.size(); }

  CsvRow record() {
    CsvRow row{line_, {}};
    do row.fields.push_back(peek() == '"' ? quoted() : bare());
    while (take(','));
    if (done()) return row;
    take('\r');
    require(take('\n'), name_, ":", line_, " has a carriage return without a line feed outside quotes.");
    ++line_;
    return row;
  }

 private:
  char peek() const { return done() ? '\0' : text_[at_]; }

  bool take(char wanted) {
    if (peek() != wanted) return false;
    ++at_;
    return true;
  }

  std::string bare() {
    const size_t end = std::min(text_.find_first_of(",\r\n\"", at_), text_.size());
    const std::string_view field = text_.substr(at_, end - at_);
    at_ = end;
    require(peek() != '"', name_, ":", line_, " has a quote inside a field that is not quoted.");
    return std::string(field);
  }

  std::string quoted() {
    const int64_t begin = line_;
    std::string field;
    for (++at_; !done(); ++at_) {
      if (text_[at_] == '"') {
        ++at_;
        if (peek() != '"') {
          const char next = peek();
          require(done() || next == ',' || next == '\r' || next == '\n', name_, ":", line_,
                  " has text after a closing quote; wanted a comma or the end of the line.");
          return field;
        }
      }
      line_ += text_[at_] == '\n';
      field += text_[at_];
    }
    fail(name_, ":", begin, " opens a quote that nothing closes.");
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

CodePoint code_point(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return {first, 1};
  const size_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || at + bytes > text.size()) return {};
  char32_t value = first & (0x7F >> bytes);
  for (size_t i = at + 1; i < at + bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (bytes == 3 && value < 0x800) || (bytes == 4 && value < 0x10000);
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (overlong || surrogate || value > 0x10FFFF) return {};
  return {value, bytes};
}

size_t CsvTable::column(const std::string& wanted) const {
  const auto found = std::find(header.begin(), header.end(), wanted);
  if (found != header.end()) return static_cast<size_t>(found - header.begin());
  std::string names;
  for (const std::string& column : header) names += (names.empty() ? "" : ", ") + column;
  fail(name, " has no column ", wanted, "; its header is ", names, ".");
}

CsvTable parse_csv(std::string_view text, const std::string& name) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  check_text(text, name);
  require(!text.empty(), name, " is empty; wanted a header and rows.");
  CsvReader reader(text, name);
  CsvTable table;
  table.name = name;
  table.header = reader.record().fields;
  while (!reader.done()) {
    table.rows.push_back(reader.record());
    const CsvRow& row = table.rows.back();
    require(row.fields.size() == table.header.size(), name, ":", row.line, " has ", row.fields.size(),
            row.fields.size() == 1 ? " field" : " fields", "; its header has ", table.header.size(), ".");
  }
  return table;
}

CsvTable read_csv(const std::string& path) {
  std::error_code ignored;
  require(std::filesystem::is_regular_file(path, ignored), path, " is not there; wanted a CSV file.");
  std::ifstream file(path, std::ios::binary);
  require(file.is_open(), path, " cannot be opened; check its permissions.");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  require(!file.bad(), path, " cannot be read to its end.");
  return parse_csv(text, path);
}

}  // namespace kdabench::suites
