#pragma once
// What stands between text and a model: the checkpoint's tokenizer, the turns its chat template puts around a text, and
// the ids that end an answer.
//
// Of chat templates, Kimi's documented turns are known and nothing else:
//   <|im_system|>system<|im_middle|>TEXT<|im_end|>     when the template has such a default text
//   <|im_user|>user<|im_middle|>PROMPT<|im_end|><|im_assistant|>assistant<|im_middle|>
// The answer prefix of a task follows the assistant's header.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/engine/tokenizer.h"
#include "suites/plan.h"

namespace kdabench::suites {

// The special tokens of Kimi's turns.
struct ChatTurns {
  int32_t system = 0, user = 0, assistant = 0, middle = 0, end = 0;
  std::string system_text;                    // empty: no system turn
};

// From chat_template.jinja or tokenizer_config.json of a checkpoint folder; nothing where it has no template.
// Error: a template that is not Kimi's, or special tokens without ids.
std::optional<ChatTurns> read_chat_turns(const std::string& folder);

struct TextModel {
  Tokenizer tokenizer;
  std::string tokenizer_name;                 // file, or bytes
  std::optional<ChatTurns> chat;              // empty: the text alone
  std::vector<int32_t> stops;                 // an answer ends before any of these
  std::string tokenizer_path = {};            // what it was loaded from

  std::string format() const { return chat ? "chat" : "base"; }
  std::vector<int32_t> encode_prompt(const std::string& input, const std::string& answer_prefix) const;
  // Special tokens have no text and are left out.
  std::string decode(std::span<const int32_t> ids) const;
};

// `generative`: whether a chat template applies (prompt_format auto: where the folder has one). Error: no tokenizer, one
// that does not fit the vocabulary, or --template chat where there is none.
TextModel text_model(const Plan& plan, const Peer& peer, bool generative);

}  // namespace kdabench::suites
