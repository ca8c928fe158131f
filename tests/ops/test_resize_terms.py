"""Padding, interpolation and pixel shuffles opened: every number and every gradient, against float64 PyTorch and
autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pellucid.ops.interpolation import shares
from tests.ops.opened import assert_opens, numbers, opened

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("target", "shape", "settings"),
    [
        (aten.constant_pad_nd.default, (1, 2, 3, 4), ([1, 2, 0, 1], 0.5)),
        (aten.constant_pad_nd.default, (1, 2, 3, 4), ([-1, 2, 1, -2],)),
        (aten.pad.default, (2, 3, 4), ([1, 1], "constant")),
        (aten.pad.default, (1, 1, 3, 4), ([2, 3, 1, 2], "reflect")),
        (aten.pad.default, (1, 1, 3, 4), ([2, 3, 1, 5], "replicate")),
        (aten.pad.default, (1, 1, 3, 4), ([2, 3, 1, 2], "circular")),
        (aten.pad.default, (1, 1, 4, 5), ([-1, 2, 1, -1], "circular")),
        (aten.reflection_pad1d.default, (2, 3, 4), ([3, 2],)),
        (aten.reflection_pad2d.default, (1, 2, 3, 4), ([1, 2, 2, 1],)),
        (aten.reflection_pad3d.default, (1, 1, 3, 2, 3), ([1, 2, 1, 0, 2, 1],)),
        (aten.replication_pad1d.default, (2, 3, 4), ([3, 5],)),
        (aten.replication_pad2d.default, (1, 2, 3, 4), ([1, 2, -1, 1],)),
        (aten.replication_pad3d.default, (1, 1, 2, 2, 3), ([1, 2, 1, 0, 0, 3],)),
    ],
    ids=str,
)
def test_padding(target: Any, shape: tuple[int, ...], settings: tuple[Any, ...]) -> None:
    assert_opens(target, numbers(*shape), *settings)


def test_a_number_of_the_padding_comes_from_nowhere() -> None:
    op, call, _ = opened(aten.constant_pad_nd.default, numbers(2, 3), [1, 0], 0.25)
    (group,) = op.terms((1, 0), call).groups
    assert (group.role, float(group.products[0]), group.places) == ("padding", 0.25, np.array([-1]))


def test_a_reflected_number_gathers_the_gradients_of_its_reflections() -> None:
    op, call, _ = opened(aten.reflection_pad1d.default, numbers(1, 4), [2, 0])
    terms = op.terms_of_gradient("self", (0, 2), call)
    assert terms is not None
    (group,) = terms.groups
    assert group.places is not None
    assert group.places.tolist() == [0, 4]


SIZES = [((3, 7), None), ((8, 10), (2.0, 2.0)), ((6, 7), (1.6, 1.4)), ((2, 2), (0.5, 0.4)), ((1, 5), None)]


@pytest.mark.parametrize("target", [aten.upsample_nearest2d, aten._upsample_nearest_exact2d], ids=str)
@pytest.mark.parametrize(("size", "scales"), SIZES, ids=str)
def test_nearest(target: Any, size: tuple[int, int], scales: tuple[float, float] | None) -> None:
    assert_opens(target.default, numbers(1, 2, 4, 5), size, *(scales or ()))


@pytest.mark.parametrize("scales", [[1.2, 1.2], [2.1, 2.2], [1.1, 1.7]], ids=str)
def test_nearest_by_a_scale_that_is_not_quite_1_or_2(scales: list[float]) -> None:
    """PyTorch takes it for 1 or 2 on the way back, and on the way forth in two dimensions."""
    assert_opens(aten.upsample_nearest2d.vec, numbers(1, 2, 4, 3), None, scales)
    assert_opens(aten.upsample_nearest1d.vec, numbers(1, 2, 4), None, scales[:1])


@pytest.mark.parametrize("target", [aten.upsample_bilinear2d, aten.upsample_bicubic2d], ids=str)
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize(("size", "scales"), SIZES, ids=str)
def test_means_of_neighbours(target: Any, size: Any, scales: tuple[float, float] | None, corners: bool) -> None:
    assert_opens(target.default, numbers(1, 2, 4, 5), size, corners, *(scales or ()))


@pytest.mark.parametrize("target", [aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa], ids=str)
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize(
    ("size", "scales"), [((3, 2), None), ((2, 4), (0.4, 0.6)), ((8, 3), None), ((6, 3), None)], ids=str
)
def test_antialiasing(target: Any, size: Any, scales: tuple[float, float] | None, corners: bool) -> None:
    assert_opens(target.default, numbers(1, 1, 6, 7), size, corners, *(scales or ()))


@pytest.mark.parametrize(
    ("target", "shape", "settings"),
    [
        (aten.upsample_nearest1d.default, (2, 2, 5), ([7],)),
        (aten.upsample_nearest1d.vec, (2, 2, 5), (None, [1.5])),
        (aten._upsample_nearest_exact1d.vec, (2, 2, 5), ([3], None)),
        (aten.upsample_nearest3d.default, (1, 1, 2, 3, 2), ([4, 4, 3],)),
        (aten._upsample_nearest_exact3d.default, (1, 1, 2, 3, 2), ([4, 4, 3],)),
        (aten.upsample_linear1d.default, (2, 2, 5), ([7], False)),
        (aten.upsample_linear1d.vec, (2, 2, 5), (None, True, [1.6])),
        (aten.upsample_bilinear2d.vec, (1, 2, 3, 4), (None, False, [1.5, 2.5])),
        (aten.upsample_bicubic2d.vec, (1, 1, 3, 4), ([5, 3], False, None)),
        (aten.upsample_bilinear2d.vec, (1, 1, 1, 4), ([3, 6], False, None)),
        (aten.upsample_bicubic2d.vec, (1, 1, 4, 1), ([6, 3], True, None)),
        (aten.upsample_trilinear3d.vec, (1, 1, 2, 3, 2), (None, False, [2.0, 1.4, 1.5])),
        (aten.upsample_trilinear3d.default, (1, 1, 2, 3, 2), ([3, 4, 1], True)),
        (aten._upsample_bilinear2d_aa.vec, (1, 1, 5, 4), (None, False, [0.5, 0.6])),
    ],
    ids=str,
)
def test_interpolation_of_any_number_of_axes(target: Any, shape: tuple[int, ...], settings: tuple[Any, ...]) -> None:
    assert_opens(target, numbers(*shape), *settings)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize(("inputs", "outputs"), [(100, 333), (127, 90), (56, 224)])
def test_places_are_found_in_the_precision_of_the_map(mode: str, inputs: int, outputs: int) -> None:
    """Of a map in single precision: in which sample of 127 a number falls depends on it."""
    basis = torch.eye(inputs).reshape(inputs, 1, 1, inputs)
    wanted = F.interpolate(basis, size=(1, outputs), mode=mode)[:, 0, 0].numpy()
    found = shares(mode.replace("-", "_"), inputs, outputs, None, precision=np.float32)
    matrix = np.zeros((inputs, outputs))
    for output in range(outputs):
        samples, weights = found.of_output(output)
        matrix[samples, output] = weights
    assert np.abs(matrix - wanted).max() < 1e-6


@pytest.mark.parametrize(
    ("target", "shape"), [(aten.pixel_shuffle.default, (2, 8, 2, 3)), (aten.pixel_unshuffle.default, (2, 3, 4, 6))]
)
def test_pixel_shuffles(target: Any, shape: tuple[int, ...]) -> None:
    assert_opens(target, numbers(*shape), 2)


def test_a_neighbour_at_the_border_stands_once() -> None:
    op, call, _ = opened(aten.upsample_bilinear2d.default, numbers(1, 1, 2, 2), [4, 4], False)
    corner, middle = op.terms((0, 0, 0, 0), call), op.terms((0, 0, 1, 1), call)
    assert (len(corner), len(middle)) == (1, 4)
    factors = middle.groups[0].factors
    assert factors is not None
    assert factors.tolist() == [0.5625, 0.1875, 0.1875, 0.0625]
