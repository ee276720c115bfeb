#pragma once
// What an action that must fail says, and the command line as a shell sees it.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/cli.h"
#include "kernels/base/error.h"

namespace kdabench::test {

// The sentence of the Error that `work` throws; "no error" when it throws none.
template <class Work> std::string message(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

struct Ran {
  int code;
  std::string out, err;
};

// `kdabench` with these words, in this process. Parts that a command needs (suites, architectures) are not there.
inline Ran run_kdabench(std::vector<std::string> words) {
  words.insert(words.begin(), "kdabench");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = run_command_line(static_cast<int>(argv.size()), argv.data(), Parts{});
  return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

}  // namespace kdabench::test

#define EXPECT_SAYS(work, part) \
  EXPECT_NE(kdabench::test::message([&] { work; }).find(part), std::string::npos) \
      << "said: " << kdabench::test::message([&] { work; })
