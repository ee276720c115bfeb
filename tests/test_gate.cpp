// The gate on reports: every rule once on each side of its edge, and every output.

#include <gtest/gtest.h>

#include <algorithm>

#include "reports/gate.h"
#include "tests/reports_fixture.h"

namespace kdabench::reports {
namespace {

Gate judged(const std::function<void(Json&)>& edit, const std::function<void(Json&)>& edit_base = {},
            const GateRules& rules = {}) {
  Json base = read_json(kSynthetic), candidate = base;
  if (edit_base) {
    edit_base(base);
    edit_base(candidate);
  }
  edit(candidate);
  return gate(base, candidate, rules);
}

const GateRow& row_of(const Gate& gate, const std::string& metric) {
  for (const GateRow& row : gate.rows)
    if (row.metric == metric && row.exit != Exit::pass) return row;
  for (const GateRow& row : gate.rows)
    if (row.metric == metric) return row;
  throw Error("no row " + metric);
}

Json& cell(Json& report, size_t index = 0) { return report["cells"][index]; }

TEST(Gate, EqualReportsPass) {
  const Gate same = judged([](Json&) {});
  EXPECT_EQ(same.exit, Exit::pass);
  EXPECT_TRUE(same.same_machine);
  EXPECT_EQ(row_of(same, "memory.parameters").verdict, "pass");
  EXPECT_EQ(judged([](Json& r) { std::swap(r["cells"][0], r["cells"][5]); }).exit, Exit::pass) << "joined by id";
}

TEST(Gate, ExactMeansExact) {
  for (const char* key : {"parameters", "weight_bytes", "cache_bytes_per_token", "state_bytes_per_sequence",
                          "cache_bytes_analytic", "cache_bytes_allocated"})
    for (const int change : {1, -1}) {
      const Gate gate = judged([&](Json& r) {
        Json& value = cell(r)["memory"][key];
        value = value.get<int64_t>() + change;
      });
      EXPECT_EQ(gate.exit, Exit::regression) << key << " " << change;
      EXPECT_EQ(row_of(gate, std::string("memory.") + key).verdict, "fail");
    }
  EXPECT_EQ(judged([](Json& r) { cell(r, 8)["memory"]["parameters"] = 1; }).exit, Exit::regression)
      << "bytes are judged in cells that did not fit, too";
  EXPECT_EQ(judged([](Json& r) { cell(r).erase("memory"); }).exit, Exit::regression);
}

TEST(Gate, LaunchesMayFall) {
  const auto set = [](Json value) {
    return [value](Json& r) { cell(r)["launches"] = {{"kernels_per_step", value}, {"reason", ""}}; };
  };
  EXPECT_EQ(judged(set(301), set(300)).exit, Exit::regression);
  const Gate fewer = judged(set(299), set(300));
  EXPECT_EQ(fewer.exit, Exit::pass);
  EXPECT_EQ(row_of(fewer, "launches.kernels_per_step").verdict, "improved");
  EXPECT_EQ(judged(set(nullptr), set(300)).exit, Exit::regression) << "a value that is gone";
  EXPECT_EQ(judged(set(300)).exit, Exit::pass) << "a value that base does not have yet";
  const auto other = [](int n) {
    return [n](Json& r) { cell(r)["other"] = {{"count", n}}; };
  };
  GateRules rules;
  rules.exact = {{"other.count", true}};
  EXPECT_EQ(judged(other(8), other(7), rules).exit, Exit::regression) << "a field that records do not know is read, too";
  EXPECT_EQ(judged(other(7), other(8), rules).exit, Exit::pass);
  rules.exact = {{"samples.step_ns"}};
  EXPECT_EQ(judged([](Json&) {}, {}, rules).exit, Exit::pass) << "a whole list";
  EXPECT_EQ(judged([](Json& r) { cell(r)["samples"]["step_ns"].erase(0); }, {}, rules).exit, Exit::regression);
}

// The first cell's kernels: gemv_kernel<Bf16>, mla_split_kernel, and few_kernel<8>, which spills 16 bytes.
Json& kernels(Json& report) { return cell(report)["resources"]["kernels"]; }

std::function<void(Json&)> kernel_has(size_t kernel, const char* key, Json value) {
  return [=](Json& r) { kernels(r)[kernel][key] = value; };
}

TEST(Gate, NoKernelMayTakeMore) {
  const Gate same = judged([](Json&) {});
  EXPECT_EQ(row_of(same, "resources.kernels[gemv_kernel<Bf16>].registers").candidate, "62");
  EXPECT_EQ(row_of(same, "resources.kernels[few_kernel<8>].local_bytes").verdict, "pass");

  const Gate more = judged(kernel_has(0, "registers", 63));
  EXPECT_EQ(more.exit, Exit::regression);
  EXPECT_EQ(row_of(more, "resources.kernels[gemv_kernel<Bf16>].registers").verdict, "fail");
  EXPECT_EQ(judged(kernel_has(0, "local_bytes", 1)).exit, Exit::regression) << "one byte";
  EXPECT_EQ(judged(kernel_has(2, "local_bytes", 17)).exit, Exit::regression);
  const Gate fewer = judged(kernel_has(2, "local_bytes", 0));
  EXPECT_EQ(fewer.exit, Exit::pass);
  EXPECT_EQ(row_of(fewer, "resources.kernels[few_kernel<8>].local_bytes").base, "16");
  EXPECT_EQ(judged([](Json& r) { std::reverse(kernels(r).begin(), kernels(r).end()); }).exit, Exit::pass);
}

TEST(Gate, InstancesAreHeldToThemselvesAndThenToTheirName) {
  const auto replaced = [](const char* instance, int registers) {
    return [=](Json& r) {
      kernels(r)[0]["instance"] = instance;
      kernels(r)[0]["registers"] = registers;
    };
  };
  EXPECT_EQ(judged(replaced("gemv_kernel<Bf16, 2>", 62)).exit, Exit::pass);
  const Gate heavier = judged(replaced("gemv_kernel<Bf16, 2>", 63));
  EXPECT_EQ(heavier.exit, Exit::regression);
  EXPECT_SAYS(row_of(heavier, "resources.kernels[gemv].registers").note,
              "in base: gemv_kernel<Bf16>, now: gemv_kernel<Bf16, 2>");

  // Two instances of one name: the lighter one is not hidden behind the other.
  const auto two = [](int lighter) {
    return [=](Json& r) {
      kernels(r).push_back(kernels(r)[0]);
      kernels(r)[0]["instance"] = "gemv_kernel<float>";
      kernels(r)[0]["registers"] = lighter;
    };
  };
  Json base = read_json(kSynthetic), candidate = base;
  two(40)(base), two(41)(candidate);
  const Gate lighter = gate(base, candidate, {});
  EXPECT_EQ(lighter.exit, Exit::regression);
  EXPECT_EQ(row_of(lighter, "resources.kernels[gemv_kernel<float>].registers").verdict, "fail");
}

TEST(Gate, KernelsThatOneSideLacks) {
  const auto gone = [](Json& r) { kernels(r).erase(0); };
  const Gate vanished = judged(gone);
  EXPECT_EQ(vanished.exit, Exit::regression);
  EXPECT_SAYS(row_of(vanished, "resources.kernels[gemv].registers").note, "in base: gemv_kernel<Bf16>, now: none");
  Json base = read_json(kSynthetic), whole = base;
  gone(base);
  const Gate joined = gate(base, whole, {});
  EXPECT_EQ(joined.exit, Exit::pass);
  EXPECT_EQ(row_of(joined, "resources.kernels[gemv].registers").verdict, "not_judged");
  EXPECT_SAYS(gate_output(joined, "text"), "not judged resources.kernels[gemv].registers: base has no such value");

  // A library's kernels are unknown: nothing to hold, but a kernel of ours must not hide behind one.
  const auto library = kernel_has(0, "registers", nullptr);
  Json unknown = read_json(kSynthetic);
  library(unknown);
  EXPECT_EQ(gate(unknown, unknown, {}).exit, Exit::pass);
  EXPECT_EQ(judged(library).exit, Exit::regression);
}

// Reports from before a value existed: said, not passed over.
TEST(Gate, WhatIsNotJudgedIsNamed) {
  Json old = read_json(kSynthetic), now = old;
  for (Json& each : old["cells"]) each.erase("resources");
  const Gate updated = gate(old, now, {});
  EXPECT_EQ(updated.exit, Exit::pass);
  const std::string says = "resources.kernels.registers: base has no such value; update it (53 cells)";
  for (const char* format : {"text", "md", "json", "junit", "github"}) EXPECT_SAYS(gate_output(updated, format), says);
  EXPECT_EQ(row_of(updated, "resources.kernels.local_bytes").verdict, "not_judged");

  const Gate lost = gate(now, old, {});
  EXPECT_EQ(lost.exit, Exit::regression);
  EXPECT_EQ(row_of(lost, "resources.kernels.registers").verdict, "missing");
  EXPECT_EQ(row_of(lost, "resources.kernels.registers").base, "3 values");

  const Gate neither = gate(old, old, {});
  EXPECT_EQ(neither.exit, Exit::pass);
  EXPECT_SAYS(gate_output(neither, "text"), "not judged launches.kernels_per_step, resources.kernels.registers, "
                                            "resources.kernels.local_bytes: in no cell of either report");
  GateRules rules;
  rules.exact = {{"memory.parameters"}, {"memory.parametres"}};
  EXPECT_EQ(gate(now, now, rules).unused, std::vector<std::string>{"memory.parametres"});
}

TEST(Gate, StatusesHaveTheirCodes) {
  EXPECT_EQ(judged([](Json& r) { r["cells"].erase(3); }).exit, Exit::regression);
  EXPECT_EQ(row_of(judged([](Json& r) { r["cells"].erase(3); }), "status").verdict, "missing");
  const Gate extra = judged([](Json& r) {
    r["cells"].push_back(cell(r));
    r["cells"].back()["id"] = "decode/new";
  });
  EXPECT_EQ(extra.exit, Exit::no_baseline);
  const auto becomes = [](const char* status) {
    return [status](Json& r) {
      cell(r)["status"] = status;
      cell(r)["status_reason"] = "why";
      cell(r).erase("timing");
      cell(r).erase("throughput");
    };
  };
  EXPECT_EQ(judged(becomes("error")).exit, Exit::regression);
  EXPECT_EQ(judged(becomes("timeout")).exit, Exit::regression);
  EXPECT_EQ(judged(becomes("oom")).exit, Exit::regression);
  EXPECT_EQ(judged(becomes("invalid")).exit, Exit::invalid);
  EXPECT_EQ(judged(becomes("incorrect")).exit, Exit::incorrect);
  EXPECT_EQ(judged(becomes("error"), becomes("error")).exit, Exit::regression) << "failed in both is failed";
  EXPECT_EQ(judged([](Json&) {}, becomes("oom")).exit, Exit::pass);
  const Gate slowed = judged([&](Json& r) {
    becomes("invalid")(r);
    const Json reason = {{"code", "injected_slowdown"}, {"detail", "x"}};
    cell(r)["validity"] = {{"valid", false}, {"reasons", Json::array({reason})}};
  });
  EXPECT_EQ(slowed.exit, Exit::invalid);
  EXPECT_SAYS(row_of(slowed, "status").note, "slowed on purpose");
}

TEST(Gate, TimesOnOneMachineOnly) {
  const auto slower = [](double by) {
    return [by](Json& r) {
      Json& median = cell(r)["timing"]["stats"]["median_ns"];
      median = by * median.get<double>();
    };
  };
  EXPECT_EQ(judged(slower(1.09)).exit, Exit::pass);
  EXPECT_EQ(judged(slower(1.11)).exit, Exit::regression);
  EXPECT_EQ(row_of(judged(slower(0.8)), "time").exit, Exit::pass);
  GateRules never;
  never.judge_times = false;
  EXPECT_EQ(judged(slower(2), {}, never).exit, Exit::pass);
  const Gate elsewhere = judged([&](Json& r) {
    slower(2)(r);
    r["machine"]["fingerprint"] = "another";
  });
  EXPECT_EQ(elsewhere.exit, Exit::pass);
  EXPECT_FALSE(elsewhere.same_machine);
  EXPECT_EQ(row_of(elsewhere, "time").verdict, "not_judged");
}

// What stands behind a score, all of it empty.
constexpr const char* kScore = R"({"wording": "", "prompt_format": "base", "tokenizer": "bytes", "prompts_sha256": "",
  "gold_sha256": "", "items_total": 100, "prompt_tokens": 0, "read_tokens": 0, "generated_tokens": 0, "seconds": 0,
  "chance": null, "ties": null, "at_chance": false, "random_weights": false, "rows": []})";

