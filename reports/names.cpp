#include "reports/names.h"

#include <algorithm>
#include <map>

namespace kdabench::reports {
namespace {

// "suite/model=a;context=1" -> suite, model=a, context=1
std::vector<std::string> parts_of(std::string id) {
  std::replace(id.begin(), id.end(), '/', ';');
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= id.size();) {
    const size_t end = std::min(id.find(';', begin), id.size());
    parts.push_back(id.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

std::pair<std::string, std::vector<std::string>> short_names(const std::vector<std::string>& ids) {
  if (ids.size() < 2) return {"", ids};
  std::map<std::string, size_t> uses;
  for (const std::string& id : ids)
    for (const std::string& part : parts_of(id)) ++uses[part];
  const auto joined = [&](const std::string& id, bool shared) {
    std::string text;
    for (const std::string& part : parts_of(id))
      if ((uses[part] == ids.size()) == shared) text += (text.empty() ? "" : " ") + part;
    return text;
  };
  std::vector<std::string> names;
  for (const std::string& id : ids) names.push_back(joined(id, false));
  return {joined(ids[0], true), names};
}

}  // namespace kdabench::reports
