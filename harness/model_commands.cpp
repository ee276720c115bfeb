// kdabench models, logits, generate: what can be built, and what a checkpoint says.

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>

#include "harness/bind.h"
#include "harness/cli.h"
#include "harness/engine/checkpoint.h"
#include "harness/engine/cost.h"
#include "harness/engine/model.h"
#include "harness/options.h"
#include "harness/parse.h"
#include "kernels/base/error.h"
#include "reports/json.h"

namespace kdabench {
namespace {

int print_models(const Call& call) {
  fmt::print("Architectures (--models):\n");
  for (const Architecture& architecture : call.parts.registry.all())
    fmt::print("  {:<14}{}\n", architecture.name, architecture.summary);
  constexpr const char* kRow = "  {:<22}{:<14}{:>16} {:>11} {:>14} {:>14} {:>12}\n";
  fmt::print("\nPresets (--config), in bf16 with fp32 recurrent states:\n");
  fmt::print(kRow, "preset", "model", "parameters", "weights GB", "cache B/token", "state MB/seq.", "linear:full");
  for (const std::string& preset : preset_names()) {
    const ModelConfig config = preset_config(preset);
    for (const Architecture& architecture : call.parts.registry.all()) {
      const Layout layout = architecture.layout(config, {});
      const auto full = std::count(layout.begin(), layout.end(), MixerKind::kMla);
      const NumberBytes bytes;
      fmt::print(kRow, preset, architecture.name, parameter_count(config, layout),
                 fmt::format("{:.3f}", static_cast<double>(weight_bytes(config, layout, bytes)) * 1e-9),
                 cache_bytes_per_token(config, layout, bytes),
                 fmt::format("{:.3f}", static_cast<double>(state_bytes_per_sequence(config, layout, bytes)) * 1e-6),
                 fmt::format("{}:{}", static_cast<int64_t>(layout.size()) - full, full));
    }
  }
  return 0;
}

// What logits and generate share.
struct InferenceOptions {
  std::string checkpoint, model = "kimi-linear", ids, ids_file, device = "cpu", dtype;
  ModelFlags flags;

