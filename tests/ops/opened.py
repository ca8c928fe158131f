"""One call of PyTorch opened whole: every number of its result and of every gradient, as sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.ops import Op, TensorShape, op_for
from pellucid.ops.terms import Call, Terms

CLOSE = 1e-9  # of the sum of magnitudes, in float64


def opened(
    target: Any, *arguments: Any, fixed: Sequence[str] = (), **options: Any
) -> tuple[Op, Call, dict[str, Tensor]]:
    """An operator (``torch.ops.aten.conv2d.default``) called in float64: its operation, its numbers with a random
    gradient for every result, and the gradient of every argument by autograd, but for those that are ``fixed``."""
    names = [argument.name for argument in target._schema.arguments]
    by_name = {**dict(zip(names, arguments, strict=False)), **options}
    leaves = {slot: tensor for slot, tensor in _slots(by_name) if tensor.is_floating_point() and slot not in fixed}
    for tensor in leaves.values():
        tensor.requires_grad_()
    returned = target(*arguments, **options)
    results = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
    generator = torch.Generator().manual_seed(7)
    gradients = [
        torch.randn(r.shape, generator=generator, dtype=torch.float64) if r.requires_grad else torch.zeros(r.shape)
        for r in results
    ]
    loss = sum((r * g).sum() for r, g in zip(results, gradients, strict=True) if r.requires_grad)
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True) if isinstance(loss, Tensor) else ()
    truth = {
        slot: torch.zeros_like(leaf) if gradient is None else gradient
        for (slot, leaf), gradient in zip(leaves.items(), found, strict=bool(found))
    }
    call = Call(
        {name: _arrays(value) for name, value in by_name.items()},
        tuple(r.detach().numpy() for r in results),
        tuple(g.numpy() for g in gradients),
    )
    return op_for(str(target), {name: _shapes(value) for name, value in by_name.items()}), call, truth


def assert_opens(target: Any, *arguments: Any, **options: Any) -> None:
    """Every number of the main result is the sum of its terms; so is every number of each argument's gradient. Each
    term's product is what its source and factor say."""
    op, call, truth = opened(target, *arguments, **options)
    checked = 0
    for at in np.ndindex(call.result.shape):
        terms = op.terms(at, call)
        assert not terms.missing, terms.missing
        assert np.isfinite(terms.magnitude), f"{op} at {at}"
        assert abs(terms.total - call.result[at]) <= CLOSE * max(terms.magnitude, 1e-30), f"{op} at {at}"
        assert_told(call, terms)
        checked += 1
    assert checked
    for slot, gradient in truth.items():
        for at in np.ndindex(tuple(gradient.shape)):
            opened_gradient = op.terms_of_gradient(slot, at, call)
            assert opened_gradient is not None, f"{op} leaves the gradient of {slot} to PyTorch"
            bound = CLOSE * max(opened_gradient.magnitude, 1e-30)
            assert np.isfinite(bound), f"{op}: gradient of {slot} at {at}"
            assert abs(opened_gradient.total - float(gradient[at])) <= bound, f"{op}: gradient of {slot} at {at}"
            assert_told(call, opened_gradient)
            checked += 1
    assert checked


def assert_told(call: Call, terms: Terms) -> None:
    """Where a table has factors, each product is the number at its source times the factor; where no note says what
    the factors are of the weight, they are its numbers."""
    for group in terms.groups:
        if group.factors is None:
            continue
        if group.source:
            used = group.factors != 0  # of an infinite number nothing is nothing
            told = _at(call, group.source, group.places)[used] * group.factors[used]
            np.testing.assert_allclose(group.products[used], told, rtol=1e-12)
            assert not group.products[~used].any()
        if group.weight and not group.note:
            np.testing.assert_array_equal(group.factors, _at(call, group.weight, group.weight_places))


def _at(call: Call, slot: str, places: Any) -> Any:
    """The numbers at flat places, 0 in the padding."""
    padded = np.append(call.array(slot).reshape(-1).astype(np.float64), 0.0)
    return padded[places]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Normal random numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _slots(by_name: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, value in by_name.items():
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, list | tuple):
            yield from ((f"{name}[{i}]", item) for i, item in enumerate(value) if isinstance(item, Tensor))


def _arrays(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().numpy()
    return [_arrays(item) for item in value] if isinstance(value, list | tuple) else value


def _shapes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return TensorShape(value.shape)
    return [_shapes(item) for item in value] if isinstance(value, list | tuple) else value
