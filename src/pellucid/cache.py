"""The user's cache, and what is remembered there of this machine: measurements that would take time to repeat."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["Remembered", "cache_folder", "replace_synced", "sync_folder", "write_synced"]


def cache_folder() -> Path:
    """The user's cache: ``$XDG_CACHE_HOME/pellucid``, else ``~/.cache/pellucid``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pellucid"


class Remembered:
    """A small JSON file in the cache: facts of this machine by key. Where it cannot be read or written, nothing is
    known, and nothing is lost but the time of finding out again."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def file(self) -> Path:
        """Where it lies."""
        return cache_folder() / self.name

    @staticmethod
    def key(*facts: Any) -> str:
        """A key of what a fact depends on, and of this machine."""
        text = json.dumps([*facts, platform.processor(), platform.node()], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def read(self) -> dict[str, Any]:
        """All that is known."""
        try:
            known = json.loads(self.file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def add(self, facts: dict[str, Any]) -> None:
        """Remember more, beside what others have added meanwhile."""
        with contextlib.suppress(OSError):  # it is found out again next time
            self.file.parent.mkdir(parents=True, exist_ok=True)
            replace_synced(self.file, json.dumps({**self.read(), **facts}, indent=1).encode())


def write_synced(file: Path, content: bytes) -> None:
    """Write and flush to the disk itself."""
    with file.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def replace_synced(file: Path, content: bytes) -> None:
    """Replace a file in one step: a reader sees the old content or the new, never a part."""
    made = file.with_name(f".{file.name}.tmp-{os.getpid()}")
    try:
        write_synced(made, content)
        made.replace(file)
        sync_folder(file.parent)
    finally:
        made.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
