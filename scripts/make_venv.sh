#!/bin/sh
# Makes the virtual environment, or says in one sentence why it cannot be made.
set -eu
python=$1 venv=$2
if ! command -v "$python" >/dev/null 2>&1; then
    echo "there is no '$python' on this machine: install Python 3.11 or newer, or name yours with 'make PYTHON=...'" >&2
    exit 2
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "'$python' is $("$python" --version 2>&1): Pellucid needs Python 3.11 or newer; name one with 'make PYTHON=...'" >&2
    exit 2
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "'$python' has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)" >&2
    exit 2
fi
"$python" -m venv "$venv"
