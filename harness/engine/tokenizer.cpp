#include "harness/engine/tokenizer.h"

#include <filesystem>

#include "kernels/base/error.h"

namespace kdabench {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kKimiRanks = 163584;        // the 256 special tokens follow
constexpr int64_t kCl100kRanks = 100256;
constexpr const char* kKimiFile = "tiktoken.model";

fs::path rank_file(const fs::path& folder) {
  if (fs::exists(folder / kKimiFile)) return folder / kKimiFile;
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().extension() == ".tiktoken") found.push_back(entry->path());
  require(!error, "cannot list the folder ", folder.string(), ": ", error.message(), ".");
  require(!found.empty(), folder.string(), " holds no tokenizer: wanted ", kKimiFile, " (Kimi) or one *.tiktoken "
          "file (cl100k's pattern); `bytes` needs no file.");
  require(found.size() == 1, folder.string(), " holds ", found.size(), " *.tiktoken files; name the one to use.");
  return found.front();
}

}  // namespace

Tokenizer Tokenizer::bpe(const std::string& path, Pattern pattern) {
  Tokenizer tokenizer;
  tokenizer.bpe_ = Bpe::load(path);
  tokenizer.pattern_ = pattern;
  return tokenizer;
}

Tokenizer Tokenizer::load(const std::string& where) {
  if (where == "bytes") return bytes();
  require(fs::exists(where), "no tokenizer at ", where, ": wanted a rank file, a folder with one, or `bytes`.");
  const fs::path path = fs::is_directory(where) ? rank_file(where) : fs::path(where);
  const std::string name = path.filename().string();
  const bool kimi = name == kKimiFile;
  require(kimi || path.extension() == ".tiktoken", path.string(), " is no tokenizer by its name: wanted ", kKimiFile,
          " (Kimi), *.tiktoken (cl100k's pattern), or `bytes`.");
  Tokenizer tokenizer = bpe(path.string(), kimi ? Pattern::kKimi : Pattern::kCl100k);
  const int64_t wanted = kimi ? kKimiRanks : name == "cl100k_base.tiktoken" ? kCl100kRanks : tokenizer.size();
  require(tokenizer.size() == wanted, path.string(), " has ", tokenizer.size(), " ranks and a file of that name has ",
          wanted, "; it is cut off or another vocabulary.");
  return tokenizer;
}

std::vector<std::string_view> Tokenizer::pieces(std::string_view text) const {
  if (text.empty()) return {};
  if (!bpe_) return {text};
  if (pattern_ != Pattern::kKimi) return split(pattern_, text);
  std::vector<std::string_view> all;
  for (const std::string_view slice : kimi_slices(text)) {
    const std::vector<std::string_view> part = split(pattern_, slice);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  if (bpe_) {
    for (const std::string_view piece : pieces(text)) bpe_->encode(piece, ids);
  } else {
    for (const char byte : text) ids.push_back(static_cast<uint8_t>(byte));
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    require(id >= 0 && id < size(), "token id ", id, " has no text; the tokenizer knows 0 to ", size() - 1, ".");
    if (bpe_)
      text += bpe_->token(id);
    else
      text.push_back(static_cast<char>(id));
  }
  return text;
}

}  // namespace kdabench
