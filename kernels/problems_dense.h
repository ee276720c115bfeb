#pragma once
// The seeded inputs of the token-wise operations: linear, mixture of experts, pointwise, sampling.

#include <algorithm>
#include <cmath>

#include "kernels/base/problem.h"
#include "kernels/linear/linear.h"
#include "kernels/moe/moe.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/sampling/sampling.h"

namespace kdabench {

// ---- linear -------------------------------------------------------------------------------------------------------

struct LinearShape {
  int64_t tokens = 1, in = 64, out = 64;
  int64_t padding = 0;  // of the rows of x and y, in elements
};

template <class Types>
struct LinearProblem : ProblemBase<LinearProblem, Types> {
  using Act = typename Types::Act;
  using Accum = typename Types::Accum;
  LinearShape shape;
  std::vector<Act> x;
  std::vector<typename Types::Weight> w;
  std::vector<Act> y;         // as inside the model
  std::vector<Accum> logits;  // the same product, as the head writes it

  template <class Visit, class... P>
  static void fields(Visit&& visit, P&... p) {
    visit("x", p.x...);
    visit("w", p.w...);
    visit("y", p.y...);
    visit("logits", p.logits...);
  }

  template <class Base>
  Linear<Types> args_at(Base&& base) {
    const LinearShape& s = shape;
    return {padded(base(x), s.tokens, s.in, s.padding), {base(w), {s.out, s.in}},
            padded(base(y), s.tokens, s.out, s.padding)};
  }
  template <class Base>
  Linear<Types, Accum> logits_at(Base&& base) {
    const LinearShape& s = shape;
    return {padded(base(x), s.tokens, s.in, s.padding), {base(w), {s.out, s.in}},
            padded(base(logits), s.tokens, s.out, s.padding)};
  }
};

template <class Types = Cpu<double>>
LinearProblem<Types> linear_problem(const LinearShape& s, uint64_t seed) {
  LinearProblem<Types> p;
  p.seed = seed;
  p.shape = s;
  p.x = draw<typename Types::Act>(s.tokens, s.in, s.padding, Normal(seed, "x"));
  p.w = draw<typename Types::Weight>(s.out, s.in, 0, Normal(seed, "w", 1 / std::sqrt(float(s.in))));
  p.y = poison<typename Types::Act>(s.tokens * (s.out + s.padding));
  p.logits = poison<typename Types::Accum>(s.tokens * (s.out + s.padding));
  return p;
}

// ---- mixture of experts -------------------------------------------------------------------------------------------

enum class Routing {
  kSpread,  // as the router's random rows fall
  kSkewed,  // a bias sends every token to experts 0 .. top_k - 1
  kTied,    // all scores are 1/2: the lowest indices win
};

struct MoeShape {
  int64_t tokens = 1, width = 64, hidden = 32;  // N, D, I
  int64_t experts = 8, shared = 1;              // E, S
  int top_k = 2;
  Routing routing = Routing::kSpread;
  float scale = 2.446f;
  bool renormalize = true;
  bool biased_weights = false;
  // Tokens are redrawn until the last chosen and the first refused score are 1e-4 apart, so that rounding in fp32
  // cannot change the choice: comparisons are about arithmetic, not about ties. Costs one router product in double.
  bool clear_choice = true;
};

template <class Types>
struct MoeProblem : ProblemBase<MoeProblem, Types> {
  using Act = typename Types::Act;
  using Weight = typename Types::Weight;
  MoeShape shape;
  std::vector<Act> x;
  std::vector<Weight> router, gate_up, down;
  std::vector<float> bias, expert_weights;
  std::vector<int32_t> expert_ids;
  std::vector<Act> out;

  template <class Visit, class... P>
  static void fields(Visit&& visit, P&... p) {
    visit("x", p.x...);
    visit("router", p.router...);
    visit("bias", p.bias...);
    visit("gate_up", p.gate_up...);
    visit("down", p.down...);
    visit("expert_ids", p.expert_ids...);
    visit("expert_weights", p.expert_weights...);
    visit("out", p.out...);
  }

