#!/usr/bin/env bash
# Is this checkout worse than BASE? Builds both and holds one to the other, as continuous integration does.
#
# usage: scripts/gate.sh cpu BASE [flag of `kdabench gate`...]     bytes, counts and correctness; no times: a shared runner's
#                                                                  are noise
#        scripts/gate.sh cuda BASE [flag of `kdabench ab`...]      the same on one GPU, with launches, registers and local
#                                                                  bytes of every kernel; if that passes, decode times,
#                                                                  interleaved in fresh processes
#
# BASE is a commit or branch of this repository. RULES in the environment names a file of other rules than
# reports/gate_rules.json, for a change that is meant to take more registers, for instance. Leaves in out/gate: base.json and
# new.json; on a GPU ab.json and forest.png as well. The exit code is that of `kdabench gate` or `kdabench ab`, whose last
# line names it.
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
mkdir -p "$out"
find "$out" -maxdepth 1 -type f -delete

# The base beside us, in its own folder with its own build, which stays for the next time.
if [[ ! -e $out/base/.git || $(git -C "$out/base" rev-parse HEAD) != "$commit" ]]; then
  rm -rf "$out/base"
  git worktree prune
  git worktree add --quiet --detach --force "$out/base" "$commit"
fi
build() { # FOLDER
  (cd "$1" && cmake --preset "$preset" >/dev/null && cmake --build --preset "$preset" -j "$jobs" --target kdabench)
}
phase "build $(git rev-parse --short HEAD)" build .
phase "build $(git rev-parse --short "$commit"), the base" build "$out/base"
old=$out/base/build/$preset/kdabench new=build/$preset/kdabench

# NAME EDIT: a gate that cannot fail is none; a report that is broken in this way must.
must_fail() {
  local found=0
  python3 -c "import json, sys; report = json.load(open(sys.argv[1])); cells = report['cells']; $2; json.dump(report, open(sys.argv[2], 'w'))" \
    "$out/new.json" "$out/$1.json"
  "$new" gate "$out/new.json" "$out/$1.json" --rules "$out/rules.json" >"$out/self-test-$1.txt" || found=$?
  ((found == 1)) || fail "wanted exit code 1 for a report broken on purpose, found $found; see $out/self-test-$1.txt."
}
plan=suites/plans/demo.json set_config=()
[[ $preset == cpu ]] || plan=suites/plans/gate.json
"$new" gate --print-rules ${RULES:+--rules "$RULES"} | sed 's/"same machine"/"never"/' >"$out/rules.json"
# A base of before plans named folders beside themselves needs to be told where that is.
config=suites/plans/$(sed -n 's/^ *"config": "\([^"]*\)".*/\1/p' "$plan")
[[ ! -d $config ]] || set_config=(--config "$config")
phase "measure the base" "$old" run --plan "$plan" "${set_config[@]}" --out "$out/base.json" --progress plain
phase "measure" "$new" run --plan "$plan" "${set_config[@]}" --out "$out/new.json" --progress plain
must_fail fewer-cells 'cells.pop()'
if [[ $preset == cuda && -z ${RULES:-} ]]; then
  must_fail more-registers 'cells[0]["resources"]["kernels"][0]["registers"] += 1'
fi

status=0
if [[ $preset == cpu ]]; then
  "$new" gate "$out/base.json" "$out/new.json" --rules "$out/rules.json" "$@" || status=$?
else
  "$new" gate "$out/base.json" "$out/new.json" --rules "$out/rules.json" || status=$?
  ((status == 0)) || exit "$status"
  "$new" ab --a "$old" --b "$new" --plan "$plan" --out "$out/ab.json" --progress plain "$@" || status=$?
  if [[ -s $out/ab.json ]] && python=$(plot_python); then
    "$python" -m reports.plots "$out/ab.json" --out "$out" --only forest || true
  fi
fi
exit "$status"
