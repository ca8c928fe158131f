"""The blocks of convolutions as a whole network between two borders, against float64 PyTorch."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from pellucid.lanes.blocks.border import Enter, Leave
from pellucid.lanes.blocks.convolution import ConvolutionBlock, Geometry, Pass, candidates, default_algorithm
from pellucid.lanes.build import Build
from pellucid.lanes.frame import ArenaMemory, Frame
from pellucid.lanes.memory import place
from pellucid.lanes.program import Program
from tests.lanes.lane_arrays import Floats, on_target

TARGETS = ("avx512", "avx2", "portable")
PASSES: tuple[Pass, ...] = ("forward", "input gradient", "weight gradient")


def geometry(
    C: int,
    K: int,
    size: tuple[int, int],
    kernel: int = 3,
    stride: int = 1,
    pad: int = 1,
    dilation: int = 1,
    groups: int = 1,
    transposed: bool = False,
) -> Geometry:
    """A convolution's, P and Q worked out."""
    P, Q = ((n + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for n in size)
    s, p, d = ((n, n) for n in (stride, pad, dilation))
    return Geometry(C, *size, K, P, Q, kernel, kernel, s, p, d, groups, transposed)


GEOMETRIES = (
    geometry(3, 8, (9, 7)),
    geometry(16, 20, (9, 8)),
    geometry(6, 5, (7, 7), kernel=1, pad=0),
    geometry(4, 6, (9, 10), stride=2),
    geometry(4, 6, (9, 10), kernel=2, stride=3, pad=2, dilation=2),
    geometry(6, 9, (5, 6), groups=3),
    geometry(5, 10, (6, 5), groups=5),
    geometry(200, 136, (4, 4)),
    geometry(4, 6, (9, 11), stride=2, transposed=True),
    geometry(6, 4, (6, 6), groups=2, transposed=True),
    geometry(5, 5, (6, 6), groups=5, transposed=True),
)


def exact(shape: Geometry, name: Pass) -> list[str]:
    """The candidates that add term by term."""
    return [algorithm for algorithm in candidates(shape, name) if not algorithm.startswith("winograd")]


@dataclass
class Ran:
    """What one pass there and back gave."""

    output: Tensor
    statistics: Floats
    gradients: Mapping[str, Tensor]


@dataclass
class Layer:
    """A block with its tensors: small whole numbers, so that every sum of an exact algorithm is exact.

    algorithms: by default the first exact candidate.
    """

    geometry: Geometry
    batch: int
    target: str = "avx512"
    algorithms: Mapping[Pass, str] = field(default_factory=dict)
    wanted: frozenset[str] = frozenset({"x", "weight", "bias"})

    def __post_init__(self) -> None:
        g, generator = self.geometry, torch.Generator().manual_seed(0)
        inside, outside = (g.C, g.H, g.W), (g.K, g.P, g.Q)
        self.source, self.result = (outside, inside) if g.transposed else (inside, outside)
        shapes = {
            "x": (self.batch, *self.source),
            "weight": (g.K, g.C // g.groups, g.R, g.S),
            "bias": self.result[:1],
            "dy": (self.batch, *self.result),
        }
        self.tensors = {
            name: torch.randint(-3, 4, shape, generator=generator).float() for name, shape in shapes.items()
        }

    def expected(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The output and the gradients by PyTorch in float64."""
        g, inputs = self.geometry, ("x", "weight", "bias")
        x, weight, bias = (self.tensors[name].double().requires_grad_() for name in inputs)
        if g.transposed:
            sizes = zip((g.H, g.W), (g.P, g.Q), g.stride, g.pad, g.dilation, (g.R, g.S), strict=True)
            behind = [n - ((p - 1) * s - 2 * pad + d * (k - 1) + 1) for n, p, s, pad, d, k in sizes]
            y = conv_transpose2d(x, weight, bias, g.stride, g.pad, behind, g.groups, g.dilation)
        else:
            y = conv2d(x, weight, bias, g.stride, g.pad, g.dilation, g.groups)
        gradients = torch.autograd.grad(y, (x, weight, bias), self.tensors["dy"].double())
        assert all(gradient.abs().max() > 0 for gradient in gradients)
        return y.detach(), dict(zip(inputs, gradients, strict=True))

    def run(self, *, statistics: bool = False) -> Ran:
        """There and back on the engine."""
        library = on_target(self.target)
        build = Build(self.batch, library.lanes, 1, self.wanted, bool(self.wanted))
        source = replace(build.value("x", *self.source), needs_gradient="x" in self.wanted)
        output = replace(build.value("y", *self.result), needs_gradient=True)
        algorithms = {name: exact(self.geometry, name)[0] for name in PASSES} | dict(self.algorithms)
        block = ConvolutionBlock(self.geometry, source, output, "weight", "bias", algorithms)
        memory = block.offer_statistics(build) if statistics else None
        build.emit([Enter("x", source), block, Leave(output, "y", tuple(self.tensors["dy"].shape))])
        there, back = build.steps("forward"), build.steps("backward")
        arena = place([there, back], build.groups, 1)
        frame = Frame(build.bases, build.slot_shapes, ArenaMemory(library, arena.bytes), self.tensors.__getitem__)
        frame.tensors["x"] = self.tensors["x"]
        Program(library, there, arena, build.groups, build.slots)(frame)
        found: Floats = numpy.zeros(0, numpy.float32)
        if memory is not None:
            place_of = frame.arena.address + 4 * memory.storage.offset
            floats = numpy.ctypeslib.as_array((ctypes.c_float * memory.storage.floats).from_address(place_of))
            found = floats.reshape(build.groups, self.result[0], 3, build.lanes).copy()
        frame.gradients["y"] = self.tensors["dy"]
        output_tensor = frame.tensors["y"]
        frame.shapes = {"x": self.tensors["x"].shape}
        Program(library, back, arena, build.groups, build.slots)(frame)
        gradients = {base.split(":")[1]: tensor for base, tensor in frame.parameter_gradients.items()}
        gradients |= {name: tensor for name, tensor in frame.gradients.items() if name != "y"}
        return Ran(output_tensor, found, gradients)


def assert_same(layer: Layer) -> None:
    """Exactly PyTorch's numbers, for everything that is wanted."""
    found, (y, gradients) = layer.run(), layer.expected()
    assert (found.output == y).all()
    assert set(layer.wanted) <= set(found.gradients)
    for name in layer.wanted:
        assert (found.gradients[name] == gradients[name]).all(), name


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", GEOMETRIES, ids=str)
def test_there_and_back(shape: Geometry, target: str) -> None:
    assert_same(Layer(shape, 21, target))


@pytest.mark.parametrize("batch", [1, 16, 130])
def test_batches(batch: int) -> None:
    for shape in (GEOMETRIES[0], GEOMETRIES[6], GEOMETRIES[8]):
        assert_same(Layer(shape, batch))


WANTED = [{"weight"}, {"bias"}, {"x"}, {"x", "bias"}]


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: " ".join(sorted(wanted)))
@pytest.mark.parametrize("shape", [GEOMETRIES[1], GEOMETRIES[6], GEOMETRIES[8]], ids=str)
def test_only_what_is_wanted(shape: Geometry, wanted: set[str]) -> None:
    layer = Layer(shape, 21, wanted=frozenset(wanted))
    assert_same(layer)
    assert set(layer.run().gradients) - {"x"} <= wanted


@pytest.mark.parametrize("shape", GEOMETRIES, ids=str)
def test_every_exact_algorithm(shape: Geometry) -> None:
    for name in PASSES:
        for algorithm in exact(shape, name):
            assert_same(Layer(shape, 21, algorithms={name: algorithm}))


@pytest.mark.parametrize("algorithm", ["winograd 4x4", "winograd 2x2"])
@pytest.mark.parametrize("shape", [*GEOMETRIES[:2], GEOMETRIES[7], geometry(80, 90, (8, 9))], ids=str)
def test_winograd(shape: Geometry, algorithm: str) -> None:
    layer = Layer(shape, 37, algorithms=dict.fromkeys(PASSES, algorithm))
    found, (y, gradients) = layer.run(), layer.expected()
    torch.testing.assert_close(found.output.double(), y, rtol=0, atol=1e-5 * float(y.abs().max()))
    for name, expected in gradients.items():
        near = 1e-5 * float(expected.abs().max())
        torch.testing.assert_close(found.gradients[name].double(), expected, rtol=0, atol=near, msg=name)


@pytest.mark.parametrize("shape", GEOMETRIES, ids=str)
def test_statistics(shape: Geometry) -> None:
    layer = Layer(shape, 21)
    shift, first, second = numpy.moveaxis(layer.run(statistics=True).statistics, 2, 0).astype(numpy.float64)
    y, _ = layer.expected()
    count, lanes = y[0, 0].numel(), shift.shape[-1]
    mean = (shift + first / count).swapaxes(1, 2).reshape(-1, y.shape[1])[:21]
    square = second / count - (first / count) ** 2
    numpy.testing.assert_allclose(mean, y.mean((2, 3)), rtol=1e-6, atol=1e-5)
    variance = square.swapaxes(1, 2).reshape(-1, y.shape[1])[:21]
    numpy.testing.assert_allclose(variance, y.var((2, 3), correction=0), rtol=1e-4, atol=1e-3)
    assert lanes == 16


def test_default_is_the_first_candidate() -> None:
    for shape in GEOMETRIES:
        for name in PASSES:
            assert default_algorithm(shape, name) == candidates(shape, name)[0]
