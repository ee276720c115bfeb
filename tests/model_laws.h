#pragma once
// Laws that every architecture obeys on every backend, without a reference: T tokens at once equal T times one token;
// a prompt may be cut anywhere; rows of a batch do not see each other, also where they differ in length; a restored
// beginning is as good as one that was read; reset forgets; a decode step is a forward pass.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "baselines/gdn_h.h"
#include "baselines/mla.h"
#include "harness/engine/model.h"
#include "kernels/base/random.h"

namespace kdabench::test {

inline Registry all_architectures() {
  Registry registry;
  registry.add(kimi_linear_architecture());
  registry.add(mla_architecture());
  registry.add(gdn_h_architecture());
  return registry;
}

inline std::vector<std::string> architecture_names() {
  const Registry registry = all_architectures();
  std::vector<std::string> names;
  for (const Architecture& a : registry.all()) names.push_back(a.name);
  return names;
}

inline std::unique_ptr<Model> tiny_model(const std::string& architecture, DeviceKind device, Precision precision,
                                         uint64_t seed = 7, const char* preset = "tiny",
                                         const char* state_dtype = "fp32") {
  ModelOptions options;
  options.config = preset_config(preset);
  options.config.state_dtype = state_dtype;
  options.layout = all_architectures().find(architecture).layout(options.config, {});
  options.device = device;
  options.precision = precision;
  options.seed = seed;
  return make_model(options);
}

inline std::vector<int32_t> random_ids(int64_t count, int64_t vocabulary, uint64_t seed) {
  std::vector<int32_t> ids(count);
  for (int64_t i = 0; i < count; ++i) ids[i] = static_cast<int32_t>(random_bits(random_stream(seed, "ids"), i) % vocabulary);
  return ids;
}

// Relative L2 distance of each row of n numbers, sorted; a row that is not finite counts as infinite.
inline std::vector<double> row_distances(const std::vector<float>& got, const std::vector<float>& want, int64_t n) {
  std::vector<double> rows;
  for (size_t first = 0; first + n <= got.size() && first + n <= want.size(); first += n) {
    double error = 0, norm = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double d = static_cast<double>(got[first + i]) - want[first + i];
      error += d * d;
      norm += static_cast<double>(want[first + i]) * want[first + i];
    }
    const double distance = std::sqrt(error / norm);
    rows.push_back(std::isfinite(distance) ? distance : INFINITY);
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

// Two bounds: for the median row, where every rounding is at its usual size, and for the worst one, where bf16 noise
// may have moved a token across the edge of the router's top k (fp32 and fp64: the same bound twice).
struct LawBounds {
  double median, worst;
};

inline testing::AssertionResult rows_close(const std::vector<float>& got, const std::vector<float>& want, int64_t n,
                                           LawBounds bounds) {
  if (got.size() != want.size() || got.empty())
    return testing::AssertionFailure() << got.size() << " numbers, wanted " << want.size();
  const std::vector<double> rows = row_distances(got, want, n);
  const double median = rows[rows.size() / 2], worst = rows.back();
  if (median <= bounds.median && worst <= bounds.worst) return testing::AssertionSuccess() << median << " " << worst;
  return testing::AssertionFailure() << "rel_l2 of " << rows.size() << " rows: median " << median << " (bound "
                                     << bounds.median << "), worst " << worst << " (bound " << bounds.worst << ")";
}

// [first, first + n) of every row's T tokens.
inline std::vector<int32_t> columns(const std::vector<int32_t>& ids, int64_t batch, int64_t first, int64_t n) {
  const int64_t T = static_cast<int64_t>(ids.size()) / batch;
  std::vector<int32_t> out;
  for (int64_t b = 0; b < batch; ++b)
    out.insert(out.end(), ids.begin() + b * T + first, ids.begin() + b * T + first + n);
  return out;
}

// The routing of tokens [first, first + n) of rows [row, row + rows), from chosen_experts() of a pass of [batch, T].
inline std::vector<int32_t> routing_of(const std::vector<int32_t>& chosen, int64_t top_k, int64_t batch, int64_t T,
                                       int64_t first, int64_t n, int64_t row = 0, int64_t rows = -1) {
  std::vector<int32_t> out;
  const int64_t layers = static_cast<int64_t>(chosen.size()) / (batch * T * top_k);
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t b = row; b < row + (rows < 0 ? batch : rows); ++b) {
      const auto at = chosen.begin() + ((layer * batch + b) * T + first) * top_k;
      out.insert(out.end(), at, at + n * top_k);
    }
  return out;
}

// A prefill forgets what was there, may be cut into passes, samples what forward would, and is counted as one step.
inline void law_prefill_is_forward_from_nothing(Model& model, LawBounds bounds) {
  const int64_t V = model.options().config.vocab_size, batch = 2, T = 70;
  const std::vector<int32_t> ids = random_ids(batch * T, V, 3);
  for (const int64_t pass : {T, int64_t{32}}) {
    const auto session = model.open({.batch = batch, .capacity = T, .forward_tokens = pass, .all_logits = false});
    const std::vector<float> want = session->forward(ids, Logits::kLast);
    const std::vector<int32_t> next = session->next_tokens();
    std::vector<int64_t> read;
    for (int repetition = 0; repetition < 2; ++repetition) {
      const DecodeSamples got = session->prefill(ids, [&](int64_t tokens) { read.push_back(tokens); });
      EXPECT_EQ(got.tokens, next);
      EXPECT_EQ(session->length(), T);
      ASSERT_EQ(got.step_ns.size(), 1u);
      EXPECT_GT(got.step_ns[0], 0);
      EXPECT_GE(got.wall_ns, 0.9 * got.step_ns[0]);
      double parts_ns = 0;
      for (const PartTime& part : got.parts) parts_ns += part.time_ns;
      EXPECT_GT(parts_ns, 0.5 * got.step_ns[0]);
      EXPECT_LE(parts_ns, 1.001 * got.step_ns[0]);
      EXPECT_TRUE(rows_close(session->last_logits(), want, V, bounds));
    }
    EXPECT_EQ(read, pass == T ? (std::vector<int64_t>{T, T}) : (std::vector<int64_t>{32, 64, T, 32, 64, T}));
    EXPECT_FALSE(session->kernels().parts.at("projections").empty());
    EXPECT_THROW(session->prefill(ids, [](int64_t) { throw Error("enough"); }), Error);
    EXPECT_THROW(session->prefill(random_ids(batch * T + batch, V, 3)), Error) << "more than the capacity";
    EXPECT_EQ(session->prefill(ids).tokens, next) << "what was interrupted leaves nothing behind";
  }
}

inline std::vector<float> all_logits_of_one_row(const std::vector<float>& logits, int64_t batch, int64_t row) {
  const int64_t per_row = static_cast<int64_t>(logits.size()) / batch;
  return {logits.begin() + row * per_row, logits.begin() + (row + 1) * per_row};
}

inline void law_forward_T_is_T_times_forward_1(Model& model, int64_t batch, int64_t T, LawBounds bounds) {
  const int64_t V = model.options().config.vocab_size;
  const std::vector<int32_t> ids = random_ids(batch * T, V, 1);
  const auto session = model.open({.batch = batch, .capacity = T, .forward_tokens = T, .all_logits = true});
  const std::vector<float> at_once = session->forward(ids, Logits::kAll);
  const std::vector<int32_t> chosen = session->chosen_experts();
  const int64_t top_k = model.options().config.num_experts_per_token;
  session->reset();
  std::vector<float> one_by_one(at_once.size());
  for (int64_t t = 0; t < T; ++t) {
    const std::vector<float> step = session->forward(columns(ids, batch, t, 1), Logits::kAll, routing_of(chosen, top_k, batch, T, t, 1));
    for (int64_t b = 0; b < batch; ++b) std::copy_n(step.begin() + b * V, V, one_by_one.begin() + (b * T + t) * V);
  }
  EXPECT_TRUE(rows_close(at_once, one_by_one, V, bounds)) << "batch " << batch << ", T " << T;
}

inline void law_cutting_a_prompt_changes_nothing(Model& model, int64_t T, const std::vector<int64_t>& cuts,
                                                 LawBounds bounds) {
  const int64_t V = model.options().config.vocab_size;
  const std::vector<int32_t> ids = random_ids(T, V, 2);
  const auto session = model.open({.batch = 1, .capacity = T, .forward_tokens = T, .all_logits = false});
  const std::vector<float> whole = session->forward(ids, Logits::kLast);
  const std::vector<int32_t> chosen = session->chosen_experts();
  const int64_t top_k = model.options().config.num_experts_per_token;
  for (const int64_t cut : cuts) {
    session->reset();
    session->forward(columns(ids, 1, 0, cut), Logits::kNone, routing_of(chosen, top_k, 1, T, 0, cut));
    const std::vector<float> got =
        session->forward(columns(ids, 1, cut, T - cut), Logits::kLast, routing_of(chosen, top_k, 1, T, cut, T - cut));
    EXPECT_EQ(session->length(), T);
    EXPECT_TRUE(rows_close(got, whole, V, bounds)) << "cut at " << cut << " of " << T;
  }
  // the session's own cutting, passes of at most 48 tokens, and its own routing: the median row's bound does not apply
  const auto pieces = model.open({.batch = 1, .capacity = T, .forward_tokens = 48, .all_logits = false});
  EXPECT_TRUE(rows_close(pieces->forward(ids, Logits::kLast), whole, V, {bounds.worst, bounds.worst}))
      << "passes of 48 tokens";
}

inline void law_rows_do_not_see_each_other(Model& model, int64_t batch, int64_t T, LawBounds bounds) {
  const int64_t V = model.options().config.vocab_size;
  const std::vector<int32_t> ids = random_ids(batch * T, V, 3);
  const auto together = model.open({.batch = batch, .capacity = T + 1, .forward_tokens = T, .all_logits = true});
  const std::vector<float> logits = together->forward(ids, Logits::kAll);
  const std::vector<int32_t> chosen = together->chosen_experts();
  const int64_t top_k = model.options().config.num_experts_per_token;
  together->decode(1);
  const std::vector<int32_t> step_chosen = together->chosen_experts();
  const std::vector<float> step = together->last_logits();
  const auto alone = model.open({.batch = 1, .capacity = T + 1, .forward_tokens = T, .all_logits = true});
  for (const int64_t b : {int64_t{0}, batch / 2, batch - 1}) {
    alone->reset();
    const std::vector<int32_t> row(ids.begin() + b * T, ids.begin() + (b + 1) * T);
    const std::vector<float> want = alone->forward(row, Logits::kAll, routing_of(chosen, top_k, batch, T, 0, T, b, 1));
    EXPECT_TRUE(rows_close(all_logits_of_one_row(logits, batch, b), want, V, bounds))
        << "row " << b << " of " << batch;
    // the decode step fed the argmax of the row's own last logits
    const std::vector<float> before = all_logits_of_one_row(logits, batch, b);
    const int32_t fed = static_cast<int32_t>(std::max_element(before.end() - V, before.end()) - (before.end() - V));
    const std::vector<float> alone_step =
        alone->forward(std::vector<int32_t>{fed}, Logits::kLast, routing_of(step_chosen, top_k, batch, 1, 0, 1, b, 1));
    EXPECT_TRUE(rows_close({step.begin() + b * V, step.begin() + (b + 1) * V}, alone_step, V, bounds))
        << "decode step of row " << b << " of " << batch;
  }
}

// Prompts of different lengths, read together and then decoded together, against each of them alone. Rows without a
// prompt stay out of the way.
inline void law_ragged_rows_are_rows_alone(Model& model, const std::vector<int64_t>& lengths, LawBounds bounds) {
  const int64_t V = model.options().config.vocab_size, top_k = model.options().config.num_experts_per_token, steps = 3;
  const int64_t batch = static_cast<int64_t>(lengths.size()), longest = *std::max_element(lengths.begin(), lengths.end());
  const int64_t N = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  std::vector<std::vector<int32_t>> prompts;
  for (int64_t b = 0; b < batch; ++b) prompts.push_back(random_ids(lengths[b], V, 40 + b));
  const SessionOptions options{.batch = batch, .capacity = longest + steps, .forward_tokens = longest, .all_logits = false};
  const auto together = model.open(options);
  together->append(prompts);
  struct Step {
    std::vector<float> logits;
    std::vector<int32_t> chosen, next;
  };
  std::vector<Step> all;
  for (int64_t i = 0; i <= steps; ++i) {
    if (i > 0) together->decode(1);
    all.push_back({together->last_logits(), together->chosen_experts(), together->next_tokens()});
  }
  for (int64_t b = 0, first = 0; b < batch; first += lengths[b++]) {
    EXPECT_EQ(together->length(b), lengths[b] + steps);
    if (lengths[b] == 0) continue;
    const auto alone = model.open({.batch = 1, .capacity = longest + steps, .forward_tokens = longest, .all_logits = false});
    for (int64_t i = 0; i <= steps; ++i) {
      const std::vector<float> want =
          i == 0 ? alone->forward(prompts[b], Logits::kLast, routing_of(all[0].chosen, top_k, 1, N, first, lengths[b]))
                 : alone->forward(std::vector<int32_t>{all[i - 1].next[b]}, Logits::kLast,
                                  routing_of(all[i].chosen, top_k, batch, 1, 0, 1, b, 1));
      const std::vector<float> got = all_logits_of_one_row(all[i].logits, batch, b);
      EXPECT_TRUE(rows_close(got, want, V, bounds)) << "row " << b << " of " << lengths[b] << " tokens, step " << i;
      EXPECT_EQ(all[i].next[b], std::max_element(got.begin(), got.end()) - got.begin());
    }
  }
}

// A beginning that is saved and restored into other rows, against the same beginning read in each of them; with
// leftovers of another sequence in the rows, and behind other rows of other lengths. Bit for bit: copies are exact, and
// the passes behind them are the same.
inline void law_a_restored_prefix_is_a_read_prefix(Model& model, int64_t prefix_length) {
  const int64_t V = model.options().config.vocab_size;
  const std::vector<int32_t> prefix = random_ids(prefix_length, V, 60);
  const std::vector<std::vector<int32_t>> ends = {random_ids(3, V, 61), random_ids(70, V, 62), random_ids(1, V, 63)};
  const SessionOptions options{.batch = 3, .capacity = prefix_length + 80, .forward_tokens = 64, .all_logits = false};
  const auto read = model.open(options), restored = model.open(options);
  read->append(std::vector<std::vector<int32_t>>(3, prefix));
  read->append(ends);

  const auto source = model.open({.batch = 3, .capacity = prefix_length, .forward_tokens = 64, .all_logits = false});
  source->append(std::vector<std::vector<int32_t>>(3, prefix));  // the same pass; rows are equal
  const std::unique_ptr<Snapshot> saved = source->save(1);
  EXPECT_EQ(saved->length(), prefix_length);
  for (int round = 0; round < 2; ++round) {  // the second time over what the first one left
    const int64_t rows[] = {2, 0, 1};
    restored->restore(*saved, rows);
    EXPECT_EQ(restored->length(), prefix_length);
    restored->append(ends);
    EXPECT_EQ(restored->last_logits(), read->last_logits()) << "prefix of " << prefix_length;
    if (round == 0) {
      restored->decode(4);
      read->decode(4);
      EXPECT_EQ(restored->last_logits(), read->last_logits()) << "decode, prefix of " << prefix_length;
      read->reset();
      read->append(std::vector<std::vector<int32_t>>(3, prefix));
      read->append(ends);
    }
  }
}

inline void law_reset_forgets(Model& model) {
  const int64_t V = model.options().config.vocab_size;
  const std::vector<int32_t> ids = random_ids(2 * 9, V, 4), others = random_ids(2 * 70, V, 5);
  const auto session = model.open({.batch = 2, .capacity = 80, .forward_tokens = 80, .all_logits = true});
  const std::vector<float> first = session->forward(ids, Logits::kAll);
  session->reset();
  EXPECT_EQ(session->length(), 0);
  session->forward(others, Logits::kNone);
  session->decode(3);
  session->reset();
  EXPECT_EQ(session->forward(ids, Logits::kAll), first);  // bit for bit
  session->fill_random(60, 3);
  session->decode(2);
  session->reset();
  EXPECT_EQ(session->forward(ids, Logits::kAll), first);
}

// decode(n) is n times: feed the next token, append it, take the argmax. Also across a growing context.
inline void law_decode_is_forward(Model& model, int64_t batch, int64_t context, LawBounds bounds) {
  const int64_t V = model.options().config.vocab_size, steps = 4;
  const auto session = model.open({.batch = batch, .capacity = context + steps, .forward_tokens = 1, .all_logits = false});
  session->fill_random(context, 11);
  const std::vector<int32_t> start = session->next_tokens();
  const DecodeSamples samples = session->decode(steps);
  const std::vector<float> decoded = session->last_logits();
  EXPECT_EQ(samples.tokens.size(), static_cast<size_t>(steps * batch));
  EXPECT_EQ(samples.step_ns.size(), static_cast<size_t>(steps));
  EXPECT_EQ(session->length(), context + steps);
  session->fill_random(context, 11);
  EXPECT_EQ(session->next_tokens(), start);
  std::vector<int32_t> feed = start;         // the tokens that decode() fed
  for (int64_t i = 0; i < steps; ++i) {
    session->forward(feed, Logits::kLast);
    feed.assign(samples.tokens.begin() + i * batch, samples.tokens.begin() + (i + 1) * batch);
  }
  EXPECT_TRUE(rows_close(session->last_logits(), decoded, V, bounds)) << "context " << context << ", batch " << batch;
}

}  // namespace kdabench::test
