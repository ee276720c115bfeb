#pragma once
// Text of the command line and of plan files into values. Every failure is an Error that names the flag, what it
// wants and what it got.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace kdabench {

// "a, b,c" -> {a, b, c}. Empty entries are errors; empty text is an empty list.
std::vector<std::string> parse_list(const std::string& flag, const std::string& text);

// 4096, 4K = 4096, 1M = 2^20, 2G; at least 1.
int64_t parse_count(const std::string& flag, const std::string& text);
std::vector<int64_t> parse_counts(const std::string& flag, const std::string& text);

// 1000000, 64MB = 64e6, 56GiB = 56 * 2^30, 1.5TB; at least 1.
int64_t parse_bytes(const std::string& flag, const std::string& text);

// As bytes, each second: 4.3TB/s.
double parse_bandwidth(const std::string& flag, const std::string& text);

int64_t parse_integer(const std::string& flag, const std::string& text, int64_t least);
double parse_real(const std::string& flag, const std::string& text, double least);

// One of the choices; the message names the nearest and all of them.
std::string parse_choice(const std::string& flag, const std::string& text, const std::vector<std::string>& choices);

// Token ids separated by commas or white space, each in [0, vocabulary).
std::vector<int32_t> parse_ids(const std::string& text, int64_t vocabulary);

}  // namespace kdabench
