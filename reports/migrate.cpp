#include "reports/migrate.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <type_traits>

#include "reports/escape.h"
#include "reports/fields.h"

namespace kdabench::reports {
namespace {

using Version = std::array<int64_t, 3>;

Version version_of(const std::string& text) {
  Version version{};
  const char* at = text.data();
  const char* const end = at + text.size();
  for (size_t i = 0; i < 3; ++i) {
    const auto [next, error] = std::from_chars(at, end, version[i]);
    const bool stop = i == 2 ? next == end : next != end && *next == '.';
    if (error != std::errc{} || version[i] < 0 || !stop)
      throw Error(fmt::format("migrate: wanted a schema_version MAJOR.MINOR.PATCH, found {}; give a kdabench report",
                              one_line(text.substr(0, 40))));
    at = next + 1;
  }
  return version;
}

template <class T>
void fill(Json& json, const JsonPath& path);

template <class Member>
Json nothing(const JsonPath& path) {
  if constexpr (kIsOptional<Member>)
    return nullptr;
  else if constexpr (kIsVector<Member>)
    return Json::array();
  else if constexpr (std::is_same_v<Member, std::map<std::string, std::string>>)
    return Json::object();
  else if constexpr (std::is_same_v<Member, std::string>)
    return "";
  else
    throw Error(
        fmt::format("{}: wanted this field, found none, and nothing can stand for it; measure again", path.str()));
}

template <class T>
void fill_record(Json& json, const JsonPath& path) {
  if (!json.is_object()) return;  // what it is instead, the validator says
  T record;
  visit_const(record, [&](const char* name, const auto& member, const char*) {
    using Member = std::decay_t<decltype(member)>;
    const JsonPath here{&path, name};
    const auto found = json.find(name);
    if (found != json.end())
      fill<Member>(*found, here);
    else if constexpr (!kIsBlock<Member>)
      json[name] = nothing<Member>(here);
  });
}

template <class T>
void fill(Json& json, const JsonPath& path) {
  if constexpr (IsRecord<T>) {
    fill_record<T>(json, path);
  } else if constexpr (kIsOptional<T>) {
    if (!json.is_null()) fill<typename T::value_type>(json, path);
  } else if constexpr (kIsVector<T>) {
    for (size_t i = 0; json.is_array() && i < json.size(); ++i)
      fill<typename T::value_type>(json[i], JsonPath{&path, nullptr, i});
  }
}

}  // namespace

Json migrate(const Json& old, const std::string& current) {
  const auto text_at = [&](const char* key) {
    return old.is_object() && old.contains(key) && old[key].is_string() ? old[key].get<std::string>() : "none";
  };
  if (text_at("schema") != kSchema)
    throw Error(fmt::format("migrate: wanted schema {}, found {}; give a report that kdabench wrote", kSchema,
                            one_line(text_at("schema").substr(0, 40))));
  const std::string text = text_at("schema_version");
  const Version from = version_of(text), to = version_of(current);
  if (from[0] != to[0] || from > to)
    throw Error(fmt::format("migrate: wanted schema_version {}.0.0 to {}, found {}; {}", to[0], current, text,
                            from > to ? "use the kdabench that wrote it" : "no kdabench ever wrote that"));
  Json out = old;
  if (from < to) {
    fill<Report>(out, {});
    out["schema_version"] = current;
  }
  return out;
}

}  // namespace kdabench::reports
