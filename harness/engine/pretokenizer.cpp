#include "harness/engine/pretokenizer.h"

#include <array>
#include <cstdint>
#include <iterator>

namespace kdabench {
namespace {

// The bits of a class, as scripts/make_unicode_tables.py writes them. A symbol has none.
enum CharClass : uint8_t {
  kUpper = 1,                                 // Lu, Lt
  kLower = 2,                                 // Ll
  kOtherLetter = 4,                           // Lm, Lo
  kMark = 8,
  kNumber = 16,
  kSpace = 32,
  kNewline = 64,                              // \r and \n, which are white space too
  kHan = 128,
};
constexpr uint8_t kLetter = kUpper | kLower | kOtherLetter;
constexpr uint8_t kUpperSide = kUpper | kOtherLetter | kMark;   // U of the Kimi pattern, before Han is taken out
constexpr uint8_t kLowerSide = kLower | kOtherLetter | kMark;   // L

constexpr size_t kCodePoints = 0x110000;

constexpr uint32_t kRuns[] = {
#include "harness/engine/unicode_tables.inc"
};

// A byte per code point: 1.1 MB, of which a text touches a few pages.
const std::vector<uint8_t>& classes() {
  static const std::vector<uint8_t> table = [] {
    std::vector<uint8_t> built;
    built.reserve(kCodePoints);
    for (size_t i = 0; i < std::size(kRuns); i += 2)
      built.insert(built.end(), kRuns[i], static_cast<uint8_t>(kRuns[i + 1]));
    return built;
  }();
  return table;
}

struct Char {
  uint8_t bits = 0;
  uint8_t length = 0;                         // in bytes; 0 past the end of the text
  uint32_t point = 0xFFFFFFFF;                // of an invalid byte too: equal to no character

  bool is(uint8_t any_of) const { return (bits & any_of) != 0; }
  bool symbol() const { return length > 0 && !is(kLetter | kNumber | kSpace); }
  bool prefix() const { return length > 0 && !is(kLetter | kNumber | kNewline); }
  bool upper_side() const { return is(kUpperSide) && !is(kHan); }
  bool lower_side() const { return is(kLowerSide) && !is(kHan); }
};

// Decoding as RFC 3629 wants it: no overlong forms, no surrogates, nothing above U+10FFFF.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text), classes_(classes().data()) {}

  Char at(size_t i) const {
    if (i >= text_.size()) return {};
    const uint32_t lead = byte(i);
    if (lead < 0x80) return {classes_[lead], 1, lead};
    const uint8_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    const Char invalid{0, 1, 0xFFFFFFFF};
    if (lead < 0xC2 || lead > 0xF4 || i + length > text_.size()) return invalid;
    uint32_t point = lead & (0x7Fu >> length);
    for (size_t k = 1; k < length; ++k) {
      const uint32_t next = byte(i + k);
      if ((next & 0xC0) != 0x80) return invalid;
      point = point << 6 | (next & 0x3F);
    }
    constexpr std::array<uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
    if (point < kLeast[length] || point >= kCodePoints || (point >= 0xD800 && point < 0xE000)) return invalid;
    return {classes_[point], length, point};
  }

  // The end of the run of characters from i on that satisfy `belongs`.
  template <class Belongs>
  size_t run(size_t i, Belongs belongs) const {
    for (Char c = at(i); c.length > 0 && belongs(c); c = at(i)) i += c.length;
    return i;
  }