// A score of `right` items of 100, on a device.
std::function<void(Json&)> score(int right, const char* device, bool items = true) {
  return [=](Json& r) {
    cell(r)["axes"]["device"] = device;
    cell(r)["accuracy"] = {
        {"metric", "exact match"}, {"value", right / 100.0}, {"bound", nullptr}, {"stderr", 0.05}, {"n", 100}};
    Json scores = Json::array();
    for (int i = 0; i < 100; ++i) scores.push_back(i < right ? 1.0 : 0.0);
    if (items) cell(r)["items"] = {{"scores", scores}, {"choices", Json::array()}, {"kl", Json::array()}};
    else cell(r).erase("items");
  };
}

TEST(Gate, ScoresArePairedByItem) {
  EXPECT_EQ(judged(score(80, "cuda"), score(80, "cuda")).exit, Exit::pass);
  EXPECT_EQ(judged(score(76, "cuda"), score(80, "cuda")).exit, Exit::pass) << "4 lost, 0 won: p is 1/16";
  const Gate lost = judged(score(74, "cuda"), score(80, "cuda"));
  EXPECT_EQ(lost.exit, Exit::incorrect) << "6 lost, 0 won: p is 1/64";
  EXPECT_SAYS(row_of(lost, "accuracy").note, "6 were lost and 0 won");
  EXPECT_EQ(judged(score(90, "cuda"), score(80, "cuda")).exit, Exit::pass) << "better";

  // As many right as before, but other ones: on the CPU a change, elsewhere none that counts.
  const auto shuffled = [](const char* device) {
    return [device](Json& r) {
      score(80, device)(r);
      std::swap(cell(r)["items"]["scores"][0], cell(r)["items"]["scores"][99]);
    };
  };
  EXPECT_EQ(judged(shuffled("cuda"), score(80, "cuda")).exit, Exit::pass);
  EXPECT_EQ(judged(shuffled("cpu"), score(80, "cpu")).exit, Exit::incorrect);
  EXPECT_EQ(judged(score(81, "cpu"), score(80, "cpu")).exit, Exit::incorrect) << "the CPU computes the same every time";
  EXPECT_EQ(judged(score(80, "cpu"), score(80, "cpu")).exit, Exit::pass);

  EXPECT_EQ(judged(score(74, "cuda", false), score(80, "cuda", false)).exit, Exit::inconclusive) << "nothing to pair";
  EXPECT_EQ(judged([](Json& r) {
              score(74, "cuda")(r);
              cell(r)["items"]["scores"].erase(0);
            }, score(80, "cuda")).exit, Exit::no_baseline) << "another number of items";
  EXPECT_EQ(judged([](Json& r) { cell(r).erase("accuracy"); }, score(80, "cuda")).exit, Exit::incorrect);
}

