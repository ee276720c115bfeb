#pragma once
// Reports as JSON. The fields visitor of reports/record.h drives both directions, so that a field exists
// once.
//
// Rules of the format: keys keep the order of the visitor; an empty optional value is null, an empty optional
// block (timing, throughput, ...) is left out; integers beyond 2^53 are strings of digits; NaN and infinity
// are refused. A reader ignores keys it does not know (a minor version adds keys) and refuses another major
// version.

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "reports/error.h"
#include "reports/record.h"

namespace kdabench::reports {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// These throw Error naming the JSON path of what is not finite, missing, or of another type.
Json to_json(const Report& report);
Json to_json(const Cell& cell);
Report report_from_json(const Json& json);
Cell cell_from_json(const Json& json);

// Readable text: what fits in `width` columns is one line, and so is any array of plain values.
std::string pretty(const Json& json, size_t width = 110, size_t indent = 0);

// Parses without asking what it means. Throws Error: no such file, or malformed at byte N.
Json read_json(const fs::path& path);

// Throws Error as above, and for another schema or major version.
Report read_report(const fs::path& path);

// Writes PATH.tmp, then renames: a reader sees the old report or the new one, never half of one.
void write_report(const fs::path& path, const Report& report);

// Throws Error unless write_report(path) and CellStream(path) could write. Call it before measuring anything.
void check_writable(const fs::path& path);

// Finished cells, one a line in OUT.jsonl, so that a killed run loses at most the cell it was in.
class CellStream {
 public:
  // With resume, reads the cells that an earlier run left; a last line that was cut short is dropped, and any
  // other bad line is an Error. Without resume the file starts empty.
  CellStream(const fs::path& out, bool resume);

  const std::vector<Cell>& resumed() const { return resumed_; }
  void append(const Cell& cell);

  // Deletes OUT.jsonl, once the whole report is on disk.
  void remove();

  static fs::path path_for(const fs::path& out);

 private:
  fs::path path_;
  std::ofstream file_;
  std::vector<Cell> resumed_;
};

}  // namespace kdabench::reports
