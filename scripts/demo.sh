#!/usr/bin/env bash
# From a fresh checkout to a report, figures and a table. With an H100 or H200 that holds the 48B model it measures that;
# anywhere else it measures the tiny preset on the CPU, which shows what the tool does and says nothing about GPUs.
#
# usage: scripts/demo.sh        leaves out/demo/report.json and out/demo/figures/*.{png,svg}
set -euo pipefail
source "$(dirname "$0")/common.sh"

scripts/setup.sh build bench plots

preset=cpu plan=suites/plans/demo.json
if have_nvcc && have_gpu; then
  preset=cuda
  # 98.25 GB of bf16 weights, and room for caches.
  if (($(gpu_memory_mib) >= 110000)); then
    plan=suites/plans/gpu_demo.json
  else
    say "this GPU has $(gpu_memory_mib) MiB; the 48B model needs 110000: the demo runs on the CPU"
  fi
fi

phase "configure $preset" configure "$preset"
phase "build $preset" cmake --build --preset "$preset" -j "$jobs"

out=out/demo
mkdir -p "$out"
phase "measure: $plan" "build/$preset/kdabench" run --plan "$plan" --out "$out/report.json" --force
rm -rf "$out/figures"
phase "figures" "$(plot_python)" -m reports.plots "$out/report.json" --out "$out/figures"

say "done"
echo "table    build/$preset/kdabench table $out/report.json"
echo "report   $out/report.json"
echo "figures  $out/figures"
echo "again    build/$preset/kdabench run --plan $plan --out $out/report.json --force"
