#!/usr/bin/env bash
# Builds the engine without OpenCV beside the torch of this Python, with the packages of .gpu/prefix,
# and puts it into python/segrid; builds the fake device of the tests, too. Part of gpu_check.sh.
#
# usage: scripts/gpu_build.sh [configure]
#   configure   configures the build only
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
build=build/gpu
generator=()
command -v ninja > /dev/null && generator=(-G Ninja)

# A Python that came without its headers gets those that were taken along.
headers=()
if ! "$python" -c "import os, sys, sysconfig
sys.exit(not os.path.exists(sysconfig.get_path('include') + '/Python.h'))"; then
    headers=(-DPython_INCLUDE_DIR="$PWD/.gpu/python-headers")
fi

cmake -S . -B "$build" "${generator[@]}" "${headers[@]}" -DSEGRID_OPENCV=OFF -DSEGRID_TESTS=ON \
    -DCMAKE_PREFIX_PATH="$PWD/.gpu/prefix" -DPython_EXECUTABLE="$(command -v "$python")" \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)"
if [ "${1:-}" = configure ]; then exit; fi
cmake --build "$build" --parallel "$(nproc)" --target _core fake_device
cp "$build"/src/_core*.so python/segrid/
# Where tests/conftest.py looks for it.
mkdir -p build/tests/tests/cpp
cp "$build/tests/cpp/libfake_device.so" build/tests/tests/cpp/
"$python" -c "from segrid._native import _core; print(_core.build_info())"
