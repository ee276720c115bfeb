#!/usr/bin/env bash
# Is this checkout worse than BASE? Builds both and holds one to the other, as continuous integration does.
#
# usage: scripts/gate.sh cpu BASE [flag of `kdabench gate`...]     bytes, counts and correctness; no times: a shared runner's
#                                                                  are noise
#        scripts/gate.sh cuda BASE [flag of `kdabench ab`...]      decode times too, interleaved in fresh processes on one GPU
#
# BASE is a commit or branch of this repository. Leaves in out/gate: base.json and new.json, or ab.json and forest.png. The
# exit code is that of `kdabench gate` or `kdabench ab`, whose last line names it.
set -euo pipefail
source "$(dirname "$0")/common.sh"

(($# >= 2)) || fail "wanted a preset and a commit, found '$*'; see the head of this file."
preset=$1 base=$2
shift 2
[[ $preset == cpu || $preset == cuda ]] || fail "wanted the preset cpu or cuda, found '$preset'."
[[ $preset == cpu ]] || { have_nvcc && have_gpu; } || fail "the preset cuda needs nvcc and a GPU of compute capability 9.0."
commit=$(git rev-parse --verify --quiet "$base^{commit}") || fail "wanted a commit, found '$base'; fetch it first."

scripts/setup.sh build
out=out/gate
rm -rf "$out"
mkdir -p "$out"

# The base beside us, in its own folder with its own build.
git worktree prune
git worktree add --quiet --detach --force "$out/base" "$commit"
trap 'git worktree remove --force "$out/base" 2>/dev/null || true' EXIT
build() { # FOLDER
  (cd "$1" && cmake --preset "$preset" >/dev/null && cmake --build --preset "$preset" -j "$jobs" --target kdabench)
}
phase "build $(git rev-parse --short HEAD)" build .
phase "build $(git rev-parse --short "$commit"), the base" build "$out/base"
old=$out/base/build/$preset/kdabench new=build/$preset/kdabench

status=0
if [[ $preset == cpu ]]; then
  "$new" gate --print-rules | sed 's/"same machine"/"never"/' >"$out/rules.json"
  phase "measure the base" "$old" run --plan suites/plans/demo.json --out "$out/base.json" --progress plain
  phase "measure" "$new" run --plan suites/plans/demo.json --out "$out/new.json" --progress plain
  # A gate that cannot fail is none: a report without one of its cells must.
  python3 -c 'import json, sys; report = json.load(open(sys.argv[1])); report["cells"].pop(); json.dump(report, open(sys.argv[2], "w"))' \
    "$out/new.json" "$out/fewer.json"
  "$new" gate "$out/new.json" "$out/fewer.json" --rules "$out/rules.json" >"$out/self-test.txt" || status=$?
  ((status == 1)) || fail "wanted exit code 1 for a report with a missing cell, found $status; see $out/self-test.txt."
  status=0
  "$new" gate "$out/base.json" "$out/new.json" --rules "$out/rules.json" "$@" || status=$?
else
  "$new" ab --a "$old" --b "$new" --plan suites/plans/gate.json --out "$out/ab.json" --progress plain "$@" || status=$?
  if [[ -s $out/ab.json ]] && python=$(plot_python); then
    "$python" -m reports.plots "$out/ab.json" --out "$out" --only forest || true
  fi
fi
exit "$status"
