// What is counted of the kernels that run, and how their instances are called.

#include <gtest/gtest.h>

#include "kernels/base/kernel_use.h"

namespace kdabench {
namespace {

TEST(KernelUse, EveryLaunchIsCounted) {
  const int one = 0, other = 0;
  std::vector<KernelUse> uses;
  {
    const KernelLog outer([](const KernelLaunch&) { FAIL() << "the innermost log takes the note"; });
    const KernelLog log([&](const KernelLaunch& launch) { count_launch(uses, launch); });
    for (const int64_t shared : {100, 300, 200}) KernelLog::note({"gemv", &one, shared});
    KernelLog::note({"cublaslt"});
    KernelLog::note({"gemv", &other});
    KernelLog::note({"cublaslt"});
    KernelLog::note({"silu", &other, 7});
  }
  KernelLog::note({"dropped", &one});
  ASSERT_EQ(uses.size(), 4u) << "an instance under two names is two rows, so is a name with two instances";
  EXPECT_EQ(uses[0].name, "gemv");
  EXPECT_EQ(uses[0].launches, 3);
  EXPECT_EQ(uses[0].dynamic_shared_bytes, 300);
  EXPECT_EQ(uses[1].name, "cublaslt");
  EXPECT_EQ(uses[1].launches, 2);
  EXPECT_EQ(uses[1].function, nullptr);
  EXPECT_EQ(uses[2].function, &other);
  EXPECT_EQ(uses[2].dynamic_shared_bytes, 0);
  EXPECT_EQ(uses[3].name, "silu");
}

// The names that tests/check_registers.py gives them, too.
TEST(KernelUse, InstancesAreReadable) {
  EXPECT_EQ(kernel_instance("_ZN8kdabench39_GLOBAL__N__e3dc6800_7_gemv_cu_25f4e5b811gemv_kernelIfEEvNS0_8GemvArgsIT_EE"),
            "gemv_kernel<float>");
  EXPECT_EQ(kernel_instance("_ZN8kdabench12_GLOBAL__N_117kda_decode_kernelILi128ELb0ELi1ELNS_3kda4ModeE2EEEvNS0_4ArgsE"),
            "kda_decode_kernel<128, false, 1, 2>");
  EXPECT_EQ(kernel_instance("_ZN8kdabench6device12_GLOBAL__N_111gemv_kernelINS_4Bf16EEEvPT_"), "gemv_kernel<Bf16>");
  EXPECT_EQ(kernel_instance("_ZN8kdabench12_GLOBAL__N_112chain_kernelENS_9ChainArgsE"), "chain_kernel");
  EXPECT_EQ(kernel_instance("sm90_xmma_gemm"), "sm90_xmma_gemm");
  EXPECT_EQ(kernel_instance(""), "");
}

}  // namespace
}  // namespace kdabench