  template <class Base>
  Moe<Types> args_at(Base&& base) {
    const MoeShape& s = shape;
    const int64_t all = s.experts + s.shared;
    Moe<Types> a;
    a.x = View<Act, 2>(base(x), {s.tokens, s.width});
    a.router = View<Weight, 2>(base(router), {s.experts, s.width});
    a.bias = View<float, 1>(base(bias), {s.experts});
    a.gate_up = View<Weight, 3>(base(gate_up), {all, 2 * s.hidden, s.width});
    a.down = View<Weight, 3>(base(down), {all, s.width, s.hidden});
    a.top_k = s.top_k;
    a.scale = s.scale;
    a.renormalize = s.renormalize;
    a.biased_weights = s.biased_weights;
    a.expert_ids = View<int32_t, 2>(base(expert_ids), {s.tokens, s.top_k});
    a.expert_weights = View<float, 2>(base(expert_weights), {s.tokens, s.top_k});
    a.out = View<Act, 2>(base(out), {s.tokens, s.width});
    return a;
  }
};

// The distance in score between the last expert that `x` chooses and the first that it refuses.
template <class Weight>
double routing_margin(const std::vector<float>& x, const std::vector<Weight>& router, const std::vector<float>& bias,
                      int top_k) {
  std::vector<double> scores(bias.size());
  for (size_t e = 0; e < bias.size(); ++e) {
    double dot = 0;
    for (size_t i = 0; i < x.size(); ++i) dot += double(x[i]) * to_float(router[e * x.size() + i]);
    scores[e] = 1 / (1 + std::exp(-dot)) + bias[e];
  }
  std::sort(scores.rbegin(), scores.rend());
  return size_t(top_k) < scores.size() ? scores[top_k - 1] - scores[top_k] : 1;
}

template <class Types = Cpu<double>>
MoeProblem<Types> moe_problem(const MoeShape& s, uint64_t seed) {
  using Act = typename Types::Act;
  using Weight = typename Types::Weight;
  const int64_t all = s.experts + s.shared;
  const float into = 1 / std::sqrt(float(s.width)), out_of = 1 / std::sqrt(float(s.hidden));
  const bool tied = s.routing == Routing::kTied, skewed = s.routing == Routing::kSkewed;
  const Normal input(seed, "x"), router(seed, "router", into), bias(seed, "bias", 0.05f);

  MoeProblem<Types> p;
  p.seed = seed;
  p.shape = s;
  p.router = draw<Weight>(s.experts, s.width, 0, [&](int64_t i) { return tied ? 0.0f : router(i); });
  p.bias = draw_exact<float>(s.experts, [&](int64_t e) {
    if (tied) return 0.0f;
    return skewed && e < s.top_k ? 10.0f : bias(e);
  });
  // Which draw of each token is used: the first one whose choice is clear.
  std::vector<int64_t> attempt(s.tokens, 0);
  if (s.clear_choice && s.routing == Routing::kSpread) {
#pragma omp parallel for
    for (int64_t n = 0; n < s.tokens; ++n) {
      std::vector<float> x(s.width);
      for (bool clear = false; !clear; attempt[n] += !clear) {
        const int64_t row = attempt[n] * s.tokens + n;
        for (int64_t i = 0; i < s.width; ++i) x[i] = bf16_rounded(input(row * s.width + i));
        clear = routing_margin(x, p.router, p.bias, s.top_k) > 1e-4;
      }
    }
  }
  p.x = draw<Act>(s.tokens, s.width, 0, [&](int64_t i) {
    return input(attempt[i / s.width] * s.tokens * s.width + i);
  });
  p.gate_up = draw<Weight>(all * 2 * s.hidden, s.width, 0, Normal(seed, "gate_up", into));
  p.down = draw<Weight>(all * s.width, s.hidden, 0, Normal(seed, "down", out_of));
  p.expert_ids.assign(s.tokens * s.top_k, -1);
  p.expert_weights = poison<float>(s.tokens * s.top_k);
  p.out = poison<Act>(s.tokens * s.width);
  return p;
}

// ---- pointwise ----------------------------------------------------------------------------------------------------

struct EmbedShape {
  int64_t tokens = 1, width = 64, vocabulary = 100;
};

// Ids repeat, and include the first and the last of the vocabulary once there are two tokens.
template <class Types>
struct EmbedProblem : ProblemBase<EmbedProblem, Types> {
  EmbedShape shape;
  std::vector<int32_t> ids;
  std::vector<typename Types::Weight> table;
  std::vector<typename Types::Accum> residual;

  template <class Visit, class... P>
  static void fields(Visit&& visit, P&... p) {
    visit("ids", p.ids...);
    visit("table", p.table...);
    visit("residual", p.residual...);
  }

  template <class Base>
  Embed<Types> args_at(Base&& base) {
    return {View<int32_t, 1>(base(ids), {shape.tokens}),
            View<typename Types::Weight, 2>(base(table), {shape.vocabulary, shape.width}),
            {base(residual), {shape.tokens, shape.width}}};
  }
};

template <class Types = Cpu<double>>
EmbedProblem<Types> embed_problem(const EmbedShape& s, uint64_t seed) {
  EmbedProblem<Types> p;
  p.seed = seed;
  p.shape = s;
  p.ids.resize(s.tokens);
  for (int64_t n = 0; n < s.tokens; ++n) p.ids[n] = random_bits(random_stream(seed, "ids"), n) % s.vocabulary;
  p.ids.front() = 0;
  p.ids.back() = s.vocabulary - 1;
  p.table = draw<typename Types::Weight>(s.vocabulary, s.width, 0, Normal(seed, "table"));
  p.residual = poison<typename Types::Accum>(s.tokens * s.width);
  return p;
}

struct NormShape {
  int64_t tokens = 1, width = 64;
  bool with_delta = true;
  int64_t padding = 0;  // of the rows of the residual
  float scale = 1;      // of the residual; 1e4 is what late layers hold. Row 0 is all zero when there are two tokens.
};

template <class Types>
struct NormProblem : ProblemBase<NormProblem, Types> {
  using Act = typename Types::Act;
  NormShape shape;
  std::vector<Act> delta;
  std::vector<typename Types::Accum> residual;
  std::vector<typename Types::Weight> weight;
  std::vector<Act> out;

