// MMLU: every prompt against an independent program's hashes, the CSV reader at its edges, accuracy by hand.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>

#include "harness/cli.h"
#include "kernels/base/error.h"
#include "suites/csv.h"
#include "suites/mmlu.h"
#include "suites/sha256.h"
#include "tests/says.h"

namespace kdabench::suites {
namespace {

using test::message;
using test::Ran;
using test::run_kdabench;


// The message of the Error that `work` throws.
// Empty when the data is not there: the test then says "skipped: no data".
std::string data_folder() {
  const char* data = std::getenv("KDABENCH_DATA");
  return data && std::filesystem::exists(std::string(data) + "/mmlu/test") ? data : "";
}

std::string all_prompts(MmluStyle style, const std::vector<MmluTask>& tasks) {
  std::string bytes;
  for (const MmluTask& task : tasks) {
    const std::string prefix = mmlu_prefix(style, task);
    for (const MmluQuestion& question : task.questions) bytes += prefix + mmlu_question(style, question) + '\0';
  }
  return bytes;
}

// A folder with one subject that is as long as MMLU's, to be spoilt.
class MmluFolder : public testing::Test {
 protected:
  static constexpr const char* kHeader = "question,choice0,choice1,choice2,choice3,answer\n";

  void SetUp() override {
    std::filesystem::remove_all(root_);
    for (const char* split : {"dev", "test"}) std::filesystem::create_directories(root_ / "mmlu" / split);
    write("dev", rows(5));
    write("test", rows(100));
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  static std::string rows(int n, const std::string& first = "") {
    std::string text = kHeader + first;
    for (int i = first.empty() ? 0 : 1; i < n; ++i) text += " q" + std::to_string(i) + " ,None, b,c ,\"d, e\",2\n";
    return text;
  }
  std::filesystem::path path(const std::string& split) const {
    return root_ / "mmlu" / split / ("abstract_algebra_" + split + ".csv");
  }
  void write(const std::string& split, const std::string& text) const {
    std::ofstream(path(split), std::ios::binary) << text;
  }
  void refused(const std::string& says, const std::string& subject = "abstract_algebra") const {
    const Ran ran = run_kdabench({"mmlu-prompts", "--data", root_.string(), "--subject", subject});
    EXPECT_EQ(ran.code, 2);
    EXPECT_EQ(ran.out, "");
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
    EXPECT_NE(ran.err.find(says), std::string::npos) << ran.err << "wanted: " << says;
  }

  const std::filesystem::path root_ = std::filesystem::path(testing::TempDir()) /
      ("kdabench_mmlu_" + std::to_string(getpid()));
};

TEST(Sha256, ExamplesOfTheStandard) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Csv, QuotesCommasAndLineBreaks) {
  const CsvTable table = parse_csv("a,b\r\n\"x,\"\"y\"\"\",\"two\nlines\r\n\"\r\n\"\",\n\"\"\"\",z", "t.csv");
  ASSERT_EQ(table.rows.size(), 3u);
  EXPECT_EQ(table.rows[0].fields, (std::vector<std::string>{"x,\"y\"", "two\nlines\r\n"}));
  EXPECT_EQ(table.rows[1].fields, (std::vector<std::string>{"", ""}));
  EXPECT_EQ(table.rows[2].fields, (std::vector<std::string>{"\"", "z"}));
  EXPECT_EQ(table.rows[0].line, 2);
  EXPECT_EQ(table.rows[1].line, 5);
  EXPECT_TRUE(parse_csv("a,b", "t.csv").rows.empty());
}

TEST(Csv, FieldsAreText) {
  const CsvTable table = parse_csv("\xEF\xBB\xBFquestion,b\nNone,NA\n1e5, x \n", "t.csv");
  EXPECT_EQ(table.header, (std::vector<std::string>{"question", "b"}));
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_EQ(table.rows[0].fields, (std::vector<std::string>{"None", "NA"}));
  EXPECT_EQ(table.rows[1].fields, (std::vector<std::string>{"1e5", " x "}));
  EXPECT_EQ(table.column("b"), 1u);
}

TEST(Csv, BadTextIsNamedByLine) {
  const auto says = [](std::string_view text) { return message([&] { parse_csv(text, "t.csv"); }); };
  EXPECT_EQ(says(""), "t.csv is empty; wanted a header and rows.");
  EXPECT_EQ(says("a,b\n1\n"), "t.csv:2 has 1 field; its header has 2.");
  EXPECT_EQ(says("a,b\n1,2\n\n"), "t.csv:3 has 1 field; its header has 2.");
  EXPECT_EQ(says("a,b\n\"x\n\n\",1,2\n"), "t.csv:2 has 3 fields; its header has 2.");
  EXPECT_EQ(says("a,b\n1,\"x\n\n"), "t.csv:2 opens a quote that nothing closes.");
  EXPECT_EQ(says("a,b\n1,\"x\"y\n"),
            "t.csv:2 has text after a closing quote; wanted a comma or the end of the line.");
  EXPECT_EQ(says("a,b\n1,x\"y\"\n"), "t.csv:2 has a quote inside a field that is not quoted.");
  EXPECT_EQ(says("a,b\r1,2\n"), "t.csv:1 has a carriage return without a line feed outside quotes.");
  EXPECT_EQ(says(std::string_view("a,b\n1,\0\n", 8)), "t.csv:2 holds a NUL byte; wanted text.");
  EXPECT_EQ(message([] { parse_csv("a,b\n", "t.csv").column("c"); }), "t.csv has no column c; its header is a, b.");
}

TEST(Csv, OnlyUtf8) {
  for (const char* good : {"\x7F", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEF\xBF\xBF", "\xF0\x90\x80\x80",
                           "\xF4\x8F\xBF\xBF"})
    EXPECT_EQ(parse_csv(std::string("a\n") + good, "t.csv").rows.at(0).fields.at(0), good);
  // Continuation alone, overlong forms, a surrogate, beyond the last code point, cut short, Latin-1.
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xED\xA0\x80",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3", "\xE2\x82", "\xF0\x9F\x98",
                          "caf\xE9 x"})
    EXPECT_EQ(message([&] { parse_csv(std::string("a\n\"\n") + bad + "\"\n", "t.csv"); }), "t.csv:3 is not UTF-8.");
}

