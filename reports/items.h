#pragma once
// Scored items, one a line in OUT.items.jsonl, so that a run that was interrupted scores nothing twice. The file stays
// beside the report: it holds what the model answered to every single prompt.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace kdabench::reports {

struct Item {
  std::string key;                     // hash of weights, prompt and settings: what makes two items the same
  std::string cell, name;              // the cell's id; the task or subject
  int64_t index = 0;                   // within it
  double score = 0;                    // 0 to 1
  bool tied = false;
  std::string prediction;              // what was generated or chosen; bytes that are no UTF-8 become U+FFFD
  std::vector<std::string> gold;
  std::vector<double> log_likelihoods; // of the answers to choose from, where they were compared
};

class ItemLog {
 public:
  // With resume, reads what an earlier run left; a last line that was cut short is dropped, and any other bad line is an
  // Error. Without resume the file starts empty.
  ItemLog(const std::filesystem::path& out, bool resume);

  const Item* find(const std::string& key) const;
  void append(const Item& item);       // flushed before it returns
  size_t kept() const { return kept_; }

  static std::filesystem::path path_for(const std::filesystem::path& out);

 private:
  std::filesystem::path path_;
  std::ofstream file_;
  std::map<std::string, Item> items_;
  size_t kept_ = 0;
};

}  // namespace kdabench::reports
