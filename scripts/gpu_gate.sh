#!/usr/bin/env bash
# Holds `kdabench ab` to the GPU it runs on: B slowed by 3 % must fail, and ten runs of one program against itself may not.
#
# usage: [OUT=folder] scripts/gpu_gate.sh [flag of `kdabench ab`...]
#
# Leaves in OUT (default out/gate): injected-3-percent.json, same-01.json .. same-10.json, log.txt; copies the results to
# reports/results/gate. Ends with 1 when a slowed cell passes or an equal one fails. About five minutes.
set -euo pipefail
source "$(dirname "$0")/common.sh"

out=${OUT:-out/gate}
mkdir -p "$out"

main() {
  have_nvcc || fail "no nvcc on PATH or in /usr/local/cuda/bin; this script measures the CUDA build."
  have_gpu || fail "no GPU of compute capability 9.0 answers; this script needs an H100 or H200."
  scripts/setup.sh build

  phase "configure cuda" configure cuda
  phase "build cuda" cmake --build --preset cuda -j "$jobs" --target kdabench
  local program=build/cuda/kdabench wrong=0 code
  ab() { # NAME WANTED FLAG...
    local name=$1 wanted=$2
    shift 2
    code=0
    "$program" ab --a "$program" --b "$program" --plan suites/plans/gate.json --out "$out/$name.json" --force \
      --progress none "$@" || code=$?
    [[ " $wanted " == *" $code "* ]] || { say "$name: wanted exit code $wanted, got $code"; wrong=1; }
  }
  ab injected-3-percent "1" --inject-slowdown 1.03 --seed 11 "$@"
  for i in 1 2 3 4 5 6 7 8 9 10; do ab "same-$(printf %02d "$i")" "0 3" --seed "$i" "$@"; done
  mkdir -p reports/results/gate
  cp "$out"/*.json reports/results/gate/
  say "total: $SECONDS s"
  return "$wrong"
}
main "$@" 2>&1 | tee "$out/log.txt"
