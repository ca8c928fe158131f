"""The folder of an atlas: plain files, each there whole or not at all, so that a killed process leaves a good one.

atlas/
  atlas.json               what it is of (network, data, layers, fingerprints), its state, its files with SHA-256
  strongest.safetensors    LAYER/values, LAYER/pictures, LAYER/places (C, k) and LAYER/nans (C,)
  patches/00-NAME-000.png  a row a channel, a column a rank; transparent outside the picture
  projections/...          the same of the deconvnet
  pictures/000.png         the whole pictures, in the order of atlas.json
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save
from torch import Tensor

from pellucid.cache import replace_synced
from pellucid.errors import CheckpointError, UsageError
from pellucid.look.atlas_layers import Layer, Ranks
from pellucid.look.atlas_sheets import KINDS, PICTURES

FORMAT = 1
MANIFEST, STRONGEST, LOCK = "atlas.json", "strongest.safetensors", ".lock"
_OF = {  # what a fingerprint is of, in the order in which a difference is looked for
    "format": "was written by another Pellucid",
    "weights": "is of another network",
    "data": "is of other pictures",
    "k": "has another number of patches a channel",
    "layers": "is of other layers",
    "batch": "was made in batches of another size",
}


class Folder:
    """An atlas on disk. ``facts`` is what atlas.json holds."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path, self.facts = path, facts

    @classmethod
    def make(cls, path: Path, facts: Mapping[str, Any]) -> Folder:
        """The folder of an atlas that is to be made, or that was begun.

        Raises:
            UsageError: where the folder holds something else, or the atlas of something else.
            CheckpointError: where it is damaged or cannot be written.
        """
        check_place(path)
        if (path / MANIFEST).exists():
            found = cls.open(path)
            found.check_same(facts)
            _clean(path)
            return found
        _clean(path)
        made = cls(path, dict(facts))
        made.write_facts()
        return made

    @classmethod
    def open(cls, path: Path) -> Folder:
        """An atlas that is there, finished or not.

        Raises:
            CheckpointError: where there is none, or it is damaged.
        """
        try:
            facts = json.loads((path / MANIFEST).read_text("utf-8"))
            if facts["format"] != FORMAT:
                raise CheckpointError(
                    f"{path} has format {facts['format']}; this Pellucid reads {FORMAT}", fits="--folder FOLDER"
                )
            [Layer.from_json(item) for item in facts["layers"]]
        except FileNotFoundError:
            raise CheckpointError(
                f"there is no atlas in {path}: no {MANIFEST}", fits="pellucid atlas RUN DATA"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path / MANIFEST} is damaged: {error}", fits="remove it and begin anew") from None
        return cls(path, facts)

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Raises UsageError where this is the atlas of something else, with what differs."""
        for name, what in _OF.items():
            if self.facts.get(name) != facts.get(name):
                raise UsageError(f"{self.path} {what}", fits="--folder FOLDER, a new one, or remove this one")

    @property
    def layers(self) -> list[Layer]:
        return [Layer.from_json(item) for item in self.facts["layers"]]

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for is there."""
        return self.facts.get("state") == "complete"

    def write_facts(self, **changed: Any) -> None:
        """Write atlas.json, with some facts changed."""
        self.facts = {**self.facts, **changed}
        self.put(MANIFEST, json.dumps(self.facts, indent=1, sort_keys=True).encode() + b"\n")

    def put(self, name: str, content: bytes) -> None:
        """Write one file in one step.

        Raises:
            CheckpointError: where the system refuses (a full disk, say); what was there before is untouched.
        """
        try:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            replace_synced(self.path / name, content)
        except OSError as error:
            raise CheckpointError(
                f"the atlas could not be written: {error.strerror or error}",
                where=self.path / name,
                kept="what is written is untouched; the same command goes on from there",
            ) from error

    def put_strongest(self, found: Mapping[str, Ranks], done: int) -> None:
        """Write what was found in the first ``done`` pictures."""
        tensors = {
            f"{layer}/{name}": torch.from_numpy(np.ascontiguousarray(array))
            for layer, ranks in found.items()
            for name, array in vars(ranks).items()
        }
        about = json.dumps({"pictures": done, "sha256": _digest(tensors, done)}, sort_keys=True)
        self.put(STRONGEST, save(tensors, {"atlas": about}))

    def strongest(self) -> tuple[dict[str, Ranks], int]:
        """What ``put_strongest`` wrote; nothing and 0 where it did not come to that.

        Raises:
            CheckpointError: where a single bit differs.
        """
        file = self.path / STRONGEST
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            return {}, 0
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error.strerror}") from None
        try:
            tensors = tensors_from_bytes(content)
            length = int.from_bytes(content[:8], "little")
            about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["atlas"])
            done = int(about["pictures"])
            whole = about["sha256"] == _digest(tensors, done)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{file} is damaged: {error}", fits="remove the folder and begin anew") from None
        if not whole:
            raise CheckpointError(f"{file} is damaged: its SHA-256 is another", fits="remove the folder and begin anew")
        found: dict[str, dict[str, Any]] = {}
        for key, tensor in tensors.items():
            layer, _, name = key.rpartition("/")
            found.setdefault(layer, {})[name] = tensor.numpy()
        return {layer: Ranks(**own) for layer, own in found.items()}, done

    def finish(self, **changed: Any) -> None:
        """Write atlas.json as that of a finished atlas, with the size and SHA-256 of each file."""
        files = [
            STRONGEST,
            *(str(p.relative_to(self.path)) for k in KINDS for p in self._sheets(k)),
        ]
        listed = {}
        for name in files:
            content = (self.path / name).read_bytes()
            listed[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self.write_facts(files=listed, state="complete", **changed)

    def sheet(self, kind: str, layer: Layer, part: int) -> str:
        """The name of a sheet of patches or projections."""
        return f"{kind}/{layer.stem}-{part:03d}.png"

    def picture_sheet(self, part: int) -> str:
        """The name of a sheet of whole pictures."""
        return f"{PICTURES}/{part:03d}.png"

    def has(self, name: str) -> bool:
        """Whether a file is there, which is to say whole."""
        return (self.path / name).is_file()

    def content(self, name: str) -> bytes:
        """A file, verified where the atlas is finished.

        Raises:
            CheckpointError: where it is missing or damaged.
        """
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{self.path / name} cannot be read: {error.strerror}") from None
        wanted = self.facts.get("files", {}).get(name)
        if wanted is not None and hashlib.sha256(content).hexdigest() != wanted["sha256"]:
            raise CheckpointError(f"{self.path / name} is damaged", fits="remove the folder and begin anew")
        return content

    def _sheets(self, kind: str) -> Sequence[Path]:
        return sorted((self.path / kind).glob("*.png"))


def check_place(path: Path) -> None:
    """Raises UsageError where something else than an atlas is in the way: it is the user's."""
    if (path / MANIFEST).exists() or not path.exists():
        return
    ours = (LOCK, f".{MANIFEST}.tmp-")  # what a process leaves that was killed at once
    if not path.is_dir() or not all(item.name.startswith(ours) for item in path.iterdir()):
        raise UsageError(f"{path} holds something else than an atlas", fits="--folder FOLDER, a new one")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the folder for this process; the system lets go of it however the process ends.

    Raises:
        UsageError: where another process makes an atlas in it, or it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UsageError(f"the folder {path} cannot be written: {error.strerror}", fits="--folder FOLDER") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another process makes an atlas in {path}", fits="wait for it, or stop it") from None
        yield
    finally:
        os.close(handle)


def _clean(path: Path) -> None:
    """Remove what a killed process left half-written."""
    for left in [path, *(path / kind for kind in KINDS)]:
        for item in left.glob(".*.tmp-*"):
            item.unlink(missing_ok=True)


def _digest(tensors: Mapping[str, Tensor], done: int) -> str:
    digest = hashlib.sha256(f"{done}\n".encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
