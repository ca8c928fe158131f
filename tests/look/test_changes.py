"""Changes of pictures, against slow references: copies by slices, loops over pixels in float64, SciPy's filter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from pellucid.errors import UsageError
from pellucid.look.changes import CHANGES, Motion, chosen_changes, looked_up, standard_normals
from tests.oracles.augmentation import turned, warped
from tests.oracles.philox import words_of_sample

NOISE = 11
RIGHT, LEFT, DOWN, UP = (0, 1), (0, -1), (1, 0), (-1, 0)
WAYS = [RIGHT, LEFT, DOWN, UP, (1, 1), (-1, -1), (1, -1), (-1, 1)]


def pictures(count: int, channels: int = 3, height: int = 12, width: int = 12, seed: int = 0) -> torch.Tensor:
    drawn = np.random.default_rng(seed).integers(0, 256, (count, channels, height, width))
    return torch.from_numpy(drawn.astype(np.float32))


def changed(name: str, size: float, given: torch.Tensor, numbers: np.ndarray | None = None) -> torch.Tensor:
    return CHANGES[name].apply(given, size, np.arange(len(given)) if numbers is None else numbers)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("shape", [(12, 12), (7, 10)])
def test_the_neutral_size_changes_nothing_at_all(name: str, shape: tuple[int, int]) -> None:
    given = pictures(9, 3, *shape)
    before = given.clone()
    assert torch.equal(changed(name, CHANGES[name].neutral, given), before)
    assert torch.equal(given, before)  # and what was given is left alone


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_leaves_what_it_was_given_as_it_was(name: str) -> None:
    given = pictures(9)
    before = given.clone()
    out = changed(name, 1.5, given)
    assert torch.equal(given, before)
    assert not torch.equal(out, before)
    assert out.dtype == torch.float32


@pytest.mark.parametrize("pixels", [1, 3, 5])
@pytest.mark.parametrize(
    "way", range(8), ids=["right", "left", "down", "up", "both", "neither", "left-down", "right-up"]
)
def test_a_shift_by_whole_pixels_copies_them_and_repeats_the_edge(way: int, pixels: int) -> None:
    given = pictures(1, 2, 9, 11)
    down, right = WAYS[way][0] * pixels, WAYS[way][1] * pixels
    padded = np.pad(given.numpy(), ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)), mode="edge")
    wanted = padded[:, :, pixels - down : pixels - down + 9, pixels - right : pixels - right + 11]
    assert np.array_equal(changed("shift", pixels, given, np.array([way])).numpy(), wanted)


def test_a_shift_to_the_right_moves_the_picture_to_the_right() -> None:
    given = torch.zeros(1, 1, 5, 5)
    given[0, 0, 2, 1] = 200
    assert torch.nonzero(changed("shift", 2, given, np.array([0])))[0].tolist() == [0, 0, 2, 3]
    assert torch.nonzero(changed("shift", 2, given, np.array([2])))[0].tolist() == [0, 0, 4, 1]


def test_the_directions_are_dealt_out_by_the_number_of_the_picture_alone() -> None:
    given = pictures(1).expand(20, -1, -1, -1).contiguous()
    together = changed("shift", 2, given)
    alone = changed("shift", 2, given[:1], np.array([13]))
    assert torch.equal(together[13:14], alone)
    assert len({together[i].numpy().tobytes() for i in range(20)}) == 8


def test_a_shift_by_half_a_pixel_is_the_mean_of_neighbours() -> None:
    given = pictures(1, 1, 4, 6)
    out = changed("shift", 0.5, given, np.array([0]))
    assert torch.equal(out[..., 1:], (given[..., 1:] + given[..., :-1]) / 2)


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(
    ("degrees", "quarters"), [(90, 1), (180, 2), (270, 3), (360, 4), (-90, -1), (-180, -2), (-270, -3), (-360, 0)]
)
def test_a_rotation_by_right_angles_is_rot90_bit_by_bit(degrees: float, quarters: int, side: int) -> None:
    given = pictures(2, 3, side, side)
    wanted = np.rot90(given.numpy(), quarters, axes=(2, 3))
    assert np.array_equal(changed("rotation", degrees, given).numpy(), wanted)


@pytest.mark.parametrize("shape", [(9, 9), (8, 11)])
@pytest.mark.parametrize(
    ("name", "size"),
    [("rotation", 10), ("rotation", -37.5), ("rotation", 135), ("rotation", -300)]
    + [("scale", 0.5), ("scale", 0.8), ("scale", 1.3), ("scale", 2)],
)
def test_turning_and_scaling_are_as_pixel_by_pixel(name: str, size: float, shape: tuple[int, int]) -> None:
    given = pictures(1, 2, *shape)
    angle, zoom = (-size, 1.0) if name == "rotation" else (0.0, size)  # the reference turns clockwise
    picture = given[0].permute(1, 2, 0).numpy().astype(np.float64)
    wanted = warped(picture, [turned(shape[1], shape[0], angle, zoom)], clamp=True)
    out = changed(name, size, given)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(out, wanted, atol=255 * 2e-6)


def test_a_picture_of_twice_the_size_shows_its_middle() -> None:
    given = torch.zeros(1, 1, 8, 8)
    given[0, 0, 3:5, 3:5] = 100
    assert changed("scale", 2, given)[0, 0, 3:5, 3:5].eq(100).all()
    assert changed("scale", 2, given).sum() > 3 * given.sum()
    assert changed("scale", 0.5, given).sum() < given.sum() / 2


def test_brightness_multiplies_and_stops_at_white() -> None:
    given = torch.tensor([0.0, 10, 100, 255]).view(1, 1, 2, 2)
    assert changed("brightness", 2, given).flatten().tolist() == [0, 20, 200, 255]
    assert changed("brightness", 0.5, given).flatten().tolist() == [0, 5, 50, 127.5]
    assert changed("brightness", 0, given).flatten().tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("deviation", [0.3, 0.5, 1.0, 2.5, 6.0])
def test_a_blur_is_scipys_gaussian_filter(deviation: float) -> None:
    given = pictures(2, 3, 9, 14)
    wanted = ndimage.gaussian_filter(given.numpy().astype(np.float64), (0, 0, deviation, deviation), mode="nearest")
    np.testing.assert_allclose(changed("blur", deviation, given).numpy(), wanted, atol=255 * 2e-6)


def test_noise_is_box_and_mullers_from_the_words_of_the_picture() -> None:
    drawn = [word for sample in range(2) for word in words_of_sample(0, 41, NOISE, sample)]
    wanted = []
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        radius = math.sqrt(-2 * math.log((first + 0.5) / 2**32))
        angle = 2 * math.pi * (second + 0.5) / 2**32
        wanted += [radius * math.cos(angle), radius * math.sin(angle)]
    np.testing.assert_allclose(standard_normals(41, 13), wanted[:13], rtol=1e-12)


def test_noise_belongs_to_the_picture_and_grows_with_its_size() -> None:
    grey = torch.full((3, 3, 16, 16), 128.0)
    numbers = np.array([5, 700, 6])
    small, large = (changed("noise", size, grey, numbers) - 128 for size in (4.0, 16.0))
    assert torch.allclose(4 * small, large, atol=1e-4)
    assert torch.equal(changed("noise", 4.0, grey[:1], np.array([700])), changed("noise", 4.0, grey, numbers)[1:2])
    assert not torch.allclose(small[0], small[2], atol=1)


def test_noise_is_normal_and_cut_at_black_and_white() -> None:
    drawn = standard_normals(3, 200_000)
    share = [float((np.abs(drawn) < bound).mean()) for bound in (0.5, 1, 2, 3)]
    assert drawn.mean() == pytest.approx(0, abs=0.01)
    assert drawn.std() == pytest.approx(1, abs=0.01)
    assert share == pytest.approx([math.erf(bound / math.sqrt(2)) for bound in (0.5, 1, 2, 3)], abs=0.004)
    out = changed("noise", 96.0, pictures(4))
    assert (float(out.min()), float(out.max())) == (0, 255)


def test_a_look_up_between_the_rounding_of_its_arithmetic_copies() -> None:
    maps = torch.randn(2, 3, 4, 5)
    maps[..., 1, 2] = 0  # to which nothing of a neighbour may be added
    places = np.array([[1 + 1e-12, 2 - 1e-12], [3, 4], [-7, 99], [0, 0.25]])
    out = looked_up(maps, places)
    assert out.shape == (2, 3, 4)
    assert torch.equal(out[..., 0], maps[..., 1, 2])
    assert torch.equal(out[..., 1], maps[..., 3, 4])
    assert torch.equal(out[..., 2], maps[..., 0, 4])
    assert torch.allclose(out[..., 3], 0.75 * maps[..., 0, 0] + 0.25 * maps[..., 0, 1])
    assert looked_up(maps, np.zeros((0, 2))).shape == (2, 3, 0)


@pytest.mark.parametrize("side", [4, 28, 32, 224])
@pytest.mark.parametrize("name", CHANGES)
def test_the_usual_sizes_make_sense_for_pictures_of_any_side(name: str, side: int) -> None:
    change = CHANGES[name]
    sizes = change.sizes(side)
    assert change.checked(sizes) == sizes  # in order, the neutral one among them, all allowed
    assert change.neutral in sizes
    assert len(sizes) > 1
    assert name != "shift" or max(sizes) <= side / 4
    assert name != "blur" or max(sizes) <= max(1, side / 8)


@pytest.mark.parametrize("name", [name for name, change in CHANGES.items() if isinstance(change, Motion)])
def test_every_picture_moves_one_way(name: str) -> None:
    change = CHANGES[name]
    assert isinstance(change, Motion)
    numbers = np.array([3, 3, 11, 4, 0])
    counts = np.zeros(5, int)
    for _, chosen in change.dealt(numbers):
        counts[chosen] += 1
    assert counts.tolist() == [1] * 5


def test_changes_are_chosen_by_name_and_by_size() -> None:
    everything = chosen_changes(None, (32, 40))
    assert [change.name for change, _ in everything] == list(CHANGES)
    assert dict(everything)[CHANGES["shift"]] == (0, 1, 2, 3, 4, 6, 8)
    assert [change.name for change, _ in chosen_changes(["noise", "shift", "noise"], (8, 8))] == ["noise", "shift"]
    assert [change.name for change, _ in chosen_changes("blur", (8, 8))] == ["blur"]
    given = chosen_changes({"rotation": [30, -30, 30], "scale": None}, (8, 8))
    assert [sizes for _, sizes in given] == [(-30, 0, 30), CHANGES["scale"].sizes(8)]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["rotate"], "there is no change named 'rotate'; did you mean 'rotation'?"),
        ({"shear": [1]}, "there is no change named 'shear'"),
        ({"scale": [0]}, "a scale of 0 makes no sense"),
        ({"brightness": [-0.5]}, "a brightness of -0.5 makes no sense"),
        ({"rotation": [math.nan]}, "a rotation of nan makes no sense"),
        ({"noise": [8, math.inf]}, "a noise of inf makes no sense"),
        ({"shift": [-1]}, "a shift of -1 makes no sense"),
        ({"blur": [300]}, "a blur of 300 makes no sense"),
    ],
)
def test_a_change_or_size_that_makes_no_sense_is_said(asked: object, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        chosen_changes(asked, (32, 32))  # type: ignore[arg-type]
