#!/usr/bin/env bash
# Tests and figures on a machine with a GPU; needs no network. There, python3 has jax; what else it lacks may lie as
# wheels in .whl/ (README.md). Results go to $OUT, by default bench/results. Without arguments: all steps but curves.
#   bash bench/gpu.sh [tests] [scorers] [spaces] [prune_frozen] [curves]
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-bench/results}
mkdir -p "$out"
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1

if compgen -G '.whl/*.whl' >/dev/null; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" .whl/*.whl
  PYTHONPATH+=:$site
fi

failed=()
try() {
  echo "== $* (${SECONDS} s)"
  "$@" || failed+=("$*")
}

for step in ${*:-tests scorers spaces prune_frozen}; do
  case $step in
    tests) # processes that the tests start need their share of the GPU's memory
      try env JAXNAS_DATA=/none XLA_PYTHON_CLIENT_PREALLOCATE=false python3 -m pytest -q -p no:cacheprovider -o addopts=--import-mode=importlib ;;
    scorers) # samples that fill a GPU
      try python3 -m bench ntk_frozen ntk_exact regions --archs 2048 --out "$out"
      try python3 -m bench regression --archs 256 --rounds 1 --out "$out" ;;
    spaces) try python3 -m bench space_frozen space_exact --out "$out" ;;
    prune_frozen | curves) try python3 -m bench "$step" --out "$out" ;;
    *) failed+=("unknown step $step") ;;
  esac
done
if ((${#failed[@]})); then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
