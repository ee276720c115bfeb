#pragma once
// The random streams of CPython's `random` and of NumPy's legacy `numpy.random`, number by number: benchmarks that were
// written in Python are drawn from them. Both are the Mersenne Twister MT19937 of Matsumoto and Nishimura (1998).
//
// Source: CPython 3.11, Lib/random.py and Modules/_randommodule.c; NumPy 1.24, numpy/random/mtrand.pyx.

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kdabench::suites {

class MersenneTwister {
 public:
  explicit MersenneTwister(uint32_t seed);                        // init_genrand
  explicit MersenneTwister(std::initializer_list<uint32_t> key);  // init_by_array
  uint32_t next();

 private:
  void twist();

  std::array<uint32_t, 624> state_;
  size_t at_ = 624;                           // the next word to give; at the end all are made anew
};

// random.Random(seed).
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);

  double random();                            // [0, 1), 53 bits
  uint64_t bits(int count);                   // getrandbits, count <= 64
  uint64_t below(uint64_t n);                 // _randbelow, n > 0: also the index that choice() takes
  int64_t integer(int64_t low, int64_t high) {                    // randint: both ends belong
    return low + static_cast<int64_t>(below(static_cast<uint64_t>(high - low) + 1));
  }

  // sample(range(n), k), k <= n: distinct, in the order drawn.
  std::vector<size_t> sample(size_t n, size_t k);

  // "".join(choices(alphabet, k=count)).
  std::string letters(std::string_view alphabet, int count);

  // str(uuid.UUID(int=getrandbits(128), version=4)).
  std::string uuid4();

  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i-- > 1;) std::swap(items[i], items[below(i + 1)]);
  }

 private:
  MersenneTwister twister_;
};

// numpy.random.RandomState(seed).
class NumpyRandom {
 public:
  explicit NumpyRandom(uint32_t seed) : twister_(seed) {}

  // randint(low, high): high does not belong; high - low is at most 2^32.
  int64_t integer(int64_t low, int64_t high);

 private:
  MersenneTwister twister_;
};

}  // namespace kdabench::suites
