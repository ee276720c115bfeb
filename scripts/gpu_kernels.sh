#!/usr/bin/env bash
# Every operation at the 48B model's shapes on one GPU: kernel_bench's JSON and table.
#
# usage: [OUT=folder] scripts/gpu_kernels.sh [flag of kernel_bench...]
#
# Leaves in OUT (default out/gpu): h200-kernels.json (Google Benchmark's format) and kernels.txt.
set -euo pipefail
source "$(dirname "$0")/common.sh"

out=${OUT:-out/gpu}
mkdir -p "$out"

have_nvcc || fail "no nvcc on PATH or in /usr/local/cuda/bin; this script measures the CUDA build."
have_gpu || fail "no GPU of compute capability 9.0 answers; this script needs an H100 or H200."
phase "configure cuda" configure cuda
phase "build kernel_bench" cmake --build --preset cuda -j "$jobs" --target kernel_bench
phase "measure" build/cuda/kernel_bench --benchmark_min_time=0.02 --benchmark_out="$out/h200-kernels.json" "$@" |
  tee "$out/kernels.txt"
