#pragma once
// Errors a user can cause or the machine can give. Our own mistakes are asserts.

#include <sstream>
#include <stdexcept>
#include <string>

namespace kdabench {

// The message is one sentence: what was wanted, what was found, what to do. Printed by main, exit code 2.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The device or the stated budget has no room. A suite records it as a cell with status `oom` and goes on.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

// No kernel runs this shape on this device; the message names what exists.
class Unsupported : public Error {
 public:
  using Error::Error;
};

// Concatenates its arguments. Plain iostreams, because fmt does not compile in C++20 .cu files (nvcc 13).
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(text(parts...));
}

template <class... Parts>
void require(bool holds, const Parts&... parts) {
  if (!holds) fail(parts...);
}

}  // namespace kdabench