TEST(Mmlu, SubjectsAndGroups) {
  std::map<std::string, std::pair<int, int64_t>> groups;
  std::vector<std::string> names;
  for (const MmluSubject& subject : mmlu_subjects()) {
    groups[subject.group].first += 1;
    groups[subject.group].second += subject.questions;
    names.push_back(subject.name);
  }
  EXPECT_EQ(names.size(), 57u);
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(groups, (std::map<std::string, std::pair<int, int64_t>>{
      {"stem", {19, 3153}}, {"other", {13, 3107}}, {"social_sciences", {12, 3077}}, {"humanities", {13, 4705}}}));
}

TEST(Mmlu, PromptsByHand) {
  const MmluQuestion shot{"\xC2\x85 One?\n", {"a ", "None", " c", "d"}, 3};
  const MmluQuestion question{"\xE3\x80\x80Two?\xE2\x80\x8B ", {"1", "2", "3", "4"}, 0};
  const MmluTask task{{"world_religions", "humanities", 171}, {shot}, {question}};
  EXPECT_EQ(mmlu_prefix(MmluStyle::kLmEval, task, 1) + mmlu_question(MmluStyle::kLmEval, question),
            "The following are multiple choice questions (with answers) about world religions.\n\n"
            "One?\nA. a \nB. None\nC.  c\nD. d\nAnswer: D\n\n"
            "Two?\xE2\x80\x8B\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:");           // a zero-width space is no white space
  EXPECT_EQ(mmlu_prefix(MmluStyle::kHendrycks, task, 1) + mmlu_question(MmluStyle::kHendrycks, question),
            "The following are multiple choice questions (with answers) about  world religions.\n\n"
            "\xC2\x85 One?\n\nA. a \nB. None\nC.  c\nD. d\nAnswer: D\n\n"
            "\xE3\x80\x80Two?\xE2\x80\x8B \nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:");
  EXPECT_EQ(mmlu_prefix(MmluStyle::kLmEval, task, 0),
            "The following are multiple choice questions (with answers) about world religions.\n\n");
  EXPECT_EQ(mmlu_question(MmluStyle::kLmEval, {" \n", {"", "", "", ""}, 0}), "\nA. \nB. \nC. \nD. \nAnswer:");
}

