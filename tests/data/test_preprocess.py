"""Pictures to tensors, and pictures of any size to the network's size."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pellucid.data import Data, Preprocess
from pellucid.data.resize import Fit, resize
from pellucid.errors import DataError, DecodeError, ShapeError, UsageError


def a_picture(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 100 * np.sin(x / 9 + c) * np.cos(y / 7 - c) for c in range(channels)]
    return np.stack(waves, -1).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(out, "PNG")
    return out.getvalue()


PREPARE = Preprocess((12, 10), 3, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), ("a", "b"))


def test_tensor_is_the_normalised_picture() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 12, 10, 3), np.uint8)
    ours = PREPARE.tensor(images)
    wanted = ((images / 255 - np.array(PREPARE.mean)) / np.array(PREPARE.std)).transpose(0, 3, 1, 2)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), wanted, atol=1e-6)
    assert torch.equal(PREPARE.tensor(torch.from_numpy(images)), ours)
    assert torch.equal(PREPARE.tensor(images[3]), ours[3:4])


def test_tensor_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"pictures are torch.uint8 of shape \(1, 9, 10, 3\)\n.*\(N, 12, 10, 3\)"):
        PREPARE.tensor(np.zeros((9, 10, 3), np.uint8))
    with pytest.raises(ShapeError, match=r"pictures are torch.float32"):
        PREPARE.tensor(np.zeros((12, 10, 3), np.float32))


def test_mean_and_deviation_are_those_of_the_training_pictures() -> None:
    images = np.random.default_rng(0).integers(0, 200, (50, 6, 5, 3), np.uint8)
    data = Data.from_arrays(images, np.arange(50) % 3, validation=(images[:4] // 2, np.zeros(4, int)))
    prepare = Preprocess.of(data)
    np.testing.assert_allclose(prepare.mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(prepare.std, (images / 255).std((0, 1, 2)), rtol=1e-9)
    assert prepare.classes == ("0", "1", "2")
    normal = prepare.tensor(images)
    np.testing.assert_allclose(normal.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std((0, 2, 3)), 1, atol=1e-2)


def test_pictures_of_one_colour_do_not_divide_by_zero() -> None:
    data = Data.from_arrays(np.full((4, 3, 3), 7, np.uint8), [0, 1, 0, 1])
    assert Preprocess.of(data).tensor(data.train.images).abs().max() < 1e-4


def test_json_gives_the_same_back_to_the_last_bit() -> None:
    odd = Preprocess((5, 7), 1, (1 / 3,), (np.pi / 10,), ("ä", "b"), "squash")
    assert Preprocess.from_json(json.dumps(odd.to_json())) == odd
    assert Preprocess.from_json(odd.to_json()) == odd


def test_picture_takes_every_form_alike(tmp_path: Path) -> None:
    pixels = a_picture(40, 30)
    file = tmp_path / "one.png"
    file.write_bytes(png(pixels))
    wanted = PREPARE.picture(pixels)
    assert wanted.shape == (12, 10, 3)
    for form in (png(pixels), file, str(file), Image.fromarray(pixels), torch.from_numpy(pixels), pixels / 255):
        np.testing.assert_array_equal(PREPARE.picture(form), wanted)


def test_picture_turns_by_exif_however_it_comes() -> None:
    out = io.BytesIO()
    picture = Image.fromarray(a_picture(40, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(out, "PNG", exif=exif)
    encoded = out.getvalue()
    np.testing.assert_array_equal(PREPARE.picture(encoded), PREPARE.picture(Image.open(io.BytesIO(encoded))))
    assert not np.array_equal(PREPARE.picture(encoded), PREPARE.picture(picture))


def test_grey_and_colour_are_brought_to_the_channels_wanted() -> None:
    grey = Preprocess((12, 10), 1, (0.5,), (0.25,))
    colour = a_picture(12, 10)
    np.testing.assert_array_equal(grey.picture(colour)[:, :, 0], np.asarray(Image.fromarray(colour).convert("L")))
    np.testing.assert_array_equal(PREPARE.picture(colour[:, :, 0]), np.repeat(colour[:, :, :1], 3, axis=2))


def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "words.jpg"
    file.write_text("no picture")
    with pytest.raises(DecodeError, match=r"words\.jpg cannot be decoded: it is no picture of a known format"):
        PREPARE.picture(file)
    with pytest.raises(DataError, match=r"gone\.jpg cannot be read: No such file"):
        PREPARE.picture(tmp_path / "gone.jpg")


@pytest.mark.parametrize(("height", "width"), [(40, 30), (30, 40), (12, 100), (200, 20), (6, 5)])
def test_crop_is_scaling_and_cutting_the_middle(height: int, width: int) -> None:
    pixels = a_picture(height, width)
    ours = resize(pixels, Fit("crop", (12, 10)))
    scale = max(12 / height, 10 / width)
    left, top = (width - 10 / scale) / 2, (height - 12 / scale) / 2
    # The oracle samples the scene's own formula where the middle of each output pixel lies.
    y, x = np.meshgrid(
        top + (np.arange(12) + 0.5) / scale - 0.5, left + (np.arange(10) + 0.5) / scale - 0.5, indexing="ij"
    )
    wanted = np.stack([128 + 100 * np.sin(x / 9 + c) * np.cos(y / 7 - c) for c in range(3)], -1)
    tolerance = 3 if scale > 0.3 else 40  # shrinking averages the waves
    assert np.abs(ours[1:-1, 1:-1] - wanted[1:-1, 1:-1]).mean() < tolerance


def test_squash_keeps_the_whole_picture() -> None:
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, :10] = 255
    squashed, cropped = resize(pixels, Fit("squash", (20, 20))), resize(pixels, Fit("crop", (20, 20)))
    assert squashed[:, :1].min() == 255
    assert squashed[:, 3:].max() == 0
    assert cropped.max() == 0


def test_shorter_cuts_a_smaller_middle_as_two_steps_would() -> None:
    pixels = a_picture(300, 450)
    ours = resize(pixels, Fit("crop", (224, 224), shorter=256))
    scaled = Image.fromarray(pixels).resize((384, 256), Image.Resampling.BILINEAR)
    wanted = np.asarray(scaled.crop((80, 16, 304, 240)))
    assert np.abs(ours.astype(int) - wanted).max() <= 2


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    pixels = a_picture(12, 10)
    assert resize(pixels, Fit("crop", (12, 10))) is pixels


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"way": "stretch"}, r"there is no way to fit a picture named 'stretch'\n.*crop, squash"),
        ({"size": (0, 5)}, "the image size is 0 x 5"),
        ({"size": (224, 224), "shorter": 200}, r"the shorter side is scaled to 200, and 224 x 224 is cut out of it"),
    ],
    ids=str,
)
def test_fits_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Fit(**settings)  # type: ignore[arg-type]


def test_means_must_be_as_many_as_channels() -> None:
    with pytest.raises(ShapeError, match="3 channels, but 1 means and 3 deviations"):
        Preprocess((4, 4), 3, (0.5,), (0.2,) * 3)
    with pytest.raises(UsageError, match=r"a standard deviation is 0\.0"):
        Preprocess((4, 4), 1, (0.5,), (0.0,))
