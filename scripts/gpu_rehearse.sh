#!/usr/bin/env bash
# Runs gpu_check.sh here as on the machine with a GPU, on the device cpu-plain with small settings:
# - in a copy of the working tree that holds what travels: tracked files, untracked ones that git does
#   not ignore, and .gpu;
# - without network, and without the headers and the CMake files of Debian's OpenCV, nlohmann_json,
#   GoogleTest, libjpeg and libpng: the namespace of this process has empty folders in their place;
# - with the base Python and links to those packages of the virtual environment that the machine has
#   (scripts/gpu_packages.txt), and no others.
# What it cannot show: the machine's own versions of Python and torch, and CUDA.
#
# usage: scripts/gpu_rehearse.sh [--engine FOLDER] [OPTION of benchmarks.gpu...]
#   --engine FOLDER   takes the built _core*.so from there, and leaves out the step `build`
set -euo pipefail
cd "$(dirname "$0")/.."
engine=
if [ "${1:-}" = --engine ]; then engine=$2; shift 2; fi
python=${PYTHON:-.venv/bin/python}
out=${OUT:-$PWD/out/gpu-rehearsal}
mkdir -p "$out"

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z -co --exclude-standard | while IFS= read -r -d '' file; do
    if [ -e "$file" ]; then printf '%s\0' "$file"; fi
done | xargs -0 cp --parents -t "$copy"
cp -r .gpu "$copy/"

packages=$copy/packages
mkdir "$packages"
"$python" scripts/gpu_packages.py "$packages"
base=$("$python" -c "import sys; print(getattr(sys, '_base_executable', sys.executable))")

steps=()
if [ -n "$engine" ]; then
    cp "$engine"/_core*.so "$copy/python/segrid/"
    steps=(--without build)
fi
empty=$(mktemp -d)
trap 'rm -rf "$copy" "$empty"' EXIT
# The base Python has no virtual environment, and so none of its packages.
PYTHON=$base PYTHONPATH=$packages PYTHONNOUSERSITE=1 OUT=$out COPY=$copy \
    unshare --net --mount bash -euc '
    empty=$1; shift
    libraries=/usr/lib/$(c++ -print-multiarch)
    for there in /usr/include/opencv4 /usr/include/nlohmann /usr/include/gtest /usr/include/libpng16 \
            /usr/share/cmake/nlohmann_json "$libraries"/cmake/{opencv4,GTest}; do
        if [ -d "$there" ]; then mount --bind "$empty" "$there"; fi
    done
    for there in /usr/include/{jpeglib,png,pngconf}.h "$libraries"/libgtest{,_main}.a; do
        if [ -e "$there" ]; then mount --bind /dev/null "$there"; fi
    done
    cd "$COPY"
    exec scripts/gpu_check.sh --device cpu-plain --small "$@"
' rehearsal "$empty" "${steps[@]}" "$@"
