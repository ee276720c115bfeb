#include "suites/text_model.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "kernels/base/error.h"
#include "reports/json.h"

namespace kdabench::suites {
namespace {

namespace fs = std::filesystem;
using reports::Json;

// More ids than this that have no text: special tokens and padding of the vocabulary never are that many.
constexpr int64_t kMostSpecialTokens = 1024;
constexpr int64_t kByteVocabulary = 256;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  require(file.is_open(), path.string(), " cannot be opened; check its permissions.");
  return {std::istreambuf_iterator<char>(file), {}};
}

// The template's text, or nothing. A list of templates has one named "default".
std::string template_text(const fs::path& folder, const Json& tokenizer_config) {
  if (fs::exists(folder / "chat_template.jinja")) return read_file(folder / "chat_template.jinja");
  const auto at = tokenizer_config.find("chat_template");
  if (at == tokenizer_config.end() || at->is_null()) return "";
  if (at->is_string()) return at->get<std::string>();
  if (at->is_array())
    for (const Json& entry : *at)
      if (entry.is_object() && entry.value("name", "") == "default") return entry.value("template", "");
  fail((folder / "tokenizer_config.json").string(), ": chat_template is neither text nor a list with one named default; "
       "give --template base.");
}

// Text between the header of a system turn and its end, where the template writes it out.
std::string default_system_text(const std::string& text) {
  const std::string header = "<|im_system|>system<|im_middle|>", end = "<|im_end|>";
  const size_t at = text.find(header);
  if (at == std::string::npos) return "";
  const size_t begin = at + header.size(), stop = text.find(end, begin);
  if (stop == std::string::npos) return "";
  const std::string found = text.substr(begin, stop - begin);
  return found.find('{') == std::string::npos ? found : "";  // an expression: the text of a message
}

std::string tokenizer_of(const Plan& plan, const Peer& peer) {
  if (!plan.accuracy.tokenizer.empty()) return plan.accuracy.tokenizer;
  std::vector<std::string> ranks;
  std::error_code ignored;
  if (!peer.checkpoint.empty())
    for (const fs::directory_entry& entry : fs::directory_iterator(peer.checkpoint, ignored)) {
      if (entry.path().filename() == "tiktoken.model") return entry.path().string();
      if (entry.path().extension() == ".tiktoken") ranks.push_back(entry.path().string());
    }
  require(ranks.size() < 2, peer.checkpoint, " has ", ranks.size(), " *.tiktoken files; name one with --tokenizer.");
  if (!ranks.empty()) return ranks.front();
  const ModelConfig& config = peer.config ? *peer.config : plan.config;
  require(config.vocab_size == kByteVocabulary, peer.checkpoint.empty() ? "random weights have" : peer.checkpoint + " has",
          " no tokenizer (tiktoken.model or *.tiktoken), and a vocabulary of ", config.vocab_size,
          " is not that of bytes; give --tokenizer FILE, DIR or bytes.");
  return "bytes";
}

std::vector<int32_t> stop_ids(const Plan& plan, const Peer& peer) {
  const ModelConfig& config = peer.config ? *peer.config : plan.config;
  std::set<int32_t> ids;
  if (config.eos_token_id >= 0) ids.insert(static_cast<int32_t>(config.eos_token_id));
  const fs::path path = fs::path(peer.checkpoint) / "generation_config.json";
  if (!peer.checkpoint.empty() && fs::exists(path)) {
    const Json json = reports::read_json(path);
    if (const auto at = json.find("eos_token_id"); at != json.end() && !at->is_null())
      for (const Json& id : at->is_array() ? *at : Json::array({*at})) {
        require(id.is_number_integer(), path.string(), ": eos_token_id is ", at->dump(), "; wanted ids.");
        ids.insert(id.get<int32_t>());
      }
  }
  return {ids.begin(), ids.end()};
}

}  // namespace

