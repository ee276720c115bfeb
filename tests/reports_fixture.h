#pragma once
// What the tests of reports share: the synthetic report, a folder of their own, and the sentence an error
// carries.

#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>

#include "reports/json.h"

namespace kdabench::reports {

const fs::path kSource = fs::path(__FILE__).parent_path().parent_path();
const fs::path kSynthetic = kSource / "tests/data/synthetic.json";

// A folder that lives as long as one test.
class Reports : public testing::Test {
 protected:
  fs::path folder = fs::temp_directory_path() / ("kdabench_reports_" + std::to_string(getpid()));
  Reports() { fs::create_directories(folder); }
  ~Reports() override {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }

  fs::path file(const std::string& name, const std::string& text) const {
    std::ofstream(folder / name, std::ios::binary) << text;
    return folder / name;
  }
};

inline std::string text_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

#define EXPECT_SAYS(text, part) \
  EXPECT_TRUE(contains(text, part)) << "said: " << (text) << "\nwanted: " << (part)

inline Report synthetic() { return read_report(kSynthetic); }

// The first cell with a time.
inline Cell& ok_cell(Report& report) { return report.cells.front(); }
inline Cell& oom_cell(Report& report) { return report.cells[8]; }

}  // namespace kdabench::reports
