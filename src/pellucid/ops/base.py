"""What an operation is: one class says everything that is true of it.

Letters: N pictures, C channels, H W input size, K kernels, R S kernel size, P Q output size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from pellucid.ops.field import Reach, joined
from pellucid.ops.terms import Array, Call, Index, Terms

Shape = tuple[int, ...]
Arguments = Mapping[str, Any]  # of a call, by the names of its schema; a tensor stands as its Shape


@dataclass(frozen=True)
class Op:
    """One operation with its settings.

    A subclass names the core operators that it describes (``targets``), reads its settings from a call (``read``) and
    says what is true of it. To add an operation is to add a class: the registry finds it by its targets.
    """

    targets: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[str] = "opaque"
    is_view: ClassVar[bool] = False  # whether the result shares the memory of the input
    inside: ClassVar[tuple[str, ...]] = ()  # numbers that the call makes on its way and does not return
    is_bookkeeping: ClassVar[bool] = False  # whether it stands for nothing that a network's author wrote
    described: ClassVar[bool] = True

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Op:
        """The operation with the settings of a call (``call``: the operator's name, such as ``mean``)."""
        return cls()

    @property
    def name(self) -> str:
        """In lower case, as it names a node: ``convolution``, ``add``."""
        return type(self).__name__.lower()

    def describe(self) -> str:
        """For a person: ``Convolution 3x3, 64 kernels, stride 2``."""
        return type(self).__name__

    @property
    def rectifies(self) -> bool:
        """Whether it lets numbers above zero pass and holds back the others: there a deconvnet rectifies its signal."""
        return False

    @property
    def couples_batch(self) -> bool:
        """Whether a number of its result depends on every picture of the batch, at every place."""
        return False

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The least and the largest number that it can give; None where there is none."""
        return None, None

    def shape(self, arguments: Arguments) -> Shape:
        """The shape of the (first) result, from the shapes of the arguments. By default that of the first tensor."""
        return first_shape(arguments)

    def macs(self, out: Shape, arguments: Arguments) -> int | None:
        """Multiply-accumulates of products (biases, norms and activations have none); None where nobody knows."""
        return 0

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        """What each output sees of the graph's inputs, from what each tensor argument sees (in the call's order).

        By default output and inputs lie over one another place by place, as in arithmetic with broadcasting: what has
        one place is seen from everywhere.
        """
        found: list[Reach] = []
        for reach, shape in zip(reaches, tensor_shapes(arguments), strict=True):
            missing = len(out) - len(shape)
            spread = [dim for dim, n in enumerate(shape, start=missing) if n == 1 and out[dim] != 1]
            found.append(reach.aligned(missing).lost(spread))
        return joined(found)

    def terms(self, at: Index, call: Call) -> Terms:
        """The products that sum to the number at index ``at`` of the result that the call asks about."""
        return Terms(missing=f"nobody has written the terms of {self.describe()}")

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The products that sum to what this operation adds to dL/d(of)[at].

        Args:
            of: the slot of an argument (``input``, ``weight``, ``tensors[1]``); at: an index in it.
            call: with ``gradients``; its slot ``gradient`` is that of the result.

        None where nobody has written it: whoever asks then takes the local derivative from PyTorch.
        """
        return None

    def inside_array(self, inner: str, call: Call) -> Array:
        """All inner numbers of a name in ``inside``; in terms they stand as the slot ``~name``."""
        raise KeyError(inner)

    def inside_terms(self, inner: str, at: Index, call: Call) -> Terms:
        """The products that sum to one of them."""
        raise KeyError(inner)


@dataclass(frozen=True)
class Opaque(Op):
    """An operation that nobody has described: it has a shape, is counted and drawn, and runs."""

    described: ClassVar[bool] = False
    target: str = ""

    @property
    def name(self) -> str:
        return self.target.removeprefix("aten.").split(".")[0] or "opaque"

    def describe(self) -> str:
        return f"{self.name} (not described)"

    def macs(self, out: Shape, arguments: Arguments) -> int | None:
        return None

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return joined(reaches).lost()

    def terms(self, at: Index, call: Call) -> Terms:
        return Terms(missing=f"nobody has described {self.target}")


def is_shape(value: Any) -> bool:
    """Whether an argument stands for a tensor."""
    return isinstance(value, TensorShape)


class TensorShape(tuple[int, ...]):
    """The shape of a tensor argument: a tuple that is told apart from a list of numbers."""


def tensor_shapes(arguments: Arguments) -> list[TensorShape]:
    """The shapes of all tensor arguments in the call's order, those in lists too."""
    found: list[TensorShape] = []
    for value in arguments.values():
        if isinstance(value, TensorShape):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [item for item in value if isinstance(item, TensorShape)]
    return found


def first_shape(arguments: Arguments) -> Shape:
    """The shape of the first tensor argument."""
    return tuple(tensor_shapes(arguments)[0])


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """One number for each spatial axis: from one number, a list of one, or a list of all.

    >>> per_axis([2], 3)
    (2, 2, 2)
    """
    values = [value] if isinstance(value, int) else list(value)
    return tuple(int(v) for v in (values * axes if len(values) == 1 else values))


def dimensions(dim: int | Sequence[int], rank: int) -> list[int]:
    """One dimension or several as a list, counted from the front."""
    return [int(d) % rank for d in ([dim] if isinstance(dim, int) else dim)]


def times(values: Sequence[int]) -> str:
    """``3x3``; a square of ones as ``1x1``."""
    return "x".join(map(str, values))


def product(values: Sequence[int]) -> int:
    """The product, 1 of none."""
    return prod(values)
