"""Batch norm, alone and fused with what follows: forward, running statistics and every gradient against PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import numpy
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pellucid.lanes.blocks.batch_norm import BatchNormBlock
from pellucid.lanes.blocks.expression import Expression
from pellucid.lanes.blocks.map import MapBlock, Pooling
from tests.lanes.immediate import Immediate
from tests.lanes.lane_arrays import Floats, on_target, random

TARGETS = ("avx512", "avx2", "portable")
Make = Callable[[Expression], Expression]
Oracle = Callable[[Tensor], Tensor]

CHAINS: dict[str, tuple[Make, Pooling | None, Oracle]] = {
    "alone": (lambda e: e, None, lambda z: z),
    "relu": (lambda e: e.activate("relu"), None, functional.relu),
    "gelu": (lambda e: e.activate("gelu"), None, functional.gelu),
    "relu, max": (lambda e: e.activate("relu"), Pooling("max", 2, 2), lambda z: functional.max_pool2d(z.relu(), 2)),
    "max": (lambda e: e, Pooling("max", 2, 2), lambda z: functional.max_pool2d(z, 2)),
    "silu, max": (
        lambda e: e.activate("silu"),
        Pooling("max", 2, 2),
        lambda z: functional.max_pool2d(functional.silu(z), 2),
    ),
    "sigmoid, average": (
        lambda e: e.activate("sigmoid"),
        Pooling("average", 2, 2),
        lambda z: functional.avg_pool2d(z.sigmoid(), 2),
    ),
    "relu6, plane": (
        lambda e: e.activate("relu6"),
        Pooling("plane"),
        lambda z: functional.relu6(z).mean((2, 3), keepdim=True),
    ),
}


class Case:
    """A batch norm of random numbers in our build and in float64 PyTorch."""

    def __init__(
        self, target: str, n: int, shape: tuple[int, int, int], affine: bool = True, mean: float = 0.0
    ) -> None:
        self.n, self.shape = n, shape
        channels = shape[0]
        self.x = random(n, *shape, seed=1) * (1 + numpy.arange(channels, dtype=numpy.float32))[:, None, None] + mean
        parameters = {
            "weight": 1 + 0.5 * random(channels, seed=2),
            "bias": random(channels, seed=3),
            "running_mean": random(channels, seed=4),
            "running_var": abs(random(channels, seed=5)) + 0.5,
        }
        parameters["weight"][0] = 0.0
        parameters["weight"][-1] = 1e-2  # small beside the bias: the normalised number is hard to have from the result
        self.theirs = {name: torch.from_numpy(array.copy()).double() for name, array in parameters.items()}
        self.build = Immediate(on_target(target), n, parameters, wanted=("weight", "bias"), gap=1)
        self.value = self.build.put("x", self.x)
        self.names = ("weight", "bias") if affine else (None, None)
        for name in ("weight", "bias"):
            self.theirs[name].requires_grad_()
        self.input = torch.from_numpy(self.x).double().requires_grad_()
        self.affine = affine

    def norm(self, training: bool, momentum: float, eps: float, running: bool = True) -> tuple[BatchNormBlock, Tensor]:
        """Our block, and PyTorch's result."""
        names = ("running_mean", "running_var") if running else (None, None)
        block = BatchNormBlock(self.value, *self.names, *names, training=training, momentum=momentum, eps=eps)
        mean, var = (self.theirs[name] if name else None for name in names)
        weight, bias = (self.theirs[name] if name else None for name in self.names)
        training = training or not running
        return block, functional.batch_norm(self.input, mean, var, weight, bias, training, momentum, eps)

    def check(self, block: BatchNormBlock, make: Make, pooling: Pooling | None, y: Tensor, tolerance: float) -> None:
        """Forward, running statistics and gradients."""
        build = self.build
        out = MapBlock(make(Expression.of(block.leaf())), build.new("y", *y.shape[1:]), pooling)
        block.forward(build)
        out.forward(build)
        close(build.read(out.outputs[0]), y, tolerance)
        for name in ("running_mean", "running_var"):
            close(build.arrays[name], self.theirs[name], tolerance)
        dy = random(*y.shape, seed=6)
        build.back([block, out], out.outputs[0], dy)
        y.backward(torch.from_numpy(dy).double())
        gradient = build.gradient(self.value)
        assert (build.all_lanes(gradient)[self.n :] == 0).all()
        assert self.input.grad is not None
        close(build.read(gradient), self.input.grad, 5 * tolerance)
        for name in filter(None, self.names):
            grad = self.theirs[name].grad
            assert grad is not None
            close(build.gradients_of[name][0], grad, 5 * tolerance)


def close(found: Floats, expected: Tensor, tolerance: float) -> None:
    wanted = expected.detach().numpy()
    assert numpy.isfinite(wanted).all()
    assert wanted.std() > 1e-4 * abs(wanted).max() > 0
    numpy.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * abs(wanted).max())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("chain", CHAINS)
