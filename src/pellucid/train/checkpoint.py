"""Checkpoints: a folder of plain files with a manifest, written so that a crash at any moment leaves a good one.

``checkpoints/000123/`` holds the state after step 123: ``model.safetensors``, ``optimizer.safetensors``,
``state.json`` and ``MANIFEST.json`` (format, and size and SHA-256 of each file). It is written under a hidden name,
every file synced, the manifest last, then renamed, and the parent synced. Reading verifies the manifest before anything
is used; the bytes that were verified are the bytes that are loaded. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from pellucid.cache import sync_folder, write_synced
from pellucid.errors import CheckpointError

FORMAT = 1
KEPT = 2  # the last two
_MANIFEST = "MANIFEST.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: the network's and the optimizer's tensors by name, and the state of the run."""

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def path_of(root: Path, step: int) -> Path:
    """The folder of the checkpoint of a step."""
    return root / f"{step:06d}"


def write(
    root: Path,
    step: int,
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    state: Mapping[str, Any],
    keep: Collection[int] = (),
) -> Path:
    """Write the checkpoint of a step below ``root`` and drop all but the last two and those of the steps ``keep``.

    One of the same step gives way at the last moment: the end of an epoch knows more than its last step.

    Raises:
        CheckpointError: where the system refuses (a full disk, say); what was there before is untouched.
    """
    final, made = path_of(root, step), root / f".{step:06d}.tmp-{os.getpid()}"
    files = {
        "model.safetensors": tensors_to_bytes(plain(model)),
        "optimizer.safetensors": tensors_to_bytes(plain(optimizer)),
        "state.json": json.dumps(state, indent=1, sort_keys=True).encode(),
    }
    try:
        root.mkdir(parents=True, exist_ok=True)
        made.mkdir()
        for name, content in files.items():
            write_synced(made / name, content)
        write_synced(made / _MANIFEST, _manifest(files))
        sync_folder(made)
        if final.exists():
            final.rename(root / f".{step:06d}.replaced.tmp-{os.getpid()}")
        made.rename(final)
        sync_folder(root)
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint of step {step} could not be written: {error.strerror or error}",
            where=root,
            kept=f"the checkpoints before it are untouched; when there is room: pellucid train --resume {root.parent}",
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    clean(root)
    _drop_old(root, keep)
    return final


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors keeps them: on the CPU, contiguous, none sharing memory with another."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}


def read(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, verified.

    Raises:
        CheckpointError: where a file is missing, cut off, or differs from the manifest in a single bit.
    """
    content = _verified(folder)
    try:
        return Checkpoint(
            int(folder.name),
            tensors_from_bytes(content["model.safetensors"]),
            tensors_from_bytes(content["optimizer.safetensors"]),
            json.loads(content["state.json"]),
        )
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{folder} lacks {error}", fits="a checkpoint that Pellucid wrote") from None


def latest_good(root: Path, *, set_aside: bool = False) -> tuple[Checkpoint | None, list[CheckpointError]]:
    """The newest checkpoint that verifies, and why each newer one was passed over.

    Damaged ones stay where they are, or are renamed to ``000123.damaged``, so that the run can write that step again.
    """
    damaged: list[CheckpointError] = []
    for folder in reversed(folders(root)):
        try:
            return read(folder), damaged
        except CheckpointError as error:
            damaged.append(error)
            if set_aside:
                names = (f"{folder.name}.damaged{suffix}" for suffix in chain([""], (f"-{i}" for i in count(2))))
                folder.rename(next(root / name for name in names if not (root / name).exists()))
    return None, damaged


def folders(root: Path) -> list[Path]:
    """The checkpoints below ``root`` by step, whole or damaged."""
    if not root.is_dir():
        return []
    return sorted((item for item in root.iterdir() if item.name.isdecimal()), key=lambda item: int(item.name))


def clean(root: Path) -> None:
    """Remove what a killed process left half-written."""
    if root.is_dir():
        for item in root.glob(".*.tmp-*"):
            shutil.rmtree(item, ignore_errors=True)


def all_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no float in the tensors is NaN or infinite."""
    return all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())


def _manifest(files: Mapping[str, bytes]) -> bytes:
    listed = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    body = json.dumps({"format": FORMAT, "files": listed}, indent=1, sort_keys=True)
    return f"{body}\n{hashlib.sha256(body.encode()).hexdigest()}\n".encode()


def _verified(folder: Path) -> dict[str, bytes]:
    try:
        manifest = (folder / _MANIFEST).read_bytes()
    except OSError:
        raise CheckpointError(f"{folder} has no {_MANIFEST}: it was never finished") from None
    body, _, seal = manifest.removesuffix(b"\n").rpartition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != seal or not manifest.endswith(b"\n"):
        raise CheckpointError(f"{folder / _MANIFEST} is damaged")
    listed = json.loads(body)
    if listed["format"] != FORMAT:
        raise CheckpointError(f"{folder} has format {listed['format']}; this Pellucid reads {FORMAT}", fits="upgrade")
    content = {}
    for name, wanted in listed["files"].items():
        try:
            content[name] = (folder / name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{folder / name} cannot be read: {error.strerror}") from None
        if len(content[name]) != wanted["bytes"]:
            raise CheckpointError(f"{folder / name} has {len(content[name])} bytes instead of {wanted['bytes']}")
        if hashlib.sha256(content[name]).hexdigest() != wanted["sha256"]:
            raise CheckpointError(f"{folder / name} is damaged: its SHA-256 is not the manifest's")
    return content


def _drop_old(root: Path, keep: Collection[int]) -> None:
    whole = [item for item in folders(root) if (item / _MANIFEST).is_file()]
    for item in [item for item in whole[:-KEPT] if int(item.name) not in keep]:
        doomed = root / f".{item.name}.tmp-{os.getpid()}"
        item.rename(doomed)  # a crash amid the removal leaves a hidden folder, not half a checkpoint
        shutil.rmtree(doomed, ignore_errors=True)
