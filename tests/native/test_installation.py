"""The wheel, built with a compiler and without: both install, and what is in each."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE", "src")
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that a build reads, without what earlier builds left."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.so", "*.dylib", "__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def built(checkout: Path, environment: dict[str, str]) -> zipfile.ZipFile:
    """The wheel that pip makes. With the build's tools installed they are used, else pip fetches them."""
    own = ["--no-build-isolation"] if importlib.util.find_spec("scikit_build_core") and shutil.which("cmake") else []
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--disable-pip-version-check",
        *own,
        "-w",
        "wheels",
        ".",
    ]
    done = subprocess.run(
        command, cwd=checkout, capture_output=True, text=True, timeout=200, env={**os.environ, **environment}
    )
    if done.returncode and not own and "No matching distribution found for scikit-build-core" in done.stderr:
        pytest.skip(
            "the build's tools are not installed and cannot be fetched: pip install scikit-build-core cmake ninja"
        )
    assert done.returncode == 0, done.stdout + done.stderr
    wheels = list((checkout / "wheels").glob("*.whl"))
    assert len(wheels) == 1
    assert wheels[0].name.startswith("pellucid-0.1.0-py3-none-")
    return zipfile.ZipFile(wheels[0])


def native_libraries(wheel: zipfile.ZipFile) -> list[str]:
    return [name for name in wheel.namelist() if name.endswith((".so", ".dylib", ".dll"))]


def test_with_a_compiler_the_wheel_has_the_library_and_the_data(checkout: Path) -> None:
    if COMPILER is None:
        pytest.skip("no C++ compiler: apt-get install g++")
    with built(checkout, {}) as wheel:
        libraries = native_libraries(wheel)
        names = set(wheel.namelist())
    assert len(libraries) == 1
    assert libraries[0].startswith("pellucid/native/libpellucid_native.")
    assert {"pellucid/py.typed", "pellucid/cli/app.py", "pellucid/native/pellucid.h"} <= names
    assert "pellucid/data/embedded/fashion-mnist-small/train-images-idx3-ubyte.gz" in names


def test_without_a_compiler_the_wheel_is_built_all_the_same(checkout: Path) -> None:
    nowhere = str(checkout / "no-compiler-here")
    with built(checkout, {"CXX": nowhere, "CC": nowhere}) as wheel:
        assert native_libraries(wheel) == []
        assert "pellucid/native/__init__.py" in wheel.namelist()