// The hashes were computed by another program (Python's csv, str and hashlib) from the recipes of both harnesses.
TEST(Mmlu, GoldenHashes) {
  const std::string folder = data_folder();
  if (folder.empty()) GTEST_SKIP() << "skipped: no data";
  const std::vector<MmluTask> tasks = read_mmlu(folder);
  ASSERT_EQ(tasks.size(), 57u);
  const std::string prompts = all_prompts(MmluStyle::kLmEval, tasks);
  EXPECT_EQ(sha256(prompts), "e615053d5ed037dcf108fb4fa85df27e5fa45928938a6c4b8f51e9fce3141fb9");
  EXPECT_EQ(sha256(all_prompts(MmluStyle::kHendrycks, tasks)),
            "15467e13b594b90ab45f76eb1b335f8d93ec56be51b37c5924c55c87fd9c5983");

  std::string letters;
  for (const MmluTask& task : tasks)
    for (const MmluQuestion& question : task.questions) letters += question.letter();
  EXPECT_EQ(letters.size(), 14042u);
  EXPECT_EQ(sha256(letters), "9d583010b8f658bbb7a1920cfe46e2a2b55d4880c76b98f9f85cb4b362bb9dbf");
  EXPECT_EQ(std::count(letters.begin(), letters.end(), 'A'), 3222);
  EXPECT_EQ(std::count(letters.begin(), letters.end(), 'B'), 3462);
  EXPECT_EQ(std::count(letters.begin(), letters.end(), 'C'), 3582);
  EXPECT_EQ(std::count(letters.begin(), letters.end(), 'D'), 3776);

  int64_t longest = 0, characters = 0;
  for (const char byte : prompts) {
    if (byte == '\0') longest = std::max(longest, characters), characters = 0;
    else characters += (byte & 0xC0) != 0x80;   // every byte of UTF-8 but the continuations
  }
  EXPECT_EQ(longest, 14448);
}

TEST(Mmlu, TheCommandPrintsWhatIsHashed) {
  const std::string folder = data_folder();
  if (folder.empty()) GTEST_SKIP() << "skipped: no data";
  const Ran ran = run_kdabench({"mmlu-prompts", "--style", "hendrycks", "--data", folder + "/mmlu", "--subject", "anatomy"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), '\0'), 135);
  EXPECT_TRUE(ran.out == all_prompts(MmluStyle::kHendrycks, read_mmlu(folder, {"anatomy"})));
}

// A model that always says C is right as often as C is gold.
TEST(Mmlu, ConstantLetterOverAllOfIt) {
  const std::string folder = data_folder();
  if (folder.empty()) GTEST_SKIP() << "skipped: no data";
  const std::vector<MmluTask> tasks = read_mmlu(folder);
  std::vector<std::vector<MmluChoice>> choices;
  for (const MmluTask& task : tasks) choices.emplace_back(task.questions.size(), MmluChoice{2, false});
  const MmluResult result = mmlu_result(tasks, choices);
  EXPECT_EQ(result.total.questions, 14042);
  EXPECT_EQ(result.total.correct, 3582);
  std::vector<std::pair<std::string, int64_t>> groups;
  for (const MmluScore& group : result.groups) groups.emplace_back(group.name, group.questions);
  EXPECT_EQ(groups, (std::vector<std::pair<std::string, int64_t>>{
      {"humanities", 4705}, {"other", 3107}, {"social_sciences", 3077}, {"stem", 3153}}));
}

TEST(Mmlu, Choice) {
  const auto choose = [](std::array<float, 4> scores) { return mmlu_choice(scores); };
  const float low = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(choose({-3, -1, -2, -4}).letter, 1);
  EXPECT_FALSE(choose({-3, -1, -2, -3}).tied);                             // equal, but not the highest
  EXPECT_EQ(choose({-3, -1, -2, -1}).letter, 1);                           // the lowest letter
  EXPECT_TRUE(choose({-3, -1, -2, -1}).tied);
  EXPECT_TRUE(choose({low, low, low, low}).tied);
  EXPECT_THROW(choose({0, std::nanf(""), 0, 0}), Error);
}

