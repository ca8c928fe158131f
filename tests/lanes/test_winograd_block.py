"""Blocks of convolutions by Winograd's method over all groups at once, and over ranges of them."""

from __future__ import annotations

import pytest

from pellucid.lanes.blocks.convolution import Geometry
from tests.lanes.test_convolution_block import GEOMETRIES, geometry
from tests.lanes.test_convolution_block import test_winograd as check


@pytest.mark.parametrize("floats", [1, 1 << 25], ids=["ranges", "all at once"])
@pytest.mark.parametrize("shape", [*GEOMETRIES[:2], geometry(80, 90, (8, 9))], ids=str)
def test_winograd_over_all_groups(shape: Geometry, floats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.lanes.blocks.convolution._WIDE_FLOATS", floats)
    check(shape, "winograd wide 4x4")