TEST(Gate, ChecksAreHeldToTheirBound) {
  const auto check = [](double value) {
    return [value](Json& r) {
      cell(r)["accuracy"] = {{"metric", "rel_l2"}, {"value", value}, {"bound", 0.05}, {"stderr", nullptr}, {"n", 1}};
    };
  };
  EXPECT_EQ(judged(check(0.04), check(0.01)).exit, Exit::pass);
  EXPECT_EQ(judged(check(0.06), check(0.01)).exit, Exit::incorrect);
}

TEST(Gate, DivergenceFromReferenceLogits) {
  const auto kl = [](double more) {
    return [more](Json& r) {
      score(80, "cuda")(r);
      Json values = Json::array();
      for (int i = 0; i < 100; ++i) values.push_back(0.01 + 1e-5 * (i % 7) + more * (1 + 0.1 * (i % 3)));
      cell(r)["items"]["kl"] = values;
    };
  };
  EXPECT_EQ(judged(kl(0), kl(0)).exit, Exit::pass);
  EXPECT_EQ(judged(kl(0.0005), kl(0)).exit, Exit::pass);
  EXPECT_EQ(judged(kl(0.005), kl(0)).exit, Exit::incorrect);
  EXPECT_EQ(row_of(judged(kl(0.005), kl(0)), "kl").verdict, "fail");
}

