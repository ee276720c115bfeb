// Some thousands of broken reports, seeded: everything that reads a report either reads it or throws Error with one
// sentence. Nothing else is thrown, and nothing crashes.

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "reports/claims.h"
#include "reports/compare.h"
#include "reports/export.h"
#include "reports/html.h"
#include "reports/migrate.h"
#include "reports/schema.h"
#include "reports/table.h"
#include "tests/reports_fixture.h"

namespace kdabench::reports {
namespace {

Json small() {
  Report report = synthetic();
  report.cells = {report.cells[8], report.cells[35], report.cells[53]};
  for (Cell& cell : report.cells) {
    cell.axes.config = "kimi-linear-48b-a3b";
    cell.id = cell_id(cell.suite, cell.axes);
  }
  report.cells[1].accuracy = Accuracy{"x", 1, 2, 3, 4};
  report.cells[1].gpu_state = GpuState{};
  return to_json(report);
}

// Every node of a document.
void nodes_of(Json& json, std::vector<Json*>& nodes) {
  nodes.push_back(&json);
  if (json.is_structured())
    for (Json& child : json) nodes_of(child, nodes);
}

class Fuzzer {
 public:
  explicit Fuzzer(uint64_t seed) : random_(seed) {}

  std::string next() {
    static const Json good = small();
    Json json = good;
    if (below(4) == 0) return mutated_text(pretty(json));
    for (size_t i = 0; i <= below(3); ++i) mutate(json);
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

 private:
  size_t below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }

  void mutate(Json& json) {
    std::vector<Json*> nodes;
    nodes_of(json, nodes);
    Json& node = *nodes[below(nodes.size())];
    switch (below(5)) {
      case 0: node = value(); return;
      case 1:
        if (node.is_object() && !node.empty()) node.erase(std::next(node.begin(), below(node.size())).key());
        return;
      case 2:
        if (node.is_array() && !node.empty())
          node.erase(below(node.size()));
        else if (node.is_array())
          node.push_back(value());
        return;
      case 3:
        if (node.is_object()) node["unknown"] = value();
        return;
      default: {  // one part in the place of another
        const Json copy = *nodes[below(nodes.size())];
        node = copy;
      }
    }
  }

  Json value() {
    static const std::vector<Json> values = {nullptr,
                                             true,
                                             0,
                                             -1,
                                             1,
                                             1.5,
                                             -0.0,
                                             1e308,
                                             -1e308,
                                             1e-308,
                                             INT64_MAX,
                                             INT64_MIN,
                                             UINT64_MAX,
                                             int64_t{1} << 53,
                                             "",
                                             "9223372036854775807",
                                             "99999999999999999999999",
                                             "-5",
                                             "\n\t\x01",
                                             "\xC3\xA9<script>|&%$#_{}~^\\",
                                             "ok",
                                             "oom",
                                             "decode",
                                             "same-memory",
                                             "cuda",
                                             Json::array(),
                                             Json::object(),
                                             Json::array({Json::array({1})}),
                                             std::string(5000, 'x')};
    return values[below(values.size())];
  }

  std::string mutated_text(std::string text) {
    switch (below(6)) {
      case 0: return text.substr(0, below(text.size()));
      case 1: text[below(text.size())] = char(below(256)); return text;
      case 2: text.insert(below(text.size()), std::string(1, char(below(256)))); return text;
      case 3: text.erase(below(text.size()), 1 + below(50)); return text;
      case 4: text.insert(below(text.size()), std::string(1 + below(200'000), "[{\"1-e"[below(6)])); return text;
      default: {
        const size_t at = text.find_first_of("0123456789", below(text.size()));
        static const std::vector<std::string> numbers = {
            "1e999", "NaN", "-Infinity", "00", "1e", "99999999999999999999", "0x1"};
        return at == std::string::npos ? text : text.replace(at, 1, numbers[below(numbers.size())]);
      }
    }
  }

  std::mt19937_64 random_;
};

// Runs `act`; true when it came through. Anything but an Error with one line escapes and fails the test.
template <class Act>
bool came_through(const std::string& input, Act act) {
  try {
    act();
    return true;
  } catch (const Error& error) {
    const std::string said = error.what();
    EXPECT_FALSE(said.empty());
    EXPECT_LT(said.size(), 2000u) << said.substr(0, 200);
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
  } catch (const std::exception& error) {
    ADD_FAILURE() << "threw " << error.what() << " for " << input.substr(0, 3000);
  }
  return false;
}

TEST_F(Reports, BrokenReportsAreReadOrRefused) {
  const std::vector<Claim> claims = claims_from_json(read_json(kSource / "suites/claims.json"));
  const fs::path good = file("good.json", small().dump());
  const char* const seed = std::getenv("KDABENCH_FUZZ_SEED");  // another seed, other documents
  Fuzzer fuzzer(seed ? std::strtoull(seed, nullptr, 10) : 20251030);
  size_t read = 0, valid = 0;
  constexpr size_t kCases = 2000;
  for (size_t i = 0; i < kCases; ++i) {
    const std::string input = fuzzer.next();
    const fs::path path = file("fuzz.json", input);
    came_through(input, [&] { valid += validate(read_json(path)).empty(); });
    came_through(input, [&] { migrate(read_json(path), "1.999.0"); });
    const Comparison against = compare_files(good, path), base = compare_files(path, good);
    EXPECT_FALSE(compare_table(against).empty());
    came_through(input, [&] { pretty(compare_json(base)); });
    Source source;
    if (!came_through(input, [&] { source = read_source(path); })) {
      EXPECT_EQ(against.exit, Exit::usage) << input.substr(0, 500);
      continue;
    }
    ++read;
    const std::vector<Source> sources = {source};
    came_through(input, [&] { tables(source.report, TableStyle::terminal); });
    came_through(input, [&] { markdown_results(source.report); });
    came_through(input, [&] {
      const auto results = judge(claims, sources);
      if (i % 10 == 0) html_report(sources, results, {});
      for (const char* format : {"text", "md", "latex", "json"}) claims_table(results, sources, format);
      explain_claim(results, sources, "6.3x");
    });
    for (const std::string& format : export_formats())
      came_through(input, [&] { export_report(source.report, format); });
    if (HasFailure()) {
      ADD_FAILURE() << "case " << i;
      return;
    }
  }
  // Both kinds of document are there in numbers: neither half of the test is empty.
  EXPECT_GT(read, kCases / 10);
  EXPECT_GT(kCases - read, kCases / 10);
  EXPECT_GT(valid, 0u);
}

TEST_F(Reports, DepthIsBoundedBeforeAnythingRecurses) {
  for (const char* open : {"[", "{\"a\":"}) {
    std::string deep;
    for (int i = 0; i < 200'000; ++i) deep += open;
    EXPECT_SAYS(error_of([&] { read_json(file("deep.json", deep)); }), "at most 100 levels");
  }
  EXPECT_SAYS(error_of([&] { read_report(file("quoted.json", "{\"schema\": \"" + std::string(500, '[') + "\"}")); }),
              "wanted schema kdabench/report");
}

}  // namespace
}  // namespace kdabench::reports
