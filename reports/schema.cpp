#include "reports/schema.h"

#include <fmt/format.h>

#include <string_view>
#include <type_traits>

#include "reports/fields.h"

namespace kdabench::reports {
namespace {

// A named type, or null beside it.
Json type_of(Json type, bool nullable) {
  if (!nullable) return type;
  if (!type.is_array()) type = Json::array({type});
  type.push_back("null");
  return type;
}

// Times, sizes, rates and counts, by the unit that ends their name.
bool is_amount(std::string_view name) {
  for (const std::string_view unit :
       {"_ns", "bytes", "_per_s", "flops", "_hz", "_watts", "_milliwatts", "cores", "multiprocessors",
        "parameters", "context", "batch", "steps", "experts", "processes", "fraction", "launches", "registers"})
    if (name.size() >= unit.size() && name.substr(name.size() - unit.size()) == unit) return true;
  return false;
}

// What a field may be beyond its C++ type.
void constrain(Json& schema, std::string_view name) {
  if (name == "schema") schema["const"] = kSchema;
  if (name == "schema_version") schema["pattern"] = R"(^1\.[0-9]+\.[0-9]+$)";
  if (name == "status") schema["enum"] = {"ok", "incorrect", "invalid", "oom", "skipped", "timeout", "error"};
  if (name == "kind") schema["enum"] = {"cpu", "cuda"};
  if (name == "clock") schema["enum"] = {"cuda_event", "steady_clock"};
  if (name == "id" || name == "suite") schema["minLength"] = 1;
  if (is_amount(name) && name != "remainder_ns") schema["minimum"] = 0;  // parts may overlap: a remainder below 0
}

// A wrong result has no speed, and a decode or prefill cell that is ok has one.
void constrain_cell(Json& schema) {
  const auto status_is_ok = Json::object({{"properties", {{"status", {{"const", "ok"}}}}}});
  const auto timed_is_ok = Json::object(
      {{"properties", {{"suite", {{"enum", {"decode", "prefill"}}}}, {"status", {{"const", "ok"}}}}}});
  Json speed = Json::object();
  speed["properties"] = {{"timing", false}, {"throughput", false}, {"status_reason", {{"minLength", 1}}}};
  Json both = Json::object();
  both["required"] = Json::array({"timing", "throughput"});
  schema["allOf"] = Json::array({Json::object({{"if", status_is_ok}, {"else", speed}}),
                                 Json::object({{"if", timed_is_ok}, {"then", both}})});
}

template <class T> Json schema_of(std::string_view name, bool nullable = false) {
  Json schema = Json::object();
  if constexpr (kIsOptional<T>) {
    return schema_of<typename T::value_type>(name, !kIsBlock<T>);
  } else if constexpr (IsRecord<T>) {
    schema["type"] = "object";
    Json required = Json::array(), properties = Json::object();
    T record;
    visit_const(record, [&](const char* key, const auto& member, const char* description) {
      using Member = std::decay_t<decltype(member)>;
      if constexpr (!kIsBlock<Member>) required.push_back(key);
      Json field = Json::object({{"description", description}});
      field.update(schema_of<Member>(key));
      properties[key] = field;
    });
    schema["required"] = required;
    schema["properties"] = properties;
    if constexpr (std::is_same_v<T, Cell>) constrain_cell(schema);
  } else if constexpr (kIsVector<T>) {
    schema["type"] = "array";
    schema["items"] = schema_of<typename T::value_type>(name);
  } else if constexpr (std::is_same_v<T, std::map<std::string, std::string>>) {
    schema["type"] = "object";
    schema["additionalProperties"] = {{"type", "string"}};
  } else {
    if constexpr (std::is_same_v<T, bool>) {
      schema["type"] = type_of("boolean", nullable);
    } else if constexpr (std::is_integral_v<T>) {
      schema["type"] = type_of({"integer", "string"}, nullable);
      schema["pattern"] = "^-?[0-9]+$";  // beyond 2^53
    } else if constexpr (std::is_floating_point_v<T>) {
      schema["type"] = type_of("number", nullable);
    } else {
      schema["type"] = type_of("string", nullable);
    }
    constrain(schema, name);
  }
  return schema;
}

}  // namespace

Json report_schema() {
  Json schema = {
      {"$schema", "http://json-schema.org/draft-07/schema#"},
      {"title", "kdabench report"},
      {"description", fmt::format("Format {} {}. Written by `kdabench schema` from reports/record.h; do not "
                                  "edit. Units end the names. Keys not listed are allowed.",
                                  kSchema, kSchemaVersion)}};
  schema.update(schema_of<Report>("report"));
  return schema;
}

std::string schema_text() { return pretty(report_schema()) + "\n"; }

}  // namespace kdabench::reports
