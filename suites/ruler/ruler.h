#pragma once
// RULER: thirteen tasks over synthetic long prompts, byte for byte as NVIDIA's generators write them.
//
// Source: github.com/NVIDIA/RULER, commit c3f5e3b4f87f, scripts/data/synthetic/*.py with model template "base".
// The same seed, inputs and tokenizer give the same bytes, because the random streams are CPython's and NumPy's, called
// in the same order (suites/python_random.h). Where the official programs loop for ever or crash, this one says why.
// Two places have no official counterpart:
//   vt   its worked example has 500 tokens; with a tokenizer that cannot (bytes) it is the shortest one, 5 noise lines.
//   cwe  beyond the word lists (8,169 words, about 132K tokens of cl100k) it needs english_words.json of the official
//        repository; while the size is searched without that file, larger sizes count as too long.
//
// A prompt is input + answer_prefix; the prefix belongs after the assistant's header where a chat template is used.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "harness/engine/tokenizer.h"

namespace kdabench::suites {

enum class RulerMetric {
  kMatchAll,                                  // the share of references that the prediction contains
  kMatchPart,                                 // 1 when it contains any of them
};

struct RulerTask {
  std::string name;                           // "niah_single_1" ... "qa_2"
  int64_t generation_tokens = 0;              // part of the length
  RulerMetric metric = RulerMetric::kMatchAll;
};

const std::vector<RulerTask>& ruler_tasks();            // all thirteen, in NVIDIA's order
const RulerTask& ruler_task(const std::string& name);   // Error: names the tasks

// One line of the official JSONL.
struct RulerSample {
  int64_t index = 0;                          // niah: where the first answer stands in input, in characters
  std::string input;                          // prompt without the answer prefix
  std::vector<std::string> outputs;           // references
  int64_t length = 0;                         // tokens of the prompt and of the generation
  int64_t length_w_model_temp = 0;            // the same here: the template adds nothing
  std::string answer_prefix;
  std::optional<int64_t> token_position_answer;   // niah: tokens before the first answer

  std::string prompt() const { return input + answer_prefix; }
};

struct RulerRequest {
  std::string task;
  int64_t length = 4096;                      // max_seq_length: tokens of the prompt and of the generation
  int64_t samples = 10;
  uint64_t seed = 42;                         // at most 2^32 - 1, NumPy's limit
};

// ---- texts the prompts are made of --------------------------------------------------------------------------------

struct RulerQuestion {
  std::string text;
  std::vector<std::string> answers;
  std::vector<size_t> gold;                   // documents that hold the answer; SQuAD: one
  std::vector<size_t> related;                // SQuAD: the other passages of the article
};

struct RulerQa {
  std::vector<std::string> documents;         // unique, sorted by bytes
  std::vector<RulerQuestion> questions;       // answerable ones, in the file's order
};

struct RulerEssays {
  std::string text;                           // words with one space between
  std::vector<size_t> words;                  // [i] where word i ends in text
  std::vector<size_t> sentences;              // [i] where sentence i begins in text
};

// Loaded once. What a folder does not hold is empty; only a task that needs it minds.
struct RulerData {
  std::string folder;
  std::vector<std::string> nouns, adjectives, verbs;   // words/*list.txt
  std::vector<std::string> english_words;     // english_words.json
  RulerEssays essays;                         // essays.json, cut by essays_sentences.json
  RulerQa squad, hotpotqa;                    // squad.json, hotpotqa.json
};

// `folder` holds ruler/, or is that folder. Error: nothing of RULER's there, or a file that is damaged.
RulerData load_ruler_data(const std::string& folder);

// ---- prompts ------------------------------------------------------------------------------------------------------

// Called with the share of the work that is done, 0 to 1.
using RulerProgress = std::function<void(double)>;

// Error: an unknown task, a text that is missing, a length that the task's shortest prompt does not fit in, or more
// samples than there are questions.
std::vector<RulerSample> generate_ruler(const RulerRequest& request, const RulerData& data, const Tokenizer& tokenizer,
                                        const RulerProgress& progress = {});

// Official files. Wanted: input, and outputs with at least one string; the rest is kept where it is there. Error: names
// file and line.
std::vector<RulerSample> read_ruler_jsonl(const std::string& path);

// One line as Python's json.dump writes it (ASCII, ", " and ": "), without the line's end.
std::string ruler_jsonl_line(const RulerSample& sample);

// ---- from predictions to scores -----------------------------------------------------------------------------------

// What is compared: white space stripped, control bytes 0x00 to 0x1f made line feeds, stripped again.
std::string ruler_postprocess(const std::string& prediction);

// 0 to 1; a mean over samples, times 100, is a task's score, and RULER is the unweighted mean of the 13. The comparison
// ignores case as Python's str.lower() does. `prediction` is the generated text only, after ruler_postprocess().
double ruler_sample_score(RulerMetric metric, const std::string& prediction,
                          const std::vector<std::string>& references);

}  // namespace kdabench::suites
