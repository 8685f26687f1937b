#!/usr/bin/env bash
# All that is asked of a machine with a GPU, in one call of at most eight minutes: builds segrid, runs
# the tests, prices, benchmarks and profiles of benchmarks/gpu_steps.py, and writes check.json and
# log.txt into $OUT after every step. The machine needs CUDA's torch, CMake, pybind11 and a compiler,
# and no network; the rest is in .gpu, which scripts/gpu_pack.sh has filled.
#
# usage: scripts/gpu_check.sh [OPTION...]              options of python -m benchmarks.gpu
#        scripts/gpu_check.sh --rehearse [OPTION...]   the same here, without a GPU: gpu_rehearse.sh
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = --rehearse ]; then
    shift
    exec scripts/gpu_rehearse.sh "$@"
fi
python=${PYTHON:-python3}
pack=$PWD/.gpu
[ -d "$pack/site" ] || {
    echo "gpu_check.sh: $pack is not there: run scripts/gpu_pack.sh before, and take .gpu along" >&2
    exit 2
}
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
if compgen -G "$pack/wheels/*.whl" > /dev/null; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
        --target "$wheels" "$pack"/wheels/*.whl
fi
export PYTHONPATH=$PWD/python:$wheels:$pack/site${PYTHONPATH:+:$PYTHONPATH}
export PYTHONDONTWRITEBYTECODE=1
"$python" -m benchmarks.gpu --out "${OUT:-out/gpu}" "$@"
