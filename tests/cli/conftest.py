"""A folder of pictures, a run trained on it once, and a way to run the command as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.photos import write_photos

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 pictures of three classes, a folder each."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    write_photos(folder)
    return folder


@pytest.fixture(scope="session")
def pellucid() -> Run:
    """Runs ``pellucid`` in a process of its own, and returns what it printed and its exit code."""

    def run(*arguments: object, cwd: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "pellucid", *map(str, arguments)],
            cwd=cwd,
            env=environment,
            input=stdin,
            capture_output=True,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture(scope="session")
def trained(photos: Path, pellucid: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of two epochs."""
    folder = tmp_path_factory.mktemp("runs")
    done = pellucid("train", photos, "--net", "lenet", "--epochs", 2, "--run", folder / "first", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "first"
