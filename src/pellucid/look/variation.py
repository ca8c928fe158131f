"""The chosen numbers of pictures for variations of these pictures, some at a time: on the way from a baseline, or
partly covered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.graph.ir import Graph
from pellucid.look.field import couples
from pellucid.look.projection import Aim, PerPicture, aim, named
from pellucid.look.walk import back, draws, first, random_numbers_kept, record, tensors_of, up_to

Item = TypeVar("Item")


@dataclass(frozen=True)
class Variations:
    """Pictures, and the number of each that is explained.

    part: the graph up to it. pictures: (N, C, H, W). others: the graph's other inputs. value: the node's for the
    pictures themselves.
    """

    part: Graph
    pictures: Tensor
    others: tuple[Tensor, ...]
    chosen: Aim
    value: Tensor

    @classmethod
    def of(
        cls,
        graph: Graph,
        inputs: Any,
        target: PerPicture | None,
        node: str | None,
        channel: PerPicture | None,
        index: Any,
        keep: str,
    ) -> Variations:
        """Raises UsageError for a graph in training, whose numbers depend on other pictures of the batch or on chance:
        a variation would be measured against something else."""
        name, channel = named(graph, target, node, channel)
        part = up_to(graph, name)
        given = tensors_of(inputs)
        values = record(graph, given, name)
        why = "of the other pictures of the batch" if couples(graph, name) else _chance(graph, given, name, values)
        if why:
            raise UsageError(
                f"in training, the numbers of '{name}' are also a matter {why}", fits="capture(module, training=False)"
            )
        by_name = dict(zip((own.name for own in graph.inputs), given, strict=False))
        chosen = aim(graph, values, given, name, channel=channel, index=index, keep=keep)
        others = tuple(by_name[own.name] for own in part.inputs[1:])
        return cls(part, given[0], others, chosen, first(values[name]))

    def numbers(self, varied: Tensor, owners: Sequence[int]) -> Tensor:
        """The chosen numbers for variations (n, C, H, W), (n,) in float64; variation i is of picture ``owners[i]``."""
        with torch.no_grad():
            value = first(self.part.run(*self._inputs(varied, owners)))
        return self._aim(owners).values(value).double()

    def slopes(self, varied: Tensor, owners: Sequence[int]) -> Tensor:
        """Their gradients with respect to the variations, (n, C, H, W)."""
        given = self._inputs(varied, owners)
        values = record(self.part, given, self.chosen.node)
        ones = self._aim(owners).ones(first(values[self.chosen.node]))
        return back(self.part, values, given, {self.chosen.node: ones})

    def _aim(self, owners: Sequence[int]) -> Aim:
        return Aim(self.chosen.node, tuple(self.chosen.index[n] for n in owners))

    def _inputs(self, varied: Tensor, owners: Sequence[int]) -> tuple[Tensor, ...]:
        """With the rows of the other inputs that belong to the pictures."""
        count, rows = len(self.pictures), list(owners)
        return varied, *(other[rows] if other.ndim and len(other) == count else other for other in self.others)


def _chance(graph: Graph, given: tuple[Tensor, ...], name: str, values: Mapping[str, Any]) -> str:
    """Which call gives other numbers when it is asked again, if one does."""
    drawing = [node.name for node in up_to(graph, name).nodes if draws(node)]
    if not drawing:
        return ""
    with random_numbers_kept(given[0]):
        torch.rand(1, device=given[0].device)  # from other random numbers than before
        again = record(graph, given, name)
    changed = [one for one in drawing if not torch.equal(first(again[one]), first(values[one]))]
    return f"of chance ('{changed[0]}')" if changed else ""


def parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Some at a time. Raises UsageError for a size below 1."""
    if size < 1:
        raise UsageError(f"batch is {size}", fits="1 or more")
    return (items[i : i + size] for i in range(0, len(items), size))
