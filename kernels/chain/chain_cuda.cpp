// Turns operations of one token into the phases of a chain.

#include <algorithm>
#include <optional>

#include "kernels/chain/chain.h"
#include "kernels/chain/chain_parts.h"
#include "kernels/moe/moe_parts.h"

namespace kdabench {
namespace {

bool aligned(const void* p, int bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }
int round_up(int64_t x, int to) { return static_cast<int>((x + to - 1) / to * to); }

// Rounds of groups, the last ones, that are handed out to the warps that are ready for them: a warp has as many of them
// in its ring as it takes to even out what came before. Groups of one unit are handed out only where they are fewer rounds
// than kRoundsOfOne: with more it was slower (kernels/README.md, row 13).
constexpr double kHandedRounds = 3.5;
constexpr int kRoundsOfOne = 8;

// Cuts rows of `row_bytes`, one of each of `matrices` a group, into units.
void cut(ChainPhase& p, int matrices) {
  const auto units = [&] { return int64_t{p.groups} * matrices * p.segments; };
  const int64_t wanted = int64_t{chain_blocks()} * kChainWarps;
  const auto set = [&](int group, int segments) {
    p.group = group;
    p.segment_bytes = group > 1 ? group * p.row_bytes : round_up((p.row_bytes + segments - 1) / segments, 512);
    p.segments = group > 1 ? 1 : (p.row_bytes + p.segment_bytes - 1) / p.segment_bytes;
    p.matrices = matrices;
    p.groups = (p.rows + group - 1) / group;
  };
  const int whole = p.kind == ChainKind::kGateUp ? 1 : std::clamp(kChainUnitBytes / p.row_bytes, 1, 4);
  set(whole, (p.row_bytes + kChainUnitBytes - 1) / kChainUnitBytes);
  while (p.group > 1 && units() < wanted) set(p.group / 2, 1);
  const int rounds = static_cast<int>(static_cast<double>(p.groups) / wanted - kHandedRounds);
  const bool handed = p.matrices * p.segments > 1 || p.groups < kRoundsOfOne * wanted;
  p.owned = rounds >= 2 && handed ? static_cast<int>(rounds * wanted) : p.groups;
}

bool overlap(const void* a, int64_t a_bytes, const void* b, int64_t b_bytes) {
  const auto x = reinterpret_cast<uintptr_t>(a), y = reinterpret_cast<uintptr_t>(b);
  return a && b && x < y + b_bytes && y < x + a_bytes;
}

int64_t y_bytes(const ChainPhase& p) { return int64_t{p.rows} * (p.y_float ? 4 : 2); }

// Whether the phase reads any of this from memory; the residual is written behind all phases.
bool reads(const ChainPhase& p, const void* data, int64_t bytes) {
  if (p.polled >= 0 || p.input == ChainInput::kSame) return false;
  return overlap(p.input == ChainInput::kNorm ? p.delta : p.x, 2 * p.columns, data, bytes);
}

}  // namespace

struct Chain::Program {
  ChainArgs args = {};
  std::optional<AddRmsNorm<Gpu>> norm;       // still without a product that reads it
  const float* residual = nullptr;           // of the norms

  int x_bytes(const ChainPhase& p) const { return std::max(args.x_bytes, round_up(2 * p.columns, 128)); }
  int kept_bytes(const ChainPhase& p) const {
    return p.input == ChainInput::kNorm ? std::max(args.kept_bytes, round_up(4 * p.columns, 128)) : args.kept_bytes;
  }

  // Takes the phase when there is room.
  bool push(ChainPhase p) {
    if (args.phases == kChainPhases) return false;
    const int x = x_bytes(p), kept = kept_bytes(p);
    if (kChainWarps * kChainDepth * kChainUnitBytes + x + kept > kChainMaxShared) return false;
    args.x_bytes = x, args.kept_bytes = kept;
    p.per_inner = 1.f / std::max(p.inner, 1);
    p.expert_bytes = int64_t{p.kind == ChainKind::kGateUp ? 2 * p.inner : p.rows} * p.row_bytes;
    p.posted = p.polled = -1;
    if (args.phases > 0) connect(args.phase[args.phases - 1], p);
    drop_stores(p);
    if (p.input == ChainInput::kNorm) {
      p.keeps = residual != nullptr;
      residual = p.residual;
      norm.reset();
    }
    args.phase[args.phases++] = p;
    return true;
  }

