"""The portable kernels on 64-bit ARM, by an emulator: built here for it, and checked against loops over numbers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_portable_kernels_on_arm(tmp_path: Path) -> None:
    for program in ("aarch64-linux-gnu-g++", "qemu-aarch64", "cmake"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; scripts/debian_packages.sh installs it")
    script = ROOT / "scripts" / "lanes_on_arm.sh"
    done = subprocess.run(["sh", str(script), str(tmp_path / "build")], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    lines = done.stdout.splitlines()
    assert lines[0].startswith("target portable, 4 lanes")
    assert lines[-1] == "0 wrong"
    assert sum(line.startswith("right ") for line in lines) >= 20
