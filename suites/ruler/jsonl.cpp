// RULER's files: a sample a line, as Python's json writes and reads it.

#include <cstdio>

#include "kernels/base/error.h"
#include "suites/csv.h"
#include "suites/jsonl.h"
#include "suites/ruler/ruler.h"
#include "suites/text.h"

namespace kdabench::suites {
namespace {

using nlohmann::json;

// json.dumps(text): ASCII, everything else as UTF-16 in hexadecimal.
std::string json_string(std::string_view text) {
  std::string result = "\"";
  const auto escape = [&](char32_t unit) {
    char buffer[16];
    std::snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(unit));
    result += buffer;
  };
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = code_point(text, at);
    require(point.bytes > 0, "a RULER sample holds a byte that is not UTF-8, which JSON cannot.");
    switch (point.value) {
      case '"': result += "\\\""; break;
      case '\\': result += "\\\\"; break;
      case '\n': result += "\\n"; break;
      case '\r': result += "\\r"; break;
      case '\t': result += "\\t"; break;
      case '\b': result += "\\b"; break;
      case '\f': result += "\\f"; break;
      default:
        if (point.value >= 0x10000) {
          escape(0xD800 + ((point.value - 0x10000) >> 10));
          escape(0xDC00 + ((point.value - 0x10000) & 0x3FF));
        } else if (point.value < 0x20 || point.value > 0x7F) {
          escape(point.value);
        } else {
          result += static_cast<char>(point.value);
        }
    }
    at += point.bytes;
  }
  return result + '"';
}

RulerSample sample_of(const json& line, int64_t number) {
  RulerSample sample;
  sample.index = line.value("index", number);
  sample.input = line.at("input").get<std::string>();
  sample.outputs = line.at("outputs").get<std::vector<std::string>>();
  sample.length = line.value("length", int64_t{0});
  sample.length_w_model_temp = line.value("length_w_model_temp", sample.length);
  sample.answer_prefix = line.value("answer_prefix", std::string());
  if (line.contains("token_position_answer")) sample.token_position_answer = line.at("token_position_answer");
  return sample;
}

}  // namespace

std::string ruler_jsonl_line(const RulerSample& sample) {
  std::vector<std::string> outputs;
  for (const std::string& output : sample.outputs) outputs.push_back(json_string(output));
  std::string line = "{\"index\": " + std::to_string(sample.index) + ", \"input\": " + json_string(sample.input) +
                     ", \"outputs\": [" + joined(outputs, ", ") + "], \"length\": " + std::to_string(sample.length) +
                     ", \"length_w_model_temp\": " + std::to_string(sample.length_w_model_temp) +
                     ", \"answer_prefix\": " + json_string(sample.answer_prefix);
  if (sample.token_position_answer)
    line += ", \"token_position_answer\": " + std::to_string(*sample.token_position_answer);
  return line + "}";
}

std::vector<RulerSample> read_ruler_jsonl(const std::string& path) {
  std::vector<RulerSample> samples;
  read_json_lines(path, "a RULER sample with a string `input` and a list of strings `outputs`",
                  [&](const json& line, int64_t number) {
                    samples.push_back(sample_of(line, static_cast<int64_t>(samples.size())));
                    require(!samples.back().outputs.empty(), path, ":", number,
                            " has no references; wanted at least one in `outputs`.");
                  });
  require(!samples.empty(), path, " holds no samples.");
  return samples;
}

}  // namespace kdabench::suites