TEST(Mmlu, AccuracyByHand) {
  const auto task = [](const char* name, const char* group, const std::vector<int>& gold) {
    MmluTask t{{name, group, static_cast<int64_t>(gold.size())}, {}, {}};
    for (const int answer : gold) t.questions.push_back({"", {}, answer});
    return t;
  };
  const std::vector<MmluTask> tasks = {task("anatomy", "stem", {0, 1, 2, 3}), task("astronomy", "stem", {1}),
                                       task("virology", "other", {3, 3, 0})};
  const std::vector<std::vector<MmluChoice>> choices = {
      {{0, false}, {1, true}, {0, true}, {3, false}}, {{2, false}}, {{3, true}, {0, false}, {1, false}}};
  const MmluResult result = mmlu_result(tasks, choices);
  ASSERT_EQ(result.subjects.size(), 3u);
  EXPECT_EQ(result.subjects[0].name, "anatomy");
  EXPECT_DOUBLE_EQ(result.subjects[0].accuracy(), 0.75);
  EXPECT_DOUBLE_EQ(*result.subjects[0].standard_error(), 0.25);            // sqrt(3/4 * 1/4 / 3)
  EXPECT_EQ(result.subjects[0].ties, 2);
  EXPECT_DOUBLE_EQ(result.subjects[1].accuracy(), 0);
  EXPECT_FALSE(result.subjects[1].standard_error());                       // one question has no spread
  ASSERT_EQ(result.groups.size(), 2u);
  EXPECT_EQ(result.groups[0].name, "other");
  EXPECT_DOUBLE_EQ(result.groups[0].accuracy(), 1.0 / 3);
  EXPECT_DOUBLE_EQ(*result.groups[0].standard_error(), 1.0 / 3);           // sqrt(1/3 * 2/3 / 2)
  EXPECT_EQ(result.groups[1].name, "stem");
  EXPECT_DOUBLE_EQ(result.groups[1].accuracy(), 0.6);                      // 3 of 5, not the mean of 0.75 and 0
  EXPECT_EQ(result.total.correct, 4);
  EXPECT_EQ(result.total.ties, 3);
  EXPECT_DOUBLE_EQ(result.total.accuracy(), 0.5);
  EXPECT_DOUBLE_EQ(*result.total.standard_error(), std::sqrt(0.25 / 7));
  EXPECT_EQ(message([&] { mmlu_result(tasks, {}); }), "MMLU: 0 subjects answered of 3.");
  auto fewer = choices;
  fewer[2].pop_back();
  EXPECT_EQ(message([&] { mmlu_result(tasks, fewer); }), "MMLU, virology: 2 answers to 3 questions.");
}

TEST_F(MmluFolder, IsReadFromEitherFolder) {
  for (const auto& folder : {root_, root_ / "mmlu"}) {
    const Ran ran = run_kdabench({"mmlu-prompts", "--data", folder.string(), "--subject", "abstract_algebra"});
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), '\0'), 100);
    EXPECT_NE(ran.out.find("\n\nq4\nA. None\nB.  b\nC. c \nD. d, e\nAnswer: C\n\nq0\nA. None"), std::string::npos);
  }
}

TEST_F(MmluFolder, BadInputIsOneSentence) {
  refused("unknown MMLU subject 'abstract_algbra'; did you mean abstract_algebra?", "abstract_algbra");
  refused("anatomy_dev.csv is not there", "anatomy");
  write("test", rows(99));
  refused("abstract_algebra_test.csv has 99 questions; MMLU has 100 there");
  write("test", rows(100, "q,a,b,c,d,4\n"));
  refused("abstract_algebra_test.csv:2 has the answer '4'; wanted 0, 1, 2 or 3.");
  write("test", rows(100, "\"two\nlines\",a,b,c,d,0\nq,a,b,c,d,B\n"));
  refused("abstract_algebra_test.csv:4 has the answer 'B'");
  write("test", rows(100, "caf\xE9,a,b,c,d,1\n"));
  refused("abstract_algebra_test.csv:2 is not UTF-8.");
  write("test", "question,choice0,choice1,choice2,answer\nq,a,b,c,1\n");
  refused("abstract_algebra_test.csv has no column choice3; its header is question, choice0, choice1, choice2, "
          "answer.");
  write("test", rows(100));
  write("dev", rows(4));
  refused("abstract_algebra_dev.csv has 4 questions; MMLU has 5 there");
  std::filesystem::remove_all(root_ / "mmlu" / "dev");
  refused("has no folder dev");
  std::filesystem::remove_all(root_);
  refused("no folder ");
}

}  // namespace
}  // namespace kdabench::suites
