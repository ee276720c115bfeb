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
# What names the machine rather than the measurement does not belong into a committed file.
python3 - "$out/h200-kernels.json" "$*" <<'PYTHON'
import json
import sys
path, flags = sys.argv[1:3]
report = json.load(open(path))
for key in ("host_name", "load_avg"):
    report["context"].pop(key, None)
report["context"]["executable"] = "build/cuda/kernel_bench"
report["context"]["command"] = "scripts/gpu_kernels.sh" + (" " + flags if flags else "")
json.dump(report, open(path, "w"), indent=1)
PYTHON
mkdir -p reports/results
cp "$out/h200-kernels.json" reports/results/
