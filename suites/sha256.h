#pragma once
// SHA-256 (FIPS 180-4) of a string, in hexadecimal.

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

namespace kdabench::suites {

// The first 32 fractional bits of the square (power 2) or cube (power 3) roots of the first primes: the standard's
// constants. The roots are below 8, so that a long double has 61 bits or more right of their point.
template <size_t N>
std::array<uint32_t, N> root_bits(int power) {
  static_assert(sizeof(long double) > sizeof(double), "the roots need more digits than a double has");
  std::array<uint32_t, N> bits{};
  size_t n = 0;
  for (int candidate = 2; n < N; ++candidate) {
    bool prime = true;
    for (int d = 2; d * d <= candidate; ++d) prime = prime && candidate % d != 0;
    if (!prime) continue;
    const long double prime_number = candidate, root = power == 2 ? std::sqrt(prime_number) : std::cbrt(prime_number);
    bits[n++] = static_cast<uint32_t>((root - std::floor(root)) * 4294967296.0L);
  }
  return bits;
}

inline std::string sha256(std::string_view text) {
  static const std::array<uint32_t, 64> k = root_bits<64>(3);
  std::array<uint32_t, 8> hash = root_bits<8>(2);

  std::string padded(text);
  padded += '\x80';
  padded.resize((padded.size() + 8 + 63) / 64 * 64, '\0');
  for (int i = 0; i < 8; ++i)
    padded[padded.size() - 1 - i] = static_cast<char>(static_cast<uint64_t>(text.size()) * 8 >> 8 * i);

  for (size_t block = 0; block < padded.size(); block += 64) {
    std::array<uint32_t, 64> w{};
    for (size_t i = 0; i < 64; ++i) w[i / 4] = w[i / 4] << 8 | static_cast<unsigned char>(padded[block + i]);
    for (size_t i = 16; i < 64; ++i) {
      const uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
      const uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ w[i - 2] >> 10;
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = hash;
    for (size_t i = 0; i < 64; ++i) {
      const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + k[i] + w[i];
      const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const std::array<uint32_t, 8> end = {a, b, c, d, e, f, g, h};
    for (size_t i = 0; i < 8; ++i) hash[i] += end[i];
  }
  std::string hex;
  for (const uint32_t word : hash)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
  return hex;
}

}  // namespace kdabench::suites
