#pragma once
// SHA-256, which the suites use too: see suites/sha256.h.

#include "suites/sha256.h"

namespace kdabench::test {
using suites::sha256;
}
