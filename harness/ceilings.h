#pragma once
// What the device can do at the most, measured in the run whose results are held against it.

#include "harness/engine/model.h"
#include "reports/record.h"

namespace kdabench {

reports::Ceilings measure_ceilings(DeviceKind device);
reports::Ceilings measure_cpu_ceilings();

}  // namespace kdabench
