#!/usr/bin/env bash
# Accuracy of the trained checkpoints on one GPU: RULER-style tasks at 1K to 16K, MMLU's first questions as a check of
# the pipeline, the synthetic tests. Reports and figures. On an H200 65 s for each folder of three models, besides the
# build (30 s on 16 cores).
#
# usage: KDABENCH_DATA=folder [OUT=folder] [CHECKPOINTS="folder ..."] [MODELS=mla,gdn-h,kimi-linear] [SAMPLES=100]
#        [REPORTS="1k 4k 8k mmlu synthetic"] [FIGURES=no] [PART=text] [KDABENCH=binary] scripts/gpu_accuracy.sh
#
# CHECKPOINTS are folders of folders named after the models; the default is suites/checkpoints/lm-s*. More seeds than
# the two committed come from scripts/train. REPORTS picks some; PART goes into their names, for runs of some MODELS.
# Leaves in OUT (default out/gpu): accuracy-*.json, table.md, log.txt and results.tar: the reports and figures as they
# lie under reports/results/, which this also fills.
set -euo pipefail
source "$(dirname "$0")/common.sh"

out=${OUT:-out/gpu}
mkdir -p "$out" reports/results
status=0
reports=()

score() { # NAME KIND ARGUMENT...: one report, out/gpu/accuracy-NAME.json
  local report=out/gpu/accuracy-$1.json
  local kind=$2
  shift 2
  [[ " ${REPORTS:-1k 4k 8k mmlu synthetic} " == *" $kind "* ]] || return 0
  mkdir -p out/gpu
  phase "$report" "$kdabench" run "$@" --device cuda --out "$report" --force --progress plain || status=$?
  [[ -s $report ]] || return 0
  reports+=("$report")
  cp "$report" reports/results/
}

main() {
  have_gpu || fail "no GPU of compute capability 9.0 answers; this script needs an H100 or H200."
  [[ -n ${KDABENCH_DATA:-} ]] || fail "KDABENCH_DATA is not set; it names the folder that holds ruler/ and mmlu/."
  kdabench=${KDABENCH:-build/cuda/kdabench}
  if [[ -z ${KDABENCH:-} ]]; then
    have_nvcc || fail "no nvcc on PATH or in /usr/local/cuda/bin; this script measures the CUDA build."
    scripts/setup.sh build
    phase "configure cuda" configure cuda
    phase "build cuda" cmake --build --preset cuda -j "$jobs" --target kdabench
  fi
  local models model every longer longest seed name task folder report figure python ruler seeds
  read -ra seeds <<<"${CHECKPOINTS:-$(echo suites/checkpoints/lm-s*)}"
  models=${MODELS:-mla,gdn-h,kimi-linear}
  every=niah_single_1,niah_multikey_2,fwe  # what fits 1,024 bytes
  longer=niah_single_2,niah_single_3,niah_multikey_1,niah_multikey_3,niah_multivalue,niah_multiquery,vt
  longest=cwe,qa_1  # qa_2's ten passages take up to 23,383 bytes: with bytes as tokens it fits none of these lengths
  for seed in "${seeds[@]}"; do
    for model in ${models//,/ }; do
      [[ -f $seed/$model/config.json ]] || fail "$seed has no model $model; give CHECKPOINTS and MODELS that go together."
    done
    name=$(basename "$seed")${PART:-}
    ruler=(ruler --checkpoint "$seed" --models "$models" --data "$KDABENCH_DATA" --samples "${SAMPLES:-100}")
    score "$name-1k" 1k "${ruler[@]}" --lengths 1K,2K,4K,8K,16K --tasks $every
    score "$name-4k" 4k "${ruler[@]}" --lengths 4K,8K,16K --tasks $longer
    score "$name-8k" 8k "${ruler[@]}" --lengths 8K,16K --tasks $longest
    score "$name-mmlu" mmlu mmlu --checkpoint "$seed" --models "$models" --data "$KDABENCH_DATA" --limit 5
  done
  for task in palindrome mqar; do
    folder=suites/checkpoints/$task
    [[ -d $folder ]] || continue
    score "$task" synthetic synthetic --checkpoint "$folder" --tasks "$task" \
      --models "$(basename -a "$folder"/*/ | paste -sd,)" \
      --lengths 256,512,1024,2048 --samples 200
  done
  ((${#reports[@]})) || fail "no report was written; see the messages above."
  for report in "${reports[@]}"; do "$kdabench" table "$report" --markdown; done >"$out/table.md" || status=$?
  if [[ ${FIGURES:-yes} == no ]]; then
    say "no figures wanted"
  elif python=$(plot_python); then
    for figure in accuracy_vs_length accuracy_vs_cache; do
      phase "$figure" "$python" -m reports.plots "${reports[@]}" --out reports/results --only $figure || status=$?
    done
  else
    say "no matplotlib: draw them elsewhere with python3 -m reports.plots reports/results/accuracy-*.json --out DIR"
  fi
  if [[ ! $out -ef out/gpu ]]; then cp "${reports[@]}" "$out"; fi
  tar -cf "$out/results.tar" reports/results/accuracy*
  say "total: $SECONDS s, exit code $status"
  exit "$status"
}
main "$@" 2>&1 | tee "$out/log.txt"
