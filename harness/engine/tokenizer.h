#pragma once
// Text to token ids and back, as the checkpoint's own tokenizer does it.
//
// Any bytes can be encoded, and decode(encode(text)) is text, byte for byte; a byte that is no part of valid UTF-8 is
// cut off as a symbol and encoded as itself. Nothing is put before or after the text, and text never becomes a special
// token: "<|im_end|>" is encoded like any other text.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/engine/bpe.h"
#include "harness/engine/pretokenizer.h"

namespace kdabench {

class Tokenizer {
 public:
  // An id is a byte: 256 ids, for small models.
  static Tokenizer bytes() { return Tokenizer(); }

  // A rank file with the pattern that goes with it.
  static Tokenizer bpe(const std::string& path, Pattern pattern);

  // "bytes"; a rank file (tiktoken.model is Kimi's, NAME.tiktoken is cut as cl100k does); or a folder with one of
  // these, where tiktoken.model comes first. The sizes of Kimi's vocabulary and of cl100k_base.tiktoken are checked.
  static Tokenizer load(const std::string& where);

  std::vector<int32_t> encode(std::string_view text) const;
  std::string decode(std::span<const int32_t> ids) const;

  // The pieces that are encoded one by one. Bytes are not cut: a text that is not empty is one piece.
  std::vector<std::string_view> pieces(std::string_view text) const;

  // Ids are in [0, size()); special tokens have none here.
  int64_t size() const { return bpe_ ? bpe_->size() : 256; }

 private:
  Tokenizer() = default;

  std::optional<Bpe> bpe_;                    // without: bytes
  Pattern pattern_ = Pattern::kKimi;
};

}  // namespace kdabench
