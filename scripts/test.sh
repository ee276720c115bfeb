#!/usr/bin/env bash
# Builds and tests: everything on the CPU; where nvcc is found all CUDA sources compile, and the GPU tests run or say
# why they are skipped. KDABENCH_DATA points at the test data; tests that need it are skipped without it.
# The last line is "N passed, N failed, N skipped".
#
# usage: scripts/test.sh
set -euo pipefail
source "$(dirname "$0")/common.sh"

scripts/setup.sh

export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}  # several test processes share the cores: waiting threads sleep
passed=0 failed=0 skipped=0
# run_tests PRESET [CTEST ARGUMENTS]: runs them all, whatever fails, and adds up what ctest says of each.
run_tests() {
  local preset=$1 log=build/$1/ctest.log lines
  shift
  ctest --preset "$preset" -j "$jobs" "$@" 2>&1 | tee "$log" || true
  lines=$(grep -E '^ *[0-9]+/[0-9]+ Test +#[0-9]+:' "$log" || true)
  local all good none
  all=$(grep -c . <<<"$lines" || true)
  good=$(grep -cE ' Passed +[0-9.]+ sec' <<<"$lines" || true)
  none=$(grep -cE '\*\*\*(Skipped|Not Run \(Disabled\))' <<<"$lines" || true)
  passed=$((passed + good))
  skipped=$((skipped + none))
  failed=$((failed + all - good - none + (all == 0)))
}
# A build that fails counts as one failed test: the other half still runs.
built() { cmake --build --preset "$@" -j "$jobs"; }

if phase "configure cpu" configure cpu && phase "build cpu" built cpu; then
  phase "test cpu" run_tests cpu
else
  failed=$((failed + 1))
fi

# Without a GPU only the GPU tests and the program are built: with their libraries they compile every CUDA source. Each
# test says that it is skipped, but the one that reads the kernels' registers from the program. With one everything runs
# again in the CUDA build.
cuda_tests() { find tests/cuda -name 'test_*.cpp' -exec basename {} .cpp \; 2>/dev/null | sort; }
suites_of() { # the names of the executables' test suites, as one regular expression for ctest
  local test
  for test; do "build/cuda/$test" --gtest_list_tests; done | sed -nE 's/^([A-Za-z0-9_/]+)\.( .*)?$/\1/p' | paste -sd '|'
}
if ! have_nvcc; then
  say "no nvcc: the CUDA build is not tested"
elif ! phase "configure cuda" configure cuda; then
  failed=$((failed + 1))
elif have_gpu; then
  if phase "build cuda" built cuda; then phase "test cuda" run_tests cuda; else failed=$((failed + 1)); fi
else
  mapfile -t tests < <(cuda_tests)
  if phase "build cuda" built cuda --target kdabench "${tests[@]}"; then
    ((${#tests[@]} == 0)) || phase "test cuda" run_tests cuda -R "^(($(suites_of "${tests[@]}"))\\.|check_registers$)"
  else
    failed=$((failed + 1))
  fi
fi

say "totals"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