// Where answers are chosen, base itself is the reference: two choices an item, the second `off` nats less likely.
TEST(Gate, DivergenceFromBase) {
  const auto choices = [](double off) {
    return [off](Json& r) {
      score(80, "cuda")(r);
      Json values = Json::array();
      for (int i = 0; i < 100; ++i) values.push_back(-0.5), values.push_back(-1.5 - off * (1 + 0.1 * (i % 3)));
      cell(r)["items"]["choices"] = values;
    };
  };
  EXPECT_EQ(row_of(judged(choices(0), choices(0)), "kl from base").verdict, "pass");
  EXPECT_EQ(judged(choices(0.02), choices(0)).exit, Exit::pass);
  const Gate moved = judged(choices(0.5), choices(0));
  EXPECT_EQ(row_of(moved, "kl from base").verdict, "fail");
  EXPECT_EQ(moved.exit, Exit::incorrect) << "not one item is lost, and yet the model is another";
}

TEST(Gate, OtherPromptsAreAnotherTest) {
  const auto asked = [](const char* prompts, const char* gold) {
    return [=](Json& r) {
      score(80, "cuda")(r);
      cell(r)["accuracy"]["score"] = Json::parse(kScore);
      cell(r)["accuracy"]["score"]["prompts_sha256"] = prompts;
      cell(r)["accuracy"]["score"]["gold_sha256"] = gold;
    };
  };
  EXPECT_EQ(judged(asked("a", "b"), asked("a", "b")).exit, Exit::pass);
  EXPECT_EQ(judged(asked("c", "b"), asked("a", "b")).exit, Exit::no_baseline);
  EXPECT_EQ(judged(asked("a", "c"), asked("a", "b")).exit, Exit::no_baseline);
  EXPECT_EQ(judged(asked("", ""), asked("a", "b")).exit, Exit::pass) << "a report that does not say";
}

