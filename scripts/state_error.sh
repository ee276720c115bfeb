#!/usr/bin/env bash
# What keeping the recurrent state in bf16 costs in accuracy: 100,000 tokens against the fp64 recurrence, for gates from usual
# to nearly closed, on the CPU and, where there is a GPU, through the decode kernel.
#
# usage: [OUT=folder] scripts/state_error.sh [flag of state_error...]
#
# Leaves in OUT (default out/state) and reports/results: state-error.json, state_error.png, state_error.svg.
set -euo pipefail
source "$(dirname "$0")/common.sh"

out=${OUT:-out/state}
mkdir -p "$out"
scripts/setup.sh build
preset=cpu
if have_nvcc && have_gpu; then preset=cuda; fi
phase "configure $preset" configure "$preset"
phase "build state_error" cmake --build --preset "$preset" -j "$jobs" --target state_error
phase "measure" "build/$preset/state_error" --out "$out/state-error.json" "$@" | tee "$out/state_error.txt"
mkdir -p reports/results
cp "$out/state-error.json" reports/results/
if python=$(plot_python); then
  phase "figure" "$python" -m reports.plots.state_error reports/results/state-error.json --out reports/results
  cp reports/results/state_error.{png,svg} "$out"
else
  say "no matplotlib: draw it elsewhere with python3 -m reports.plots.state_error FILE --out DIR"
fi
