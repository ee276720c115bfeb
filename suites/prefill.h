#pragma once
// Time to the first token: check, warm up, read whole prompts. Weights are those of the model, prompts random ids from
// the seed, cached is nothing; a prompt is read in passes of --chunk tokens, and again until --seconds have passed, at
// most --steps times. The clock runs from the ids on the host to the first new token.

#include "suites/suite.h"

namespace kdabench::suites {

Suite prefill_suite();

}  // namespace kdabench::suites
