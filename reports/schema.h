#pragma once
// The JSON Schema (draft-7) of a report, generated from the fields visitor, and a validator for it.
//
// The schema says what one value may be; `validate` adds the rules that a schema cannot say: ids are unique
// and agree with the axes, quartiles are in order, a throughput agrees with its time, nothing beats its
// physical floor. Keys the schema does not know are allowed: a minor version of the format adds keys.

#include <string>
#include <vector>

#include "reports/json.h"

namespace kdabench::reports {

struct Violation {
  std::string path;      // JSON path, e.g. $.cells[3].timing.stats.q1_ns
  std::string sentence;  // what is wrong, in one sentence
};

Json report_schema();
std::string schema_text();  // what reports/kdabench-report.schema.json holds, byte for byte

// Every violation, in document order; empty when the report is good.
std::vector<Violation> validate(const Json& report);

// The subset of draft-7 that report_schema uses: type, enum, const, pattern, minimum, minLength, required,
// properties, additionalProperties, items, allOf, if/then/else, and false. Any other keyword throws.
std::vector<Violation> validate_against(const Json& schema, const Json& document);

}  // namespace kdabench::reports
