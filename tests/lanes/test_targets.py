"""The instruction sets of the library: each runs, each keeps to itself, and one can be forced."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid import native
from pellucid.errors import UsageError
from pellucid.lanes import library as module
from pellucid.lanes.arguments import structure
from pellucid.lanes.library import ENVIRONMENT, Target, library, targets
from tests.lanes.lane_arrays import aligned, on_target

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "src" / "pellucid" / "native"
TARGETS = {"avx512": 16, "avx2": 8, "portable": 4}


def listed() -> list[str]:
    """The kernels' names in kernels.list."""
    return re.findall(
        r"^KERNEL\(\w+, (\w+), \w+\)", (NATIVE / "lanes" / "kernels.list").read_text("utf-8"), re.MULTILINE
    )


@pytest.mark.parametrize("name", TARGETS)
def test_each_has_all_kernels_and_runs(name: str) -> None:
    on = on_target(name)
    assert list(on.kernels) == listed()
    assert on.lanes == TARGETS[name]
    numbers = aligned(3 * on.lanes)
    arguments = structure("FillArguments")(lanes=numbers.ctypes.data, lanes_group=on.lanes, n=on.lanes, number=2.5)
    on.call("fill", arguments, groups=3)
    assert (numbers == 2.5).all()


def test_the_best_comes_first() -> None:
    usable = [target for target in targets() if target.usable]
    assert usable
    assert [target.lanes for target in targets()] == sorted((t.lanes for t in targets()), reverse=True)
    assert targets()[-1].name == "portable"
    assert targets()[-1].usable


def objects(name: str) -> list[Path]:
    """The kernels' object files of a target, from where the library was built."""
    loaded = native.load()
    assert loaded is not None
    folders = [loaded.file.parent, *(ROOT / "build").glob("*")]
    for folder in sorted(folders, key=lambda folder: folder != loaded.file.parent):
        within = folder / "CMakeFiles" / f"lanes_{name}.dir" / "src" / "pellucid" / "native" / "lanes"
        sources = [*(NATIVE / "lanes" / "kernels").glob("*.cpp"), NATIVE / "lanes" / "table.cpp"]
        found = [within / source.relative_to(NATIVE / "lanes").with_suffix(".cpp.o") for source in sources]
        if all(file.is_file() for file in found):
            return found
    pytest.skip("the folder in which the library was built is gone")


@pytest.mark.parametrize("name", TARGETS)
def test_objects_export_only_their_namespace(name: str) -> None:
    """A function that two targets share by name would be taken from one of them for both: from the wrong one, and a
    processor without its instructions dies. So nothing of the standard library's, and no initialisers before main."""
    if shutil.which("nm") is None:
        pytest.skip("nm (binutils) is not installed")
    for file in objects(name):
        command = ["nm", "--demangle", "--defined-only", "--extern-only", str(file)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        exported = [line.split(maxsplit=2)[2] for line in lines]
        assert exported, file.name
        strange = [what for what in exported if not what.startswith(f"pellucid::lanes::{name}::")]
        assert not strange, f"{file.name} exports {strange}"
        sections = subprocess.run(["readelf", "-SW", str(file)], capture_output=True, text=True, check=True).stdout
        assert ".init_array" not in sections, f"{file.name} runs code when it is loaded"
        assert ".ctors" not in sections


def test_the_library_gives_away_its_own_names_only() -> None:
    if shutil.which("nm") is None:
        pytest.skip("nm (binutils) is not installed")
    loaded = native.load()
    assert loaded is not None
    command = ["nm", "-D", "--defined-only", str(loaded.file)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {line.split()[-1] for line in lines}
    assert "pellucid_lanes_run" in names
    assert not {name for name in names if not name.startswith("pellucid_")}


@pytest.mark.parametrize("name", TARGETS)
def test_the_environment_forces_one(name: str) -> None:
    on_target(name)
    code = "from pellucid.lanes.library import library; print(library().target.name)"
    environment = {**os.environ, ENVIRONMENT: name}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == f"{name}\n"


def test_an_unknown_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "avx1024")
    with pytest.raises(UsageError, match="avx1024") as refused:
        library()
    sentence = str(refused.value)
    assert "portable" in sentence
    assert len(sentence.splitlines()) <= 2


def test_one_that_the_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module._library.cache_clear()
    known = (Target(0, "avx512", 16, usable=False), Target(1, "portable", 4, usable=True))
    monkeypatch.setattr(module, "targets", lambda: known)
    try:
        with pytest.raises(UsageError, match="this processor cannot run avx512") as refused:
            library("avx512")
        assert "portable" in str(refused.value)
        assert library().target.name == "portable"
    finally:
        module._library.cache_clear()
