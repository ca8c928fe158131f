"""The run folder: its name, its lock, its configuration and environment."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from pellucid.cache import replace_synced
from pellucid.errors import CheckpointError, UsageError

_PACKAGES = ("pellucid", "torch", "numpy", "safetensors", "Pillow", "simplejpeg")


def create(folder: Path | None, net: str) -> Path:
    """Make the folder of a new run: the one given, or ``runs/DATE-TIME-NET``, never one that holds something.

    Raises:
        UsageError: where the folder given is not empty, or none can be made.
    """
    try:
        if folder is not None:
            if folder.exists() and (not folder.is_dir() or any(item.name != ".lock" for item in folder.iterdir())):
                raise UsageError(
                    f"{folder} is there already",
                    fits=f"another name, or go on with it: pellucid train --resume {folder}",
                )
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        name = f"{datetime.now():%Y-%m-%d-%H%M}-{net.rpartition(':')[2]}"
        for suffix in ("", *(f"-{i}" for i in range(2, 1000))):
            made = Path("runs") / f"{name}{suffix}"
            try:
                made.mkdir(parents=True)
            except FileExistsError:
                continue
            return made
    except OSError as error:
        raise UsageError(
            f"the run folder {folder or 'runs'} cannot be written: {error.strerror}", fits="--run FOLDER"
        ) from error
    raise UsageError(f"there are a thousand runs named {name}")


def remove_if_empty(folder: Path) -> None:
    """Take away the folder of a run that never began: one that holds its lock alone."""
    if [item.name for item in folder.iterdir()] in ([], [".lock"]):
        (folder / ".lock").unlink(missing_ok=True)
        folder.rmdir()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; the system lets go of it however the process ends.

    Raises:
        UsageError: where another process trains in it.
    """
    try:
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UsageError(f"the run folder {folder} cannot be written: {error.strerror}", fits="--run FOLDER") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another process is training in {folder}", fits="wait for it, or stop it") from None
        yield
    finally:
        os.close(handle)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """``config.yaml``: everything that is needed to repeat the run."""
    text = yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True)
    replace_synced(folder / "config.yaml", text.encode())


def read_config(folder: Path) -> dict[str, Any]:
    """What ``write_config`` wrote.

    Raises:
        CheckpointError: where the folder is no run, or the file is damaged.
    """
    if not folder.is_dir():
        raise CheckpointError(f"there is no run folder {folder}", fits="'pellucid runs' lists those that there are")
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is no run folder: it has no config.yaml", fits="'pellucid runs' lists those that there are"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise CheckpointError(f"{folder / 'config.yaml'} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict) or not isinstance(config.get("settings"), dict):
        raise CheckpointError(f"{folder / 'config.yaml'} is not the configuration of a run")
    return config


def write_environment(
    folder: Path,
    fingerprint: str,
    device: str,
    threads: int,
    notes: list[str],
    engine: Mapping[str, Any] = MappingProxyType({"name": "torch"}),
) -> None:
    """``environment.json``: versions, machine, and the data's fingerprint, as the run began."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    record = {
        "began": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": device,
        "engine": dict(engine),
        "versions": versions,
        "data_fingerprint": fingerprint,
        "data_notes": notes,
    }
    replace_synced(folder / "environment.json", json.dumps(record, indent=1, ensure_ascii=False).encode())


def read_environment(folder: Path) -> dict[str, Any]:
    """What ``write_environment`` wrote; empty where it is missing or damaged."""
    try:
        record = json.loads((folder / "environment.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def is_locked(folder: Path) -> bool:
    """Whether a process trains in the folder now."""
    try:
        handle = os.open(folder / ".lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
