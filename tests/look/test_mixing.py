"""Which channels reach which: groups with and without a shuffle, and every pair by brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pellucid import draw, look, nets
from pellucid.errors import UsageError
from pellucid.graph import capture
from pellucid.look.mixing import Mixing
from pellucid.nets.variants import ChannelShuffle


def grouped(layers: int, *, groups: int = 3, shuffles: bool = False, channels: int = 12) -> nn.Sequential:
    """1x1 convolutions of some groups one after another."""
    net = nn.Sequential()
    for _ in range(layers):
        net.append(nn.Conv2d(channels, channels, 1, groups=groups))
        net.append(ChannelShuffle(groups) if shuffles else nn.ReLU())
    return net


def mixing(net: nn.Module, channels: int = 12, **settings: Any) -> Mixing:
    return look.channel_mixing(net, input_size=(channels, 4, 4), **settings)


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_groups_alone_never_mix(layers: int) -> None:
    found = mixing(grouped(layers))
    assert np.array_equal(found.reaches, np.kron(np.eye(3), np.ones((4, 4))).astype(bool))
    assert (found.share, found.islands) == (pytest.approx(1 / 3), 3)


def test_after_one_shuffle_every_group_has_a_share_of_every_group() -> None:
    found = mixing(grouped(1, shuffles=True))
    order = [g * 4 + i for i in range(4) for g in range(3)]
    assert np.array_equal(found.reaches, np.kron(np.eye(3), np.ones((4, 4))).astype(bool)[order])


def test_with_a_shuffle_between_two_layers_all_channels_are_joined() -> None:
    found = mixing(grouped(2, shuffles=True))
    assert bool(found.reaches.all())
    assert (found.share, found.islands) == (1.0, 1)


def test_too_few_channels_for_the_groups_take_more_than_one_shuffle() -> None:
    """Four groups of two channels: two layers reach half of them, three reach all."""
    shares = [mixing(grouped(n, groups=4, shuffles=True, channels=8), 8).share for n in (1, 2, 3)]
    assert shares == [0.25, 0.5, 1.0]


class Mixed(nn.Module):
    """Splits, a gate, a softmax over places, a depthwise and a transposed convolution, with ReLUs that may close."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(3, 4, 2, stride=2, groups=1)
        self.deep = nn.Conv2d(3, 3, 3, padding=1, groups=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 6, H, W) -> (N, 7, 2 H, 2 W)"""
        a, b = nn.functional.relu6(self.norm(self.first(x))).chunk(2, 1)
        gate = torch.sigmoid(a.mean((2, 3), keepdim=True))
        deep = nn.functional.interpolate(nn.functional.max_pool2d(self.deep(b * gate), 2), scale_factor=4.0)
        return torch.cat((self.up(a), deep), 1)


def by_brute_force(net: nn.Module, channels: int, size: int) -> np.ndarray:
    """Change one input channel at a time, for many weights and pictures, and see which outputs move."""
    moved = None
    for seed in range(12):
        torch.manual_seed(seed)
        for parameter in net.parameters():
            nn.init.normal_(parameter)
        x = torch.randn(1, channels, size, size)
        with torch.no_grad():
            before = net.eval()(x)
            found = []
            for channel in range(channels):
                other = x.clone()
                other[:, channel] = torch.randn(size, size)
                found.append((net(other) != before).flatten(2).any(2)[0].numpy())
        table = np.stack(found, 1)
        moved = table if moved is None else moved | table
    assert moved is not None
    return moved


@pytest.mark.parametrize(
    ("net", "channels"),
    [
        (Mixed(), 6),
        (grouped(2, groups=4, shuffles=True, channels=8), 8),
        (nn.Sequential(nn.PixelShuffle(2), nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.Hardtanh()), 8),
        (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.GLU(1), nn.Dropout(0.5)), 4),
        (nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.GroupNorm(2, 4), nn.SiLU()), 4),
    ],
    ids=["mixed", "shuffled", "pixel shuffle", "gated", "group norm"],
)
def test_it_is_what_changing_a_channel_moves(net: nn.Module, channels: int) -> None:
    found = look.channel_mixing(net, input_size=(channels, 6, 6))
    assert np.array_equal(found.reaches, by_brute_force(net, channels, 6))


def test_closed_relus_and_weights_of_zero_play_no_part() -> None:
    net = grouped(2)
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert mixing(net).islands == 3
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_from_a_node_to_a_node() -> None:
    graph = capture(nets.make("variant_cnn", kind="grouped", image_size=8, channels=[8, 16]), (3, 8, 8))
    whole = look.channel_mixing(graph)
    assert bool(whole.reaches.all()), "the stem is no grouped convolution"
    inside = look.channel_mixing(graph, "stages.1.2.0", "stem.3")
    assert (inside.reaches.shape, inside.share, inside.islands) == ((16, 8), 0.25, 4)
    assert str(inside) == "stem.3 (8 channels) -> stages.1.2.0 (16): 25% of all pairs are joined, in 4 islands"
    features = look.channel_mixing(graph, "fc", "stages.1.2.2")
    assert features.reaches.shape == (10, 16)


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("standard", 1.0),
        ("grouped", 0.25),
        ("grouped_shuffled", 1.0),
        ("depthwise", 0.125),
        ("separable", 1.0),
        ("local", 1.0),
    ],
)
def test_the_kinds_of_a_plan(kind: str, share: float) -> None:
    graph = capture(nets.make("variant_cnn", kind=kind, image_size=8, channels=[8, 8]), (3, 8, 8))
    assert look.channel_mixing(graph, source="stem.3").share == share


def test_more_channels_than_are_followed_at_once() -> None:
    found = mixing(grouped(1, groups=35, channels=70), 70)
    assert np.array_equal(found.reaches, np.kron(np.eye(35), np.ones((2, 2))).astype(bool))


def test_channels_without_a_road_are_islands_of_their_own() -> None:
    assert Mixing("b", "a", np.array([[True, False, False], [False, False, False]])).islands == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "how large is the picture"),
        ({"input_size": (12, 4, 4), "node": "nothing"}, "no node named 'nothing'"),
        ({"input_size": (12, 4, 4), "node": "0", "source": "2"}, "'0' does not depend on '2'"),
        ({"input_size": (12, 4, 4), "source": "elsewhere"}, "no node named 'elsewhere'"),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        look.channel_mixing(grouped(2), **settings)


def test_a_matrix_is_drawn_with_a_square_for_each_joined_pair(tmp_path: Path) -> None:
    import re
    from xml.etree import ElementTree

    found = mixing(grouped(1))
    svg = draw.mixing_svg([("groups < 3", found)])
    ElementTree.fromstring(svg)
    assert "groups &lt; 3" in svg
    filled = re.search(r'class="on" d="([^"]*)"', svg)
    assert filled is not None
    cell = 220 / 12
    assert filled.group(1).count("M") == 12, "a run of squares in each row"
    assert f"h{4 * cell:.2f}v{cell:.2f}" in filled.group(1)
    assert "33% joined" in svg


def test_holes_are_drawn_and_counted() -> None:
    mask = np.zeros((7, 7), bool)
    mask[1:6:2, 1:6:2] = True
    assert "9 of 25 pixels in the box" in draw.holes_svg([("rate 2", mask)])
    assert "0 of 0 pixels in the box" in draw.holes_svg([("nothing", np.zeros((3, 3), bool))])
