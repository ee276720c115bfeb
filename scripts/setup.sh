#!/usr/bin/env bash
# Installs what is missing to build, test and draw, and only that. Asks each part whether it works, not the package
# manager whether it is installed: on a machine that has everything, from wherever, it needs no network and no root.
#
# usage: scripts/setup.sh [build] [test] [bench] [plots] [schema]     nothing named: all of them
set -euo pipefail
source "$(dirname "$0")/common.sh"

purposes=("$@")
((${#purposes[@]})) || purposes=(build test bench plots schema)
wanted() { [[ " ${purposes[*]} " == *" $1 "* ]]; }
for purpose in "${purposes[@]}"; do
  [[ $purpose =~ ^(build|test|bench|plots|schema)$ ]] || fail "unknown purpose '$purpose'; known: build test bench plots schema."
done

updated=
install() {
  local as_root=()
  command -v apt-get >/dev/null || fail "missing: $*. There is no apt-get here; install them by this system's means."
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "missing: $*. Installing them needs root: run this as root, or install sudo."
    as_root=(sudo)
  fi
  say "installing $*"
  if [[ -z $updated ]]; then
    "${as_root[@]}" apt-get update -q -o Acquire::Retries=0 -o Acquire::http::Timeout=20 || fail "missing: $*. apt-get reaches no package source from here."
    updated=yes
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" ||
    fail "apt-get could not install: $*. Debian 12 and Ubuntu 24.04 have all of them."
}

# Tools.
missing=()
if [[ -n ${CXX:-} ]]; then
  command -v "$CXX" >/dev/null || fail "CXX is $CXX, which is not there; unset it or name a compiler that is."
elif ! command -v g++ >/dev/null; then
  missing+=(g++)
fi
command -v cmake >/dev/null || missing+=(cmake)
command -v ninja >/dev/null || missing+=(ninja-build)
command -v python3 >/dev/null || missing+=(python3)
((${#missing[@]})) && install "${missing[@]}"

at_least() { [[ $(printf '%s\n' "$2" "$1" | sort -V | head -1) == "$2" ]]; }
gxx=$("${CXX:-g++}" -dumpfullversion -dumpversion)
"${CXX:-g++}" --version | grep -qi clang || at_least "$gxx" 12 ||
  fail "${CXX:-g++} is version $gxx; C++20 needs 12 or newer (Debian 12 or Ubuntu 24.04; on 22.04: apt-get install g++-12, then CXX=g++-12)."
cmake_version=$(cmake --version | sed -n '1s/[^0-9]*//p')
at_least "$cmake_version" 3.25 ||
  fail "cmake is version $cmake_version; 3.25 or newer is needed. Ubuntu 22.04's is too old: pip install cmake, or use Ubuntu 24.04."

# Libraries: each is there when CMake finds it, wherever it lies (CMAKE_PREFIX_PATH counts).
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
cat >"$probe/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(probe LANGUAGES CXX)
foreach(package fmt nlohmann_json CLI11 OpenMP GTest benchmark)
  find_package(${package} QUIET)
  if(${package}_FOUND)
    file(APPEND ${PROJECT_BINARY_DIR}/found "${package}\n")
  endif()
endforeach()
CMAKE
libraries() {
  rm -rf "$probe/build"
  cmake -G Ninja -S "$probe" -B "$probe/build" >"$probe/log" 2>&1 ||
    { cat "$probe/log" >&2; fail "cmake cannot configure an empty C++ project; its output is above."; }
  missing=()
  lacks() { ! grep -qx "$1" "$probe/build/found" 2>/dev/null; }
  if wanted build || wanted test || wanted bench; then
    lacks fmt && missing+=(libfmt-dev)
    lacks nlohmann_json && missing+=(nlohmann-json3-dev)
    lacks CLI11 && missing+=(libcli11-dev)
    lacks OpenMP && missing+=(libgomp1)
  fi
  wanted test && lacks GTest && missing+=(libgtest-dev)
  wanted bench && lacks benchmark && missing+=(libbenchmark-dev)
  return 0
}
libraries
if ((${#missing[@]})); then
  install "${missing[@]}"
  libraries
  ((${#missing[@]} == 0)) || fail "CMake still does not find ${missing[*]} after installing them."
fi

# matplotlib: the distribution's, or else one of our own in .venv/.
if wanted plots && ! plot_python >/dev/null; then
  (install python3-matplotlib) || true
  plot_python >/dev/null || { python3 -m venv .venv && .venv/bin/python3 -m pip install -q matplotlib; } ||
    { rm -rf .venv; fail "matplotlib is missing and could not be installed; set KDABENCH_PYTHON to a Python that has it."; }
fi

# jsonschema: an independent judge of the report's schema. Without it one test is skipped, so it may fail, but quickly.
if wanted schema && ! python_with jsonschema >/dev/null; then
  (install python3-jsonschema) || echo "no jsonschema: the test of the report's schema will be skipped"
fi

say "ready: ${purposes[*]}"
echo "compiler  ${CXX:-g++} $gxx"
echo "cmake     $cmake_version"
if wanted plots; then echo "plots     $(plot_python)"; fi
if have_nvcc; then
  echo "nvcc      $(command -v nvcc), $(nvcc --version | sed -n 's/.*release \([0-9.]*\).*/\1/p'): the CUDA build can be made"
else
  echo "nvcc      not found: CPU build only"
fi
if have_gpu; then
  echo "GPU       $(nvidia-smi -L | head -1 | sed 's/ (UUID.*//')"
else
  echo "GPU       none of compute capability 9.0: GPU tests and measurements are skipped"
fi
