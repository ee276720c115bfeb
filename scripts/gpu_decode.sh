#!/usr/bin/env bash
# The decode and memory measurements of the 48B models on one GPU: report, figures, table.
#
# usage: [OUT=folder] scripts/gpu_decode.sh [flag of `kdabench run`...]
#
# Leaves in OUT (default out/gpu): h200-decode.json, figures.tar (PNG and SVG), table.md, log.txt. Few files, so that they
# are easily brought home from a borrowed machine; commit the report and the figures under reports/results/.
set -euo pipefail
source "$(dirname "$0")/common.sh"

out=${OUT:-out/gpu}
mkdir -p "$out"
exec > >(tee "$out/log.txt") 2>&1

have_nvcc || fail "no nvcc on PATH or in /usr/local/cuda/bin; this script measures the CUDA build."
have_gpu || fail "no GPU of compute capability 9.0 answers; this script needs an H100 or H200."
scripts/setup.sh build

phase "configure cuda" configure cuda
phase "build cuda" cmake --build --preset cuda -j "$jobs" --target kdabench
status=0
phase "measure" build/cuda/kdabench run --plan suites/plans/gpu_decode.json --out "$out/h200-decode.json" --force "$@" ||
  status=$?

# Whatever the verdict, what was measured is drawn.
if [[ -s $out/h200-decode.json ]]; then
  phase "table" build/cuda/kdabench table "$out/h200-decode.json" --markdown | tee "$out/table.md" || true
  figures=$(mktemp -d)
  if python=$(plot_python) && phase "figures" "$python" -m reports.plots "$out/h200-decode.json" --out "$figures"; then
    tar -cf "$out/figures.tar" -C "$figures" .
  else
    echo "no figures: draw them elsewhere with python3 -m reports.plots h200-decode.json --out figures"
  fi
  rm -rf "$figures"
fi
say "total: $SECONDS s, exit code $status"
exit "$status"
