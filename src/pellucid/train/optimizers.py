"""Optimizers by name, and their state as plain tensors and numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pellucid.errors import CheckpointError, UsageError, unknown
from pellucid.train.muon import Muon

NAMES = ("adagrad", "adam", "adamw", "momentum", "muon", "rmsprop", "sgd")
_MUON_TO_ADAMW = 0.1  # the share of Muon's learning rate that biases, norms and the head take with AdamW


def make(
    name: str, net: nn.Module, *, learning_rate: float, momentum: float = 0.9, weight_decay: float = 0.0
) -> Optimizer:
    """An optimizer for the parameters of ``net`` that want a gradient.

    sgd         w <- w - lr g
    momentum    v <- mu v + g;  w <- w - lr v  (Polyak 1964)
    adagrad     s <- s + g^2;  w <- w - lr g / sqrt(s)  (Duchi, Hazan & Singer 2011)
    rmsprop     s <- a s + (1 - a) g^2;  w <- w - lr g / sqrt(s)  (Tieleman & Hinton 2012)
    adam        with momentum and bias correction (Kingma & Ba 2014, algorithm 1)
    adamw       adam with decoupled weight decay (Loshchilov & Hutter 2017, algorithm 2)
    muon        orthogonalised momentum for kernels, AdamW for the rest (Jordan et al. 2024)

    Weight decay is on kernels alone (two dimensions or more), never on biases and norms.

    Raises:
        UsageError: for another name, or where nothing wants a gradient.
    """
    if name not in NAMES:
        raise unknown("optimizer", name, NAMES)
    groups = _groups(net, weight_decay)
    if name == "muon":
        return _muon(groups, learning_rate, momentum, weight_decay, net)
    on_gpu = any(parameter.is_cuda for parameter in net.parameters())
    options: dict[str, Any] = {"lr": learning_rate}
    if name == "sgd":
        return torch.optim.SGD(groups, fused=_fusible(net), **options)
    if name == "momentum":
        return torch.optim.SGD(groups, momentum=momentum, fused=_fusible(net), **options)
    if name == "adagrad":
        return torch.optim.Adagrad(groups, fused=_fusible(net) and not on_gpu, **options)
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, foreach=True, **options)
    adaptive = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return adaptive(groups, fused=_fusible(net), **options)


def _fusible(net: nn.Module) -> bool:
    """Fused steps are for float parameters on a CPU or CUDA device."""
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in net.parameters())


def _groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if not learning:
        raise UsageError("no parameter of the network wants a gradient: there is nothing to train")
    kernels = [parameter for parameter in learning if parameter.ndim > 1]
    others = [parameter for parameter in learning if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _muon(groups: list[dict[str, Any]], rate: float, momentum: float, weight_decay: float, net: nn.Module) -> Optimizer:
    kernels = [p for group in groups for p in group["params"] if p.ndim > 1]
    head = {id(kernels[-1])} if len(kernels) > 1 else set()  # the head is left to AdamW, as its authors advise
    inner = [p for p in kernels if id(p) not in head]
    rest = [p for group in groups for p in group["params"] if p.ndim <= 1]
    slow = rate * _MUON_TO_ADAMW
    made = [
        {"params": inner, "weight_decay": weight_decay, "orthogonal": True},
        {"params": [p for p in kernels if id(p) in head], "weight_decay": weight_decay, "lr": slow},
        {"params": rest, "weight_decay": 0.0, "lr": slow},
    ]
    return Muon([group for group in made if group["params"]], lr=rate, momentum=momentum)


def state_of(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The whole state: tensors by ``INDEX.NAME``, and numbers that JSON keeps exactly.

    Raises:
        CheckpointError: where an optimizer keeps something else.
    """
    whole = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, state in whole["state"].items():
        for name, value in state.items():
            key = f"{index}.{name}"
            if isinstance(value, Tensor):
                tensors[key] = value
            elif value is None or isinstance(value, bool | int | float):
                numbers[key] = value
            else:
                kind = f"{type(optimizer).__name__} keeps a {type(value).__name__} named {name}"
                raise CheckpointError(f"{kind}, which a checkpoint without pickle cannot hold")
    groups = [{key: value for key, value in group.items() if _is_plain(value)} for group in whole["param_groups"]]
    return tensors, {"numbers": numbers, "groups": groups}


def restore(optimizer: Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Put back what ``state_of`` gave."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *plain["numbers"].items()]:
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    own = optimizer.state_dict()["param_groups"]
    groups = []
    for mine, saved in zip(own, plain["groups"], strict=True):
        back = {key: tuple(value) if isinstance(mine.get(key), tuple) else value for key, value in saved.items()}
        groups.append({**mine, **back})
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            # Files hold rows after rows; fused steps walk state and parameter by the same memory layout.
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                kept[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)
