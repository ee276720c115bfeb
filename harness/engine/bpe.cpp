#include "harness/engine/bpe.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <queue>

#include "kernels/base/error.h"

namespace kdabench {
namespace {

std::string read_file(const std::string& path) {
  require(!std::filesystem::is_directory(path), path, " is a folder; a rank file was wanted.");
  std::ifstream file(path, std::ios::binary);
  require(file.is_open(), "cannot open the rank file ", path, ": ", std::strerror(errno), ".");
  std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  require(!file.bad(), "cannot read the rank file ", path, ".");
  return content;
}

// Padded base64 (RFC 4648); nothing where it is not.
std::optional<std::string> base64(std::string_view text) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  static const std::array<int8_t, 256> values = [] {
    std::array<int8_t, 256> built;
    built.fill(-1);
    for (size_t i = 0; i < kDigits.size(); ++i) built[static_cast<uint8_t>(kDigits[i])] = static_cast<int8_t>(i);
    return built;
  }();
  if (text.empty() || text.size() % 4 != 0) return {};
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  std::string bytes;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size() - padding; ++i) {
    const int8_t value = values[static_cast<uint8_t>(text[i])];
    if (value < 0) return {};
    bits = bits << 6 | static_cast<uint32_t>(value);
    if (i % 4 > 0) bytes.push_back(static_cast<char>(bits >> (6 - 2 * (i % 4))));
  }
  return bytes;
}

std::optional<int32_t> whole_number(std::string_view text) {
  int32_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return {};
  return value;
}

uint64_t hash(std::string_view bytes) {
  uint64_t state = 0x9E3779B97F4A7C15u ^ bytes.size();
  const auto mix = [&](uint64_t word) {
    state = (state ^ word) * 0xFF51AFD7ED558CCDu;
    state ^= state >> 32;
  };
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    mix(word);
  }
  uint64_t rest = 0;
  for (; i < bytes.size(); ++i) rest = rest << 8 | static_cast<uint8_t>(bytes[i]);
  mix(rest);
  return state;
}

}  // namespace

Bpe Bpe::load(const std::string& path) {
  const std::string content = read_file(path);
  require(!content.empty(), "the rank file ", path, " is empty.");
  struct Line {
    int32_t rank;
    Span span;
  };
  Bpe bpe;
  std::vector<Line> lines;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    std::string_view line(content.data() + begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t space = line.find(' ');
    const auto bytes = base64(line.substr(0, space));
    const auto rank = space == line.npos ? std::nullopt : whole_number(line.substr(space + 1));
    require(bytes && rank, path, ", line ", lines.size() + 1, end == content.size() ? ", the last" : "",
            ": wanted a token in base64, a space and a rank; the file is damaged, cut off or no rank file.");
    lines.push_back({*rank, {bpe.bytes_.size(), bytes->size()}});
    bpe.bytes_ += *bytes;
    begin = end + 1;
  }

  bpe.tokens_.resize(lines.size());
  std::vector<int64_t> line_of(lines.size(), 0);        // [rank], from 1; 0 where none has the rank
  std::optional<size_t> too_large;
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto rank = static_cast<size_t>(lines[i].rank);
    if (rank >= lines.size()) {
      too_large = too_large.value_or(i);
      continue;
    }
    require(line_of[rank] == 0, path, ", line ", i + 1, ": rank ", rank, " occurs on line ", line_of[rank],
            " already; the file is damaged.");
    line_of[rank] = static_cast<int64_t>(i + 1);
    bpe.tokens_[rank] = lines[i].span;
  }
  if (too_large) {
    size_t missing = 0;
    while (line_of[missing] != 0) ++missing;
    fail(path, ": rank ", missing, " is missing, though line ", *too_large + 1, " has rank ", lines[*too_large].rank,
         "; ranks run from 0 without a gap, so the file is damaged or cut.");
  }
  bpe.index(path, line_of);
  return bpe;
}

void Bpe::index(const std::string& path, const std::vector<int64_t>& lines) {
  table_.assign(std::bit_ceil(2 * tokens_.size()), -1);
  for (size_t rank = 0; rank < tokens_.size(); ++rank) {
    const std::string_view bytes = token(static_cast<int32_t>(rank));
    int32_t& entry = table_[slot(bytes)];
    require(entry < 0, path, ", line ", lines[rank], ": the token with rank ", rank, " has rank ", entry,
            " already; the file is damaged.");
    entry = static_cast<int32_t>(rank);
    longest_ = std::max(longest_, bytes.size());
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char single = static_cast<char>(byte);
    require(find({&single, 1}) >= 0, path, ": no rank for the single byte ", byte,
            "; all 256 are wanted, so the file is cut or no byte-level vocabulary.");
  }
}

std::string_view Bpe::token(int32_t id) const {
  assert(id >= 0 && id < size());
  const Span& span = tokens_[static_cast<size_t>(id)];
  return {bytes_.data() + span.begin, span.length};
}

// The slot that holds these bytes, or the free one where they would go.
size_t Bpe::slot(std::string_view bytes) const {
  size_t i = hash(bytes) & (table_.size() - 1);
  while (table_[i] >= 0 && token(table_[i]) != bytes) i = (i + 1) & (table_.size() - 1);
  return i;
}

int32_t Bpe::find(std::string_view bytes) const { return bytes.size() > longest_ ? -1 : table_[slot(bytes)]; }

void Bpe::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.empty()) return;
  if (const int32_t whole = find(piece); whole >= 0) {
    ids.push_back(whole);
    return;
  }
  // Parts are a list linked through the byte where each begins: part i is [i, next[i]). Merging i with its right
  // neighbour kills the neighbour. A heap entry is stale when its left part is dead or its span is no longer that of
  // the part and its neighbour.
  struct Merge {
    int32_t rank;
    size_t left, end;
    bool operator<(const Merge& other) const {          // std::priority_queue gives the largest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  constexpr size_t kDead = static_cast<size_t>(-1);
  const size_t n = piece.size();
  std::vector<size_t> next(n), previous(n);
  std::vector<Merge> storage;
  storage.reserve(2 * n);
  std::priority_queue<Merge> merges(std::less<Merge>(), std::move(storage));
  const auto offer = [&](size_t left) {
    if (next[left] == n) return;
    const size_t end = next[next[left]];
    const int32_t rank = find(piece.substr(left, end - left));
    if (rank >= 0) merges.push({rank, left, end});
  };
  for (size_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;                                // of the first part never read
  }
  for (size_t i = 0; i < n; ++i) offer(i);
  while (!merges.empty()) {
    const Merge merge = merges.top();
    merges.pop();
    const size_t right = next[merge.left];
    if (right == kDead || right == n || next[right] != merge.end) continue;
    next[merge.left] = merge.end;
    next[right] = kDead;
    if (merge.end < n) previous[merge.end] = merge.left;
    offer(merge.left);
    if (merge.left > 0) offer(previous[merge.left]);
  }
  for (size_t i = 0; i < n; i = next[i]) ids.push_back(find(piece.substr(i, next[i] - i)));
}

}  // namespace kdabench
