// A claim about a score names cells that a suite writes: the tasks of each claim are those of its suite.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "suites/generative_suite.h"
#include "suites/mmlu_suite.h"
#include "suites/ruler_suite.h"
#include "suites/synthetic_suite.h"
#include "tests/reports_fixture.h"

namespace kdabench::suites {
namespace {

// The tasks of all whole cells of a suite: every style, every choice of rows.
std::set<std::string> tasks_of(const Suite& suite) {
  std::set<std::string> tasks;
  for (const char* style : {"lm-eval", "hendrycks", "official"})
    for (const char* rows : {"ok", "corrected"}) {
      Plan plan;
      plan.accuracy.mmlu_style = plan.accuracy.mmlu_pro_style = style;
      plan.accuracy.redux_rows = rows;
      for (const Point& point : suite.points(plan)) tasks.insert(point.task);
    }
  return tasks;
}

TEST(ClaimsTasks, AreWrittenByTheirSuites) {
  std::ifstream file(reports::kSource / "suites/claims.json");
  const auto claims = nlohmann::json::parse(file).at("claims");
  const Suite suites[] = {mmlu_suite(), mmlu_redux_suite(), mmlu_redux_generative_suite(), mmlu_pro_suite(), ruler_suite(),
                          synthetic_suite()};
  size_t looked_at = 0;
  for (const auto& claim : claims) {
    const nlohmann::json where = claim["query"].value("where", nlohmann::json::object());
    const auto suite = std::find_if(std::begin(suites), std::end(suites), [&](const Suite& one) {
      return where.contains("suite") && where["suite"] == one.name;
    });
    if (suite == std::end(suites) || !where.contains("task")) continue;
    ++looked_at;
    const std::set<std::string> written = tasks_of(*suite);
    const nlohmann::json wanted = where["task"].is_array() ? where["task"] : nlohmann::json::array({where["task"]});
    for (const auto& task : wanted) EXPECT_TRUE(written.count(task)) << claim["id"] << " asks for the task " << task;
  }
  EXPECT_GE(looked_at, 20u);
}

}  // namespace
}  // namespace kdabench::suites
