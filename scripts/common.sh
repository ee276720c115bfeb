# Sourced by the other scripts: the checkout's root, what this machine has, and one way to fail.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit
jobs=$(nproc)

say() { printf '\n== %s\n' "$*"; }
fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 2
}

# phase TITLE COMMAND...: runs the command and says how long it took; its failure is the script's failure.
phase() {
  local title=$1 start=$SECONDS status=0
  shift
  say "$title"
  "$@" || status=$?
  printf -- '-- %s: %d s%s\n' "$title" $((SECONDS - start)) "$( ((status)) && echo ", exit code $status")"
  return $status
}

# The CUDA compiler is often installed beside PATH.
if ! command -v nvcc >/dev/null && [[ -x /usr/local/cuda/bin/nvcc ]]; then
  PATH=$PATH:/usr/local/cuda/bin
fi
have_nvcc() { command -v nvcc >/dev/null; }

# A GPU this project's CUDA code is compiled for: compute capability 9.0 (H100, H200).
have_gpu() { nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | grep -q '^9\.0'; }
gpu_memory_mib() { nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits | head -1; }

# python_with MODULE...: the first Python that has them all. python3 on PATH need not be the one that the distribution's
# packages belong to.
python_with() {
  local python
  for python in "${KDABENCH_PYTHON:-}" "$root/.venv/bin/python3" python3 /usr/bin/python3; do
    if [[ -n $python ]] && "$python" -c "import $(IFS=,; echo "$*")" 2>/dev/null; then
      command -v "$python"
      return
    fi
  done
  return 1
}
plot_python() { python_with matplotlib; }
# Tests draw figures and hold the schema to jsonschema; they skip what their Python lacks.
test_python() { python_with matplotlib jsonschema || python_with jsonschema || python_with matplotlib; }

configure() { # PRESET
  local python
  if python=$(test_python); then
    cmake --preset "$1" -DPython3_EXECUTABLE="$python"
  else
    cmake --preset "$1"
  fi
}

# measure_on_gpu NAME [flag of `kdabench run`...]: builds for the GPU and runs suites/plans/gpu_NAME.json (in the file's name
# _ for -). Leaves h200-NAME.json, table.md and results.tar in $out, the report also in reports/results, where `draw PYTHON`
# draws from it. Exits as `kdabench run` did.
measure_on_gpu() {
  local name=$1 status=0 python report
  shift
  have_nvcc || fail "no nvcc on PATH or in /usr/local/cuda/bin; this script measures the CUDA build."
  have_gpu || fail "no GPU of compute capability 9.0 answers; this script needs an H100 or H200."
  scripts/setup.sh build

  phase "configure cuda" configure cuda
  phase "build cuda" cmake --build --preset cuda -j "$jobs" --target kdabench
  # A path within the checkout, because the report keeps its own command line.
  report=out/gpu/h200-$name.json
  mkdir -p out/gpu
  rm -f "$report" "$out/h200-$name.json"  # a report of an earlier run is not this one's
  phase "measure" build/cuda/kdabench run --plan "suites/plans/gpu_${name//-/_}.json" --out "$report" --force "$@" || status=$?
  if [[ -s $report && ! $out -ef out/gpu ]]; then cp "$report" "$out"; fi

  # Whatever the verdict, what was measured is drawn.
  if [[ -s $report ]]; then
    build/cuda/kdabench table "$report" --markdown >"$out/table.md" || status=$?
    mkdir -p reports/results
    cp "$report" reports/results/
    if python=$(plot_python); then
      phase "figures" draw "$python" || status=$?
    else
      say "no matplotlib: draw them elsewhere with python3 -m reports.plots, as at the head of reports/results/README.md"
    fi
    tar -cf "$out/results.tar" reports/results
  fi
  say "total: $SECONDS s, exit code $status"
  exit "$status"
}