  // The norm that nobody has asked for yet, as a phase of its own.
  bool push_norm() {
    ChainPhase p = {};
    p.kind = ChainKind::kRows;
    p.columns = static_cast<int>(norm->out.size[1]);
    p.group = p.matrices = p.segments = 1;
    return find(p, norm->out.data) && push(p);
  }

  // How p gets what the phase before has computed: number by number where it is its vector, or what its norm adds.
  void connect(ChainPhase& before, ChainPhase& p) {
    const bool added = p.input == ChainInput::kNorm && before.kind != ChainKind::kGateUp && before.y && !before.y_float &&
                       p.delta == before.y && before.rows == p.columns;
    const bool hidden = p.kind == ChainKind::kDown;
    if ((!added && !hidden) || args.posted + p.columns > kChainPosted) return;
    before.posted = p.polled = args.posted;
    args.posted += round_up(p.columns, 8);
    if (hidden) before.y = nullptr;  // for the chain alone
  }

  // What was posted, and what p writes over before anybody reads it from memory, is not stored at all.
  void drop_stores(const ChainPhase& p) {
    for (int i = 0; i < args.phases; ++i) {
      ChainPhase& q = args.phase[i];
      if (!q.y || q.posted < 0 || q.y != p.y || y_bytes(p) < y_bytes(q) || reads(p, q.y, y_bytes(q))) continue;
      const auto *first = args.phase + i + 1, *last = args.phase + args.phases;
      if (std::none_of(first, last, [&](const ChainPhase& r) { return reads(r, q.y, y_bytes(q)); })) q.y = nullptr;
    }
  }

  // Whether a phase reads or writes over what was written since blocks last waited for each other's memory. Norms' results
  // are all written by one block, in order.
  bool acquires(int phase) const {
    const ChainPhase& p = args.phase[phase];
    if (p.kind == ChainKind::kGateUp && p.y) return true;
    const void* const normed = p.input == ChainInput::kNorm ? p.norm_out : nullptr;
    for (int i = phase - 1; i >= 0; --i) {
      const ChainPhase& q = args.phase[i];
      const void* const q_normed = q.input == ChainInput::kNorm ? q.norm_out : nullptr;
      if (q.y && (reads(p, q.y, y_bytes(q)) || overlap(p.y, y_bytes(p), q.y, y_bytes(q)) ||
                  overlap(normed, 2 * p.columns, q.y, y_bytes(q))))
        return true;
      if (q_normed && (reads(p, q_normed, 2 * q.columns) || overlap(p.y, y_bytes(p), q_normed, 2 * q.columns))) return true;
      if (q.acquires) break;
    }
    return false;
  }

  // When all phases are known.
  void finish() {
    if (norm && args.phases > 0) push_norm();
    for (int i = 1; i < args.phases; ++i) args.phase[i].acquires = acquires(i);
    args.counts = args.phases > 1 || (args.phases == 1 && args.phase[0].input == ChainInput::kNorm);
  }

  // Where a phase finds x; whether there is room for a norm that it does not read.
  bool find(ChainPhase& p, const Bf16* x) {
    p.x = x;
    p.input = ChainInput::kGlobal;
    if (norm && (norm->out.data != x || norm->out.size[1] != p.columns) && !push_norm()) return false;
    if (norm) {
      p.input = ChainInput::kNorm;
      p.delta = norm->delta.data, p.residual = norm->residual.data, p.norm_weight = norm->weight.data;
      p.norm_out = norm->out.data, p.eps = norm->eps;
      return true;
    }
    if (args.phases > 0) {
      const ChainPhase& before = args.phase[args.phases - 1];
      if (before.x == x && before.columns == p.columns && before.y != x) p.input = ChainInput::kSame;
    }
    return true;
  }

