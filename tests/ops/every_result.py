"""An operation of several results, opened at each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.ops import Op
from pellucid.ops.terms import Call
from tests.ops.opened import CLOSE, opened


def assert_every_result_opens(target: Any, *arguments: Any, missing: tuple[int, ...] = (), **options: Any) -> None:
    """Every number of every result is the sum of its terms; of those in ``missing`` the record says why it is none."""
    op, call, _ = opened(target, *arguments, **options)
    checked = 0
    for which, result in enumerate(call.results):
        for at in np.ndindex(result.shape):
            terms = op.terms(at, replace(call, which=which))
            if which in missing:
                assert len(terms.missing) > 20
                continue
            assert not terms.missing, terms.missing
            assert abs(terms.total - result[at]) <= CLOSE * max(terms.magnitude, 1e-30), f"{op}, {which} at {at}"
            checked += 1
    assert checked


def gradient_of(op: Op, call: Call, of: str) -> NDArray[np.float64]:
    """A whole gradient from its terms, number by number."""
    found = np.zeros(call.array(of).shape)
    for at in np.ndindex(found.shape):
        terms = op.terms_of_gradient(of, at, call)
        assert terms is not None
        assert not terms.missing, terms.missing
        found[at] = terms.total
    return found
