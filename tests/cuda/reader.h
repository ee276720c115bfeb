#pragma once
// A kernel that reads memory beside others.

#include <cuda_runtime_api.h>

#include <cstdint>

namespace kdabench {

// A block of 256 threads a multiprocessor, which every 1 to 17 us reads 16 bytes each from 4096 places somewhere in `bytes`
// of `memory` (device memory, at most 32 GB), until flags[0] is no longer 0, or for three seconds, after which it sets
// flags[1]. flags[2] counts the blocks that have started; as many as will are returned. Flags are device memory, 0 at first.
// A block takes a quarter of the registers and no shared memory.
int start_reading(const void* memory, int64_t bytes, int* flags, cudaStream_t stream);

}  // namespace kdabench