  template <class Out>
  bool add(const Linear<Gpu, Out>& linear) {
    const auto [tokens, in] = linear.x.size;
    const int64_t out = linear.w.size[0];
    if (tokens != 1 || out < 1 || out > (1 << 20) || in < 8 || in % 8 != 0 || in > 16384 ||
        !aligned(linear.x.data, 16) || !aligned(linear.w.data, 16))
      return false;
    ChainPhase p = {};
    p.kind = ChainKind::kRows;
    p.w = linear.w.data, p.y = linear.y.data;
    p.y_float = std::is_same_v<Out, float>;
    p.columns = static_cast<int>(in), p.rows = static_cast<int>(out), p.row_bytes = 2 * p.columns;
    if (!find(p, linear.x.data)) return false;
    cut(p, 1);
    return push(p);
  }
};

Chain::Chain() : program_(std::make_unique<Program>()) {}
Chain::~Chain() = default;
Chain::Chain(Chain&&) noexcept = default;
Chain& Chain::operator=(Chain&&) noexcept = default;

bool Chain::empty() const { return program_->args.phases == 0 && !program_->norm; }

bool Chain::add(const Linear<Gpu>& linear) { return program_->add(linear); }
bool Chain::add(const Linear<Gpu, float>& linear) { return program_->add(linear); }

bool Chain::add(const AddRmsNorm<Gpu>& norm) {
  const auto [tokens, width] = norm.residual.size;
  Program& p = *program_;
  const float* const residual = p.norm ? p.norm->residual.data : p.residual;
  if (residual && residual != norm.residual.data) return false;
  if (tokens != 1 || width < 8 || width % 8 != 0 || width > kChainNormWidth || !aligned(norm.residual.data, 16) ||
      !aligned(norm.delta.data, 8) || !aligned(norm.weight.data, 8) || !aligned(norm.out.data, 16))
    return false;
  const Program before = p;
  bool taken = !p.norm || p.push_norm();
  p.norm = norm;
  if (taken && p.args.phases > 0) {  // it can stand alone if need be
    Program alone = p;
    taken = alone.push_norm();
  }
  if (!taken) p = before;
  return taken;
}

bool Chain::add(const Moe<Gpu>& moe, Arena& scratch) {
  const int64_t experts = moe.router.size[0], shared = moe.gate_up.size[0] - experts, slots = moe.top_k + shared;
  const int64_t width = moe.x.size[1], inner = moe.down.size[2];
  if (moe.x.size[0] != 1) return false;
  const ArenaScope scope(scratch);
  const auto hidden = scratch.take<Bf16>(1, slots * inner);

  const Program before = *program_;
  ChainArgs& a = program_->args;
  const auto all = [&] {
    if (a.experts.ids || a.phases + 3 > kChainPhases || slots * inner > 16384 || inner % 8 != 0 ||
        experts > kMoeExperts || moe.top_k > kMoeTopK || !aligned(moe.gate_up.data, 16) || !aligned(moe.down.data, 16))
      return false;
    if (!program_->add(Linear<Gpu, float>{moe.x, moe.router, View<float, 2>()})) return false;
    a.phase[a.phases - 1].posts = true;
    ChainPhase p = {};
    p.kind = ChainKind::kGateUp;
    p.w = moe.gate_up.data, p.y = hidden.data;
    p.columns = static_cast<int>(width), p.rows = static_cast<int>(slots * inner), p.inner = static_cast<int>(inner);
    p.row_bytes = static_cast<int>(2 * width);
    if (!program_->find(p, moe.x.data)) return false;
    cut(p, 2);
    if (!program_->push(p)) return false;
    p = {};
    p.kind = ChainKind::kDown;
    p.w = moe.down.data, p.y = moe.out.data;
    p.columns = static_cast<int>(slots * inner), p.rows = static_cast<int>(width), p.inner = static_cast<int>(inner);
    p.row_bytes = static_cast<int>(2 * inner);
    if (!program_->find(p, hidden.data)) return false;
    cut(p, static_cast<int>(slots));
    return program_->push(p);
  };
  const bool taken = all();
  if (!taken || scratch.measuring()) {
    *program_ = before;
    return taken;
  }
  a.experts = {moe.bias.data, moe.expert_ids.data, moe.expert_weights.data, static_cast<int>(experts),
               static_cast<int>(shared), moe.top_k, moe.scale, moe.renormalize, moe.biased_weights, moe.given_experts};
  return true;
}

void Chain::launch(cudaStream_t stream) {
  Program& p = *program_;
  p.finish();
  if (p.args.phases > 0) launch_chain(p.args, stream);
  const std::optional<AddRmsNorm<Gpu>> norm = p.norm;
  *program_ = {};
  if (norm) add_rms_norm_cuda(*norm, stream);
}

}  // namespace kdabench
