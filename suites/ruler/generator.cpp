#include "suites/ruler/generator.h"

#include "kernels/base/error.h"
#include "suites/text.h"

namespace kdabench::suites {
namespace ruler {
namespace {

// A prompt at the smallest size is drawn this often; what differs between draws is the length of a few words.
constexpr int kTriesAtLeast = 50;

}  // namespace

int64_t estimated_size(int64_t length, int64_t tokens, int64_t units) {
  const double tokens_per_unit = static_cast<double>(tokens) / static_cast<double>(units);
  return static_cast<int64_t>(static_cast<double>(length) / tokens_per_unit * 3);
}

int64_t largest_size(int64_t least, int64_t most, const std::function<bool(int64_t)>& fits) {
  int64_t low = least, high = std::max(most, 2 * least), best = least;
  while (low <= high) {
    const int64_t middle = (low + high) / 2;
    if (fits(middle)) {
      best = middle;
      low = middle + 1;
    } else {
      high = middle - 1;
    }
  }
  return best;
}

Fitted fitted(const Job& job, int64_t size, int64_t least, const Draw& draw) {
  int64_t shortest = std::numeric_limits<int64_t>::max();
  for (int tries = 0; tries < kTriesAtLeast;) {
    if (std::optional<Prompt> prompt = draw(size)) {
      const int64_t length = job.tokens(prompt->text());
      if (length <= job.request.length) return {std::move(*prompt), length};
      shortest = std::min(shortest, length);
    }
    if (size > least) size -= least;
    else ++tries;
  }
  require(shortest < std::numeric_limits<int64_t>::max(), job.task.name, " cannot be asked within ",
          job.request.length, " tokens; use a larger length.");
  fail(job.task.name, " does not fit in ", job.request.length, " tokens: the shortest prompt that was drawn takes ",
       shortest, " with the ", job.task.generation_tokens, " to generate; use a length of at least ", shortest, ".");
}

RulerSample sample_of(Fitted fitted, int64_t index) {
  RulerSample sample;
  sample.index = index;
  sample.input = std::move(fitted.prompt.input);
  sample.outputs = std::move(fitted.prompt.answers);
  sample.length = sample.length_w_model_temp = fitted.length;
  sample.answer_prefix = std::move(fitted.prompt.answer_prefix);
  return sample;
}

void require_text(const Job& job, bool there, const std::string& files) {
  require(there, job.task.name, " needs ", files, ", which ", job.data.folder, " does not hold.");
}

}  // namespace ruler

const std::vector<RulerTask>& ruler_tasks() {
  using enum RulerMetric;
  static const std::vector<RulerTask> tasks = {
      {"niah_single_1", 128, kMatchAll},   {"niah_single_2", 128, kMatchAll},   {"niah_single_3", 128, kMatchAll},
      {"niah_multikey_1", 128, kMatchAll}, {"niah_multikey_2", 128, kMatchAll}, {"niah_multikey_3", 128, kMatchAll},
      {"niah_multivalue", 128, kMatchAll}, {"niah_multiquery", 128, kMatchAll}, {"vt", 30, kMatchAll},
      {"cwe", 120, kMatchAll},             {"fwe", 50, kMatchAll},              {"qa_1", 32, kMatchPart},
      {"qa_2", 32, kMatchPart},
  };
  return tasks;
}

const RulerTask& ruler_task(const std::string& name) {
  std::vector<std::string> names;
  for (const RulerTask& task : ruler_tasks()) {
    if (task.name == name) return task;
    names.push_back(task.name);
  }
  fail("unknown RULER task '", name, "'; the tasks are ", joined(names, ", "), ".");
}

std::vector<RulerSample> generate_ruler(const RulerRequest& request, const RulerData& data, const Tokenizer& tokenizer,
                                        const RulerProgress& progress) {
  const RulerTask& task = ruler_task(request.task);
  require(request.samples > 0, task.name, ": ", request.samples, " samples; wanted at least 1.");
  require(request.seed <= 0xFFFFFFFF, task.name, ": seed ", request.seed, " is larger than 4294967295, the largest "
          "that NumPy's stream takes.");
  require(request.length > task.generation_tokens, task.name, " does not fit in ", request.length, " tokens: ",
          task.generation_tokens, " are to generate, and the prompt comes on top.");
  const ruler::Job job{request, task, data, tokenizer, progress ? progress : [](double) {}};
  if (task.name == "vt") return ruler::variable_tracking(job);
  if (task.name == "cwe") return ruler::common_words(job);
  if (task.name == "fwe") return ruler::frequent_words(job);
  return task.name.starts_with("qa") ? ruler::question_answering(job) : ruler::niah(job);
}

}  // namespace kdabench::suites
