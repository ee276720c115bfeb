#pragma once
// Byte-pair encoding over a tiktoken rank file: a line per token, its bytes in base64, a space, its rank. The rank is
// the token's id, and says which pair is merged first.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kdabench {

class Bpe {
 public:
  // Every rank from 0 on must occur once, every token once, and all 256 single bytes; else an Error names the file and
  // the line. A file that was cut at the end of a line looks whole: who knows the size compares size().
  static Bpe load(const std::string& path);

  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }

  // Adds the ids of one piece: the piece itself where it is a token, else its bytes, of which the adjacent pair with
  // the lowest rank (the leftmost of equal ones) is merged until no pair is a token. n log n in the piece's bytes.
  void encode(std::string_view piece, std::vector<int32_t>& ids) const;

  // The bytes of a token; `id` is in [0, size()).
  std::string_view token(int32_t id) const;

 private:
  struct Span {
    size_t begin = 0;
    size_t length = 0;
  };

  // The rank of these bytes, or -1.
  int32_t find(std::string_view bytes) const;
  size_t slot(std::string_view bytes) const;
  void index(const std::string& path, const std::vector<int64_t>& lines);

  std::string bytes_;                         // all tokens, one after another, in the file's order
  std::vector<Span> tokens_;                  // [rank]
  std::vector<int32_t> table_;                // open addressing; a power of two, at most half full; -1 is free
  size_t longest_ = 0;
};

}  // namespace kdabench