  template <class Visit, class... P>
  static void fields(Visit&& visit, P&... p) {
    visit("delta", p.delta...);
    visit("residual", p.residual...);
    visit("weight", p.weight...);
    visit("out", p.out...);
  }

  template <class Base>
  AddRmsNorm<Types> args_at(Base&& base) {
    const NormShape& s = shape;
    AddRmsNorm<Types> a;
    if (s.with_delta) a.delta = View<Act, 2>(base(delta), {s.tokens, s.width});
    a.residual = padded(base(residual), s.tokens, s.width, s.padding);
    a.weight = View<typename Types::Weight, 1>(base(weight), {s.width});
    a.eps = 1e-5f;
    a.out = View<Act, 2>(base(out), {s.tokens, s.width});
    return a;
  }
};

template <class Types = Cpu<double>>
NormProblem<Types> norm_problem(const NormShape& s, uint64_t seed) {
  const auto zero_row = [&](int64_t i) { return s.tokens > 1 && i / s.width == 0; };
  NormProblem<Types> p;
  p.seed = seed;
  p.shape = s;
  p.delta = draw<typename Types::Act>(s.tokens, s.width, 0, [&, n = Normal(seed, "delta")](int64_t i) {
    return zero_row(i) ? 0 : n(i);
  });
  // Rounded to bf16 as well, so that padded rows have one drawing function; the sum with delta is not.
  p.residual = draw<typename Types::Accum>(s.tokens, s.width, s.padding,
                                           [&, n = Normal(seed, "residual", s.scale)](int64_t i) {
    return zero_row(i) ? 0 : n(i);
  });
  const Normal weight(seed, "weight", 0.2f);
  p.weight = draw<typename Types::Weight>(1, s.width, 0, [&](int64_t i) { return 1 + weight(i); });
  p.out = poison<typename Types::Act>(s.tokens * s.width);
  return p;
}

struct SiluShape {
  int64_t tokens = 1, hidden = 64;
};

// Gates reach +-90, where a naive sigmoid overflows in fp32.
template <class Types>
struct SiluProblem : ProblemBase<SiluProblem, Types> {
  using Act = typename Types::Act;
  SiluShape shape;
  std::vector<Act> gate_up, out;

  template <class Visit, class... P>
  static void fields(Visit&& visit, P&... p) {
    visit("gate_up", p.gate_up...);
    visit("out", p.out...);
  }

  template <class Base>
  SiluMul<Types> args_at(Base&& base) {
    return {View<Act, 2>(base(gate_up), {shape.tokens, 2 * shape.hidden}), {base(out), {shape.tokens, shape.hidden}}};
  }
};

template <class Types = Cpu<double>>
SiluProblem<Types> silu_problem(const SiluShape& s, uint64_t seed) {
  SiluProblem<Types> p;
  p.seed = seed;
  p.shape = s;
  p.gate_up = draw<typename Types::Act>(s.tokens, 2 * s.hidden, 0, [n = Normal(seed, "gate_up")](int64_t i) {
    return i % 16 == 3 ? 30 * n(i) : n(i);
  });
  p.out = poison<typename Types::Act>(s.tokens * s.hidden);
  return p;
}

// ---- sampling -----------------------------------------------------------------------------------------------------

struct ArgmaxShape {
  int64_t batch = 1, vocabulary = 1000;
};

// Logits are rounded to halves, so that every row has ties for its maximum; row 1 is constant, row 2 all negative.
template <class Types>
struct ArgmaxProblem : ProblemBase<ArgmaxProblem, Types> {
  ArgmaxShape shape;
  std::vector<typename Types::Accum> logits;
  std::vector<int32_t> ids;

  template <class Visit, class... P>
  static void fields(Visit&& visit, P&... p) {
    visit("logits", p.logits...);
    visit("ids", p.ids...);
  }

  template <class Base>
  Argmax<Types> args_at(Base&& base) {
    return {View<typename Types::Accum, 2>(base(logits), {shape.batch, shape.vocabulary}), {base(ids), {shape.batch}}};
  }
};

template <class Types = Cpu<double>>
ArgmaxProblem<Types> argmax_problem(const ArgmaxShape& s, uint64_t seed) {
  ArgmaxProblem<Types> p;
  p.seed = seed;
  p.shape = s;
  p.logits = draw<typename Types::Accum>(s.batch, s.vocabulary, 0, [&, n = Normal(seed, "logits", 2)](int64_t i) {
    const int64_t row = i / s.vocabulary;
    const float x = std::round(2 * n(i)) / 2;
    return row == 1 ? 0.5f : row == 2 ? x - 20 : x;
  });
  p.ids.assign(s.batch, -1);
  return p;
}

}  // namespace kdabench