TEST_F(Reports, GateRulesAreAFile) {
  EXPECT_EQ(gate_rules_json(read_gate_rules(kSource / "reports/gate_rules.json")), gate_rules_json(GateRules{}))
      << "the shipped file is what is built in";
  const auto said = [&](const std::string& text) {
    return error_of([&] { read_gate_rules(file("rules.json", text)); });
  };
  const std::string head = R"({"schema": "kdabench/gate-rules", "schema_version": "1.0.0")";
  EXPECT_EQ(said(head + "}"), "no error");
  EXPECT_SAYS(said("{}"), "wanted schema kdabench/gate-rules");
  EXPECT_SAYS(said("[1]"), "wanted an object");
  EXPECT_SAYS(said("{"), "wanted JSON");
  EXPECT_SAYS(said(head + R"(, "exat": []})"), "unknown key exat");
  EXPECT_SAYS(said(head + R"(, "exact": [{"path": "x", "may": "rise"}]})"), "may \"not change\" or \"fall\"");
  EXPECT_SAYS(said(head + R"(, "exact": [3]})"), "wanted an object");
  EXPECT_SAYS(said(head + R"(, "time": {"margin": "wide"}})"), "wrong type");
  EXPECT_SAYS(said(head + R"(, "time": {"margin": 0}})"), "above 0");
  EXPECT_SAYS(said(head + R"(, "time": {"judge": "always"}})"), "same machine");
  EXPECT_TRUE(read_gate_rules(file("few.json", head + R"(, "exact": []})")).exact.empty());
}

