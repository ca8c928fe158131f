"""What `pellucid doctor` finds, on machines made to lack each thing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from pellucid import doctor, native
from pellucid.doctor import Line, diagnose

Usage = namedtuple("Usage", "total used free")


def line(what: str) -> Line:
    found = [line for line in diagnose().lines if line.what == what]
    assert len(found) == 1, f"{len(found)} lines about {what}"
    return found[0]


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A current folder and a cache of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


def test_every_line_has_a_state_and_what_is_not_well_says_what_it_costs() -> None:
    diagnosis = diagnose()
    whats = [line.what for line in diagnosis.lines]
    for what in ("pellucid", "torch", "native library", "simplejpeg", "tensorboard", "processor", "CUDA"):
        assert what in whats
    for what in ("runs", "cache", "fashion-mnist", "fashion-mnist-small", "mnist", "cifar10"):
        assert what in whats
    assert {line.state for line in diagnosis.lines} <= {"ok", "missing", "warning"}
    assert [line.what for line in diagnosis.lines if line.state != "ok" and not line.costs] == []
    assert [record["what"] for record in json.loads(diagnosis.to_json())] == whats
    text = diagnosis.text()
    assert all(line.what in text and line.found in text and line.costs in text for line in diagnosis.lines)
    assert platform.python_version() in line("pellucid").found
    assert line("torch").found == importlib.metadata.version("torch")


def test_no_torch_is_imported() -> None:
    code = "import sys, pellucid.doctor; pellucid.doctor.diagnose(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(("package", "costs"), [("simplejpeg", "slower"), ("tensorboard", r"pellucid\[tensorboard\]")])
def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch, package: str, costs: str) -> None:
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    assert line(package).state == "missing"
    assert re.search(costs, line(package).costs)


def test_a_native_library_that_is_missing_or_does_not_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "load", lambda: None)
    monkeypatch.setattr(native, "library_file", lambda: None)
    assert (line("native library").state, line("native library").found) == ("missing", "not built")
    assert "install a C++ compiler" in line("native library").costs
    monkeypatch.setattr(native, "library_file", lambda: tmp_path / "libpellucid_native.so")
    assert line("native library").found == f"{tmp_path / 'libpellucid_native.so'} does not load"


def test_the_instructions_are_the_librarys() -> None:
    library = native.load()
    if library is None:
        pytest.skip("the native library is not built")
    assert line("native library").state == "ok"
    assert library.version in line("native library").found
    assert line("instructions").found == ", ".join(library.cpu_features)


def test_threads_that_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert line("processor") == Line("processor", "ok", "4 of 8 cores")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert line("processor").state == "warning"
    assert "OMP_NUM_THREADS=1" in line("processor").costs
    assert "--threads 4" in line("processor").costs
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert line("processor").state == "ok"


@pytest.mark.parametrize(
    ("driver", "torch", "state", "found"),
    [
        (None, "2.13.0+cpu", "ok", "no NVIDIA driver"),
        ("/usr/bin/nvidia-smi", "2.13.0+cpu", "warning", "built without CUDA"),
        ("/usr/bin/nvidia-smi", "2.13.0+cu130", "ok", "an NVIDIA driver is installed"),
    ],
)
def test_cuda(monkeypatch: pytest.MonkeyPatch, driver: str | None, torch: str, state: str, found: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: driver)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: torch)
    assert line("CUDA").state == state
    assert found in line("CUDA").found


def test_rooms_are_found_above_folders_that_are_not_there_yet(own_folders: Path) -> None:
    assert line("runs").found.startswith(f"{own_folders / 'runs'}, ")
    assert line("runs").state == "ok"
    assert line("cache").found.startswith(f"{own_folders / 'cache' / 'pellucid'}, ")
    assert not (own_folders / "runs").exists(), "looking makes nothing"


def test_rooms_that_cannot_be_written(own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_folders / "runs").write_text("a file")
    (own_folders / "cache").mkdir()
    assert line("runs").state == "warning"
    assert f"cannot be made: {own_folders / 'runs'} is no folder" in line("runs").found
    assert "--run" in line("runs").costs
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != own_folders / "cache")  # root may write anywhere
    assert line("cache").found == f"{own_folders / 'cache' / 'pellucid'} cannot be written"
    assert "XDG_CACHE_HOME" in line("cache").costs


def test_a_disk_that_is_nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(2**40, 2**40 - 2**29, 2**29))
    assert line("runs").state == "warning"
    assert "0.5 GiB free" in line("runs").found
    assert "checkpoints need room" in line("runs").costs


def test_data_sets(own_folders: Path) -> None:
    assert line("fashion-mnist-small").found == "embedded"
    assert (line("cifar10").state, line("cifar10").found) == ("missing", "not on this machine")
    assert "pellucid fetch cifar10" in line("cifar10").costs
    cached = own_folders / "cache" / "pellucid" / "cifar10"
    cached.mkdir(parents=True)
    (cached / "data_batch_1.bin").touch()
    assert line("cifar10") == Line("cifar10", "ok", str(cached))
    (own_folders / "mnist").mkdir()
    assert "not the known data set of that name" in line("mnist").costs


def test_the_engine_says_its_instruction_sets_and_the_one_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.lanes import library

    avx512, avx2, portable = (
        library.Target(i, name, lanes, usable)
        for i, (name, lanes, usable) in enumerate([("avx512", 16, False), ("avx2", 8, True), ("portable", 4, True)])
    )
    monkeypatch.delenv("PELLUCID_LANES", raising=False)
    monkeypatch.setattr(library, "targets", lambda: (avx512, avx2, portable))
    monkeypatch.setattr(library, "why_not", lambda: "")
    built = "avx512 (not on this processor), avx2, portable"
    assert line("engine lanes") == Line("engine lanes", "ok", f"takes avx2 of {built}")
    monkeypatch.setenv("PELLUCID_LANES", "portable")
    kept = line("engine lanes")
    assert (kept.state, kept.costs) == ("warning", "PELLUCID_LANES keeps it from avx2")
    monkeypatch.setenv("PELLUCID_LANES", "avx512")
    assert line("engine lanes").costs == "PELLUCID_LANES=avx512 cannot be had: unset it"
    monkeypatch.setattr(library, "why_not", lambda: "the native library was not built")
    missing = line("engine lanes")
    assert (missing.state, missing.found) == ("missing", "the native library was not built")
    assert "PyTorch alone" in missing.costs
