// How RULER scores a prediction. Source: NVIDIA/RULER, scripts/eval/{evaluate,synthetic/constants}.py.

#include <algorithm>

#include "kernels/base/error.h"
#include "suites/ruler/ruler.h"
#include "suites/text.h"

namespace kdabench::suites {

std::string ruler_postprocess(const std::string& prediction) {
  std::string text(stripped(prediction));
  for (char& byte : text)
    if (static_cast<unsigned char>(byte) < 0x20) byte = '\n';
  return std::string(stripped(text));
}

double ruler_sample_score(RulerMetric metric, const std::string& prediction,
                          const std::vector<std::string>& references) {
  require(!references.empty(), "a RULER sample has no references, so no score.");
  const std::string text = lowered(prediction);
  const auto found = std::count_if(references.begin(), references.end(), [&](const std::string& reference) {
    return text.find(lowered(reference)) != text.npos;
  });
  if (metric == RulerMetric::kMatchPart) return found > 0 ? 1 : 0;
  return static_cast<double>(found) / static_cast<double>(references.size());
}

}  // namespace kdabench::suites
