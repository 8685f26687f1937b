#!/usr/bin/env bash
# Runs gpu_check.sh here as on the machine with a GPU, on the device cpu-plain with small settings:
# - in a copy of the working tree that holds what travels: tracked files, untracked ones that git does
#   not ignore, and what gpu_pack.sh makes;
# - without network, and without the headers and the CMake files of Debian's OpenCV, nlohmann_json,
#   GoogleTest, libjpeg and libpng: the namespace of this process has empty folders in their place;
# - with a virtual environment of links to those packages of .venv that the machine has
#   (scripts/gpu_packages.txt), and no others.
# What it cannot show: the machine's own versions of Python and torch, and CUDA.
#
# usage: scripts/gpu_rehearse.sh [--engine FOLDER] [OPTION of benchmarks.gpu...]
#   --engine FOLDER   takes the built _core*.so from there, and leaves out the step `build`
# DATA names the folder of the training sets (../shared/data).
set -euo pipefail
cd "$(dirname "$0")/.."
engine=
if [ "${1:-}" = --engine ]; then engine=$2; shift 2; fi
export PYTHON=${PYTHON:-.venv/bin/python}
out=${OUT:-$PWD/out/gpu-rehearsal}
mkdir -p "$out"

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z -co --exclude-standard | while IFS= read -r -d '' file; do
    if [ -e "$file" ]; then printf '%s\0' "$file"; fi
done | xargs -0 cp --parents -t "$copy"
scripts/gpu_pack.sh --no-wheels --into "$copy/.gpu" "${DATA:-../shared/data}"

"$PYTHON" -m venv --without-pip "$copy/.venv"
# pycocotools goes there as a wheel, for that machine's Python.
"$PYTHON" scripts/gpu_packages.py "$copy"/.venv/lib/python*/site-packages pycocotools

steps=()
if [ -n "$engine" ]; then
    cp "$engine"/_core*.so "$copy/python/segrid/"
    steps=(--without build)
fi
empty=$(mktemp -d)
trap 'rm -rf "$copy" "$empty"' EXIT
PYTHON=$copy/.venv/bin/python PYTHONPATH= OUT=$out COPY=$copy \
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