  // (?i:'s|'t|'re|'ve|'m|'ll|'d): its end, or i. Ignoring case in Unicode, U+017F is an s.
  size_t contraction(size_t i) const {
    if (i + 1 >= text_.size() || text_[i] != '\'') return i;
    if (at(i + 1).point == 0x17F) return i + 3;
    const auto lower = [&](size_t k) {
      return k < text_.size() && byte(k) < 0x80 ? static_cast<char>(byte(k) | 0x20) : '\0';
    };
    const char first = lower(i + 1), second = lower(i + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return i + 2;
    const bool two = (second == 'e' && (first == 'r' || first == 'v')) || (first == 'l' && second == 'l');
    return two ? i + 3 : i;
  }

  // U*L+ from i: its end, or i. Where no L follows the greedy U*, U* gives back up to the last character that is both.
  size_t upper_then_lower(size_t i) const {
    size_t both = i;                          // end of the last character of U* that is in L too
    size_t end = i;
    for (Char c = at(end); c.upper_side(); c = at(end)) {
      end += c.length;
      if (c.lower_side()) both = end;
    }
    const size_t lowers = run(end, [](const Char& c) { return c.lower_side(); });
    return lowers > end ? lowers : both;
  }

  // U+L* from i: its end, or i.
  size_t uppers_then_lower(size_t i) const {
    const size_t uppers = run(i, [](const Char& c) { return c.upper_side(); });
    return uppers == i ? i : run(uppers, [](const Char& c) { return c.lower_side(); });
  }

  // The case-splitting branches of the Kimi pattern: their end, or `start`. The optional prefix is greedy; a mark is
  // both a prefix and part of a word, so a match without the prefix is tried after one with it.
  size_t kimi_word(size_t start, const Char& first) const {
    const size_t after_prefix = first.prefix() ? start + first.length : start;
    size_t end = upper_then_lower(after_prefix);
    if (end == after_prefix && after_prefix > start) {
      end = upper_then_lower(start);
      if (end > start) return contraction(end);
    } else if (end > after_prefix) {
      return contraction(end);
    }
    // No retry without the prefix here: only a mark could be matched, and the branch before has taken it.
    end = uppers_then_lower(after_prefix);
    return end > after_prefix ? contraction(end) : start;
  }

  // [^\r\n\p{L}\p{N}]?\p{L}+: its end, or `start`.
  size_t cl100k_word(size_t start, const Char& first) const {
    const size_t after_prefix = first.prefix() ? start + first.length : start;
    const size_t end = run(after_prefix, [](const Char& c) { return c.is(kLetter); });
    return end > after_prefix ? end : start;
  }

  // What both patterns end in.
  size_t number_symbols_or_space(size_t start, const Char& first) const {
    if (first.is(kNumber)) {
      size_t end = start + first.length;
      for (int more = 0; more < 2 && at(end).is(kNumber); ++more) end += at(end).length;
      return end;
    }
    const size_t symbols = text_[start] == ' ' ? start + 1 : start;
    const size_t end = run(symbols, [](const Char& c) { return c.symbol(); });
    if (end > symbols) return run(end, [](const Char& c) { return c.is(kNewline); });
    return space_end(start);
  }

 private:
  uint32_t byte(size_t i) const { return static_cast<uint8_t>(text_[i]); }

  // \s*[\r\n]+|\s+(?!\S)|\s+: up to the last newline of the run; else all of it but the last character, which goes
  // with the word that follows; all of it at the end of the text or where it is one character.
  size_t space_end(size_t start) const {
    size_t end = start, last = start, after_newline = start;
    for (Char c = at(end); c.is(kSpace); c = at(end)) {
      last = end;
      end += c.length;
      if (c.is(kNewline)) after_newline = end;
    }
    if (after_newline > start) return after_newline;
    return end == text_.size() || last == start ? end : last;
  }

  std::string_view text_;
  const uint8_t* classes_;
};

}  // namespace

size_t piece_end(Pattern pattern, std::string_view text, size_t start) {
  const Scanner scanner(text);
  const Char first = scanner.at(start);
  size_t end = start;
  if (pattern == Pattern::kKimi) {
    if (first.is(kHan)) return scanner.run(start, [](const Char& c) { return c.is(kHan); });
    end = scanner.kimi_word(start, first);
  } else {
    end = scanner.contraction(start);
    if (end == start) end = scanner.cl100k_word(start, first);
  }
  return end > start ? end : scanner.number_symbols_or_space(start, first);
}

std::vector<std::string_view> split(Pattern pattern, std::string_view text) {
  std::vector<std::string_view> pieces;
  for (size_t start = 0; start < text.size();) {
    const size_t end = piece_end(pattern, text, start);
    pieces.push_back(text.substr(start, end - start));
    start = end;
  }
  return pieces;
}

std::vector<std::string_view> kimi_slices(std::string_view text) {
  constexpr size_t kSliceCharacters = 400000, kRunCharacters = 25000;
  const Scanner scanner(text);
  std::vector<std::string_view> slices;
  size_t start = 0, characters = 0, run = 0;
  bool run_is_space = false;
  for (size_t i = 0; i < text.size();) {
    const Char c = scanner.at(i);
    // Python's str.isspace, by which the original counts, holds for these four separators as well.
    const bool space = c.is(kSpace) || (c.point >= 0x1C && c.point <= 0x1F);
    run = run > 0 && space == run_is_space ? run + 1 : 1;
    run_is_space = space;
    if (characters == kSliceCharacters || run > kRunCharacters) {
      slices.push_back(text.substr(start, i - start));
      start = i;
      run = 1;
      if (characters == kSliceCharacters) characters = 0;
    }
    ++characters;
    i += c.length;
  }
  if (start < text.size()) slices.push_back(text.substr(start));
  return slices;
}

}  // namespace kdabench
