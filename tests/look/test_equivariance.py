"""Laws of following: what commutes with what is known on paper; the rest against float64 and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.graph import capture
from pellucid.look.changes import CHANGES, LookUp, Motion, looked_up
from pellucid.look.equivariance import Grid, Places, errors, lengths, places
from tests.oracles.augmentation import looked_up as slowly

SIDE = 24


def conv(channels: int, kernels: int, size: int, **settings: int) -> nn.Conv2d:
    return nn.Conv2d(channels, kernels, size, **settings)


class Following:
    """A network with a grid of features, and the errors with which it follows a motion of random pictures."""

    def __init__(self, net: nn.Module, side: int = SIDE, channels: int = 2, count: int = 8) -> None:
        torch.manual_seed(1)
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.reset_parameters()
        self.net, self.side = net.eval(), side
        graph = capture(net, (channels, side, side))
        row = graph.account().rows[-1]
        grid = Grid.of(row.shape, row.field)
        assert grid is not None
        self.grid = grid
        self.pictures = torch.rand(count, channels, side, side) * 255

    @torch.no_grad()
    def errors(self, name: str, size: float) -> torch.Tensor:
        change = CHANGES[name]
        assert isinstance(change, Motion)
        numbers = np.arange(len(self.pictures))
        features = self.net(self.pictures)
        moved = self.net(change.apply(self.pictures, size, numbers))
        found = torch.zeros(len(numbers), dtype=torch.float64)
        for way, chosen in change.dealt(numbers):
            at = places(self.grid, change.look_up(size, way, (self.side, self.side)), (self.side, self.side))
            assert len(at.index)
            found[chosen] = errors(moved[chosen], features[chosen], at)
        return found


@pytest.mark.parametrize(
    "net",
    [
        conv(2, 4, 3),
        conv(2, 4, 5, padding=2),
        nn.Sequential(conv(2, 4, 3, padding=1), nn.ReLU(), conv(4, 3, 3, padding=2, dilation=2)),
        nn.Sequential(conv(2, 4, 3), nn.MaxPool2d(3, stride=1, padding=1), nn.BatchNorm2d(4)),
    ],
    ids=["plain", "padded", "dilated", "pooled in steps of 1"],
)
def test_a_convolution_follows_every_shift_by_whole_pixels(net: nn.Module) -> None:
    following = Following(net)
    assert max(float(following.errors("shift", pixels).max()) for pixels in (1, 2, 3, 5)) < 1e-6


@pytest.mark.parametrize(("stride", "exactly"), [(2, (2, 4, 6)), (3, (3, 6))])
def test_steps_follow_shifts_by_multiples_of_the_step_alone(stride: int, exactly: tuple[int, ...]) -> None:
    net = Following(conv(2, 8, 3, stride=stride, padding=1))
    for pixels in range(1, 7):
        found = net.errors("shift", pixels)
        assert found.max() < 1e-6 if pixels in exactly else found.min() > 0.1, pixels


def test_half_a_shift_between_features_is_followed_by_what_is_linear_and_dense() -> None:
    linear = Following(conv(2, 4, 3))
    assert linear.errors("shift", 1.5).max() < 1e-6
    bent = Following(nn.Sequential(conv(2, 4, 3), nn.ReLU()))
    assert bent.errors("shift", 1.5).min() > 0.01


def test_a_transposed_convolution_follows_with_several_features_a_pixel() -> None:
    net = Following(nn.ConvTranspose2d(2, 4, 4, stride=2, padding=1))
    assert net.grid.step.tolist() == [0.5, 0.5]
    assert net.errors("shift", 1).max() < 1e-6
    assert net.errors("shift", 3).max() < 1e-6


def test_a_convolution_of_one_pixel_follows_every_motion() -> None:
    net = Following(conv(2, 5, 1))
    motions = [("rotation", 30), ("rotation", -77), ("scale", 0.7), ("scale", 1.6)]
    assert max(float(net.errors(name, size).max()) for name, size in motions) < 1e-5


def test_a_rotation_by_right_angles_is_followed_by_kernels_that_are_the_same_turned() -> None:
    net = Following(conv(2, 4, 3))
    angles = (90, 180, -90)
    assert min(float(net.errors("rotation", degrees).min()) for degrees in angles) > 0.5
    with torch.no_grad():
        weight = net.net.weight
        weight.copy_(sum(weight.rot90(i, (2, 3)) for i in range(4)) / 4)
    assert max(float(net.errors("rotation", degrees).max()) for degrees in angles) < 1e-6


def test_a_kernel_that_is_no_point_does_not_follow_a_change_of_scale() -> None:
    assert Following(conv(2, 4, 5)).errors("scale", 2).min() > 0.2


def test_the_error_is_that_of_loops_in_double_precision() -> None:
    net = Following(nn.Sequential(conv(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)), side=16, count=1)
    step, middle = 2, 0.5  # of the pooling: its feature i sees pixels 2 i - 1 to 2 i + 2
    degrees, centre = 25.0, 7.5
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    with torch.no_grad():
        before = net.net(net.pictures)[0].permute(1, 2, 0).double().numpy()
        after = (
            net.net(CHANGES["rotation"].apply(net.pictures, degrees, np.arange(1)))[0].permute(1, 2, 0).double().numpy()
        )
    difference, length = 0.0, 0.0

    def turned(y: float, x: float) -> tuple[float, float]:
        return cos * (y - centre) + sin * (x - centre) + centre, -sin * (y - centre) + cos * (x - centre) + centre

    def holds(y: float, x: float) -> bool:
        return all(-1e-9 <= value <= 15 + 1e-9 for value in (y, x))

    for i in range(8):
        for j in range(8):
            y, x = step * i + middle, step * j + middle
            corners = [(y + dy, x + dx) for dy in (-1.5, 1.5) for dx in (-1.5, 1.5)]
            source = [(value - middle) / step for value in turned(y, x)]
            neighbours = [
                (step * k + middle + dk, step * m + middle + dm)
                for k in (math.floor(source[0]), math.ceil(source[0]))
                for m in (math.floor(source[1]), math.ceil(source[1]))
                for dk in (-1.5, 1.5)
                for dm in (-1.5, 1.5)
            ]
            if not all(holds(*at) for at in [*corners, *(turned(*corner) for corner in corners), *neighbours]):
                continue
            value = slowly(before, source[0] + 0.5, source[1] + 0.5, clamp=True)
            difference += float(((after[i, j] - value) ** 2).sum())
            length += float((after[i, j] ** 2).sum())
    assert length > 0
    assert float(net.errors("rotation", degrees)[0]) == pytest.approx(math.sqrt(difference / length), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "size"), [("shift", 3), ("shift", 2.5), ("rotation", 40), ("rotation", 90), ("scale", 0.6), ("scale", 1.7)]
)
def test_compared_places_see_neither_padding_nor_what_came_in_from_outside(name: str, size: float) -> None:
    """The picture as the middle of a larger one: what lies round it must make no difference at the compared places."""
    net = Following(
        nn.Sequential(conv(2, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), conv(4, 4, 3, padding=1)), count=8
    )
    change, border = CHANGES[name], 32
    inside = slice(border // 2, (border + SIDE) // 2)
    assert isinstance(change, Motion)
    larger = torch.rand(8, 2, SIDE + 2 * border, SIDE + 2 * border) * 255
    larger[:, :, border : border + SIDE, border : border + SIDE] = net.pictures
    pixels = np.stack(np.meshgrid(*[np.arange(len(larger[0, 0]))] * 2, indexing="ij"), -1) - border
    numbers = np.arange(8)
    with torch.no_grad():
        alone = net.net(change.apply(net.pictures, size, numbers))
        still, still_around = net.net(net.pictures), net.net(larger)[:, :, inside, inside]
        for way, chosen in change.dealt(numbers):
            look_up = change.look_up(size, way, (SIDE, SIDE))
            at = places(net.grid, look_up, (SIDE, SIDE))
            around = net.net(looked_up(larger[chosen], look_up(pixels.astype(np.float64)) + border))
            assert len(at.index)
            found = alone[chosen].flatten(2)[..., at.index]
            assert torch.allclose(found, around[:, :, inside, inside].flatten(2)[..., at.index], atol=1e-3, rtol=1e-4)
            sources = looked_up(still[chosen], at.source)
            assert torch.allclose(sources, looked_up(still_around[chosen], at.source), atol=1e-3, rtol=1e-4)


def test_no_place_is_left_out_that_sees_only_the_picture() -> None:
    grid = Following(conv(2, 1, 3, padding=1), side=10).grid
    right = CHANGES["shift"].look_up(3, 0, (10, 10))  # type: ignore[attr-defined]
    at = places(grid, right, (10, 10))
    # Rows 1 to 8 see only the picture; column j does for j in 1 to 8, and its source j - 3 as well.
    assert at.index.tolist() == [10 * i + j for i in range(1, 9) for j in range(4, 9)]
    assert at.source.tolist() == [[i, j - 3] for i in range(1, 9) for j in range(4, 9)]


def test_a_field_larger_than_the_picture_leaves_no_place() -> None:
    grid = Following(nn.Sequential(conv(2, 1, 7, padding=3), conv(1, 1, 7, padding=3)), side=12).grid
    assert len(places(grid, LookUp(np.eye(2), np.zeros(2)), (12, 12)).index) == 0


@pytest.mark.parametrize(
    ("net", "size"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(72, 5)), (2, 6, 6)),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1)), (2, 6, 6)),
        (nn.Conv1d(2, 3, 3), (2, 6)),
    ],
    ids=["dense", "global", "one axis"],
)
def test_what_is_no_map_over_the_picture_has_no_grid(net: nn.Module, size: tuple[int, ...]) -> None:
    graph = capture(net, size)
    row = graph.account().rows[-1]
    assert Grid.of(row.shape, row.field) is None


def test_nothing_relative_to_nothing_is_nan() -> None:
    at = Places(np.array([0]), np.zeros((1, 2)))
    assert errors(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), at).isnan().all()


def test_a_length_is_over_all_of_a_picture() -> None:
    assert lengths(torch.tensor([[[3.0, 0], [0, 4]], [[0, 0], [0, 1]]])).tolist() == [5, 1]
