#!/usr/bin/env bash
# The decode and memory measurements of the 48B models on one GPU: report, figures, table.
#
# usage: [OUT=folder] scripts/gpu_decode.sh [flag of `kdabench run`...]
#
# Leaves in OUT (default out/gpu): h200-decode.json, table.md, log.txt and results.tar: the report and its figures (PNG and
# SVG) as they lie under reports/results/, which this also fills. From a borrowed machine bring results.tar home, unpack
# it in the checkout with `tar -xf results.tar`, and commit.
set -euo pipefail
source "$(dirname "$0")/common.sh"

out=${OUT:-out/gpu}
mkdir -p "$out"

main() {
  have_nvcc || fail "no nvcc on PATH or in /usr/local/cuda/bin; this script measures the CUDA build."
  have_gpu || fail "no GPU of compute capability 9.0 answers; this script needs an H100 or H200."
  scripts/setup.sh build

  phase "configure cuda" configure cuda
  phase "build cuda" cmake --build --preset cuda -j "$jobs" --target kdabench
  status=0
  # A path within the checkout, because the report keeps its own command line.
  mkdir -p out/gpu
  rm -f out/gpu/h200-decode.json "$out/h200-decode.json"  # a report of an earlier run is not this one's
  phase "measure" build/cuda/kdabench run --plan suites/plans/gpu_decode.json --out out/gpu/h200-decode.json --force "$@" ||
    status=$?
  if [[ -s out/gpu/h200-decode.json && ! $out -ef out/gpu ]]; then cp out/gpu/h200-decode.json "$out"; fi

  # Whatever the verdict, what was measured is drawn.
  if [[ -s $out/h200-decode.json ]]; then
    build/cuda/kdabench table "$out/h200-decode.json" --markdown >"$out/table.md" || status=$?
    mkdir -p reports/results
    cp "$out/h200-decode.json" reports/results/
    if python=$(plot_python); then
      phase "figures" "$python" -m reports.plots reports/results/h200-{decode,kernels}.json --out reports/results || status=$?
      # Fig. 7a has measured points only from a report of prefill.
      if [[ -s reports/results/h200-prefill.json ]]; then
        "$python" -m reports.plots reports/results/h200-prefill.json --only fig7a --out reports/results || status=$?
      fi
    else
      say "no matplotlib: draw them elsewhere with python3 -m reports.plots h200-decode.json --out reports/results"
    fi
    tar -cf "$out/results.tar" reports/results
  fi
  say "total: $SECONDS s, exit code $status"
  exit "$status"
}
main "$@" 2>&1 | tee "$out/log.txt"
