#include "suites/python_random.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace kdabench::suites {

MersenneTwister::MersenneTwister(uint32_t seed) {
  state_[0] = seed;
  for (uint32_t i = 1; i < state_.size(); ++i)
    state_[i] = 1812433253u * (state_[i - 1] ^ state_[i - 1] >> 30) + i;
}

MersenneTwister::MersenneTwister(std::initializer_list<uint32_t> key) : MersenneTwister(19650218u) {
  const size_t n = state_.size();
  size_t i = 1, j = 0;
  const auto advance = [&] {
    if (++i < n) return;
    state_[0] = state_[n - 1];
    i = 1;
  };
  for (size_t step = std::max(n, key.size()); step > 0; --step) {
    state_[i] = (state_[i] ^ (state_[i - 1] ^ state_[i - 1] >> 30) * 1664525u) + key.begin()[j] +
                static_cast<uint32_t>(j);
    advance();
    j = (j + 1) % key.size();
  }
  for (size_t step = n - 1; step > 0; --step) {
    state_[i] = (state_[i] ^ (state_[i - 1] ^ state_[i - 1] >> 30) * 1566083941u) - static_cast<uint32_t>(i);
    advance();
  }
  state_[0] = 0x80000000u;                    // so that the state is never all zeros
}

void MersenneTwister::twist() {
  const size_t n = state_.size();
  for (size_t i = 0; i < n; ++i) {
    const uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % n] & 0x7FFFFFFFu);
    state_[i] = state_[(i + 397) % n] ^ y >> 1 ^ (y & 1 ? 0x9908B0DFu : 0u);
  }
  at_ = 0;
}

uint32_t MersenneTwister::next() {
  if (at_ == state_.size()) twist();
  uint32_t y = state_[at_++];
  y ^= y >> 11;
  y ^= y << 7 & 0x9D2C5680u;
  y ^= y << 15 & 0xEFC60000u;
  return y ^ y >> 18;
}

// The key is the seed's 32-bit words, the lowest first, without leading zeros.
PythonRandom::PythonRandom(uint64_t seed)
    : twister_(seed >> 32 == 0
                   ? MersenneTwister({static_cast<uint32_t>(seed)})
                   : MersenneTwister({static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)})) {}

double PythonRandom::random() {
  const uint32_t high = twister_.next() >> 5, low = twister_.next() >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

uint64_t PythonRandom::bits(int count) {
  assert(count > 0 && count <= 64);
  if (count <= 32) return twister_.next() >> (32 - count);
  const uint64_t low = twister_.next();
  return low | static_cast<uint64_t>(twister_.next() >> (64 - count)) << 32;
}

uint64_t PythonRandom::below(uint64_t n) {
  assert(n > 0);
  const int width = static_cast<int>(std::bit_width(n));
  uint64_t value = bits(width);
  while (value >= n) value = bits(width);
  return value;
}

std::vector<size_t> PythonRandom::sample(size_t n, size_t k) {
  assert(k <= n);
  // Where a set of the chosen would take more memory than a list of all, CPython keeps the list.
  size_t set_size = 21;
  if (k > 5) {
    size_t power = 1;
    while (power < 3 * k) power *= 4;         // 4 ** ceil(log(3 k, 4))
    set_size += power;
  }
  std::vector<size_t> drawn(k);
  if (n <= set_size) {
    std::vector<size_t> pool(n);
    std::iota(pool.begin(), pool.end(), size_t{0});
    for (size_t i = 0; i < k; ++i) {
      const size_t j = below(n - i);
      drawn[i] = pool[j];
      pool[j] = pool[n - i - 1];
    }
  } else {
    std::vector<bool> chosen(n);
    for (size_t& index : drawn) {
      do index = below(n);
      while (chosen[index]);
      chosen[index] = true;
    }
  }
  return drawn;
}

std::string PythonRandom::letters(std::string_view alphabet, int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += alphabet[static_cast<size_t>(std::floor(random() * static_cast<double>(alphabet.size())))];
  return text;
}

std::string PythonRandom::uuid4() {
  std::array<uint32_t, 4> words;              // getrandbits(128): the lowest word comes first
  for (uint32_t& word : words) word = twister_.next();
  words[2] = (words[2] & 0xFFFF0FFFu) | 0x00004000u;              // version 4
  words[1] = (words[1] & 0x3FFFFFFFu) | 0x80000000u;              // RFC 4122
  char text[37];
  std::snprintf(text, sizeof text, "%08x-%04x-%04x-%04x-%04x%08x", words[3], words[2] >> 16, words[2] & 0xFFFF,
                words[1] >> 16, words[1] & 0xFFFF, words[0]);
  return text;
}

int64_t NumpyRandom::integer(int64_t low, int64_t high) {
  assert(low < high && static_cast<uint64_t>(high - low) <= uint64_t{1} << 32);
  const auto range = static_cast<uint64_t>(high - low) - 1;
  if (range == 0) return low;                 // draws nothing
  const uint64_t mask = (uint64_t{1} << std::bit_width(range)) - 1;
  uint64_t value = twister_.next() & mask;
  while (value > range) value = twister_.next() & mask;
  return low + static_cast<int64_t>(value);
}

}  // namespace kdabench::suites
