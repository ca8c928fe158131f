"""exp, log, tanh and their kin in vectors: relative error at most 3e-7, and PyTorch's values at NaN and infinity."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from pellucid.lanes.blocks.expression import Expression
from pellucid.lanes.blocks.map import MapBlock
from tests.lanes.immediate import Immediate
from tests.lanes.lane_arrays import Floats, on_target

TARGETS = ("avx512", "avx2", "portable")
TINY = 1.7e-38  # exp(-87): below about this numbers are flushed to 0, or stay there

FUNCTIONS = {
    "exp": (lambda e: e.apply("exp"), torch.exp, (-87, 88.7)),
    "log": (lambda e: e.apply("log"), torch.log, (1e-30, 1e30)),
    "log near 1": (lambda e: e.apply("log"), torch.log, (0.5, 2.0)),
    "tanh": (lambda e: e.activate("tanh"), torch.tanh, (-20, 20)),
    "tanh near 0": (lambda e: e.activate("tanh"), torch.tanh, (-1e-3, 1e-3)),
    "sigmoid": (lambda e: e.activate("sigmoid"), torch.sigmoid, (-86, 90)),
    "softplus": (lambda e: e.activate("softplus", threshold=200.0), torch.nn.functional.softplus, (-80, 19)),
    "log_sigmoid": (lambda e: e.activate("log_sigmoid"), torch.nn.functional.logsigmoid, (-80, 80)),
    "erf": (lambda e: e.apply("erf"), torch.erf, (-6, 6)),
    "erf near 0": (lambda e: e.apply("erf"), torch.erf, (-1e-2, 1e-2)),
    "elu": (lambda e: e.activate("elu"), torch.nn.functional.elu, (-20, 5)),
    "elu near 0": (lambda e: e.activate("elu"), torch.nn.functional.elu, (-1e-3, 0)),
    "mish": (lambda e: e.activate("mish"), torch.nn.functional.mish, (-80, 30)),
    "gelu": (lambda e: e.activate("gelu"), torch.nn.functional.gelu, (-3, 10)),
    "sqrt": (lambda e: e.apply("sqrt"), torch.sqrt, (0, 1e10)),
    "rsqrt": (lambda e: e.apply("rsqrt"), torch.rsqrt, (1e-6, 1e10)),
}


def _apply(target: str, make, x: Floats) -> Floats:  # type: ignore[no-untyped-def]
    build = Immediate(on_target(target), 1)
    value = build.put("x", x.reshape(1, 1, 1, -1))
    out = build.new("y", 1, 1, x.size)
    MapBlock(make(Expression.of(value)), out).forward(build)
    return build.read(out).reshape(-1).copy()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_relative_error_is_at_most_3e_7(name: str, target: str) -> None:
    make, oracle, (low, high) = FUNCTIONS[name]
    generator = numpy.random.default_rng(7)
    if low > 0 and high / low > 1e4:
        x = numpy.exp(generator.uniform(math.log(low), math.log(high), 20000)).astype(numpy.float32)
    else:
        x = generator.uniform(low, high, 20000).astype(numpy.float32)
    found = _apply(target, make, x)
    expected = oracle(torch.from_numpy(x).double()).numpy()
    assert expected.std() > 1e-4 * abs(expected).mean()
    ordinary = abs(expected) > TINY
    error = abs(found - expected)[ordinary] / abs(expected)[ordinary]
    # of gelu and mish also the product with x is rounded, and gelu's tail is a difference of two exponents
    assert error.max() <= (6e-7 if name in ("gelu", "mish") else 3e-7), x[ordinary][error.argmax()]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_infinity_and_zero_as_in_pytorch(name: str, target: str) -> None:
    make, oracle, _ = FUNCTIONS[name]
    x = numpy.array([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e4, -1e4, 3e38, -3e38], numpy.float32)
    if name == "gelu":  # PyTorch's own are not what the formula says beyond 1e19
        x = x[abs(numpy.nan_to_num(x, posinf=3e38, neginf=-3e38)) < 1e19]
    found = _apply(target, make, x)
    expected = oracle(torch.from_numpy(x)).numpy()
    numpy.testing.assert_allclose(found, expected, rtol=1e-6, atol=TINY)
    assert (numpy.signbit(found) == numpy.signbit(expected))[~numpy.isnan(found) & (expected != 0)].all()
