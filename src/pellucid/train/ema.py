"""A running average of the weights, used for measuring and kept as the result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """average <- d * average + (1 - d) * weights after each step, with d = min(decay, (1 + t) / (10 + t)).

    Polyak & Juditsky (1992), with the ramp of t, the steps done, so that a short run is not held back by its start.
    Whatever is no float (counters) is copied. Buffers such as the running statistics of batch normalisation are
    averaged with the weights they belong to.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self._net = net
        live = net.state_dict()  # these share memory with the network, whatever steps it takes
        self.tensors: dict[str, Tensor] = {name: value.clone() for name, value in live.items()}
        self._copied = [(self.tensors[n], value) for n, value in live.items() if not value.is_floating_point()]
        floating = [(self.tensors[n], value) for n, value in live.items() if value.is_floating_point()]
        self._averages, self._weights = [own for own, _ in floating], [value for _, value in floating]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step ``step`` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for own, value in self._copied:
            own.copy_(value)
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over saved averages, by name."""
        for name, value in self.tensors.items():
            value.copy_(tensors[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network with the averaged weights, for as long as the context lasts."""
        state = self._net.state_dict()
        kept = {name: value.clone() for name, value in state.items()}
        with torch.no_grad():
            for name, value in state.items():
                value.copy_(self.tensors[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in state.items():
                    value.copy_(kept[name])
