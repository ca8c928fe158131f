"""Published weights into a network, a new head where the classes differ, and freezing all but the head."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid.errors import CheckpointError, UsageError

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def load_weights(module: nn.Module, path: str | Path) -> tuple[str, ...]:
    """Copy the weights of a file into ``module``; numbers of another precision are converted.

    A head of another number of classes keeps its own initial weights. Everything else must be there in its shape.

    Args:
        module: the network, with its own head.
        path: a ``.safetensors`` file, or a ``.pth``/``.pt`` of tensors only (nothing else is ever unpickled).

    Returns:
        What the user should know, a sentence each.

    Raises:
        CheckpointError: where the file is missing, damaged or that of another network.
    """
    path = Path(path)
    given = {name: value for name, value in _read(path).items() if not name.startswith(_AUXILIARY)}
    own = module.state_dict()
    head_name = head(module)
    replaced = [
        name
        for name in own
        if name.startswith(f"{head_name}.") and name in given and given[name].shape != own[name].shape
    ]
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in own]
    misfits = [name for name in own if name in given and name not in replaced and given[name].shape != own[name].shape]
    if missing or unexpected or misfits:
        raise _of_another_network(path, missing, unexpected, misfits, given, own)
    module.load_state_dict(
        {name: given[name].to(own[name].dtype) for name in own if name in given and name not in replaced}, strict=False
    )
    sentences = [f"weights read from {path}"]
    if replaced:
        weight = next(name for name in replaced if name.endswith("weight"))
        before, after = given[weight].shape[0], own[weight].shape[0]
        sentences.append(f"the head {head_name} is new: {before} -> {after} classes")
    return tuple(sentences)


def head(module: nn.Module) -> str:
    """The path of the last dense layer or convolution: what tells the classes apart.

    Raises:
        UsageError: where the network has neither.
    """
    layers = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    if not layers:
        raise UsageError(f"{type(module).__name__} has no dense layer and no convolution: it has no head")
    return str(layers[-1])


def freeze_all_but_head(module: nn.Module) -> tuple[str, ...]:
    """Let only the head learn; returns the names of the parameters that still do.

    Batch normalisation goes on measuring its batches while the network trains, unless it is put in evaluation mode.
    """
    prefix = f"{head(module)}."
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith(prefix))
    return tuple(name for name, parameter in module.named_parameters() if parameter.requires_grad)


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix in (".pth", ".pt"):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            loaded = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
            if isinstance(loaded, dict) and all(isinstance(value, Tensor) for value in loaded.values()):
                return loaded
            raise CheckpointError(f"{path} holds more than named tensors", fits="torch.save(net.state_dict(), ...)")
    except CheckpointError:
        raise
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} holds Python objects, which are never unpickled (they could run any program)",
            fits="torch.save(net.state_dict(), ...), or a .safetensors file",
        ) from None
    except Exception as error:  # a damaged file leads torch.load to raise almost anything
        raise CheckpointError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    raise CheckpointError(f"'{path.suffix}' is no kind of weights file: {path}", fits=".safetensors, .pth or .pt")


def _of_another_network(
    path: Path,
    missing: list[str],
    unexpected: list[str],
    misfits: list[str],
    given: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
) -> CheckpointError:
    def few(names: list[str]) -> str:
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    facts: dict[str, object] = {}
    if missing:
        facts["missing"] = few(missing)
    if unexpected:
        facts["unexpected"] = few(unexpected)
    if misfits:
        name = misfits[0]
        facts["shape"] = f"{name} is {tuple(given[name].shape)} in the file and {tuple(own[name].shape)} here"
    return CheckpointError(f"{path} holds the weights of another network", **facts)
