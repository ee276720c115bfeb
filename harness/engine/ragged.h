#pragma once
// Prompts of different lengths in one session: which tokens of which row go into which pass.
//
// A row is cut as if it were alone, into `most` tokens at a time with the rest at the end. All rows end in the last pass,
// so that the head, and the choice of the next token, run once for all of them; whatever is before its end a row reads
// from the first pass on, where rows of any lengths have equally many tokens and are one segment. No token is padding.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/engine/mixers.h"

namespace kdabench {

// Tokens [first, first + tokens) of what a row gets.
struct RowPart {
  int64_t row = 0, first = 0, tokens = 0;
};

// Rows in ascending order; a row without tokens is in no pass.
inline std::vector<std::vector<RowPart>> ragged_passes(std::span<const int64_t> lengths, int64_t most) {
  const auto cuts = [most](int64_t length) { return (length + most - 1) / most; };
  int64_t passes = 0;
  for (const int64_t length : lengths) passes = std::max(passes, cuts(length));
  std::vector<std::vector<RowPart>> result(passes);
  for (size_t row = 0; row < lengths.size(); ++row)
    for (int64_t first = 0, pass = 0; first < lengths[row]; first += most, ++pass) {
      const int64_t tokens = std::min(most, lengths[row] - first);
      result[first + tokens < lengths[row] ? pass : passes - 1].push_back({static_cast<int64_t>(row), first, tokens});
    }
  return result;
}

// Neighbours with equally many tokens are one segment: one launch of the mixer for all of them.
inline std::vector<Segment> segments_of(std::span<const RowPart> parts) {
  std::vector<Segment> segments;
  int64_t tokens = 0;
  for (const RowPart& part : parts) {
    if (!segments.empty() && segments.back().tokens == part.tokens &&
        segments.back().first_row + segments.back().rows == part.row)
      ++segments.back().rows;
    else
      segments.push_back({part.row, 1, part.tokens, tokens});
    tokens += part.tokens;
  }
  return segments;
}

}  // namespace kdabench
