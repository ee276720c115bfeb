#pragma once
// The check before the clock: at the cell's own context and batch, reading tokens at once (prefill kernels) and in pieces
// that end one by one (decode kernels) must give the same next-token logits.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "harness/engine/model.h"
#include "reports/record.h"
#include "suites/suite.h"

namespace kdabench::suites {

inline constexpr int64_t kCheckTokens = 5;    // read one by one, the last ones
inline constexpr int64_t kCheckPiece = 512;   // tokens before those are read so many at a time, whole chunks of the
                                              // recurrence: cut elsewhere, its bf16 roundings double the noise
inline constexpr int64_t kCheckSession = 8;   // forward_tokens the check asks of a session

// |a - b| / |b| for each row of two matrices [rows, n]; infinite where either has a NaN or an infinity.
std::vector<double> row_errors(std::span<const float> got, std::span<const float> want, int64_t rows);

// Seeded token ids [batch, tokens] within the vocabulary.
std::vector<int32_t> seeded_ids(uint64_t seed, const std::string& name, int64_t batch, int64_t tokens,
                                int64_t vocab_size);

// The part of a routing [layers, batch, tokens, top_k] that belongs to tokens [first, first + count) of each sequence.
std::vector<int32_t> routing_of(std::span<const int32_t> experts, int64_t batch, int64_t tokens, int64_t top_k,
                                int64_t first, int64_t count);

// Runs the check with `tokens` tokens of each sequence behind `context` random ones, leaves the session in an unspecified
// state, writes cell.accuracy and, when it fails, the status `incorrect`. Both readings take the routing of the first,
// which is a single pass. True when it held.
bool prefill_agrees_with_decode(Bench& bench, Session& session, int64_t context, int64_t tokens, reports::Cell& cell);

}  // namespace kdabench::suites
