"""Maps: expressions number by number with pooling, forward and every gradient against float64 PyTorch."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import pellucid
from pellucid.errors import UsageError
from pellucid.lanes.blocks.expression import ACTIVATIONS, CODES, Expression, Leaf
from pellucid.lanes.blocks.map import MapBlock, Pooling
from tests.lanes.immediate import Immediate
from tests.lanes.lane_arrays import Floats, on_target, random

TARGETS = ("avx512", "avx2", "portable")
Make = Callable[[Expression], Expression]
Oracle = Callable[[Tensor], Tensor]


def _unary(name: str, **settings: float | str) -> Make:
    return lambda e: e.activate(name, **settings)


UNARY: dict[str, tuple[Make, Oracle]] = {
    "relu": (_unary("relu"), functional.relu),
    "relu6": (_unary("relu6"), functional.relu6),
    "hardtanh": (_unary("hardtanh", min_val=-0.5, max_val=0.75), lambda x: functional.hardtanh(x, -0.5, 0.75)),
    "clamp": (_unary("clamp", min=-1.0, max=1.0), lambda x: x.clamp(-1, 1)),
    "clamp_min": (_unary("clamp_min", min=0.25), lambda x: x.clamp_min(0.25)),
    "clamp_max": (_unary("clamp_max", max=0.25), lambda x: x.clamp_max(0.25)),
    "leaky_relu": (_unary("leaky_relu", negative_slope=0.2), lambda x: functional.leaky_relu(x, 0.2)),
    "elu": (_unary("elu", alpha=1.5), lambda x: functional.elu(x, 1.5)),
    "selu": (_unary("selu"), functional.selu),
    "celu": (_unary("celu", alpha=2.0), lambda x: functional.celu(x, 2.0)),
    "silu": (_unary("silu"), functional.silu),
    "gelu": (_unary("gelu"), functional.gelu),
    "gelu_tanh": (_unary("gelu", approximate="tanh"), lambda x: functional.gelu(x, approximate="tanh")),
    "mish": (_unary("mish"), functional.mish),
    "sigmoid": (_unary("sigmoid"), torch.sigmoid),
    "tanh": (_unary("tanh"), torch.tanh),
    "softplus": (_unary("softplus", beta=2.0, threshold=3.0), lambda x: functional.softplus(x, 2.0, 3.0)),
    "hardswish": (_unary("hardswish"), functional.hardswish),
    "hardsigmoid": (_unary("hardsigmoid"), functional.hardsigmoid),
    "log_sigmoid": (_unary("log_sigmoid"), functional.logsigmoid),
    "threshold": (_unary("threshold", threshold=0.5, value=-2.0), lambda x: functional.threshold(x, 0.5, -2.0)),
    "rrelu": (_unary("rrelu"), lambda x: functional.rrelu(x, training=False)),
    "linear": (lambda e: e.linear(-2.0, 0.5), lambda x: 0.5 - 2 * x),
    "neg": (lambda e: e.apply("neg"), torch.neg),
    "abs": (lambda e: e.apply("abs"), torch.abs),
    "exp": (lambda e: e.apply("exp"), torch.exp),
    "log": (lambda e: e.apply("abs").linear(1, 0.1).apply("log"), lambda x: (x.abs() + 0.1).log()),
    "sqrt": (lambda e: e.apply("abs").linear(1, 0.1).apply("sqrt"), lambda x: (x.abs() + 0.1).sqrt()),
    "rsqrt": (lambda e: e.apply("abs").linear(1, 0.1).power(-0.5), lambda x: (x.abs() + 0.1).rsqrt()),
    "reciprocal": (lambda e: e.apply("abs").linear(1, 0.1).power(-1), lambda x: 1 / (x.abs() + 0.1)),
    "square": (lambda e: e.power(2), torch.square),
    "power 3": (lambda e: e.power(3), lambda x: x**3),
    "power -2": (lambda e: e.linear(1, 5).power(-2), lambda x: (x + 5) ** -2),
    "power 0.7": (lambda e: e.apply("abs").linear(1, 0.1).power(0.7), lambda x: (x.abs() + 0.1) ** 0.7),
    "erf": (lambda e: e.apply("erf"), torch.erf),
}


def informs(expected: Floats) -> None:
    """A test whose expected values say nothing proves nothing."""
    assert numpy.isfinite(expected).all()
    assert expected.std() > 1e-3
    assert numpy.mean(expected == 0) < 0.9


def close(found: Floats, expected: Tensor, tolerance: float = 2e-6) -> None:
    wanted = expected.detach().numpy()
    informs(wanted)
    numpy.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * abs(wanted).max())


def test_numbers_of_the_instructions_are_those_of_the_kernel() -> None:
    header = Path(pellucid.__file__).parent / "native/lanes/kernels/map_instructions.h"
    body = re.search(r"enum MapCode : int32_t \{([^}]*)\}", header.read_text("utf-8"))
    assert body is not None
    found, number = {}, -1
    for entry in filter(None, (part.strip() for part in body[1].split(","))):
        name, _, given = entry.partition("=")
        number = int(given) if given else number + 1
        found[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()[1:]).lower()] = number
    assert found == dict(CODES)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", UNARY)
def test_an_instruction(name: str, target: str) -> None:
    make, oracle = UNARY[name]
    n, shape = 19, (3, 5, 7)
    x, dy = 2 * random(n, *shape, seed=1), random(n, *shape, seed=2)
    build = Immediate(on_target(target), n, gap=3)
    value = build.put("x", x)
    block = MapBlock(make(Expression.of(value)), build.new("y", *shape))
    block.forward(build)
    ours = torch.from_numpy(x).double().requires_grad_()
    y = oracle(ours)
    close(build.read(block.outputs[0]), y)
    build.back([block], block.outputs[0], dy)
    y.backward(torch.from_numpy(dy).double())
    assert ours.grad is not None
    close(build.read(build.gradient(value)), ours.grad)
    assert (build.all_lanes(build.gradient(value))[n:] == 0).all()


@pytest.mark.parametrize("name", UNARY)
def test_kinks_and_what_is_no_number(name: str) -> None:
    """At 0, at borders and at NaN the same as PyTorch, gradient and all."""
    make, oracle = UNARY[name]
    if name in ("log", "sqrt", "rsqrt", "reciprocal", "power 0.7"):
        pytest.skip("has no kink, and NaN passes through each of its parts")
    points = [0.0, -0.0, 3.0, -3.0, 6.0, 1.0, -1.0, 0.5, -0.5, 0.25, 0.75, 1.5, float("nan")]
    x = numpy.array(points, numpy.float32).reshape(1, 1, 1, -1)
    build = Immediate(on_target("portable"), 1)
    value = build.put("x", x)
    block = MapBlock(make(Expression.of(value)), build.new("y", 1, 1, x.size))
    block.forward(build)
    ours = torch.from_numpy(x).requires_grad_()
    y = oracle(ours)
    numpy.testing.assert_allclose(build.read(block.outputs[0]), y.detach().numpy(), rtol=2e-6, atol=1e-6)
    build.back([block], block.outputs[0], numpy.ones_like(x))
    y.sum().backward()
    assert ours.grad is not None
    numpy.testing.assert_allclose(build.read(build.gradient(value)), ours.grad.numpy(), rtol=2e-6, atol=1e-6)


def test_every_activation_is_tested() -> None:
    assert set(ACTIVATIONS) <= set(UNARY)


BINARY: dict[str, tuple[Callable[[Expression, Expression], Expression], Callable[[Tensor, Tensor], Tensor]]] = {
    "add": (lambda a, b: a.join("add", b), torch.add),
    "add 3": (lambda a, b: a.join("add", b, alpha=3.0), lambda a, b: a + 3 * b),
    "sub": (lambda a, b: a.join("sub", b), torch.sub),
    "mul": (lambda a, b: a.join("mul", b), torch.mul),
    "div": (lambda a, b: a.join("div", b.apply("exp")), lambda a, b: a / b.exp()),
    "maximum": (lambda a, b: a.join("maximum", b), torch.maximum),
    "minimum": (lambda a, b: a.join("minimum", b), torch.minimum),
    "deep": (
        lambda a, b: a.activate("silu").join("mul", b.activate("sigmoid")).join("add", a).join("sub", b, 0.5),
        lambda a, b: functional.silu(a) * torch.sigmoid(b) + a - 0.5 * b,
    ),
    "square by itself": (lambda a, b: a.join("mul", a).join("add", b), lambda a, b: a * a + b),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("small", [False, True], ids=["normal", "whole numbers"])
@pytest.mark.parametrize("name", BINARY)
def test_two_feature_maps(name: str, small: bool, target: str) -> None:
    make, oracle = BINARY[name]
    n, shape = 9, (5, 3, 3)
    x, z, dy = (random(n, *shape, seed=seed, small=small) for seed in (1, 2, 3))
    build = Immediate(on_target(target), n, gap=1)
    values = build.put("x", x), build.put("z", z)
    block = MapBlock(make(*map(Expression.of, values)), build.new("y", *shape))
    block.forward(build)
    ours = [torch.from_numpy(array).double().requires_grad_() for array in (x, z)]
    y = oracle(*ours)
    close(build.read(block.outputs[0]), y)
    build.back([block], block.outputs[0], dy)
    y.backward(torch.from_numpy(dy).double())
    for value, theirs in zip(values, ours, strict=True):
        assert theirs.grad is not None
        close(build.read(build.gradient(value)), theirs.grad)


def test_gradients_are_added_to_what_is_there() -> None:
    n, shape = 5, (2, 3, 3)
    x, dy, before = (random(n, *shape, seed=seed, small=True) for seed in (1, 2, 3))
    build = Immediate(on_target("portable"), n)
    value = build.put("x", x)
    block = MapBlock(Expression.of(value).linear(3.0), build.new("y", *shape))
    block.forward(build)
    place, _ = build.adds_gradient(value)
    build.fill(place, before, dead=0.0)
    build.back([block], block.outputs[0], dy)
    assert (build.read(place) == before + 3 * dy).all()


POOLED = {
    "max 2x2": (Pooling("max", 2, 2), lambda x: functional.max_pool2d(x, 2)),
    "max 3x2": (Pooling("max", 3, 2), lambda x: functional.max_pool2d(x, (3, 2))),
    "average 2x2": (Pooling("average", 2, 2), lambda x: functional.avg_pool2d(x, 2)),
    "average 4x4": (Pooling("average", 4, 4), lambda x: functional.avg_pool2d(x, 4)),
    "plane": (Pooling("plane"), lambda x: x.mean((2, 3), keepdim=True)),
}
CHAINS: dict[str, tuple[Make, Oracle]] = {
    "nothing": (lambda e: e, lambda x: x),
    "relu": UNARY["relu"],
    "sigmoid": UNARY["sigmoid"],
    "gelu": UNARY["gelu"],
    "two": (lambda e: e.activate("relu").linear(2.0, 1.0), lambda x: 2 * functional.relu(x) + 1),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("size", [(4, 8), (7, 9)], ids=str)
@pytest.mark.parametrize("pool", POOLED)
def test_pooling(pool: str, size: tuple[int, int], chain: str, target: str) -> None:
    pooling, pools = POOLED[pool]
    make, oracle = CHAINS[chain]
    n, channels = 11, 3
    x = random(n, channels, *size, seed=4)
    x[::2] = random(*x[::2].shape, seed=6, small=True)  # of which many are alike: the first of the largest wins
    build = Immediate(on_target(target), n, gap=2)
    value = build.put("x", x)
    block = MapBlock(make(Expression.of(value)), build.new("y", channels, *pooling.shape(*size)), pooling)
    block.forward(build)
    ours = torch.from_numpy(x).double().requires_grad_()
    y = pools(oracle(ours))
    close(build.read(block.outputs[0]), y)
    dy = random(*y.shape, seed=5)
    build.back([block], block.outputs[0], dy)
    y.backward(torch.from_numpy(dy).double())
    assert ours.grad is not None
    wanted = ours.grad.numpy()
    assert abs(wanted).max() > 1e-3
    numpy.testing.assert_allclose(build.read(build.gradient(value)), wanted, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7)], ids=str)
@pytest.mark.parametrize("shared", [False, True], ids=["channels", "one"])
def test_prelu(shared: bool, size: tuple[int, int], target: str) -> None:
    n, channels = 37, 6
    x, dy = random(n, channels, *size, seed=1), random(n, channels, *size, seed=2)
    slope = random(1 if shared else channels, seed=3)
    build = Immediate(on_target(target), n, {"slope": slope})
    value = build.put("x", x)
    e = Expression.of(value)
    block = MapBlock(e.join("prelu", Expression.of_parameter("slope", e, shared)), build.new("y", channels, *size))
    block.forward(build)
    ours, weight = (torch.from_numpy(array).double().requires_grad_() for array in (x, slope))
    y = functional.prelu(ours, weight)
    close(build.read(block.outputs[0]), y)
    build.back([block], block.outputs[0], dy)
    y.backward(torch.from_numpy(dy).double())
    assert ours.grad is not None
    close(build.read(build.gradient(value)), ours.grad)
    assert weight.grad is not None
    numpy.testing.assert_allclose(build.gradients_of["slope"][0], weight.grad.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", [(1, 1), (6, 5), (9, 8)], ids=str)
def test_gate_and_layer_scale_and_residual(size: tuple[int, int], target: str) -> None:
    """x * gate + gamma * z, as in squeeze-and-excitation and ConvNeXt."""
    n, channels = 21, 5
    x, z, dy = (random(n, channels, *size, seed=seed) for seed in (1, 2, 3))
    gate, gamma, beta = random(n, channels, 1, 1, seed=4), random(channels, seed=5), random(channels, seed=6)
    build = Immediate(on_target(target), n, {"gamma": gamma, "beta": beta}, gap=1)
    xv, zv, gv = build.put("x", x), build.put("z", z), build.put("gate", gate)
    scaled = Expression.of(Leaf(zv, scale="gamma", shift="beta"))
    expression = Expression.of(xv).join("mul", Expression.of(gv)).join("add", scaled)
    block = MapBlock(expression, build.new("y", channels, *size))
    block.forward(build)
    ours = [torch.from_numpy(array).double().requires_grad_() for array in (x, z, gate, gamma, beta)]
    tx, tz, tg, tgamma, tbeta = ours
    y = tx * tg + tz * tgamma[:, None, None] + tbeta[:, None, None]
    close(build.read(block.outputs[0]), y)
    build.back([block], block.outputs[0], dy)
    y.backward(torch.from_numpy(dy).double())
    found = [build.read(build.gradient(value)) for value in (xv, zv, gv)]
    found += [build.gradients_of[name][0] for name in ("gamma", "beta")]
    for array, theirs in zip(found, ours, strict=True):
        assert theirs.grad is not None
        close(array, theirs.grad, 1e-5)
    assert (build.all_lanes(build.gradient(gv))[n:] == 0).all()


def test_what_is_not_wanted_is_not_computed() -> None:
    n, shape = 5, (2, 3, 3)
    build = Immediate(on_target("portable"), n, {"gamma": random(2, seed=1)}, wanted=())
    x, z = build.put("x", random(n, *shape, seed=2), wants=False), build.put("z", random(n, *shape, seed=3))
    expression = Expression.of(Leaf(x, scale="gamma")).join("mul", Expression.of(z))
    block = MapBlock(expression, build.new("y", *shape))
    block.forward(build)
    build.back([block], block.outputs[0], random(n, *shape, seed=4))
    assert not build.gradients_of
    assert build.has_gradient(z)
    assert not build.has_gradient(x)


@pytest.mark.parametrize("of", ["number", "channel", "picture"])
def test_dropout(of: str) -> None:
    """The same mask forward and backward and on every target; as many dropped as asked; another seed, another mask."""
    n, shape, p = 37, (16, 6, 6), 0.3
    masks: dict[tuple[str, int], Floats] = {}
    for target in TARGETS:
        for seed in (1, 2):
            build = Immediate(on_target(target), n, {"seed": numpy.array([seed], numpy.int64)}, wanted=())
            value = build.put("x", numpy.full((n, *shape), 1.0, numpy.float32))
            expression = Expression.of(value).dropout(p, build.parameter("seed"), 3, of)
            block = MapBlock(expression, build.new("y", *shape))
            block.forward(build)
            build.back([block], block.outputs[0], numpy.ones((n, *shape), numpy.float32))
            kept = build.read(block.outputs[0])
            assert (build.read(build.gradient(value)) == kept).all()
            assert numpy.isin(kept, [0.0, numpy.float32(1 / (1 - p))]).all()
            masks[target, seed] = kept.copy()
    for seed in (1, 2):
        assert all((masks[target, seed] == masks["portable", seed]).all() for target in TARGETS)
    mask = masks["portable", 1] != 0
    assert (masks["portable", 1] != masks["portable", 2]).any()
    draws = {"number": mask, "channel": mask[:, :, 0, 0], "picture": mask[:, 0, 0, 0]}[of]
    assert abs(draws.mean() - (1 - p)) < 4 * (p * (1 - p) / draws.size) ** 0.5
    if of != "number":
        assert (mask == mask[:, :, :1, :1]).all()
    if of == "picture":
        assert (mask == mask[:, :1]).all()


def test_numbers_of_a_dropout_are_independent() -> None:
    """Neighbours in a picture, channels, pictures and streams agree as often as chance says."""
    n, shape = 64, (32, 16, 16)
    build = Immediate(on_target("portable"), n, {"seed": numpy.array([5], numpy.int64)}, wanted=())
    value = build.put("x", numpy.ones((n, *shape), numpy.float32))
    masks = []
    for stream in (0, 1):
        expression = Expression.of(value).dropout(0.5, build.parameter("seed"), stream)
        block = MapBlock(expression, build.new(f"y{stream}", *shape))
        block.forward(build)
        masks.append(build.read(block.outputs[0]) != 0)
    first, second = masks
    pairs = [(first, second), (first[1:], first[:-1]), (first[:, 1:], first[:, :-1])]
    pairs += [(first[:, :, 1:], first[:, :, :-1]), (first[..., 1:], first[..., :-1])]
    for a, b in pairs:
        assert abs((a == b).mean() - 0.5) < 4 * 0.5 / a.size**0.5
    counts = first.reshape(n, -1).mean(1)
    assert abs(counts - 0.5).max() < 5 * 0.5 / first[0].size ** 0.5


def test_everything_dropped_is_zero() -> None:
    build = Immediate(on_target("portable"), 3, {"seed": numpy.array([5], numpy.int64)}, wanted=())
    value = build.put("x", random(3, 2, 2, 2, seed=1))
    block = MapBlock(Expression.of(value).dropout(1.0, build.parameter("seed"), 0), build.new("y", 2, 2, 2))
    block.forward(build)
    assert (build.read(block.outputs[0]) == 0).all()


def test_what_does_not_fit() -> None:
    build = Immediate(on_target("portable"), 1)
    maps = [Expression.of(build.value(f"x{i}", 2, 4, 4)) for i in range(5)]
    four = maps[0].join("add", maps[1]).join("add", maps[2]).join("add", maps[3])
    assert not four.can_join(maps[4])
    assert four.can_join(maps[0])
    with pytest.raises(UsageError, match="do not fit into one expression of at most 4 leaves and 12 instructions"):
        four.join("add", maps[4])
    assert not maps[0].can_join(Expression.of(build.value("odd", 2, 3, 4)))
    assert not maps[0].can_join(Expression.of(build.value("gate", 2, 1, 1)).activate("sigmoid"))
    long = maps[0]
    for _ in range(12):
        long = long.activate("relu")
    assert long.room == 0
    with pytest.raises(UsageError, match="at most 12 instructions"):
        long.activate("relu")
    with pytest.raises(UsageError, match="no part of a map"):
        MapBlock(maps[0], build.value("y", 2, 1, 1), Pooling("max", 6, 6))
    with pytest.raises(UsageError, match=r"is \(2, 2, 2\), not \(2, 4, 4\)"):
        MapBlock(maps[0], build.value("y", 2, 4, 4), Pooling("max", 2, 2))
    with pytest.raises(UsageError, match="no activation named 'rlu'"):
        maps[0].activate("rlu")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("place", range(4))
def test_nan_wins_in_a_window(place: int, target: str) -> None:
    """Wherever it stands among the four, beside infinities too."""
    x = numpy.array([[1.0, numpy.inf], [-numpy.inf, 2.0]], numpy.float32).reshape(1, 1, 2, 2)
    build = Immediate(on_target(target), 1)
    value = build.put("x", x)
    block = MapBlock(Expression.of(value), build.new("y", 1, 1, 1), Pooling("max", 2, 2))
    block.forward(build)
    assert build.read(block.outputs[0]).item() == numpy.inf
    x.reshape(-1)[place] = numpy.nan
    build.fill(value, x)
    block.forward(build)
    assert numpy.isnan(build.read(block.outputs[0])).all()
    build.back([block], block.outputs[0], numpy.ones((1, 1, 1, 1), numpy.float32))
    wanted = numpy.zeros(4)
    wanted[place] = 1  # as in PyTorch
    assert (build.read(build.gradient(value)).reshape(-1) == wanted).all()


@pytest.mark.parametrize("pooling", [None, Pooling("max", 2, 2)], ids=["none", "max"])
def test_the_same_bits_from_run_to_run(pooling: Pooling | None) -> None:
    """Sums over the batch begin anew with each pass, whatever their memory held."""
    n, shape = 130, (3, 6, 6)
    x = random(n, *shape, seed=1)
    found = []
    for _ in range(2):
        build = Immediate(on_target("portable"), n, {"gamma": random(3, seed=2)}, wanted=("gamma",))
        value = build.put("x", x)
        size = pooling.shape(6, 6) if pooling else (6, 6)
        expression = Expression.of(Leaf(value, scale="gamma")).activate("silu")
        block = MapBlock(expression, build.new("y", 3, *size), pooling)
        block.forward(build)
        build.back([block], block.outputs[0], random(n, 3, *size, seed=3))
        found.append(build.gradients_of["gamma"][0].tobytes())
    assert found[0] == found[1]
