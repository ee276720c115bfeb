#pragma once
// Reports of an earlier minor version as reports of this one. A minor version adds fields; what an old report lacks
// becomes null or empty, which says "not recorded". A field that can be neither is not invented: such a report is
// refused.

#include <string>

#include "reports/json.h"

namespace kdabench::reports {

// Keys that this version does not know are kept. Throws Error for another schema or major version, for a version newer
// than `current`, and for what cannot be filled.
Json migrate(const Json& old, const std::string& current = kSchemaVersion);

}  // namespace kdabench::reports
