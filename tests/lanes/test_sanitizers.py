"""The kernels under the address and undefined-behaviour sanitizers: their own tests, with a library built for that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Not test_functions.py: it asks for the accuracy of optimised code, and this library is built without; the functions
# themselves run in test_map.py.
TESTS = (
    "test_batch_norm_kernels.py",
    "test_depthwise.py",
    "test_direct.py",
    "test_layer_norm_kernels.py",
    "test_linear_kernels.py",
    "test_map.py",
    "test_moves.py",
    "test_pooling.py",
    "test_weight_gradient.py",
    "test_winograd.py",
)


def run(command: list[str], **environment: str) -> str:
    """What a program says; the test fails with it where the program does."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=ROOT)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def sanitizer(name: str) -> str:
    """The file of a sanitizer's library; the test is skipped where the compiler has none."""
    compiler = shutil.which("g++")
    if compiler is None or shutil.which("cmake") is None:
        pytest.skip("g++ and cmake are not installed")
    file = run([compiler, f"-print-file-name={name}"]).strip()
    if not Path(file).is_absolute():
        pytest.skip(f"g++ has no {name}")
    return file


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library for the portable target and the widest, with sanitizers."""
    sanitizer("libasan.so")
    sanitizer("libubsan.so")
    folder = tmp_path_factory.mktemp("sanitized")
    tool = ["-G", "Ninja"] if shutil.which("ninja") else []
    settings = ["-DPELLUCID_SANITIZE=address,undefined", "-DPELLUCID_TARGETS=avx512"]
    run(["cmake", *tool, "-S", str(ROOT), "-B", str(folder), *settings])
    run(["cmake", "--build", str(folder), "--parallel", str(os.cpu_count() or 1)])
    return folder / "libpellucid_native.so"


def environment(library: Path) -> dict[str, str]:
    """For a Python that loads it. Leaks are not looked for: the interpreter has its own."""
    return {
        "PELLUCID_NATIVE": str(library),
        "LD_PRELOAD": sanitizer("libasan.so"),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": "2",
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kernels_are_clean(sanitized: Path) -> None:
    tests = [f"tests/lanes/{name}" for name in TESTS]
    flags = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=600"]
    said = run([sys.executable, "-m", "pytest", *flags, *tests], **environment(sanitized))
    assert " passed" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_number_read_past_the_end_is_seen(sanitized: Path) -> None:
    """That the library above is watched at all: a map that is said to be larger than it is stops the program."""
    code = (
        "import numpy\n"
        "from pellucid.lanes.arguments import structure\n"
        "from pellucid.lanes.library import library\n"
        "parts, result = numpy.zeros(100, numpy.float32), numpy.zeros(100, numpy.float32)\n"
        "sums = structure('SumArguments')(parts=parts.ctypes.data, result=result.ctypes.data, n=101, slots=1)\n"
        "library('portable').call('sum_slots', sums, units=1)\n"
    )
    settings = {**os.environ, **environment(sanitized)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings, cwd=ROOT)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
