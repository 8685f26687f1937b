#!/bin/sh
# Installs what the build needs from the system, where it is missing, and the packages in its arguments. With apt; elsewhere prints what
# to install.
set -eu
packages="g++ cmake ninja-build ccache make python3-venv python3-dev libopencv-dev libjpeg-dev libpng-dev nlohmann-json3-dev libgtest-dev $*"

if ! command -v dpkg-query > /dev/null 2>&1 || ! command -v apt-get > /dev/null 2>&1; then
    for tool in g++ cmake ninja; do
        command -v "$tool" > /dev/null 2>&1 || missing="${missing:-} $tool"
    done
    echo "This system has no apt. segrid needs: a C++20 compiler, CMake 3.24+, Ninja, OpenCV 4.6+ (core, imgproc, imgcodecs), libjpeg, libpng,"
    echo "nlohmann-json 3.10+, GoogleTest (for 'make test'), Python 3.10+ with venv and headers; ccache helps."
    [ -z "${missing:-}" ] || { echo "Missing on the PATH:$missing"; exit 1; }
    exit 0
fi

missing=""
for package in $packages; do
    # A python from elsewhere (pyenv, conda) brings its own headers and venv.
    case "$package" in
        python3-venv) python3 -c "import venv, ensurepip" 2> /dev/null && continue ;;
        python3-dev) python3 -c "import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path('include') + '/Python.h'))" && continue ;;
    esac
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null 2>&1 || { echo "Please install as root: apt-get install$missing"; exit 1; }
    sudo=sudo
fi
echo "Installing system packages:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing > /dev/null
