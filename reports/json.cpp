#include "reports/json.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <type_traits>

#include "reports/escape.h"
#include "reports/fields.h"
#include "reports/migrate.h"

namespace kdabench::reports {
namespace {

// Beyond it a double, and so most JSON readers, lose digits.
constexpr int64_t kLargestExact = int64_t{1} << 53;

// Text that is not UTF-8 (an odd path in argv) costs its odd bytes, not the report.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

template <class T> Json write(const T& value, const JsonPath& path) {
  if constexpr (IsRecord<T>) {
    Json out = Json::object();
    visit_const(value, [&](const char* name, const auto& member, const char*) {
      using Member = std::decay_t<decltype(member)>;
      const JsonPath here{&path, name};
      if constexpr (kIsBlock<Member>) {
        if (member) out[name] = write(*member, here);
      } else {
        out[name] = write(member, here);
      }
    });
    return out;
  } else if constexpr (kIsOptional<T>) {
    return value ? write(*value, path) : Json(nullptr);
  } else if constexpr (kIsVector<T>) {
    Json out = Json::array();
    for (size_t i = 0; i < value.size(); ++i) out.push_back(write(value[i], JsonPath{&path, nullptr, i}));
    return out;
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value))
      throw Error(fmt::format("{}: wanted a finite number, found {}; what was not measured is left empty",
                              path.str(), value));
    return value;
  } else if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    const bool exact = value <= T{kLargestExact} && (std::is_unsigned_v<T> || value >= T(-kLargestExact));
    return exact ? Json(value) : Json(std::to_string(value));
  } else if constexpr (std::is_same_v<T, std::map<std::string, std::string>>) {
    Json out = Json::object();
    for (const auto& [key, text] : value) out[key] = text;
    return out;
  } else {
    return value;
  }
}

[[noreturn]] void mismatch(const JsonPath& path, const char* wanted, const Json& found) {
  std::string text = dump(found);
  if (text.size() > 40) text = text.substr(0, 40) + "...";
  throw Error(fmt::format("{}: wanted {}, found {}; run kdabench validate for the whole list", path.str(),
                          wanted, text));
}

template <class T> void read(const Json& json, T& value, const JsonPath& path) {
  if constexpr (IsRecord<T>) {
    if (!json.is_object()) mismatch(path, "an object", json);
    value.fields([&](const char* name, auto& member, const char*) {
      using Member = std::decay_t<decltype(member)>;
      const JsonPath here{&path, name};
      const auto found = json.find(name);
      if constexpr (kIsBlock<Member>) {
        if (found != json.end()) read(*found, member.emplace(), here);
      } else {
        if (found == json.end())
          throw Error(fmt::format(
              "{}: wanted this field, found none; run kdabench validate for the whole list", here.str()));
        read(*found, member, here);
      }
    });
  } else if constexpr (kIsOptional<T>) {
    if (!json.is_null()) read(json, value.emplace(), path);
  } else if constexpr (kIsVector<T>) {
    if (!json.is_array()) mismatch(path, "an array", json);
    value.resize(json.size());
    for (size_t i = 0; i < value.size(); ++i) read(json[i], value[i], JsonPath{&path, nullptr, i});
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) mismatch(path, "true or false", json);
    value = json.get<bool>();
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!json.is_number()) mismatch(path, "a number", json);
    value = json.get<T>();
  } else if constexpr (std::is_integral_v<T>) {
    if (json.is_number_unsigned() && json.get<uint64_t>() > uint64_t(std::numeric_limits<T>::max()))
      mismatch(path, "an integer that fits", json);
    if (json.is_number_integer() && (std::is_signed_v<T> || json.is_number_unsigned())) {
      value = json.get<T>();
      return;
    }
    if (!json.is_string()) mismatch(path, "an integer", json);
    const std::string text = json.get<std::string>();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) mismatch(path, "an integer", json);
  } else if constexpr (std::is_same_v<T, std::map<std::string, std::string>>) {
    if (!json.is_object()) mismatch(path, "an object", json);
    for (const auto& [key, text] : json.items()) read(text, value[key], JsonPath{&path, key.c_str()});
  } else {
    if (!json.is_string()) mismatch(path, "a string", json);
    value = json.get<std::string>();
  }
}

// A report is 8 levels deep. Code that walks a document recurses, so that depth is bounded before any exists.
constexpr int kDeepest = 100;

bool too_deep(const std::string& text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\')
      ++i;
    else if (c == '"')
      quoted = !quoted;
    else if (!quoted && (c == '[' || c == '{') && ++depth > kDeepest)
      return true;
    else if (!quoted && (c == ']' || c == '}'))
      --depth;
  }
  return false;
}

Json parse(const std::string& text, const std::string& where) {
  if (too_deep(text))
    throw Error(fmt::format("{}: wanted JSON of at most {} levels, found more; give a file that kdabench wrote", where,
                            kDeepest));
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    if (error.byte > text.size())
      throw Error(fmt::format(
          "{}: wanted JSON, found the end of the file at byte {} in the middle of a value; it was "
          "cut short, write it again",
          where, text.size()));
    throw Error(
        fmt::format("{}: wanted JSON, found something else at byte {}; restore the file or write it again",
                    where, error.byte));
  } catch (const Json::exception&) {  // a number too large for a double
    throw Error(fmt::format(
        "{}: wanted finite numbers, found one beyond the range of a double; write it again", where));
  }
}

std::string read_text(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored))
    throw Error(fmt::format("{}: wanted a JSON file, found no such file; check the path", path.string()));
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || fs::is_directory(path, ignored) || !(text << file.rdbuf()))
    throw Error(fmt::format(
        "{}: wanted a JSON file, found one that is empty or cannot be read; check the path", path.string()));
  return text.str();
}

