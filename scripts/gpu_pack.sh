#!/usr/bin/env bash
# Fills the folder .gpu with what scripts/gpu_check.sh needs and a machine with a GPU does not have:
# nlohmann_json and GoogleTest, the peers' Python packages, held-out pictures, a photo. Run it here, in
# the root of the checkout, after `make test`; then take .gpu along with the working tree.
#
# usage: scripts/gpu_pack.sh [--no-wheels] [--into FOLDER] [DATA]
#   --no-wheels     downloads nothing: for rehearsals, whose Python is another one anyway
#   --into FOLDER   in place of .gpu
#   DATA            the folder of the training sets (../shared/data); where it is not there, the prices
#                   of low precisions cannot be measured
set -euo pipefail
cd "$(dirname "$0")/.."
wheels=yes pack=.gpu
if [ "${1:-}" = --no-wheels ]; then wheels=no; shift; fi
if [ "${1:-}" = --into ]; then pack=$2; shift 2; fi
data=${1:-../shared/data}
python=${PYTHON:-.venv/bin/python}
device_python=3.12
# 64 MiB may travel, and the working tree travels along: all files that git does not ignore.
tree_mb=$(git ls-files -coz --exclude-standard | { du -cm --apparent-size --files0-from=- 2> /dev/null || true; } | tail -1 | cut -f1)
most_mb=$((64 - tree_mb))

rm -rf "$pack"
mkdir -p "$pack"/{prefix/include,prefix/share/cmake,prefix/lib/cmake,site,wheels,data/photos}

# For CMake. Debian's files find their headers and libraries from their own place.
cp -r /usr/include/nlohmann /usr/include/gtest "$pack/prefix/include/"
cp -r /usr/share/cmake/nlohmann_json "$pack/prefix/share/cmake/"
triplet=$(c++ -print-multiarch)
mkdir -p "$pack/prefix/lib/$triplet/cmake"
cp -r "/usr/lib/$triplet/cmake/GTest" "$pack/prefix/lib/$triplet/cmake/"
cp "/usr/lib/$triplet"/libgtest*.a "$pack/prefix/lib/$triplet/"

# Python's headers: nobody knows whether the machine has those of its Python.
for there in "$(command -v python$device_python || true)" ~/.pyenv/versions/"$device_python".*/bin/python; do
    [ -x "$there" ] || continue
    include=$("$there" -c "import sysconfig; print(sysconfig.get_path('include'))" 2> /dev/null) || continue
    if [ -f "$include/Python.h" ]; then cp -r "$include" "$pack/python-headers"; break; fi
done
[ -d "$pack/python-headers" ] || echo "no headers of Python $device_python here: none are taken along"

# Python packages without compiled parts; pycocotools has them, and comes as a wheel.
"$python" - "$pack/site" <<'PYTHON'
import shutil, sys
from importlib.metadata import distribution
from pathlib import Path

for name in ("segment-anything", "sam2", "hydra-core", "omegaconf", "antlr4-python3-runtime", "iopath"):
    for file in distribution(name).files:
        if file.parts[0] in ("..", "training") or "__pycache__" in file.parts:
            continue  # scripts of bin/, sam2's training (ours has that name), what Python compiled
        assert file.suffix != ".so" or name == "sam2", f"{name} is compiled: {file}"
        target = Path(sys.argv[1]) / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.locate(), target)
PYTHON
if [ "$wheels" = yes ]; then
    "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$device_python" \
        --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 -d "$pack/wheels" pycocotools
fi

# The photos, and of the nuclei the kept-out pictures, which training.price reads.
if [ -d "$data/nuclei_dsb2018" ]; then
    cp "$data"/photos/* "$pack/data/photos/"
    PYTHONPATH=$PWD/python "$python" - "$data" "$pack/data" <<'PYTHON'
import shutil, sys
from pathlib import Path

from training.data import held_out

source, target = (Path(folder) / "nuclei_dsb2018" for folder in sys.argv[1:])
for part in ("images", "labels"):
    (target / part).mkdir(parents=True)
    for file in sorted((source / part).iterdir()):
        if held_out(file.name):
            shutil.copy(file, target / part)
shutil.copy(source / "index.csv", target)
PYTHON
else
    echo "$data is not there: no pictures are taken along"
fi

# What is measured: the copy of the working tree has no history.
git describe --always --dirty > "$pack/commit"

# A read-only source (shared data) must not make the folder impossible to remove.
chmod -R u+w "$pack"
size=$(du -sm "$pack" | cut -f1)
echo "$pack: $size MB"
[ "$size" -le "$most_mb" ] || { echo "$pack is larger than the $most_mb MB that the working tree ($tree_mb MB) leaves of 64"; exit 1; }
