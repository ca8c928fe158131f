"""The module exactly as it was found, whatever a capture or a trace did to it, and whether or not that worked."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def as_found(module: nn.Module, training: bool | None = None) -> Iterator[None]:
    """The module in a mode, and then put back.

    Kept are the mode of every part, its parameters and buffers (which tensors they are) and the buffers' numbers,
    gradients, attributes that ``forward`` sets (a list that it appends to becomes as long as it was), hooks, and the
    random numbers of torch (every device in use), NumPy and Python.
    """
    attributes = [(part, _copied(vars(part))) for part in module.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    gradients = [(parameter, parameter.grad) for parameter in module.parameters()]
    with _random_numbers():
        try:
            if training is not None:
                module.train(training)
            yield
        finally:
            for part, kept in attributes:
                _put_back(vars(part), kept)
            with torch.no_grad():
                for buffer, numbers in buffers:
                    if not _same(buffer, numbers):
                        buffer.copy_(numbers)
            for parameter, gradient in gradients:
                parameter.grad = gradient


def _same(a: Tensor, b: Tensor) -> bool:
    return a.is_meta or torch.equal(a, b)


def _copied(attributes: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Each attribute, and a copy of its contents where it is a plain list, dict or set."""
    plain = (list, dict, set, OrderedDict)
    return {name: (value, value.copy() if type(value) in plain else None) for name, value in attributes.items()}


def _put_back(attributes: dict[str, Any], kept: dict[str, tuple[Any, Any]]) -> None:
    for name in [name for name in attributes if name not in kept]:
        del attributes[name]
    for name, (value, contents) in kept.items():
        attributes[name] = value
        if contents is None or _identical(value, contents):
            continue
        if isinstance(value, list):
            value[:] = contents
        else:
            value.clear()
            value.update(contents)


def _identical(a: Any, b: Any) -> bool:
    """Whether two collections hold the same objects; equality of tensors would be a tensor."""
    pairs = ([*a.items()], [*b.items()]) if isinstance(a, dict) else ([*a], [*b])
    flat = ([x for pair in side for x in pair] if isinstance(a, dict) else side for side in pairs)
    return [id(x) for x in next(flat)] == [id(x) for x in next(flat)]


@contextmanager
def _random_numbers() -> Iterator[None]:
    devices = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    plain, numbers, python = torch.get_rng_state(), np.random.get_state(), random.getstate()
    accelerated = torch.cuda.get_rng_state_all() if devices else []
    try:
        yield
    finally:
        torch.set_rng_state(plain)
        np.random.set_state(numbers)
        random.setstate(python)
        if accelerated:
            torch.cuda.set_rng_state_all(accelerated)
