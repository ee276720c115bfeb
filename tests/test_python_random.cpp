// The random streams of CPython and NumPy against what the programs themselves print (CPython 3.11.7, NumPy 2.4.6;
// NumPy's legacy stream is frozen, so every version agrees).

#include <gtest/gtest.h>

#include <numeric>

#include "suites/python_random.h"

namespace kdabench::suites {
namespace {

using Indices = std::vector<size_t>;

TEST(PythonRandom, Words) {
  PythonRandom random(42);
  EXPECT_EQ(random.random(), 0x1.4762f307200c5p-1);
  EXPECT_EQ(random.random(), 0x1.99c6b5eeb2060p-6);
  EXPECT_EQ(random.random(), 0x1.19a1491f589dcp-2);

  random = PythonRandom(42);
  const std::vector<std::pair<int, uint64_t>> bits = {
      {1, 1}, {5, 3}, {31, 53710184}, {32, 3184935163}, {33, 1181241943}, {53, 1256845828445918},
      {64, 1890702223848595625}};
  for (const auto& [count, value] : bits) EXPECT_EQ(random.bits(count), value) << count;

  random = PythonRandom(42);                  // past three renewals of the 624 words
  uint64_t sum = 0;
  for (int i = 0; i < 2000; ++i) sum = sum * 31 + random.bits(32);
  EXPECT_EQ(sum, 14092032207236291458u);
}

TEST(PythonRandom, Seeds) {
  const std::vector<std::pair<uint64_t, std::vector<uint64_t>>> seeds = {
      {0, {3626764237, 1654615998, 3255389356}},
      {1, {577090037, 2444712010, 3639700191}},
      {42, {2746317213, 478163327, 107420369}},
      {0xFFFFFFFF, {2728839433, 2661025012, 872737089}},
      {0x100000000, {485306839, 1508871100, 1794561286}},          // a key of two words
      {0xFFFFFFFFFFFFFFFF, {93740670, 1068495656, 1452108352}}};
  for (const auto& [seed, words] : seeds) {
    PythonRandom random(seed);
    for (const uint64_t word : words) EXPECT_EQ(random.bits(32), word) << seed;
  }
}

TEST(PythonRandom, WholeNumbers) {
  PythonRandom random(42);
  const std::vector<std::pair<uint64_t, uint64_t>> below = {
      {1, 0}, {2, 0}, {3, 2}, {8, 4}, {1000, 250}, {10000000, 3744854}, {uint64_t{1} << 32, 2342331444},
      {(uint64_t{1} << 32) + 1, 2536146025}, {uint64_t{1} << 40, 64561015027}};
  for (const auto& [n, value] : below) EXPECT_EQ(random.below(n), value) << n;
  random = PythonRandom(42);
  for (const int64_t value : {2867825, 1419610, 5614226, 5108603}) EXPECT_EQ(random.integer(1000000, 9999999), value);
}

TEST(PythonRandom, SamplesFromAListOrASet) {
  PythonRandom random(42);
  EXPECT_EQ(random.sample(21, 5), (Indices{20, 3, 0, 8, 7}));      // the list, up to 21 for five or fewer
  EXPECT_EQ(random.sample(8, 8), (Indices{3, 1, 5, 0, 4, 2, 6, 7}));
  EXPECT_EQ(random.sample(22, 5), (Indices{0, 2, 6, 7, 16}));      // the set
  EXPECT_EQ(random.sample(1000000, 6), (Indices{631262, 27824, 588508, 208496, 750800, 681453}));
  EXPECT_EQ(random.sample(85, 6), (Indices{69, 53, 28, 57, 75, 35}));   // 21 + 4^3 is the last list for six
  EXPECT_EQ(random.sample(86, 6), (Indices{0, 20, 54, 43, 35, 19}));
  EXPECT_EQ(random.random(), 0x1.b8f66bf50bea4p-3);
  EXPECT_TRUE(random.sample(0, 0).empty());

  random = PythonRandom(42);
  const Indices many = random.sample(8169, 4096);
  EXPECT_EQ(Indices(many.begin(), many.begin() + 3), (Indices{5238, 912, 204}));
  EXPECT_EQ(many.back(), 3292u);
  EXPECT_EQ(random.random(), 0x1.966e3b08f25e8p-1);
}

TEST(PythonRandom, ShufflesChoicesAndUuids) {
  PythonRandom random(42);
  Indices items(10);
  std::iota(items.begin(), items.end(), size_t{0});
  random.shuffle(items);
  EXPECT_EQ(items, (Indices{7, 3, 2, 8, 5, 6, 9, 4, 0, 1}));
  Indices one = {7}, none;
  random.shuffle(one);                        // draws nothing
  random.shuffle(none);
  EXPECT_EQ(random.random(), 0x1.2e5508db00c46p-1);

  random = PythonRandom(42);
  EXPECT_EQ(random.letters("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 12), "QAHFTRXCKAFN");
  EXPECT_EQ(random.below(1000), 27u);         // choice(range(1000))
  random = PythonRandom(42);
  EXPECT_EQ(random.uuid4(), "bdd640fb-0667-4ad1-9c80-317fa3b1799d");
  EXPECT_EQ(random.uuid4(), "23b8c1e9-3924-46de-beb1-3b9046685257");
}

TEST(NumpyRandom, MaskedRejection) {
  NumpyRandom random(42);
  for (const int64_t value : {25795, 10860, 86820, 64886, 16265}) EXPECT_EQ(random.integer(10000, 99999), value);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(random.integer(3, 4), 3);  // draws nothing
  for (const int64_t value : {669991378, 429389014}) EXPECT_EQ(random.integer(0, int64_t{1} << 32), value);
  for (const int64_t value : {2, -1, -2}) EXPECT_EQ(random.integer(-5, 5), value);
  random = NumpyRandom(0xFFFFFFFF);
  for (const int64_t value : {37043, 26674, 54103}) EXPECT_EQ(random.integer(10000, 99999), value);
}

}  // namespace
}  // namespace kdabench::suites
