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

draw() { # PYTHON
  "$1" -m reports.plots reports/results/h200-{decode,kernels}.json --out reports/results || return
  # Fig. 7a has measured points only from reports of prefill.
  local prefill=(reports/results/h200-prefill*.json)
  [[ ! -s ${prefill[0]} ]] || "$1" -m reports.plots "${prefill[@]}" --only fig7a --out reports/results
}
measure_on_gpu decode "$@" 2>&1 | tee "$out/log.txt"
