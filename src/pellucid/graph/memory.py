"""Will it fit? A forecast of the memory that training takes, without taking it.

The network runs forward and backward on *fake* tensors (shapes without numbers), while every storage that is made is
counted from its birth to its death. So saved activations, views, in-place calls and the gradients of the way back are
those that autograd really keeps; nothing is estimated by rules of thumb.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.errors import unknown
from pellucid.graph.capture import Sizes, example_inputs

# Numbers of the size of the weights that an optimizer keeps.
_STATES = {"sgd": 0, "momentum": 1, "adagrad": 1, "rmsprop": 1, "adam": 2, "adamw": 2, "muon": 1}
_PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class Forecast:
    """Bytes that one training step takes at its highest, and what they are.

    parameters, buffers, gradients, optimizer: what stays. inputs: the batch. activations: what is alive beside these at
    the highest moment: saved activations, and gradients on their way back. peak: all together.
    """

    batch: int
    parameters: int
    buffers: int
    gradients: int
    optimizer: int
    inputs: int
    activations: int
    peak: int

    def __str__(self) -> str:
        rows = {
            "parameters": self.parameters + self.buffers,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "batch": self.inputs,
            "activations": self.activations,
            "in all": self.peak,
        }
        lines = [f"  {name:<12} {readable(size):>10}" for name, size in rows.items()]
        return "\n".join([f"training at batch {self.batch} takes at its highest", *lines])


def forecast(
    module: nn.Module,
    input_size: Sizes = (3, 224, 224),
    *,
    batch: int = 1,
    precision: str = "float32",
    optimizer: str = "adamw",
) -> Forecast:
    """The memory that a training step (forward, cross-entropy, backward, optimizer) takes on a CPU.

    Args:
        module: any network; it is left as it is, and nothing of the size of its activations is allocated.
        input_size: of one picture, or a list of sizes.
        batch: pictures in a step.
        precision: float32, or bf16 (autocast: weights stay float32).
        optimizer: whose state is counted.

    Raises:
        UsageError: for an unknown optimizer or precision.
    """
    if optimizer not in _STATES:
        raise unknown("optimizer", optimizer, _STATES)
    if precision not in _PRECISIONS:
        raise unknown("precision", precision, _PRECISIONS)
    parameters = _bytes({id(p): p for p in module.parameters()}.values())
    learning = _bytes({id(p): p for p in module.parameters() if p.requires_grad}.values())
    buffers = _bytes({id(b): b for b in module.buffers()}.values())
    inputs, highest = _step(module, input_size, batch, precision)
    states = _STATES[optimizer] * learning
    return Forecast(
        batch=batch,
        parameters=parameters,
        buffers=buffers,
        gradients=learning,
        optimizer=states,
        inputs=inputs,
        activations=max(0, highest - learning),
        peak=parameters + buffers + states + inputs + max(highest, learning),
    )


def readable(size: float) -> str:
    """``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def _step(module: nn.Module, input_size: Sizes, batch: int, precision: str) -> tuple[int, int]:
    """Bytes of the batch, and of what is made in a forward and backward pass at its highest, gradients included."""
    examples = example_inputs(module, input_size)
    fake = FakeTensorMode()
    trial = _faked(module, fake).train()
    stand_ins = [fake.from_tensor(tensor) for tensor in examples]
    with fake:
        pictures = [tensor.new_empty((batch, *tensor.shape[1:])) for tensor in stand_ins]
        with _Meter() as meter:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                outputs = _first(trial(*pictures))
            targets = torch.zeros(outputs.shape[0], dtype=torch.int64)
            flat = outputs.float().reshape(outputs.shape[0], -1)
            loss = torch.nn.functional.cross_entropy(flat, targets)
            del outputs, flat
            loss.backward()  # type: ignore[no-untyped-call]
    return sum(tensor.numel() * tensor.element_size() for tensor in pictures), meter.highest


def _faked(module: nn.Module, fake: FakeTensorMode) -> nn.Module:
    """A copy whose parameters and buffers have shapes and no numbers."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        made = nn.Parameter(fake.from_tensor(parameter.detach()), requires_grad=parameter.requires_grad)
        memo[id(parameter)] = made
    for buffer in module.buffers():
        memo[id(buffer)] = fake.from_tensor(buffer)
    return copy.deepcopy(module, memo)


def _first(outputs: Any) -> Tensor:
    if isinstance(outputs, Tensor):
        return outputs
    values = list(outputs.values()) if hasattr(outputs, "values") else list(outputs)
    return next(value for value in values if isinstance(value, Tensor))


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages that are alive, from the call that makes each to its end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.highest = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(t.untyped_storage()) for t in _tensors((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._known or id(storage) in given or _shares(tensor, args):
                continue
            size = storage.nbytes()
            self._known.add(key)
            self.alive += size
            self.highest = max(self.highest, self.alive)
            weakref.finalize(storage, self._gone, key, size)
        return result

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive -= size


def _shares(tensor: Tensor, args: Any) -> bool:
    key = tensor.untyped_storage()._cdata
    return any(other.untyped_storage()._cdata == key for other in _tensors(args))


def _tensors(value: Any) -> Sequence[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _tensors(item)]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _tensors(item)]
    return []
