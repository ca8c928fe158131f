"""``pool="stride"``: what is behind a convolution is what the convolution with that stride gives."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from pellucid import nets
from pellucid.errors import UsageError
from pellucid.graph import capture
from pellucid.nets.parts import pooling_layer
from tests.look.numbers import check


@pytest.mark.parametrize("side", [8, 9])
def test_it_is_the_convolution_with_that_stride(side: int) -> None:
    torch.manual_seed(3)
    picture, kernel = torch.randn(2, 3, side, side), torch.randn(4, 3, 3, 3)
    every = functional.conv2d(picture, kernel, padding=1).relu()
    wanted = functional.conv2d(picture, kernel, padding=1, stride=2).relu()
    got = pooling_layer("stride", 2)(every)
    assert got.shape == (2, 4, side // 2, side // 2)
    torch.testing.assert_close(got, wanted[..., : side // 2, : side // 2])


@pytest.mark.parametrize("name", ["lenet", "basic_cnn"])
def test_a_network_keeps_its_sizes_and_counts(name: str) -> None:
    pooled, strided = (nets.make(name, in_channels=1, image_size=28, pool=pool) for pool in ("max", "stride"))
    assert [p.shape for p in pooled.parameters()] == [p.shape for p in strided.parameters()]
    assert strided(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_another_name_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no pooling named 'strid'; did you mean 'stride'"):
        pooling_layer("strid", 2)


def test_its_field_is_known_and_its_numbers_open() -> None:
    torch.manual_seed(5)
    net = nets.make("lenet", image_size=20, activation="relu", pool="stride")
    graph = capture(net, (1, 20, 20))
    assert "Opaque" not in {type(node.op).__name__ for node in graph.nodes if not node.hidden}
    checked = check(net, torch.randn(2, 1, 20, 20), [3, 7], training=True, count=100, boxes=50)
    assert checked.wrong == []
