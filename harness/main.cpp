// The only file that names concrete parts: who can be measured, and which suites measure.

#include "baselines/gdn_h.h"
#include "baselines/mla.h"
#include "harness/cli.h"
#include "suites/decode.h"
#include "suites/generative_suite.h"
#include "suites/gpqa_suite.h"
#include "suites/memory.h"
#include "suites/mmlu_suite.h"
#include "suites/prefill.h"
#include "suites/ruler_suite.h"
#include "suites/synthetic_suite.h"

int main(int argc, char** argv) {
  kdabench::Parts parts;
  parts.registry.add(kdabench::kimi_linear_architecture());
  parts.registry.add(kdabench::mla_architecture());
  parts.registry.add(kdabench::gdn_h_architecture());
  parts.suites = {kdabench::suites::decode_suite(), kdabench::suites::prefill_suite(), kdabench::suites::memory_suite(),
                  kdabench::suites::mmlu_suite(), kdabench::suites::ruler_suite(), kdabench::suites::synthetic_suite(),
                  kdabench::suites::mmlu_pro_suite(), kdabench::suites::bbh_suite(), kdabench::suites::gpqa_suite(),
                  kdabench::suites::gpqa_cot_suite(), kdabench::suites::mmlu_redux_suite(),
                  kdabench::suites::mmlu_redux_generative_suite()};
  return kdabench::run_command_line(argc, argv, parts);
}
