"""Whether a network's own code does more than compute: what it keeps or draws itself, a capture would freeze."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["impurity"]

_PLAIN = (int, float, str, bool, bytes, type(None))
_OF_TORCH = {"training", "_parameters", "_buffers", "_modules"}


def impurity(module: nn.Module, examples: Sequence[Tensor]) -> str:
    """What a pass leaves behind in Python, in words; empty where it leaves nothing.

    A copy of the network takes one pass. A counter that has moved, a feature map that was kept, a number drawn from
    Python's or NumPy's generator: each would stay, on the engine, what it was when the network was captured.
    """
    try:
        trial = copy.deepcopy(module)
    except Exception:  # what cannot be copied cannot be tried: the capture says what it sees
        return ""
    before = {path: _attributes(part) for path, part in trial.named_modules()}
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(()), torch.no_grad():
            trial(*examples)
        drawn = random.getstate() != python or not _same(np.random.get_state(), numpy)
    except Exception:  # what does not run is said by the capture
        return ""
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
    if drawn:
        return "its code draws random numbers that are not PyTorch's"
    for path, part in trial.named_modules():
        for name, value in _attributes(part).items():
            if path not in before or name not in before[path] or not _same(value, before[path][name]):
                return f"its code keeps {path + '.' if path else ''}{name} from pass to pass"
    return ""


def _attributes(part: nn.Module) -> dict[str, Any]:
    own = {name: value for name, value in vars(part).items() if name not in _OF_TORCH}
    return {name: copy.copy(value) if isinstance(value, list | dict | set) else value for name, value in own.items()}


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same: numbers and words by what they say, all else by being the same object."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, _PLAIN):
        return bool(one == other)
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return bool(one == other) if isinstance(one, set | frozenset) else False