fs::path with_suffix(fs::path path, const char* suffix) { return path += suffix; }

}  // namespace

Json to_json(const Report& report) { return write(report, {}); }
Json to_json(const Cell& cell) { return write(cell, {}); }

Report report_from_json(const Json& json) {
  Report report;
  read(json, report, {});
  return report;
}

Cell cell_from_json(const Json& json) {
  Cell cell;
  read(json, cell, {});
  return cell;
}

std::string pretty(const Json& json, size_t width, size_t indent) {
  if (!json.is_structured() || json.empty()) return dump(json);
  const bool object = json.is_object();
  const auto joined = [&](const std::string& before, const std::string& between, const std::string& after,
                          auto part) {
    std::string out = object ? "{" + before : "[" + before;
    bool first = true;
    for (const auto& [key, value] : json.items()) {
      out += (first ? "" : between) + (object ? dump(key) + ": " : "") + part(value);
      first = false;
    }
    return out + after + (object ? "}" : "]");
  };
  const std::string line = joined("", ", ", "", [](const Json& value) { return pretty(value, SIZE_MAX, 0); });
  const bool scalars = json.is_array() && !json.front().is_structured();
  if (scalars || width == SIZE_MAX || line.size() + indent <= width) return line;
  const std::string pad(indent + 2, ' ');
  return joined("\n" + pad, ",\n" + pad, "\n" + std::string(indent, ' '),
                [&](const Json& value) { return pretty(value, width, indent + 2); });
}

Json read_json(const fs::path& path) { return parse(read_text(path), path.string()); }

Report read_report(const fs::path& path) {
  const Json json = read_json(path);
  const auto text_at = [&](const char* key) {
    const bool there = json.is_object() && json.contains(key) && json[key].is_string();
    return there ? one_line(json[key].get<std::string>().substr(0, 40)) : "none";
  };
  const std::string schema = text_at("schema");
  if (schema != kSchema)
    throw Error(fmt::format("{}: wanted schema {}, found {}; give a report that kdabench wrote",
                            path.string(), kSchema, schema));
  const std::string version = text_at("schema_version");
  const auto major = [](const std::string& text) { return text.substr(0, text.find('.')); };
  if (major(version) != major(kSchemaVersion))
    throw Error(fmt::format("{}: wanted schema_version {}.x, found {}; use the kdabench that wrote it",
                            path.string(), major(kSchemaVersion), version));
  try {
    return report_from_json(migrate(json));
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", path.string(), error.what()));
  }
}

void check_writable(const fs::path& path) {
  const fs::path folder = path.parent_path().empty() ? fs::path(".") : path.parent_path();
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    throw Error(fmt::format("{}: wanted to write a report there, found no folder {}; create it",
                            path.string(), folder.string()));
  if (path.filename().empty() || fs::is_directory(path, ignored))
    throw Error(
        fmt::format("{}: wanted to write a report there, found a folder; name a file", path.string()));
  const fs::path probe = with_suffix(path, ".tmp");
  const bool opened = std::ofstream(probe).good();
  fs::remove(probe, ignored);
  if (!opened)
    throw Error(
        fmt::format("{}: wanted to write a report there, found that folder {} refuses new files; "
                    "give another --out",
                    path.string(), folder.string()));
}

void write_report(const fs::path& path, const Report& report) {
  const std::string text = pretty(to_json(report)) + "\n";
  const fs::path temporary = with_suffix(path, ".tmp");
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  std::error_code error;
  if (file) fs::rename(temporary, path, error);
  if (!file || error) {
    const std::string why = error ? error.message() : "the folder is missing, full or read-only";
    fs::remove(temporary, error);
    throw Error(fmt::format("{}: wanted to write the report, found that {}; the cells are still in {}",
                            path.string(), why, CellStream::path_for(path).string()));
  }
}

fs::path CellStream::path_for(const fs::path& out) { return with_suffix(out, ".jsonl"); }

CellStream::CellStream(const fs::path& out, bool resume) : path_(path_for(out)) {
  std::error_code ignored;
  bool unfinished = false;  // the last line is whole but its newline was lost
  if (resume && fs::exists(path_, ignored) && fs::file_size(path_, ignored) > 0) {
    const std::string text = read_text(path_);
    size_t begin = 0;
    for (size_t number = 1; begin < text.size(); ++number) {
      const size_t newline = text.find('\n', begin);
      const bool last = newline == std::string::npos;
      const std::string line = text.substr(begin, last ? newline : newline - begin);
      const std::string where = fmt::format("{}: line {}", path_.string(), number);
      if (last && !too_deep(line) && !Json::accept(line)) {
        fs::resize_file(path_, begin);
        break;
      }
      try {
        resumed_.push_back(cell_from_json(parse(line, where)));
      } catch (const Error& error) {
        const std::string what = error.what();
        throw Error(what.rfind(where, 0) == 0 ? what : where + ": " + what);
      }
      unfinished = last;
      begin = last ? text.size() : newline + 1;
    }
  }
  file_.open(path_, std::ios::binary | (resume ? std::ios::app : std::ios::trunc));
  if (unfinished) file_ << '\n' << std::flush;
  if (!file_)
    throw Error(
        fmt::format("{}: wanted to store finished cells there, found that it cannot be opened; give another "
                    "--out",
                    path_.string()));
}

void CellStream::append(const Cell& cell) {
  file_ << dump(to_json(cell)) << '\n' << std::flush;
  if (!file_)
    throw Error(
        fmt::format("{}: wanted to store the cell {}, found that the disk refuses it; free space and resume",
                    path_.string(), cell.id));
}

void CellStream::remove() {
  file_.close();
  std::error_code ignored;
  fs::remove(path_, ignored);
}

}  // namespace kdabench::reports
