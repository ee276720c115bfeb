#include "reports/items.h"

#include <fmt/format.h>

#include <iterator>

#include "reports/json.h"

namespace kdabench::reports {
namespace {

std::string line_of(const Item& item) {
  Json json = {{"key", item.key},     {"cell", item.cell}, {"name", item.name},
               {"index", item.index}, {"score", item.score}, {"prediction", item.prediction},
               {"gold", item.gold}};
  if (!item.log_likelihoods.empty()) {
    json["log_likelihoods"] = item.log_likelihoods;
    json["tied"] = item.tied;
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Item item_of(const std::string& line) {
  const Json json = Json::parse(line);
  Item item;
  json.at("key").get_to(item.key);
  json.at("cell").get_to(item.cell);
  json.at("name").get_to(item.name);
  json.at("index").get_to(item.index);
  json.at("score").get_to(item.score);
  json.at("prediction").get_to(item.prediction);
  json.at("gold").get_to(item.gold);
  if (json.contains("log_likelihoods")) {
    json["log_likelihoods"].get_to(item.log_likelihoods);
    json.at("tied").get_to(item.tied);
  }
  return item;
}

}  // namespace

std::filesystem::path ItemLog::path_for(const std::filesystem::path& out) {
  std::filesystem::path path = out;
  return path += ".items.jsonl";
}

ItemLog::ItemLog(const std::filesystem::path& out, bool resume) : path_(path_for(out)) {
  std::error_code ignored;
  bool unfinished = false;               // the last line is whole but its newline was lost
  if (resume && std::filesystem::exists(path_, ignored)) {
    std::ifstream file(path_, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
      const size_t newline = text.find('\n', begin);
      const bool last = newline == std::string::npos;
      const std::string line = text.substr(begin, last ? newline : newline - begin);
      if (last && !Json::accept(line)) {
        std::filesystem::resize_file(path_, begin);
        break;
      }
      try {
        Item item = item_of(line);
        items_[item.key] = std::move(item);
      } catch (const Json::exception&) {
        throw Error(fmt::format("{}: line {}: wanted a scored item, found something else; remove the line or give "
                                "--force",
                                path_.string(), number));
      }
      unfinished = last;
      begin = last ? text.size() : newline + 1;
    }
  }
  kept_ = items_.size();
  file_.open(path_, std::ios::binary | (resume ? std::ios::app : std::ios::trunc));
  if (unfinished) file_ << '\n' << std::flush;
  if (!file_)
    throw Error(fmt::format("{}: wanted to store scored items there, found that it cannot be opened; give another --out",
                            path_.string()));
}

const Item* ItemLog::find(const std::string& key) const {
  const auto at = items_.find(key);
  return at == items_.end() ? nullptr : &at->second;
}

void ItemLog::append(const Item& item) {
  file_ << line_of(item) << '\n' << std::flush;
  if (!file_)
    throw Error(fmt::format("{}: wanted to store a scored item, found that the disk refuses it; free space and resume",
                            path_.string()));
  items_[item.key] = item;
}

}  // namespace kdabench::reports
