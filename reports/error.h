#pragma once
// What the user or the machine got wrong with a report. The message is one sentence: wanted, found, do.

#include <stdexcept>
#include <string>

namespace kdabench::reports {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace kdabench::reports
