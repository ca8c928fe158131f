"""What a number may see against loops, autograd and changed pixels; what it does see against sums by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pellucid import Graph, capture
from pellucid.errors import UsageError
from pellucid.look.field import couples, effective_field, theoretical_field
from tests.graph.test_fields import NETS, Function
from tests.look.made_nets import opened, pictures


class Part(nn.Module):
    """Ten rows and seven columns."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :10, :7]


MASKED = {
    "dilated": NETS["dilated"],
    "transposed": NETS["transposed"],
    "strided transposed": NETS["strided transposed"],
    "residual": NETS["residual"],
    "branches": NETS["branches"],
    "channels last": NETS["channels last"],
    "shuffle": NETS["shuffle"],
    "average pool, ceil": NETS["max pool, ceil"],
    "pixel shuffle": NETS["pixel shuffle"],
    "slice": NETS["slice"],
    "first rows": Function(lambda x: x[:, :, :10, :7]),
    "first rows of the picture": nn.Sequential(Part(), nn.Conv2d(1, 2, 3)),
    "a row added to all": Function(lambda x: x + x[:, :, 2:3]),
    "gate": Function(lambda x: x[:, :, ::2] * x.mean((2, 3), keepdim=True)),
    "dilated pool": nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(3, 2, 1, dilation=3), nn.Conv2d(1, 1, 2)),
}
LARGER = {"reflected": NETS["reflected in front"], "bicubic": NETS["bicubic"]}  # the mask may hold a few pixels more
SIDE = 23


