#pragma once
// The check before the clock: at the cell's own context and batch, reading a few tokens at once (prefill kernels) and
// one by one (decode kernels) must give the same next-token logits.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "harness/engine/model.h"
#include "reports/record.h"
#include "suites/suite.h"

namespace kdabench::suites {

inline constexpr int64_t kCheckTokens = 5;
inline constexpr int64_t kCheckSession = 8;   // forward_tokens the check asks of a session

// |a - b| / |b| for each row of two matrices [rows, n]; infinite where either has a NaN or an infinity.
std::vector<double> row_errors(std::span<const float> got, std::span<const float> want, int64_t rows);

// Seeded token ids [batch, tokens] within the vocabulary.
std::vector<int32_t> seeded_ids(uint64_t seed, const std::string& name, int64_t batch, int64_t tokens,
                                int64_t vocab_size);

// Runs the check, leaves the session in an unspecified state, writes cell.accuracy and, when it fails, the status
// `incorrect`. Both readings take the routing of the first. True when it held.
bool prefill_agrees_with_decode(Bench& bench, Session& session, reports::Cell& cell);

}  // namespace kdabench::suites
