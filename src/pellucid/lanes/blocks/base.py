"""What a block is: it emits the steps of its forward and of its backward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pellucid.lanes.build import Build
    from pellucid.lanes.values import Value


class Block(ABC):
    """A part of a network.

    name: of the node that it stands for. inputs, outputs: feature maps. parameters: names of the parameters whose
    gradients it may compute. nodes: the names of all nodes of the graph that it computes. algorithm: for people.
    """

    name: str = ""
    inputs: Sequence[Value] = ()
    outputs: Sequence[Value] = ()
    parameters: Sequence[str] = ()
    nodes: tuple[str, ...] = ()
    algorithm: str = ""
    recalls: bool = False  # whether its way back reads inputs through ``Build.recalled`` alone, or not at all
    remakes: bool = False  # whether ``write`` can compute the output once more on the way back, at little cost

    @abstractmethod
    def forward(self, build: Build) -> None:
        """Emit the steps of the forward pass."""

    @abstractmethod
    def backward(self, build: Build) -> None:
        """Emit the steps of the backward pass; dL/d(outputs) is complete, dL/d(inputs) is added to."""

    def write(self, build: Build, output: Value) -> None:
        """Emit the steps that compute the output, to wherever it is wanted. For blocks that ``remakes`` holds for."""
        raise NotImplementedError

    def macs(self, batch: int) -> int:
        """Multiply-accumulates of the forward pass."""
        return 0
