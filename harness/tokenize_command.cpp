// kdabench tokenize: what a tokenizer makes of a text.

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "harness/bind.h"
#include "harness/cli.h"
#include "harness/engine/tokenizer.h"
#include "kernels/base/error.h"

namespace kdabench {
namespace {

std::string read_standard_input() {
  std::string text;
  char buffer[1 << 16];
  while (const size_t count = std::fread(buffer, 1, sizeof buffer, stdin)) text.append(buffer, count);
  require(!std::ferror(stdin), "failed to read standard input.");
  return text;
}

int tokenize(const std::string& where, bool as_pieces) {
  require(!where.empty(), "--tokenizer is missing: wanted a rank file, a folder with one, or `bytes`.");
  const Tokenizer tokenizer = Tokenizer::load(where);
  const std::string text = read_standard_input();
  if (as_pieces) {
    // JSON has no bytes: what is not UTF-8 in a piece is shown as U+FFFD.
    for (const std::string_view piece : tokenizer.pieces(text))
      fmt::print("{}\n", nlohmann::json(piece).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return 0;
  }
  const std::vector<int32_t> ids = tokenizer.encode(text);
  fmt::print("{}\n", fmt::join(ids, " "));
  return 0;
}

}  // namespace

void add_tokenize_command(CLI::App& app, const Parts&, Action& action) {
  CLI::App* command = app.add_subcommand("tokenize", "Turn the text on standard input into token ids");
  const auto where = std::make_shared<std::string>();
  const auto pieces = std::make_shared<bool>(false);
  FlagBinder{*command}("tokenizer", *where, "Options",
                       "rank file (tiktoken.model: Kimi; *.tiktoken: cl100k's pattern), folder with one, or bytes");
  FlagBinder{*command}("pieces", *pieces, "Options", "the pieces before byte pairs are merged, a JSON string a line");
  command->footer("\nThe text is taken byte for byte, its last newline too. A byte that is no part of valid UTF-8 is a "
                  "symbol,\nencoded as itself; --pieces shows it as U+FFFD. Special tokens in the text are text.\n"
                  "Exit codes: 0 done; 2 no such tokenizer, or a damaged one.");
  command->callback([where, pieces, &action] {
    action = [=](const Call&) { return tokenize(*where, *pieces); };
  });
}

}  // namespace kdabench
