#pragma once
// What a record is to code that walks one: type traits, the visitor on a const record, and the JSON path of a
// value.

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kdabench::reports {

struct AnyVisitor {
  template <class T> void operator()(const char*, T&, const char*) const {}
};

// A struct that lists its fields.
template <class T>
concept IsRecord = requires(T value) {
  value.fields(AnyVisitor{});
};

template <class T> inline constexpr bool kIsOptional = false;
template <class T> inline constexpr bool kIsOptional<std::optional<T>> = true;
template <class T> inline constexpr bool kIsVector = false;
template <class T> inline constexpr bool kIsVector<std::vector<T>> = true;

// A block is left out when it was not measured; any other optional is written as null.
template <class T> inline constexpr bool kIsBlock = false;
template <class T> inline constexpr bool kIsBlock<std::optional<T>> = IsRecord<T>;

// `fields` is written once, for mutable records; the cast keeps a second, const list out of every struct. The
// visitor takes const references, so nothing can change.
template <class Record, class Visit> void visit_const(const Record& record, Visit&& visit) {
  const_cast<Record&>(record).fields(
      [&](const char* name, const auto& value, const char* description) { visit(name, value, description); });
}

// Where we are in a document. Links into the caller's stack frames; the text is built only for a message.
struct JsonPath {
  const JsonPath* parent = nullptr;
  const char* name = nullptr;  // null: an array element
  size_t index = 0;

  std::string str() const {
    if (!parent) return "$";
    return parent->str() + (name ? "." + std::string(name) : "[" + std::to_string(index) + "]");
  }
};

}  // namespace kdabench::reports
