"""``pellucid doctor``: what this machine has, what is missing, and what that costs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from pellucid import __version__, native
from pellucid.cache import cache_folder
from pellucid.data.named import EMBEDDED, NAMES, find
from pellucid.errors import DataError

_LITTLE = 1.0  # GiB
_ELSEWHERE = {"runs": "name another folder with --run", "cache": "name another folder in XDG_CACHE_HOME"}
_NEEDS = {"runs": "checkpoints", "cache": "downloads and decoded pictures"}


@dataclass(frozen=True)
class Line:
    """One finding: ``state`` is ok, missing, or warning; ``costs`` says what is lost and what to do."""

    what: str
    state: str
    found: str
    costs: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings."""

    lines: tuple[Line, ...]

    def text(self) -> str:
        """For a terminal."""
        width = max(len(line.what) for line in self.lines)
        rows = []
        for line in self.lines:
            rows.append(f"{line.state:<8} {line.what:<{width}}  {line.found}")
            if line.costs:
                rows.append(f"{'':<8} {'':<{width}}  {line.costs}")
        return "\n".join(rows)

    def to_json(self) -> str:
        """As a list of records."""
        return json.dumps([asdict(line) for line in self.lines], indent=2)


def diagnose() -> Diagnosis:
    """Look at this machine. PyTorch is asked for its version, not imported."""
    system = f"{platform.system()} {platform.machine()}"
    return Diagnosis((
        Line("pellucid", "ok", f"{__version__}, Python {platform.python_version()}, {system}"),
        _package("torch", "nothing can be trained: pip install torch"),
        *_native(),
        _package("simplejpeg", "JPEG files are decoded by Pillow, two to three times slower: pip install simplejpeg"),
        _package("tensorboard", "--tensorboard cannot be asked for: pip install 'pellucid[tensorboard]'"),
        _processor(),
        _cuda(),
        _room("runs", Path.cwd() / "runs"),
        _room("cache", cache_folder()),
        *_sets(),
    ))  # fmt: skip


def _package(name: str, costs: str) -> Line:
    try:
        return Line(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Line(name, "missing", "not installed", costs)


def _native() -> list[Line]:
    library = native.load()
    if library is None:
        file = native.library_file()
        found = "not built" if file is None else f"{file} does not load"
        costs = (
            "denormal numbers may slow training down, and the fast engine will not run: install a C++ compiler "
            "(on Debian and Ubuntu: apt-get install g++) and install Pellucid again"
        )
        return [Line("native library", "missing", found, costs)]
    features = ", ".join(library.cpu_features) or "no vector instructions that it knows"
    return [
        Line("native library", "ok", f"{library.version}, built by {library.compiler}"),
        Line("instructions", "ok", features),
        _engine(),
    ]


def _engine() -> Line:
    """The instruction sets that lanes was built for, and the one that it takes here."""
    from pellucid import lanes
    from pellucid.lanes.library import ENVIRONMENT

    costs = "networks are trained by PyTorch alone, several times slower"
    if reason := lanes.why_not():
        return Line("engine lanes", "missing", reason, costs)
    known = lanes.targets()
    built = ", ".join(target.name if target.usable else f"{target.name} (not on this processor)" for target in known)
    usable = [target.name for target in known if target.usable]
    asked = os.environ.get(ENVIRONMENT, "")
    if asked and asked not in usable:
        return Line("engine lanes", "warning", f"built for {built}", f"{ENVIRONMENT}={asked} cannot be had: unset it")
    taken = asked or usable[0]
    if taken != usable[0]:
        return Line("engine lanes", "warning", f"takes {taken} of {built}", f"{ENVIRONMENT} keeps it from {usable[0]}")
    return Line("engine lanes", "ok", f"takes {taken} of {built}")


def _processor() -> Line:
    """The cores that this process may use, and the threads that PyTorch will start where nothing else is asked for."""
    there = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    found = f"{usable} cores" if usable == there else f"{usable} of {there} cores"
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) < usable:
        costs = f"OMP_NUM_THREADS={asked} keeps PyTorch to that many threads: unset it, or use --threads {usable}"
        return Line("processor", "warning", found, costs)
    return Line("processor", "ok", found)


def _cuda() -> Line:
    if not shutil.which("nvidia-smi"):
        return Line("CUDA", "ok", "no NVIDIA driver: training runs on the processor")
    if _package("torch", "").found.endswith("+cpu"):
        costs = "training leaves the graphics card idle: install the build of PyTorch for CUDA (pytorch.org)"
        return Line("CUDA", "warning", "an NVIDIA driver, but a PyTorch built without CUDA", costs)
    return Line("CUDA", "ok", "an NVIDIA driver is installed; training uses it where PyTorch has CUDA")


def _room(what: str, folder: Path) -> Line:
    """Whether the folder, or the first that exists above it, can be written and has room."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "cannot be written" if there.is_dir() else f"cannot be made: {there} is no folder"
        return Line(what, "warning", f"{folder} {reason}", _ELSEWHERE[what])
    free = shutil.disk_usage(there).free / 2**30
    if free < _LITTLE:
        return Line(what, "warning", f"{folder}, {free:.1f} GiB free", f"{_NEEDS[what]} need room: free some")
    return Line(what, "ok", f"{folder}, {free:.1f} GiB free")


def _sets() -> list[Line]:
    lines = []
    for name in sorted(NAMES):
        try:
            place = find(name)
        except DataError:
            lines.append(
                Line(name, "missing", "not on this machine", f"needed only to train on it: pellucid fetch {name}")
            )
            continue
        found = "embedded" if place.path == EMBEDDED else str(place.path)
        lines.append(Line(name, "ok", found, "; ".join(place.notes)))
    return lines
