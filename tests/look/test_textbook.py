"""The sums that textbooks print, digit by digit and in their order, as an opened convolution has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid import look
from pellucid.look import Number, Scene

PICTURE = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
KERNEL = [[0, 1], [2, 3]]


def convolution(kernels: object, **options: object) -> nn.Conv2d:
    """A convolution without a bias whose weights are ``kernels`` (K, C, R, S)."""
    weight = torch.tensor(kernels, dtype=torch.float32)
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=False, **options)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def opened(kernels: object, picture: object, **options: object) -> Scene:
    """The picture (C, H, W) in a network of that one convolution."""
    return look.open(convolution(kernels, **options), torch.tensor(picture, dtype=torch.float32)[None])


def products(number: Number) -> list[float]:
    return [term.product for term in number.terms()]


CROSS_CORRELATION = [
    ((0, 0), [0, 1, 6, 12], "0·0 + 1·1 + 3·2 + 4·3 = 19"),
    ((0, 1), [0, 2, 8, 15], "1·0 + 2·1 + 4·2 + 5·3 = 25"),
    ((1, 0), [0, 4, 12, 21], "3·0 + 4·1 + 6·2 + 7·3 = 37"),
    ((1, 1), [0, 5, 14, 24], "4·0 + 5·1 + 7·2 + 8·3 = 43"),
]


@pytest.mark.parametrize(("place", "parts", "text"), CROSS_CORRELATION, ids=["19", "25", "37", "43"])
def test_cross_correlation_of_0_to_8_with_0_to_3(place: tuple[int, int], parts: list[int], text: str) -> None:
    number = opened([[KERNEL]], [PICTURE]).at("convolution", channel=0, y=place[0], x=place[1])
    assert number.value == sum(parts)
    assert products(number) == parts
    assert text in str(number).split("\n")[-1]


def test_every_term_of_it_leads_to_its_pixel_and_its_weight() -> None:
    number = opened([[KERNEL]], [PICTURE]).at("convolution", channel=0, y=0, x=1)
    assert [term.open().value for term in number.terms()] == [1, 2, 4, 5]
    assert [term.open().index for term in number.terms()] == [(0, 0, 0, 1), (0, 0, 0, 2), (0, 0, 1, 1), (0, 0, 1, 2)]
    assert [term.weight.index for term in number.terms() if term.weight] == [
        (0, 0, 0, 0),
        (0, 0, 0, 1),
        (0, 0, 1, 0),
        (0, 0, 1, 1),
    ]
    assert number.box == ((0, 1), (1, 2))


def test_two_channels_are_correlated_each_and_added_to_56() -> None:
    scene = opened([[[[1, 2], [3, 4]], KERNEL]], [[[1, 2, 3], [4, 5, 6], [7, 8, 9]], PICTURE])
    number = scene.at("convolution", channel=0, y=0, x=0)
    assert number.value == 56
    assert products(number) == [1, 4, 12, 20, 0, 1, 6, 12]
    assert "1·1 + 2·2 + 4·3 + 5·4 + 0·0 + 1·1 + 3·2 + 4·3 = 56" in str(number)
    assert scene.values("convolution").tolist() == [[[[56, 72], [104, 120]]]]


def test_padded_by_one_the_4x4_output_starts_with_0() -> None:
    scene = opened([[KERNEL]], [PICTURE], padding=1)
    assert scene.values("convolution").shape == (1, 1, 4, 4)
    number = scene.at("convolution", channel=0, y=0, x=0)
    assert number.value == 0
    assert products(number) == [0, 0, 0, 0]
    assert "0·0 + 0·1 + 0·2 + 0·3 = 0" in str(number)
    assert [term.role for term in number.terms()] == ["padding", "padding", "padding", "product"]
    assert number.terms()[3].open().index == (0, 0, 0, 0)


STRIDES = [((0, 1), [0, 0, 2, 6], "0·0 + 0·1 + 1·2 + 2·3 = 8"), ((1, 0), [0, 6, 0, 0], "0·0 + 6·1 + 0·2 + 0·3 = 6")]


@pytest.mark.parametrize(("place", "parts", "text"), STRIDES, ids=["8", "6"])
def test_stride_3_down_and_2_across(place: tuple[int, int], parts: list[int], text: str) -> None:
    scene = opened([[KERNEL]], [PICTURE], padding=1, stride=(3, 2))
    assert scene.values("convolution").shape == (1, 1, 2, 2)
    number = scene.at("convolution", channel=0, y=place[0], x=place[1])
    assert number.value == sum(parts)
    assert products(number) == parts
    assert text in str(number)


def bar() -> Tensor:
    """White (1), with a black bar (0) four pixels wide, (1, 1, 6, 8)."""
    picture = torch.ones(1, 1, 6, 8)
    picture[..., 2:6] = 0
    return picture


def test_an_edge_kernel_finds_the_two_edges_of_a_bar() -> None:
    scene = look.open(convolution([[[[1, -1]]]]), bar())
    assert scene.values("convolution")[0, 0].tolist() == [[0, 1, 0, 0, 0, -1, 0]] * 6
    assert "1·1 + 0·(-1) = 1" in str(scene.at("convolution", channel=0, y=0, x=1))
    assert "0·1 + 1·(-1) = -1" in str(scene.at("convolution", channel=0, y=0, x=5))


def test_it_finds_no_edge_in_the_transposed_bar() -> None:
    scene = look.open(convolution([[[[1, -1]]]]), bar().mT)
    assert not scene.values("convolution").any()


def test_learning_the_edge_kernel_from_input_and_output_recovers_it() -> None:
    """Each step takes the gradient of the squared error from an opened scene, number by number."""
    layer = convolution([[[[0.3, 0.3]]]])
    wanted = torch.tensor([0.0, 1, 0, 0, 0, -1, 0]).expand(1, 1, 6, 7)
    lens = look.Lens(layer, loss=nn.MSELoss(reduction="sum"))
    losses = []
    for _ in range(20):
        scene = lens.open(bar(), label=wanted)
        losses.append(scene.loss.value)
        gradient = [scene.gradient("weight", (0, 0, 0, i)).total for i in range(2)]
        with torch.no_grad():
            layer.weight -= 0.03 * torch.tensor(gradient).reshape(1, 1, 1, 2)
    assert layer.weight.detach().numpy().ravel() == pytest.approx([1, -1], abs=0.01)
    assert losses[-1] < losses[0] / 1000


def beak(y: int, x: int) -> Tensor:
    """A beak, the point of a wedge, with its tip at (y, x) in an empty picture, (1, 1, 16, 16)."""
    picture = torch.zeros(1, 1, 16, 16)
    picture[0, 0, y - 2 : y + 3, x : x + 3] = torch.tensor(BEAK, dtype=torch.float32)
    return picture


BEAK = [[0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize(("y", "x"), [(4, 2), (5, 9), (11, 12)])
def test_a_beak_moved_in_the_picture_moves_in_the_feature_map(y: int, x: int) -> None:
    detector = [[[[2 * value - 1 for value in row] for row in BEAK]]]
    scene = look.open(convolution(detector), beak(y, x))
    feature_map = scene.values("convolution")[0, 0]
    found = np.unravel_index(feature_map.argmax(), feature_map.shape)
    assert (found[0] + 2, found[1]) == (y, x)  # the detector's tip lies in its row 2
    number = scene.at("convolution", channel=0, y=int(found[0]), x=int(found[1]))
    assert number.value == sum(map(sum, BEAK)) == 9
    assert number.box == ((y - 2, y + 2), (x, x + 2))


def test_a_sum_of_one_term_is_not_written_twice() -> None:
    layer = nn.Conv2d(1, 1, 1)
    scene = look.open(layer, torch.zeros(1, 1, 1, 1), label=torch.full((1, 1, 1, 1), 9.0), loss=nn.L1Loss())
    assert str(scene.gradient("bias", (0,))).split("\n")[-1] == "  = -1"
