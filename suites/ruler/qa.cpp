// Question answering: a question's own documents among others.
// Source of templates and order of draws: NVIDIA/RULER, scripts/data/synthetic/{qa,constants}.py.

#include <unordered_set>

#include "kernels/base/error.h"
#include "suites/python_random.h"
#include "suites/ruler/generator.h"
#include "suites/text.h"

namespace kdabench::suites::ruler {
namespace {

constexpr const char* kTemplate =
    "Answer the question based on the given documents. Only give me the answer and do not output any other words.\n\n"
    "The following are given documents.\n\n{context}\n\nAnswer the question based on the given documents. Only give me "
    "the answer and do not output any other words.\n\nQuestion: {query}";
constexpr const char* kAnswerPrefix = " Answer:";
constexpr int64_t kLeast = 10;                // documents

class QuestionAnswering {
 public:
  explicit QuestionAnswering(const Job& job)
      : job_(job), qa_(job.task.name == "qa_1" ? job.data.squad : job.data.hotpotqa), random_(job.request.seed) {
    const bool squad = job.task.name == "qa_1";
    require_text(job, !qa_.questions.empty(), squad ? "squad.json" : "hotpotqa.json");
    require(job.request.samples <= static_cast<int64_t>(qa_.questions.size()), job.task.name, ": ",
            job.request.samples, " samples wanted; ", squad ? "squad.json" : "hotpotqa.json", " has ",
            qa_.questions.size(), " questions.");
  }

  std::vector<RulerSample> samples() {
    const int64_t limit = job_.request.length;
    const int64_t most = estimated_size(limit, tokens(drawn(0, kLeast)), kLeast);
    const int64_t size = largest_size(kLeast, most, [&](int64_t documents) {
      return tokens(drawn(0, documents)) + job_.task.generation_tokens <= limit;
    });
    std::vector<RulerSample> samples;
    for (int64_t i = 0; i < job_.request.samples; ++i) {
      job_.progress(static_cast<double>(i + 1) / static_cast<double>(job_.request.samples + 1));
      const auto draw = [&](int64_t documents) { return draw_once(static_cast<size_t>(i), documents); };
      samples.push_back(sample_of(fitted(job_, size, kLeast, draw), i));
    }
    return samples;
  }

 private:
  int64_t tokens(const Prompt& prompt) const {
    return static_cast<int64_t>(job_.tokenizer.encode(prompt.text()).size());
  }

  Prompt drawn(size_t question, int64_t documents) {
    std::optional<Prompt> prompt = draw_once(question, documents);
    require(prompt.has_value(), job_.task.name, ": question ", question, " has more than ", documents,
            " documents of its own.");
    return std::move(*prompt);
  }

  // Nothing where the question has more documents of its own than there is room for.
  std::optional<Prompt> draw_once(size_t index, int64_t count) {
    const RulerQuestion& question = qa_.questions[index];
    const auto n = static_cast<size_t>(count);
    std::vector<size_t> chosen;
    if (n >= qa_.documents.size()) {
      for (size_t i = 0; i < n; ++i) chosen.push_back(i % qa_.documents.size());
    } else if (n < question.gold.size()) {
      return {};
    } else {
      chosen = question.gold;
      const size_t room = n - chosen.size();
      if (room > question.related.size()) {
        chosen.insert(chosen.end(), question.related.begin(), question.related.end());
        const std::unordered_set<size_t> own(chosen.begin(), chosen.end());
        std::vector<size_t> others;
        for (size_t i = 0; i < qa_.documents.size(); ++i)
          if (!own.contains(i)) others.push_back(i);
        const size_t wanted = room - question.related.size();
        if (wanted > others.size()) return {};
        for (const size_t i : random_.sample(others.size(), wanted)) chosen.push_back(others[i]);
      } else {
        for (const size_t i : random_.sample(question.related.size(), room)) chosen.push_back(question.related[i]);
      }
    }
    PythonRandom(job_.request.seed).shuffle(chosen);
    std::vector<std::string> documents;
    for (size_t i = 0; i < chosen.size(); ++i)
      documents.push_back(text("Document ", i + 1, ":\n", qa_.documents[chosen[i]]));
    return Prompt{formatted(kTemplate, {{"context", joined(documents, "\n\n")}, {"query", question.text}}),
                  kAnswerPrefix, question.answers};
  }

  const Job& job_;
  const RulerQa& qa_;
  PythonRandom random_;
};

}  // namespace

std::vector<RulerSample> question_answering(const Job& job) { return QuestionAnswering(job).samples(); }

}  // namespace kdabench::suites::ruler