  template <class V> void fields(V&& v) {
    constexpr const char* kGroup = "Input";
    v("checkpoint", checkpoint, kGroup, "folder with config.json and safetensors");
    v("model", model, kGroup, "architecture");
    v("ids", ids, kGroup, "token ids, e.g. 1,2,3");
    v("ids-file", ids_file, kGroup, "file with token ids, separated by commas or white space");
    v("device", device, kGroup, "cpu or cuda");
    v("dtype", dtype, kGroup, "fp32, fp64 or bf16; default: fp32 on the CPU, bf16 on CUDA");
    flags.fields(v);
  }
};

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  require(file.good() || file.eof(), "failed to read ", path, ".");
  require(file.is_open(), "failed to open ", path, ": no such file, or no permission.");
  return text.str();
}

struct Inference {
  ModelConfig config;
  std::vector<int32_t> ids;
  std::unique_ptr<Model> model;
};

Inference prepare(const InferenceOptions& options, const Registry& registry) {
  require(!options.checkpoint.empty(), "--checkpoint is required: a folder with config.json and safetensors.");
  require(options.ids.empty() != options.ids_file.empty(), "give token ids with --ids or with --ids-file.");
  Inference result;
  result.config = configured(options.checkpoint, options.flags);
  result.ids = parse_ids(options.ids.empty() ? read_text(options.ids_file) : options.ids, result.config.vocab_size);
  ModelOptions model;
  model.config = result.config;
  model.layout = registry.find(options.model).layout(result.config, {});
  model.device = parse_device(options.device);
  model.precision = options.dtype.empty() ? default_precision(model.device) : parse_precision(options.dtype);
  model.checkpoint = options.checkpoint;
  std::string reason;
  require(model.device != DeviceKind::kCuda || cuda_available(&reason), "--device cuda is not available: ", reason);
  result.model = make_model(model);
  return result;
}

// Room for the prompt and what follows; long prompts are read in passes of 512 tokens.
std::unique_ptr<Session> open_session(const Inference& inference, int64_t more, bool all_logits) {
  SessionOptions session;
  const auto length = static_cast<int64_t>(inference.ids.size());
  session.capacity = length + more;
  session.forward_tokens = std::min<int64_t>(length, 512);
  session.all_logits = all_logits;
  return inference.model->open(session);
}

int write_logits(const InferenceOptions& options, const std::string& out, const Registry& registry) {
  require(!out.empty(), "--out is required: the safetensors file to write.");
  reports::check_writable(out);
  const Inference inference = prepare(options, registry);
  const std::unique_ptr<Session> session = open_session(inference, 0, true);
  const std::vector<float> logits = session->forward(inference.ids, Logits::kAll);
  const FloatTensor tensor{"logits", {static_cast<int64_t>(inference.ids.size()), inference.config.vocab_size}, logits};
  write_safetensors(out, std::span(&tensor, 1));
  fmt::print("logits [{}, {}] written to {}\n", tensor.shape[0], tensor.shape[1], out);
  return 0;
}

int print_generated(const InferenceOptions& options, const std::string& max_new, const Registry& registry) {
  const int64_t wanted = parse_integer("max-new", max_new, 1);
  Inference inference = prepare(options, registry);
  // transformers' generate() hides padding ids of a prompt from attention; here they are left out
  std::erase(inference.ids, static_cast<int32_t>(inference.config.pad_token_id));
  require(!inference.ids.empty(), "the prompt is padding (id ", inference.config.pad_token_id, ") throughout.");
  const std::unique_ptr<Session> session = open_session(inference, wanted, false);
  session->forward(inference.ids, Logits::kLast);
  std::vector<int32_t> generated = {session->next_tokens().front()};
  if (wanted > 1) {
    const DecodeSamples samples = session->decode(wanted - 1);
    generated.insert(generated.end(), samples.tokens.begin(), samples.tokens.end());
  }
  fmt::print("{}\n", fmt::join(generated, ","));
  return 0;
}

}  // namespace

void add_model_commands(CLI::App& app, const Parts&, Action& action) {
  CLI::App* models = app.add_subcommand("models", "List architectures and presets, with parameters and bytes");
  models->callback([&action] { action = print_models; });

  CLI::App* logits = app.add_subcommand("logits", "Write the logits of a checkpoint for token ids");
  const auto logits_options = std::make_shared<InferenceOptions>();
  const auto out = std::make_shared<std::string>();
  logits_options->fields(FlagBinder{*logits});
  FlagBinder{*logits}("out", *out, "Output", "file to write: tensor `logits`, fp32 [tokens, vocabulary]");
  logits->footer("\nExample: kdabench logits --checkpoint DIR --ids 1,2,3 --out logits.safetensors\n"
                 "Exit codes: 0 written; 2 a file, a flag or an id is wrong.");
  logits->callback([logits_options, out, &action] {
    action = [=](const Call& call) { return write_logits(*logits_options, *out, call.parts.registry); };
  });

  CLI::App* generate = app.add_subcommand("generate", "Continue token ids greedily with a checkpoint");
  const auto generate_options = std::make_shared<InferenceOptions>();
  const auto max_new = std::make_shared<std::string>("16");
  generate_options->fields(FlagBinder{*generate});
  FlagBinder{*generate}("max-new", *max_new, "Output", "tokens to generate; nothing else stops it");
  generate->footer("\nExample: kdabench generate --checkpoint DIR --ids 1,2,3 --max-new 24\n"
                   "Prints the new ids on one line. Padding ids of the prompt (pad_token_id) are left out, as transformers' generate\n"
                   "hides them. Exit codes: 0 done; 2 a file, a flag or an id is wrong.");
  generate->callback([generate_options, max_new, &action] {
    action = [=](const Call& call) { return print_generated(*generate_options, *max_new, call.parts.registry); };
  });
}

}  // namespace kdabench
