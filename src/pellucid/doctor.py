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
from pellucid.data import cache_folder
from pellucid.data.named import EMBEDDED, NAMES, find
from pellucid.errors import DataError


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
    return Diagnosis((
        Line("pellucid", "ok", f"{__version__}, Python {platform.python_version()}, {platform.system()}"),
        _package("torch", "nothing can be trained: pip install torch"),
        *_native(),
        _package("simplejpeg", "JPEG files are decoded by Pillow, two to three times slower: pip install simplejpeg"),
        _package("tensorboard", "--tensorboard cannot be asked for: pip install 'pellucid[tensorboard]'"),
        Line("processor", "ok", f"{os.cpu_count()} cores"),
        _cuda(),
        _room("runs", Path.cwd()),
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
    ]


def _cuda() -> Line:
    if shutil.which("nvidia-smi"):
        return Line("CUDA", "ok", "an NVIDIA driver is installed; training uses it where PyTorch has CUDA")
    return Line("CUDA", "ok", "no NVIDIA driver: training runs on the processor")


def _room(what: str, folder: Path) -> Line:
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free / 2**30
    if not os.access(there, os.W_OK):
        return Line(what, "warning", f"{folder} cannot be written", "choose another with --run, or XDG_CACHE_HOME")
    state = "ok" if free > 1 else "warning"
    return Line(what, state, f"{folder}, {free:.1f} GiB free", "" if free > 1 else "checkpoints need room: free some")


def _sets() -> list[Line]:
    lines = []
    for name in sorted(NAMES):
        try:
            place = find(name)
        except DataError:
            lines.append(Line(name, "ok", "not on this machine", f"pellucid fetch {name}"))
            continue
        lines.append(Line(name, "ok", "embedded" if place.path == EMBEDDED else str(place.path), *place.notes))
    return lines
