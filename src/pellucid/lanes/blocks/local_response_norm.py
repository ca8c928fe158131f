"""Local response normalisation, and how it looks in a captured network: PyTorch computes it from eleven operations."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.graph.ir import Graph, Node, Ref, references
from pellucid.lanes.blocks.base import Block

if TYPE_CHECKING:
    from pellucid.lanes.build import Build
    from pellucid.lanes.values import Value

__all__ = ["LocalResponse", "LocalResponseNormBlock", "local_response_norms", "match_local_response_norm"]

_RESHAPES = ("aten.view.default", "aten.reshape.default", "aten.unsqueeze.default", "aten.squeeze.dim")
_POOLS = ("aten.avg_pool2d.default", "aten.avg_pool3d.default")


@dataclass(frozen=True)
class LocalResponse:
    """x / (k + alpha / size * sum of the squares of ``size`` neighbouring channels) ** beta.

    source: the name of x. nodes: the names of all nodes that compute it, the last one with them.
    """

    source: str
    nodes: frozenset[str]
    size: int
    alpha: float
    beta: float
    k: float


class LocalResponseNormBlock(Block):
    """x (k + alpha / size * sum of the squares of ``size`` neighbouring channels)^-beta; recomputed on the way back."""

    def __init__(self, source: Value, output: Value, settings: LocalResponse) -> None:
        self.name, self.inputs, self.outputs = output.name, (source,), (output,)
        self.settings = settings
        self.algorithm = f"local response norm of {settings.size} channels"

    def _fields(self) -> dict[str, Any]:
        source, s = self.inputs[0], self.settings
        sizes = {"C": source.channels, "M": source.height * source.width, "size": s.size}
        return {"x": source, **sizes, "alpha": s.alpha, "beta": s.beta, "k": s.k}

    def forward(self, build: Build) -> None:
        build.kernel("local_response_norm_forward", y=self.outputs[0], **self._fields())

    def backward(self, build: Build) -> None:
        if not build.wants(self.inputs[0]):
            return
        gradient = build.gradient(self.outputs[0])
        into, accumulate = build.adds_gradient(self.inputs[0])
        build.kernel("local_response_norm_gradient", y=gradient, dx=into, accumulate=accumulate, **self._fields())


class _Walk:
    """Back along nodes of which each is read by the next alone."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = {node.name: node for node in graph.nodes}
        self.readers = Counter(ref.name for node in graph.nodes for ref in references((node.arguments, node.options)))
        self.readers.update(graph.outputs)
        self.passed: list[str] = []

    def to(self, given: Any, *targets: str) -> Node | None:
        """The node that an argument is, if it is one of the targets' and nobody else reads it."""
        node = self.nodes.get(given.name) if isinstance(given, Ref) else None
        if node is None or node.target not in targets or self.readers[node.name] != 1:
            return None
        self.passed.append(node.name)
        return node

    def scaled(self, given: Any, target: str, key: str) -> tuple[Any, float] | None:
        """Of an operation with a number: its operand and the number."""
        node = self.to(given, target)
        arguments = node.by_name() if node is not None else {}
        number = arguments.get(key)
        if not isinstance(number, int | float) or arguments.get("alpha", 1) != 1:
            return None
        return arguments["self"], float(number)

    def past_reshapes(self, given: Any) -> Any:
        """What an argument is before nodes that only give it another shape."""
        while (node := self.to(given, *_RESHAPES)) is not None:
            given = node.arguments[0]
        return given


def match_local_response_norm(graph: Graph, node: Node) -> LocalResponse | None:
    """The settings of the local response norm that ends in a node (a division); None where it is something else."""
    if node.target != "aten.div.Tensor" or not all(isinstance(given, Ref) for given in node.arguments):
        return None
    walk = _Walk(graph)
    source, given = node.arguments
    numbers = []
    for target, key in (
        ("aten.pow.Tensor_Scalar", "exponent"),
        ("aten.add.Tensor", "other"),
        ("aten.mul.Tensor", "other"),
    ):
        step = walk.scaled(given, target, key)
        if step is None:
            return None
        given, number = step
        numbers.append(number)
    beta, k, alpha = numbers
    size = _window(walk, given, source)
    rank = len(node.dims)
    if size is None or rank not in (3, 4):
        return None
    return LocalResponse(source.name, frozenset((node.name, *walk.passed)), size, alpha, beta, k)


def _window(walk: _Walk, given: Any, source: Ref) -> int | None:
    """How many channels the mean of the squares of ``source`` is over; None if that is not what was computed."""
    pool = walk.to(walk.past_reshapes(given), *_POOLS)
    if pool is None:
        return None
    arguments = pool.by_name()
    size, *others = arguments["kernel_size"]
    plain = {int(step) for step in arguments.get("stride") or (0,)} == {1} and not any(arguments.get("padding", (0,)))
    counted = arguments.get("ceil_mode", False) is False and arguments.get("divisor_override") is None
    pad = walk.to(arguments["self"], "aten.pad.default", "aten.constant_pad_nd.default")
    if pad is None or not plain or not counted or set(others) != {1}:
        return None
    own = pad.by_name()
    outer = [0] * (2 * len(others)) + [size // 2, (size - 1) // 2]
    if list(own["pad"]) != outer or own.get("mode", "constant") != "constant" or own.get("value") not in (None, 0, 0.0):
        return None
    square = walk.nodes.get(getattr(walk.past_reshapes(own["self"]), "name", ""))
    if square is None or square.target != "aten.mul.Tensor" or square.arguments != (source, source):
        return None
    if walk.to(Ref(square.name), square.target) is None or pool.dims[1:3] != (1, square.dims[1]):
        return None
    return int(size)


def local_response_norms(graph: Graph) -> dict[str, LocalResponse]:
    """All of a network, by the name of the last node of each."""
    found = ((node.name, match_local_response_norm(graph, node)) for node in graph.nodes)
    return {name: match for name, match in found if match is not None}