std::optional<ChatTurns> read_chat_turns(const std::string& given) {
  const fs::path folder = given, config_path = folder / "tokenizer_config.json";
  Json config = Json::object();
  if (fs::exists(config_path)) config = reports::read_json(config_path);
  require(config.is_object(), config_path.string(), " is no JSON object.");
  const std::string text = template_text(folder, config);
  if (text.empty()) return {};
  require(text.find("<|im_user|>") != std::string::npos && text.find("<|im_middle|>") != std::string::npos &&
              text.find("<|im_assistant|>") != std::string::npos,
          given, " has a chat template that is not Kimi's (no <|im_user|>, <|im_middle|>, <|im_assistant|>); kdabench "
          "knows no other. Give --template base to send the text alone.");
  std::map<std::string, int32_t> ids;
  if (const auto at = config.find("added_tokens_decoder"); at != config.end() && at->is_object())
    for (const auto& [id, token] : at->items())
      if (token.is_object() && token.contains("content") && token["content"].is_string())
        ids[token["content"].get<std::string>()] = static_cast<int32_t>(std::strtol(id.c_str(), nullptr, 10));
  const auto id_of = [&](const char* token) {
    const auto at = ids.find(token);
    require(at != ids.end(), config_path.string(), ": added_tokens_decoder has no id for ", token,
            ", which the chat template uses; give --template base.");
    return at->second;
  };
  ChatTurns turns;
  turns.system_text = default_system_text(text);
  turns.system = turns.system_text.empty() ? -1 : id_of("<|im_system|>");
  turns.user = id_of("<|im_user|>");
  turns.assistant = id_of("<|im_assistant|>");
  turns.middle = id_of("<|im_middle|>");
  turns.end = id_of("<|im_end|>");
  return turns;
}

std::vector<int32_t> TextModel::encode_prompt(const std::string& input, const std::string& answer_prefix) const {
  if (!chat) return tokenizer.encode(input + answer_prefix);
  std::vector<int32_t> ids;
  const auto add = [&](const std::string& text) {
    const std::vector<int32_t> more = tokenizer.encode(text);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  const auto turn = [&](int32_t who, const char* name) {
    ids.push_back(who);
    add(name);
    ids.push_back(chat->middle);
  };
  if (!chat->system_text.empty()) {
    turn(chat->system, "system");
    add(chat->system_text);
    ids.push_back(chat->end);
  }
  turn(chat->user, "user");
  add(input);
  ids.push_back(chat->end);
  turn(chat->assistant, "assistant");
  add(answer_prefix);
  return ids;
}

std::string TextModel::decode(std::span<const int32_t> ids) const {
  std::vector<int32_t> known;
  for (const int32_t id : ids)
    if (id < tokenizer.size()) known.push_back(id);
  return tokenizer.decode(known);
}

TextModel text_model(const Plan& plan, const Peer& peer, bool generative) {
  const ModelConfig& config = peer.config ? *peer.config : plan.config;
  const std::string where = tokenizer_of(plan, peer);
  TextModel text{Tokenizer::load(where), fs::path(where).filename().string(), {}, stop_ids(plan, peer), where};
  const int64_t without = config.vocab_size - text.tokenizer.size();
  require(without >= 0 && without <= kMostSpecialTokens, "the tokenizer ", where, " has ", text.tokenizer.size(),
          " tokens, the model's vocabulary ", config.vocab_size, "; it is not this model's. Give the checkpoint's own.");
  const std::string& format = plan.accuracy.prompt_format;
  if (generative && format != "base") {
    if (!peer.checkpoint.empty()) text.chat = read_chat_turns(peer.checkpoint);
    require(text.chat || format == "auto", "--template chat: ", peer.checkpoint.empty() ? peer.name : peer.checkpoint,
            " has no chat template; give base or auto.");
  }
  if (text.chat) {
    for (const int32_t id : {text.chat->user, text.chat->assistant, text.chat->middle, text.chat->end})
      require(id >= 0 && id < config.vocab_size, "special token ", id, " of the chat template is outside the vocabulary of ",
              config.vocab_size, ".");
    if (std::find(text.stops.begin(), text.stops.end(), text.chat->end) == text.stops.end())
      text.stops.push_back(text.chat->end);
  }
  return text;
}

}  // namespace kdabench::suites
