#pragma once
// How a text is cut before byte pairs are merged: two published patterns, written out by hand.
//
// kimi:    [\p{Han}]+
//        | [^\r\n\p{L}\p{N}]?U*L+(?i:'s|'t|'re|'ve|'m|'ll|'d)?      U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]
//        | [^\r\n\p{L}\p{N}]?U+L*(?i:'s|'t|'re|'ve|'m|'ll|'d)?      L = [\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]
//        | \p{N}{1,3} | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// cl100k:  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+
//        | \p{N}{1,3} | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//
// The first alternative that matches wins, and repetitions are greedy. Classes are those of Unicode 14.0. A byte that
// is no part of valid UTF-8 counts as one symbol: neither letter, mark, number nor white space.

#include <cstddef>
#include <string_view>
#include <vector>

namespace kdabench {

enum class Pattern { kKimi, kCl100k };

// Where the piece that starts at byte `start` < text.size() ends. Pieces are never empty, and cover the text.
size_t piece_end(Pattern pattern, std::string_view text, size_t start);

// All pieces, in order.
std::vector<std::string_view> split(Pattern pattern, std::string_view text);

// Kimi's encoder cuts a text before it applies the pattern: after every 400,000 characters, and within a slice after
// every 25,000 that are all white space or all not. Pieces do not cross a cut.
std::vector<std::string_view> kimi_slices(std::string_view text);

}  // namespace kdabench
