"""Published weights into a network, a new head where the classes differ, and freezing all but the head."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid.errors import CheckpointError, UsageError

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # heads that helped the training of Inception networks, and no more
_WRAPPED = "module."  # what torch.nn.DataParallel puts before every name
_SHOWN = 3
_AS_PUBLISHED = "the settings it was trained with: image_size, in_channels; stem=imagenet (ResNet), top=imagenet (VGG)"


def load_weights(module: nn.Module, path: str | Path) -> tuple[str, ...]:
    """Copy the weights of a file into ``module``; numbers of another precision are converted.

    A head of another number of classes keeps its own initial weights; auxiliary heads that the network does not have
    are left out. Everything else must be there in its shape. Nothing is changed where an error is raised.

    Args:
        module: the network, with its own head.
        path: a ``.safetensors`` file, or a ``.pth``/``.pt`` of tensors only (nothing else is ever unpickled).

    Returns:
        What the user should know, a sentence each.

    Raises:
        CheckpointError: where the file is missing, damaged or that of another network.
    """
    path = Path(path)
    own = module.state_dict()
    given, left_out = _without_auxiliary(_unwrapped(_read(path), own), own)
    adapted = getattr(module, "adapted", None)  # a network that takes the weights of another by other names
    given = adapted(given) if callable(adapted) else given
    replaced = _replaced(head(module), given, own)
    _check(path, given, own, replaced)
    taken = {name: given[name].to(own[name].dtype) for name in own if name in given and name not in replaced}
    module.load_state_dict(taken, strict=False)
    sentences = [f"weights read from {path}"]
    if left_out:
        sentences.append(f"auxiliary heads in the file are left out: {', '.join(left_out)}")
    if replaced:
        before, after = given[replaced[0]].shape[0], own[replaced[0]].shape[0]
        sentences.append(f"head {head(module)} replaced: {before} -> {after} classes, which have to be trained")
    return tuple(sentences)


def head(module: nn.Module) -> str:
    """The path of the last dense layer or convolution: what tells the classes apart. Empty for a layer by itself.

    Raises:
        UsageError: where the network has neither.
    """
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = [name for name, layer in module.named_modules() if isinstance(layer, kinds)]
    if not layers:
        raise UsageError(f"{type(module).__name__} has no dense layer and no convolution: it has no head")
    return str(layers[-1])


def freeze_all_but_head(module: nn.Module) -> tuple[str, ...]:
    """Let only the head learn; returns the names of the parameters that still do.

    Batch normalisation goes on measuring its batches while the network trains, unless it is put in evaluation mode.
    """
    prefix = _prefix(head(module))
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith(prefix))
    return tuple(name for name, parameter in module.named_parameters() if parameter.requires_grad)


def _prefix(path: str) -> str:
    return f"{path}." if path else ""


def _unwrapped(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Names without the "module." that parallel training puts before all of them."""
    if all(name.startswith(_WRAPPED) for name in given) and not any(name.startswith(_WRAPPED) for name in own):
        return {name.removeprefix(_WRAPPED): value for name, value in given.items()}
    return given


def _without_auxiliary(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """The tensors without auxiliary heads that the network does not have, and the names of those heads."""
    extra = [name for name in given if name.startswith(_AUXILIARY) and name not in own]
    heads = tuple(dict.fromkeys(name.partition(".")[0] for name in extra))
    return {name: value for name, value in given.items() if name not in extra}, heads


def _replaced(head: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The head's tensors, the weight first, where they differ from the file's in the number of classes alone."""
    names = [name for name in own if name.startswith(_prefix(head)) and name in given]
    other = [name for name in names if given[name].shape[:1] != own[name].shape[:1]]
    if any(given[name].shape[1:] != own[name].shape[1:] for name in names) or not other:
        return ()
    return tuple(sorted(names, key=lambda name: not name.endswith("weight")))


def _check(path: Path, given: Mapping[str, Tensor], own: Mapping[str, Tensor], replaced: tuple[str, ...]) -> None:
    """Raises CheckpointError where names, shapes or numbers are not those that the network can take."""
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in own]
    both = [name for name in own if name in given and name not in replaced]
    misfits = [name for name in both if given[name].shape != own[name].shape]
    if missing or unexpected or misfits:
        facts: dict[str, str] = {}
        if missing:
            facts["missing"] = _few(missing)
        if unexpected:
            facts["unexpected"] = _few(unexpected)
        if misfits:
            shapes = [f"{name} is {_shape(given[name])} in the file and {_shape(own[name])} here" for name in misfits]
            facts["shapes"] = _few(shapes)
        if 2 * (len(both) - len(misfits)) > len(own):  # most of it fits: the same family, made for other pictures
            facts["try"] = _AS_PUBLISHED
        raise CheckpointError(f"{path} holds the weights of another network, or of one made otherwise", **facts)
    broken = [name for name in both if not bool(torch.isfinite(given[name].float()).all())]
    if broken:
        raise CheckpointError(f"{path} holds weights that are NaN or infinite", where=_few(broken))


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "one number"


def _read(path: Path) -> Mapping[str, Tensor]:
    """The named tensors of a file. Raises CheckpointError where it has something else or cannot be read."""
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix in (".pth", ".pt"):
            return _named_tensors(torch.load(path, map_location="cpu", weights_only=True), path)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):  # PyTorch's word for a class or function that the file asks for
            raise CheckpointError(f"{path} is damaged, or no file that torch.save wrote") from None
        raise CheckpointError(
            f"{path} holds Python objects, which are never unpickled (they could run any program)",
            fits="torch.save(net.state_dict(), ...), or a .safetensors file",
        ) from None
    except Exception as error:  # a damaged file leads torch.load to raise almost anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} cannot be read: {reason}") from None
    raise CheckpointError(f"'{path.suffix}' is no kind of weights file: {path}", fits=".safetensors, .pth or .pt")


def _named_tensors(loaded: object, path: Path) -> Mapping[str, Tensor]:
    """What ``torch.load`` gave, or its entry "state_dict", if it is tensors by name and nothing else."""
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if isinstance(loaded, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()):
        return loaded
    raise CheckpointError(f"{path} holds something else than named tensors", fits="torch.save(net.state_dict(), ...)")