def test_fused(chain: str, training: bool, target: str) -> None:
    make, pooling, oracle = CHAINS[chain]
    case = Case(target, 21, (6, 7, 8))
    block, z = case.norm(training, 0.1, 1e-5)
    case.check(block, make, pooling, oracle(z), 3e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("running", [True, False], ids=["running", "untracked"])
@pytest.mark.parametrize(("n", "shape"), [(2, (3, 5, 5)), (64, (19, 1, 1)), (130, (2, 3, 1))], ids=str)
def test_shapes_and_settings(n: int, shape: tuple[int, int, int], running: bool, affine: bool, target: str) -> None:
    case = Case(target, n, shape, affine)
    block, z = case.norm(running, 0.3, 1e-3, running)
    case.check(block, lambda e: e.activate("tanh"), None, z.tanh(), 3e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_a_large_mean_leaves_the_variance_alone(target: str) -> None:
    case = Case(target, 33, (5, 16, 16), mean=1000.0)
    block, z = case.norm(True, 1.0, 1e-5)
    build = case.build
    block.forward(build)
    variance = case.input.detach().var((0, 2, 3), correction=0).numpy()
    inverse = numpy.frombuffer((build._of(block.inverse_deviation.storage)[0]).tobytes(), numpy.float32)[5:10]
    numpy.testing.assert_allclose(inverse, 1 / numpy.sqrt(variance + 1e-5), rtol=2e-6)
    close(build.arrays["running_var"], case.theirs["running_var"], 5e-6)
    out = MapBlock(Expression.of(block.leaf()), build.new("y", *case.shape))
    out.forward(build)
    dy = random(33, *case.shape, seed=6)
    build.back([block, out], out.outputs[0], dy)
    z.backward(torch.from_numpy(dy).double())
    assert case.input.grad is not None
    close(build.read(build.gradient(case.value)), case.input.grad, 1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_residual_of_two_batch_norms(target: str) -> None:
    """relu(norm(x) + norm(z)), the end of a residual block with a projection."""
    n, shape = 37, (4, 6, 6)
    names = [f"{kind}{i}" for i in (1, 2) for kind in ("weight", "bias")]
    parameters = {name: 1 + random(4, seed=i) for i, name in enumerate(names)}
    arrays = [random(n, *shape, seed=8), 3 * random(n, *shape, seed=9) + 2]
    build = Immediate(on_target(target), n, parameters)
    values = [build.put(f"x{i}", array) for i, array in enumerate(arrays)]
    norms = [
        BatchNormBlock(value, f"weight{i}", f"bias{i}", None, None, training=True) for i, value in enumerate(values, 1)
    ]
    left, right = (Expression.of(norm.leaf()) for norm in norms)
    out = MapBlock(left.join("add", right).activate("relu"), build.new("y", *shape))
    for block in (*norms, out):
        block.forward(build)
    ours = [torch.from_numpy(array).double().requires_grad_() for array in (*arrays, *parameters.values())]
    z = [functional.batch_norm(ours[i], None, None, ours[2 + 2 * i], ours[3 + 2 * i], training=True) for i in range(2)]
    y = functional.relu(z[0] + z[1])
    close(build.read(out.outputs[0]), y, 3e-6)
    dy = random(n, *shape, seed=10)
    build.back([*norms, out], out.outputs[0], dy)
    y.backward(torch.from_numpy(dy).double())
    found = [build.read(build.gradient(value)) for value in values]
    found += [build.gradients_of[name][0] for name in names]
    for array, theirs in zip(found, ours, strict=True):
        assert theirs.grad is not None
        close(array, theirs.grad, 1e-5)


def test_frozen_parameters_and_inputs() -> None:
    """Nothing is computed that nobody asks for."""
    for wants_input in (False, True):
        case = Case("portable", 5, (3, 4, 4))
        case.build._wanted = frozenset()
        value = case.build.put("v", case.x, wants=wants_input)
        block = BatchNormBlock(value, "weight", "bias", None, None, training=True)
        out = MapBlock(Expression.of(block.leaf()).activate("relu"), case.build.new("y", 3, 4, 4))
        block.forward(case.build)
        out.forward(case.build)
        case.build.called.clear()
        case.build.back([block, out], out.outputs[0], case.x)
        backward = {"map_backward_sums", "batch_norm_backward_finish", "map_backward"}
        assert set(case.build.called) == (backward if wants_input else set())
        assert not case.build.gradients_of


def test_a_frozen_input_still_gives_the_parameters_gradients() -> None:
    case = Case("portable", 21, (3, 4, 4))
    value = case.build.put("v", case.x, wants=False)
    block = BatchNormBlock(value, "weight", "bias", None, None, training=True)
    out = MapBlock(Expression.of(block.leaf()).activate("relu"), case.build.new("y", 3, 4, 4))
    block.forward(case.build)
    out.forward(case.build)
    dy = random(21, 3, 4, 4, seed=6)
    case.build.back([block, out], out.outputs[0], dy)
    weight, bias = case.theirs["weight"], case.theirs["bias"]
    y = functional.batch_norm(case.input, None, None, weight, bias, training=True).relu()
    y.backward(torch.from_numpy(dy).double())
    for name in ("weight", "bias"):
        grad = case.theirs[name].grad
        assert grad is not None
        close(case.build.gradients_of[name][0], grad, 1e-5)


def test_statistics_that_another_kernel_measured() -> None:
    case = Case("portable", 9, (3, 4, 4))
    block, _ = case.norm(True, 0.1, 1e-5)
    memory = block.measured(case.build)
    array = case.build._of(memory.storage)[0].reshape(case.build.groups, 3, 3, case.build.lanes)
    rows = case.build.all_lanes(case.value).reshape(case.build.groups, case.build.lanes, 3, -1).astype(numpy.float64)
    array[:, :, 0] = 0.5  # one common shift
    array[:, :, 1] = numpy.moveaxis((rows - 0.5).sum(-1), 1, 2)
    array[:, :, 2] = numpy.moveaxis(((rows - 0.5) ** 2).sum(-1), 1, 2)
    block.forward(case.build)
    assert "batch_norm_statistics" not in case.build.called
    for name in ("running_mean", "running_var"):
        close(case.build.arrays[name], case.theirs[name], 3e-6)