TEST_F(Reports, GateReadsFilesWithoutThrowing) {
  const fs::path corrupt = file("corrupt.json", text_of(kSynthetic).substr(0, 999));
  EXPECT_EQ(gate_files(kSynthetic, kSynthetic, "").exit, Exit::pass);
  EXPECT_EQ(gate_files(kSynthetic, corrupt, "").exit, Exit::usage);
  EXPECT_EQ(gate_files(corrupt, kSynthetic, "").exit, Exit::usage);
  EXPECT_EQ(gate_files(folder / "none.json", kSynthetic, "").exit, Exit::no_baseline);
  EXPECT_EQ(gate_files(folder / "none.json", corrupt, "").exit, Exit::usage);
  EXPECT_EQ(gate_files(kSynthetic, folder / "none.json", "").exit, Exit::usage);
  EXPECT_EQ(gate_files(kSynthetic, kSynthetic, (folder / "none.json").string()).exit, Exit::usage);
  EXPECT_EQ(gate_files(file("list.json", "[]"), kSynthetic, "").exit, Exit::usage);
}

TEST(Gate, OutputsNameTheCode) {
  const Gate bad = judged([](Json& r) {
    cell(r)["memory"]["parameters"] = 7;
    cell(r, 1)["status"] = "incorrect";
    cell(r, 1)["status_reason"] = "<&\"> 100 %\nand more";
    cell(r, 1).erase("timing");
    cell(r, 1).erase("throughput");
  });
  for (const char* format : {"text", "md", "github"}) {
    const std::string text = gate_output(bad, format);
    const size_t last = text.rfind('\n', text.size() - 2) + 1;
    EXPECT_EQ(text.substr(last), "incorrect result (exit code 5)\n") << format;
    EXPECT_SAYS(text, "memory.parameters");
  }
  EXPECT_SAYS(gate_output(bad, "github"), "::error title=memory.parameters fail::decode/model=mla");
  EXPECT_SAYS(gate_output(bad, "github"), "100 %25%0Aand more");
  EXPECT_SAYS(gate_output(bad, "junit"), "&lt;&amp;&quot;&gt; 100 % and more");
  EXPECT_SAYS(gate_output(bad, "junit"), "failures=\"2\"");
  const Json json = Json::parse(gate_output(bad, "json"));
  EXPECT_EQ(json["exit_code"], 5);
  EXPECT_EQ(json["exit_name"], "incorrect result");
  EXPECT_EQ(json["rows"].size(), bad.rows.size());
  EXPECT_SAYS(gate_output(judged([](Json&) {}), "text"), "pass (exit code 0)\n");
  EXPECT_SAYS(error_of([&] { gate_output(bad, "xml"); }), "wanted text");
}

}  // namespace
}  // namespace kdabench::reports
