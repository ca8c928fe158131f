"""A trained network as two files: ``model.safetensors``, sealed with a digest, and ``classes.json``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pellucid.cache import replace_synced
from pellucid.errors import CheckpointError
from pellucid.train.checkpoint import all_finite, plain


def write_model(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write the network's tensors and what is needed to use them (network, settings, preprocessing, classes).

    Raises:
        CheckpointError: where a weight is NaN or infinite, or the system refuses.
    """
    if not all_finite(tensors):
        raise CheckpointError("a weight is NaN or infinite; such weights are never saved", where=folder)
    kept = plain(tensors)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        described = json.dumps(facts, indent=1, ensure_ascii=False).encode()
        if not (folder / "classes.json").is_file() or (folder / "classes.json").read_bytes() != described:
            replace_synced(folder / "classes.json", described)
        replace_synced(folder / "model.safetensors", save(kept, {"sha256": _digest(kept)}))
    except OSError as error:
        raise CheckpointError(f"the network could not be written: {error.strerror}", where=folder) from error


def read_model(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the facts that ``write_model`` wrote, verified.

    Raises:
        CheckpointError: where a file is missing or damaged.
    """
    try:
        facts = json.loads((folder / "classes.json").read_text("utf-8"))
        with safe_open(folder / "model.safetensors", "pt") as file:
            seal = (file.metadata() or {}).get("sha256")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except FileNotFoundError as error:
        missing = Path(str(error.filename or folder / "model.safetensors"))
        raise CheckpointError(
            f"there is no trained network in {folder}: no {missing.name}", fits="a run folder, or one that save() wrote"
        ) from None
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"the network in {folder} is damaged: {error}") from None
    if seal != _digest(tensors):
        raise CheckpointError(f"{folder / 'model.safetensors'} is damaged: its weights are not those that were written")
    return tensors, facts


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def put(net: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Copy tensors into a network.

    Raises:
        CheckpointError: where names or shapes are those of another network.
    """
    own = net.state_dict()
    wrong = sorted(set(own) ^ set(tensors)) or [name for name in own if own[name].shape != tensors[name].shape]
    if wrong:
        there = tuple(tensors[wrong[0]].shape) if wrong[0] in tensors else "missing"
        here = tuple(own[wrong[0]].shape) if wrong[0] in own else "missing"
        raise CheckpointError(
            f"{where} holds another network: {wrong[0]} is {there} in the file and {here} in the network"
        )
    for name, value in own.items():
        value.copy_(tensors[name])