def gradient_support(net: nn.Module, at: tuple[int, int]) -> np.ndarray:
    """The pixels that the numbers at a place change with, over many pictures: a maximum changes its winner."""
    found = np.zeros((SIDE, SIDE), np.bool_)
    for seed in range(30 if any(isinstance(part, nn.MaxPool2d) for part in net.modules()) else 1):
        x = torch.rand(8, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        x.requires_grad_()
        (slope,) = torch.autograd.grad(net(x)[:, :, at[0], at[1]].sum(), x)
        found |= (slope != 0).any(1).any(0).numpy()
    return found


@pytest.mark.parametrize("name", [*MASKED, *LARGER])
def test_the_mask_holds_the_pixels_with_a_gradient_and_no_others(name: str) -> None:
    net = {**MASKED, **LARGER}[name].double().eval()
    for parameter in net.parameters():
        parameter.data.abs_().add_(0.01)
    graph = capture(net, (1, SIDE, SIDE))
    height, width = graph[graph.outputs[0]].shape(1)[2:]
    for at in {(0, 0), (height // 2, width // 2), (height - 1, width - 1), (1, width // 3)}:
        field = theoretical_field(graph, graph.outputs[0], (0, *at))
        seen = gradient_support(net, at)
        assert not (seen & ~field.mask).any()
        if name in MASKED and not field.everything:
            np.testing.assert_array_equal(field.mask, seen)
        (top, bottom), (left, right) = field.inside
        outside = field.mask.copy()
        outside[top : bottom + 1, left : right + 1] = False
        assert not outside.any()


@given(
    layers=st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=4
    )
)
@settings(max_examples=6, deadline=None, database=None)
def test_masks_of_random_stacks_by_loops(layers: list[tuple[int, int, int, int]]) -> None:
    sizes, kept = [SIDE], []
    for kernel, stride, padding, dilation in layers:
        room = sizes[-1] + 2 * padding - dilation * (kernel - 1) - 1
        if room >= 0:
            kept.append((kernel, stride, padding, dilation))
            sizes.append(room // stride + 1)
    net = nn.Sequential(*(nn.Conv2d(1, 1, *layer) for layer in kept), nn.ReLU())
    graph = capture(net, (1, SIDE, SIDE))
    y, x = sizes[-1] // 2, sizes[-1] - 1

    def reads(index: int) -> set[int]:
        seen = {index}
        for (kernel, stride, padding, dilation), size in zip(reversed(kept), reversed(sizes[:-1]), strict=True):
            seen = {i * stride - padding + tap * dilation for i in seen for tap in range(kernel)} & set(range(size))
        return seen

    wanted = np.zeros((SIDE, SIDE), np.bool_)
    for place in product(reads(y), reads(x)):
        wanted[place] = True
    np.testing.assert_array_equal(theoretical_field(graph, graph.outputs[0], (0, y, x)).mask, wanted)


@pytest.mark.parametrize(
    ("name", "node"), [("modules", "concat"), ("resnet", "4.relu"), ("inception", "2.concat"), ("gated", "mix")]
)
def test_a_pixel_outside_changes_nothing_and_one_inside_does(name: str, node: str) -> None:
    (_, graph), x = opened(name), pictures(1)
    value = graph.run(x, record=[node])[1][node][0].detach()
    index = tuple(int(i) for i in np.unravel_index(int(value.argmax()), tuple(value.shape)))  # that no ReLU holds back
    field, effective = theoretical_field(graph, node, index), effective_field(graph, x, node, index)
    assert not (effective.support & ~field.mask).any()

    def number(picture: Tensor) -> float:
        value = graph.run(picture, record=[node])[1][node]
        return float(value[(0, *index)].detach())

    before, random = number(x), np.random.default_rng(0)
    for y, z in random.permutation(np.argwhere(~field.mask))[:12]:
        changed = x.clone()
        changed[:, :, y, z] += 3
        assert number(changed) == before
    places = np.argwhere(effective.support)
    assert len(places)
    for y, z in random.permutation(places)[:12]:
        changed = x.clone()
        changed[:, :, y, z] += 1e-4 * torch.sign(torch.from_numpy(random.normal(size=3)))
        assert number(changed) != before


@pytest.mark.parametrize("name", ["modules", "resnet", "inception", "lenet"])
def test_the_box_is_that_of_the_account(name: str) -> None:
    _, graph = opened(name)
    for row in graph.account().rows:
        if row.field is None or len(row.shape) != 4 or row.kind == "input":
            continue
        index = (0, row.shape[2] - 1, row.shape[3] // 2)
        found = theoretical_field(graph, row.name, index)
        assert found.everything == row.field.unbounded
        wanted = ((0, 15), (0, 15)) if row.field.unbounded else row.field.box(index[1:])
        assert found.whole == wanted
        assert found.inside == tuple((max(0, low), min(15, high)) for low, high in wanted)


def test_the_share_in_the_padding() -> None:
    graph = capture(nn.Conv2d(1, 1, 5, padding=2), (1, 8, 8))
    corner = theoretical_field(graph, graph.outputs[0], (0, 0, 7))
    assert corner.whole == ((-2, 2), (5, 9))
    assert corner.inside == ((0, 2), (5, 7))
    assert corner.padding == pytest.approx(1 - 9 / 25)
    assert theoretical_field(graph, graph.outputs[0], (0, 3, 3)).padding == 0


def uniform(layers: int) -> Graph:
    """3x3 kernels of equal weights, one behind the other (Luo et al. 2016, section 2.1)."""
    net = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(layers))).double()
    for parameter in net.parameters():
        parameter.data.fill_(1 / 9)
    return capture(net, (1, 33, 33))


def test_the_effective_field_of_uniform_kernels_is_a_binomial_bell() -> None:
    graph = uniform(6)
    found = effective_field(graph, torch.randn(2, 1, 33, 33, dtype=torch.float64), graph.outputs[0], (0, 16, 16))
    row = np.ones(1)
    for _ in range(6):
        row = np.convolve(row, np.ones(3) / 3)
    slope = np.zeros((33, 33))
    slope[10:23, 10:23] = np.outer(row, row)
    np.testing.assert_allclose(found.energy, slope**2, rtol=1e-10, atol=1e-20)
    assert found.theoretical.whole == ((10, 22), (10, 22))
    assert found.within == 1
    assert found.strong == int((slope >= (1 - 0.9545) * slope.max()).sum())
    assert found.size == pytest.approx(found.strong**0.5)
    assert found.core is not None
    (top, bottom), (left, right) = found.core
    assert (top, left) == (32 - bottom, 32 - right)
    assert bottom - top + 1 < 13
    assert (slope[top : bottom + 1, left : right + 1] ** 2).sum() >= 0.9545 * (slope**2).sum()
    assert (slope[top + 1 : bottom, left + 1 : right] ** 2).sum() < 0.9545 * (slope**2).sum()


def test_the_core_of_an_even_box_lies_around_the_middle_of_it() -> None:
    graph = capture(nn.Sequential(nn.AvgPool2d(4)).double(), (1, 12, 12))
    found = effective_field(graph, torch.rand(1, 1, 12, 12, dtype=torch.float64), graph.outputs[0], (0, 1, 2))
    assert found.theoretical.whole == ((4, 7), (8, 11))
    assert found.core == ((4, 7), (8, 11))
    assert found.strong == 16


@pytest.mark.parametrize("name", ["modules", "lenet", "tokens"])
def test_the_energy_is_the_mean_squared_gradient(name: str) -> None:
    (net, graph), x = opened(name), pictures(3)
    found = effective_field(graph, x, graph.outputs[0], (2,))
    x.requires_grad_()
    (slope,) = torch.autograd.grad(net(x)[:, 2].sum(), x)
    np.testing.assert_allclose(found.energy, slope.square().sum(1).mean(0).numpy(), rtol=1e-9)
    np.testing.assert_array_equal(found.support, (slope != 0).any(1).any(0).numpy())
    assert found.theoretical.everything
    assert found.theoretical.inside == ((0, 15), (0, 15))
    assert found.elsewhere == 0


def test_where_the_batch_couples_pictures_the_box_is_the_picture() -> None:
    (_, graph), x = opened("resnet", training=True), pictures(3)
    _, evaluated = opened("resnet")
    assert couples(graph, "3.conv2")
    assert not couples(graph, "0")
    assert not couples(evaluated, "3.conv2")
    found = effective_field(graph, x, "3.bn1", (1, 4, 4))
    assert found.theoretical.everything
    assert found.theoretical.whole == ((0, 15), (0, 15))
    assert found.theoretical.mask.all()
    assert found.support.all()
    assert found.elsewhere > 0
    x.requires_grad_()
    value = graph.run(x, record=["3.bn1"])[1]["3.bn1"][0]
    squares = [torch.autograd.grad(value[n, 1, 4, 4], x, retain_graph=True)[0].square() for n in range(3)]
    own = sum(float(square[n].sum()) for n, square in enumerate(squares))
    assert found.elsewhere == pytest.approx(1 - own / sum(float(square.sum()) for square in squares))
    np.testing.assert_allclose(found.energy.sum(), own / 3)
    assert effective_field(evaluated, x, "3.bn1", (1, 4, 4)).support.sum() < 100


def test_a_number_behind_a_closed_relu_sees_nothing() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU()).double()
    nn.init.constant_(net[0].bias, -100)  # type: ignore[arg-type]
    graph = capture(net, (1, 8, 8))
    found = effective_field(graph, torch.rand(1, 1, 8, 8, dtype=torch.float64), "1", (0, 2, 2))
    assert not found.support.any()
    assert np.isnan(found.within)
    assert found.core is None
    assert found.strong == 0
    assert found.theoretical.mask.sum() == 9


@pytest.mark.parametrize("index", [(0, 16, 0), (6, 0, 0), (0, 0), (0, 0, 0, 0), (0, -17, 0)])
def test_a_place_that_there_is_not(index: tuple[int, ...]) -> None:
    _, graph = opened("modules")
    with pytest.raises(UsageError, match="'conv1' has no number at"):
        theoretical_field(graph, "conv1", index)


def test_pictures_of_another_size_are_refused() -> None:
    _, graph = opened("modules")
    with pytest.raises(
        UsageError, match="the pictures are 1 x 3 x 8 x 8, and the network was captured with N x 3 x 16"
    ):
        effective_field(graph, torch.zeros(1, 3, 8, 8, dtype=torch.float64), "conv1", (0, 0, 0))


def test_a_network_without_pictures_has_no_fields() -> None:
    graph = capture(nn.Linear(4, 2), (4,))
    with pytest.raises(UsageError, match="a field needs pictures"):
        theoretical_field(graph, graph.outputs[0], (0,))
