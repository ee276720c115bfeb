#!/usr/bin/env bash
# Builds and runs every GPU test on one GPU, then small ones of every executable under compute-sanitizer: memcheck (out of
# bounds, leaks of a launch's errors), racecheck (shared memory), initcheck (memory that was never written) and synccheck
# (barriers). Our own kernels are looked at, cuBLAS' are not. One line per executable; any hazard is a failure.
#
# usage: [OUT=folder] [KDABENCH_DATA=folder] [TESTS="test_a test_b"] [TOOLS="memcheck racecheck"] scripts/gpu_check.sh
#
# Leaves in OUT (default out/gpu): check.txt, what was printed, and check-logs.txt, the output of every executable.
# A test that skips itself for want of a GPU counts as failed here.
set -euo pipefail
source "$(dirname "$0")/common.sh"

out=${OUT:-out/gpu}
mkdir -p "$out"

# run_one SECONDS LOG COMMAND...: one line of what the executable's tests did. Touches LOG.failed when any failed.
run_one() {
  local limit=$1 log=$logs/$2.log start=$SECONDS status=0 note=
  shift 2
  { echo "##### $*"; timeout "$limit" "$@" || status=$?; } >"$log" 2>&1
  count() { grep -cE "^\[ *$1 *\] .*ms\)$" "$log" || true; }
  ((status != 124)) || note=", stopped after $limit s"
  ((status == 0 || status == 124)) || note=", exit code $status"
  if grep -q 'skipped: no GPU' "$log"; then note+=", says it has no GPU" status=1; fi
  ((status == 0)) || touch "$log.failed"
  printf '%-60s %4d passed %3d failed %3d skipped %5d s%s\n' "$(basename "$log" .log)" "$(count OK)" \
    "$(count FAILED)" "$(count SKIPPED)" $((SECONDS - start)) "$note"
}
# At most four at a time: they share one GPU, and each spends much of its time in its CPU reference.
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=$(((jobs + 3) / 4))
at_most_four() { while (($(jobs -rp | wc -l) >= 4)); do wait -n || true; done; }

run_all() {
  local test
  for test in "${tests[@]}"; do
    at_most_four
    run_one 240 "$test" "build/cuda/$test" &
  done
  wait
}

# Tests of an executable (all but test_beside_cuda, whose kernels would run one behind another) that reach its kernels with small shapes: a sanitizer takes a hundred times as long.
#
# racecheck (CUDA 13.0) dies with "failed to handle a hardware exception", and counts that as a hazard without naming any
# access, once a kernel that it does not instrument runs and shares memory within a cluster: mla_merge, when a filter
# names other kernels only, and cuBLAS' products, filtered or not. So it gets all of our kernels, in tests without a
# product of cuBLAS. What it then finds in the MLA decode kernels is nothing: it follows cp.async, named barriers and
# mbarriers there. Writes of tensor copies and reads of wgmma it does not see: mla_decode.cu, Order, says what orders them.
# It takes the first lane of a warp for the one that asks for a bulk copy, whichever it is: with KDABENCH_RACECHECK the warp
# of kernels/chain that asks for nine others (chain_stream.cuh, feed) does so in its first lane.
small_tests() { # EXECUTABLE TOOL
  case $2-$1 in
    racecheck-test_linear_cuda) echo "*TakesPairs:*SmallestShapes"; return ;;
    racecheck-test_moe_cuda) echo "*SmallestShapes"; return ;;
    racecheck-test_mla_cuda | initcheck-test_mla_cuda) echo "*SmallestShapes:*CapturedGraphFollowsTheLengths"; return ;;
    racecheck-test_model_cuda | initcheck-test_model_cuda) echo "Tiny/*SmallestShapes*"; return ;;
  esac
  case $1 in
    test_kda_cuda) echo "*RoundingDoesNotDependOnTheRow:*EqualGatesAreOneGate:*AGraphGivesTheSameBits" ;;
    test_linear_cuda) echo "*TakesStridedAndUnalignedRows:*TakesPairs:*CanBeCaptured" ;;
    test_mla_cuda) echo "*AbsorbedEqualsExpanded:*CapturedGraphFollowsTheLengths:*DecodeOfRaggedBatches" ;;
    test_moe_cuda) echo "*TakesOddShapes:*RoutesAllTokensToTheSameExperts:*IsDeterministic" ;;
    test_model_cuda) echo "Tiny/*ResetForgets*" ;;
    *) # the first test of every suite
      "build/cuda/$1" --gtest_list_tests |
        awk '/^[^ ].*\./ {suite = $1; next} /^  / && suite {print suite $1; suite = ""}' | paste -sd:
      ;;
  esac
}

sanitize_all() {
  local test tool filter settings
  # synccheck takes too few barriers a block for granted where they are many (chain, moe_few): it warns of an overflow, and
  # the kernel fails. 512 are enough; 65536 take the whole memory of a GPU.
  local barriers
  for tool in ${TOOLS:-memcheck racecheck initcheck synccheck}; do
    for test in "${tests[@]}"; do
      [[ $test != test_beside_cuda ]] || continue
      filter=$(small_tests "$test" "$tool")
      barriers=() settings=()
      [[ $tool != synccheck ]] || barriers=(--num-cuda-barriers 1024)
      [[ $tool != racecheck ]] || settings=(KDABENCH_RACECHECK=1)
      at_most_four
      run_one "${SANITIZE_SECONDS:-120}" "$tool-$test" env "${settings[@]}" compute-sanitizer --tool "$tool" "${barriers[@]}" --error-exitcode 99 \
        --kernel-name kns=kdabench "build/cuda/$test" --gtest_filter="$filter" &
    done
  done
  wait
}

main() {
  have_nvcc || fail "no nvcc on PATH or in /usr/local/cuda/bin; this script tests the CUDA build."
  have_gpu || fail "no GPU of compute capability 9.0 answers; this script needs an H100 or H200."
  scripts/setup.sh build test
  [[ -n ${KDABENCH_DATA:-} ]] || say "KDABENCH_DATA is not set: tests against the reference checkpoints are skipped"

  # Everything in tests/cuda, and whatever else may ask for a GPU.
  tests=()
  for name in ${TESTS:-$(grep -rlE 'kCuda|cuda_available|has_gpu' tests --include='test_*.cpp' |
    xargs -n1 basename -s .cpp | sort -u)}; do tests+=("$name"); done
  ((${#tests[@]})) || fail "no file tests/**/test_*.cpp asks for a GPU."
  phase "configure cuda" configure cuda
  phase "build cuda" cmake --build --preset cuda -j "$jobs" --target kdabench "${tests[@]}"

  logs=$(mktemp -d)
  trap 'cat "$logs"/*.log >"$out/check-logs.txt" 2>/dev/null; rm -rf "$logs"' EXIT

  phase "GPU tests" run_all
  if command -v compute-sanitizer >/dev/null; then
    phase "compute-sanitizer" sanitize_all
  else
    say "no compute-sanitizer: its tools are left out"
  fi

  failed=$(find "$logs" -name '*.failed' | sort)
  for mark in $failed; do
    say "failed: $(basename "$mark" .log.failed)"
    grep -E '^\[  FAILED  \]|: Failure|^========= (Invalid|Error|Warning|Program hit|Uninitialized|Barrier error|ERROR SUMMARY|RACECHECK SUMMARY)|terminate called' -A 4 "${mark%.failed}" |
      head -60 || true
  done
  say "total: $SECONDS s; $(grep -c . <<<"$failed" || true) of the executables failed"
  [[ -z $failed ]]
}
main 2>&1 | tee "$out/check.txt"
