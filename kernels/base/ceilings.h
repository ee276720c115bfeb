#pragma once
// What this GPU can do, measured in this process: the denominators of every fraction that a report states. Each call
// takes a few milliseconds, allocates its own memory and returns the best of several repetitions: a ceiling is what no
// result may exceed.

#include <cstdint>

namespace kdabench {

constexpr int64_t kCeilingBytes = int64_t{8} << 30;  // 136 times the L2 of an H200: hits there add under 1 %

// A device-to-device copy, bytes read and bytes written together.
double copy_bytes_per_s(int64_t bytes = kCeilingBytes);
// A kernel that only reads, 16 bytes a load, every byte once.
double read_bytes_per_s(int64_t bytes = kCeilingBytes);
// A square bf16 product through cuBLASLt, of random values (zeros run faster).
double gemm_flops_per_s(int64_t size = 8192);

}  // namespace kdabench
