#pragma once
// A named range on the profiler's timeline (NVTX3), for as long as the object lives. Without CUDA it is nothing.

#ifdef KDABENCH_CUDA
#include <nvtx3/nvToolsExt.h>
#endif

namespace kdabench {

class NvtxRange {
 public:
#ifdef KDABENCH_CUDA
  explicit NvtxRange(const char* name) { nvtxRangePushA(name); }
  ~NvtxRange() { nvtxRangePop(); }
#else
  explicit NvtxRange(const char*) {}
  ~NvtxRange() {}
#endif
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;
};

}  // namespace kdabench
