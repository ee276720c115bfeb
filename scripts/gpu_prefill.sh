#!/usr/bin/env bash
# The time to the first token of the 48B models on one GPU: report, figure, table.
#
# usage: [OUT=folder] [PLAN=prefill-1m] scripts/gpu_prefill.sh [flag of `kdabench run`...]
#
# PLAN is prefill (the default: 4K to 512K tokens, three models, five minutes) or prefill-1m (1M tokens, kimi-linear and
# mla, eleven minutes).
#
# Leaves in OUT (default out/gpu): h200-PLAN.json, table.md, log.txt and results.tar: the report and its figure (PNG and
# SVG) as they lie under reports/results/, which this also fills. From a borrowed machine bring results.tar home, unpack
# it in the checkout with `tar -xf results.tar`, and commit.
set -euo pipefail
source "$(dirname "$0")/common.sh"

out=${OUT:-out/gpu}
mkdir -p "$out"

draw() { # PYTHON
  "$1" -m reports.plots reports/results/h200-prefill*.json --only fig7a --out reports/results
}
plan=${PLAN:-prefill}
[[ $plan == prefill || $plan == prefill-1m ]] || fail "PLAN: wanted prefill or prefill-1m, found $plan; name one of them."
measure_on_gpu "$plan" "$@" 2>&1 | tee "$out/log.txt"
