#!/bin/sh
# Builds the engine's portable kernels for 64-bit ARM (NEON, 4 lanes) and checks them there against loops over single
# numbers, by qemu's emulation of the processor. Needs cmake, aarch64-linux-gnu-g++ and qemu-aarch64, which
# scripts/debian_packages.sh installs. Exit status: 0 where all is right.
#   scripts/lanes_on_arm.sh [FOLDER]     build in FOLDER, by default build/aarch64
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$root/build/aarch64}
cmake -S "$root" -B "$folder" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ >/dev/null
cmake --build "$folder" --parallel "$(nproc)" >/dev/null
aarch64-linux-gnu-g++ -std=c++20 -O2 -Wall -Wextra -o "$folder/check_kernels" "$root/tests/lanes/check_kernels.cpp" \
    -L"$folder" -lpellucid_native -Wl,-rpath,"$folder"
qemu-aarch64 -L /usr/aarch64-linux-gnu "$folder/check_kernels"
