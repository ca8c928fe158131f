#!/bin/sh
# Installs the Debian packages that tests use: the original Fashion-MNIST files, a browser, a Chinese font, CMake, a
# compiler for 64-bit ARM and an emulator of it.
# Where that is not possible (no Debian, no root), it says so and goes on: the tests that need them skip and name them.
set -u
wanted=""
[ -d /usr/share/datasets/fashion-mnist ] || wanted="$wanted dataset-fashion-mnist"
command -v chromium >/dev/null 2>&1 || wanted="$wanted chromium"
[ -n "$(find /usr/share/fonts -name 'wqy-zenhei*' -o -name 'NotoSansCJK*' 2>/dev/null)" ] || wanted="$wanted fonts-wqy-zenhei"
command -v cmake >/dev/null 2>&1 || wanted="$wanted cmake"
command -v aarch64-linux-gnu-g++ >/dev/null 2>&1 || wanted="$wanted g++-aarch64-linux-gnu"
command -v qemu-aarch64 >/dev/null 2>&1 || wanted="$wanted qemu-user"
[ -n "$wanted" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "tests will skip what needs$wanted: this is no Debian system" >&2
    exit 0
fi
run=""
if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then run="sudo -n"; else
        echo "tests will skip what needs$wanted: install them as root with 'apt-get install$wanted'" >&2
        exit 0
    fi
fi
# shellcheck disable=SC2086  # the names are separate words
if ! { $run apt-get update -qq && DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $wanted; } >/dev/null; then
    echo "tests will skip what needs$wanted: apt-get could not install them" >&2
fi
exit 0
