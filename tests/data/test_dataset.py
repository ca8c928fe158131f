"""Data from arrays of every usual form, and the fingerprint."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.data import Data, Split
from pellucid.errors import ShapeError, UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), np.uint8)
LABELS = np.arange(20) % 4


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        (PIXELS, PIXELS),
        (PIXELS[..., 0], PIXELS[..., :1]),
        (PIXELS.transpose(0, 3, 1, 2), PIXELS),
        (torch.from_numpy(PIXELS).permute(0, 3, 1, 2), PIXELS),
        (PIXELS / 255, PIXELS),
        ((PIXELS / 255).astype(np.float32), PIXELS),
        (PIXELS.astype(np.float32), PIXELS),
        (PIXELS.astype(np.int64), PIXELS),
        (torch.from_numpy(PIXELS / 255).permute(0, 3, 1, 2), PIXELS),
        (PIXELS[..., 0] > 127, (PIXELS[..., :1] > 127) * 255),
    ],
    ids=["NHWC", "NHW", "NCHW", "tensor", "float64", "float32", "0-255 float", "int64", "float tensor", "bool"],
)
def test_images_of_every_form(images: Any, wanted: Any) -> None:
    data = Data.from_arrays(images, LABELS)
    np.testing.assert_array_equal(data.train.images, wanted)
    assert data.train.images.dtype == np.uint8


def test_a_shape_that_could_be_either_is_read_as_its_kind_usually_is() -> None:
    either = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 3), np.uint8)
    labels = [0, 1, 0, 1]
    assert Data.from_arrays(either, labels).train.images.shape == (4, 3, 8, 3)
    assert Data.from_arrays(torch.from_numpy(either), labels).image_size == (8, 3)
    assert Data.from_arrays(either, labels, layout="NCHW").image_size == (8, 3)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (PIXELS[0, 0], ShapeError, r"images have shape \(5, 3\)\n.*\(N, H, W, C\)"),
        (np.zeros((2, 5, 6, 7), np.uint8), ShapeError, "have 5 or 7 channels, neither of them 1, 3 or 4"),
        (PIXELS / 255 - 0.5, UsageError, r"pixels run from -0\.5 to 0\.5\n.*before normalising"),
        (PIXELS * np.int64(3), UsageError, "pixels run from 0 to 765"),
        (np.full((20, 2, 2), np.nan), UsageError, "pixels run from nan to nan"),
        (PIXELS[:7], ShapeError, "7 images but 20 labels"),
    ],
    ids=["2-D", "channels", "normalised", "too bright", "NaN", "count"],
)
def test_images_that_cannot_be_are_refused(images: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Data.from_arrays(images, LABELS)


def test_labels_by_number_by_name_and_by_column() -> None:
    names = ["cat", "ant", "dog", "bee"]
    by_name = Data.from_arrays(PIXELS, [names[i] for i in LABELS])
    assert by_name.classes == ("ant", "bee", "cat", "dog")
    assert [by_name.classes[i] for i in by_name.train.labels] == [names[i] for i in LABELS]
    given = Data.from_arrays(PIXELS, [names[i] for i in LABELS], names)
    assert given.classes == tuple(names)
    np.testing.assert_array_equal(given.train.labels, LABELS)
    for form in (LABELS[:, None], torch.from_numpy(LABELS), LABELS.astype(float), LABELS.astype(np.uint8)):
        data = Data.from_arrays(PIXELS, form)
        assert data.classes == ("0", "1", "2", "3")
        np.testing.assert_array_equal(data.train.labels, LABELS)
        assert data.train.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (np.eye(4)[LABELS], None, r"labels have shape \(20, 4\)\n.*labels.argmax\(1\)"),
        (LABELS + 0.5, None, "labels are float64, and not whole numbers"),
        (LABELS - 1, None, "labels run from -1 to 2, but there are 3 classes"),
        (LABELS, ["a", "b"], "labels run from 0 to 3, but there are 2 classes"),
        (["a", "b"] * 9 + ["c", "d"], ["a", "b"], r"2 label\(s\) are not among the classes: c, d"),
    ],
    ids=["one-hot", "fractions", "negative", "too many", "strange"],
)
def test_labels_that_cannot_be_are_refused(labels: Any, classes: Any, message: str) -> None:
    with pytest.raises((ShapeError, UsageError), match=message):
        Data.from_arrays(PIXELS, labels, classes)


def test_nothing_is_set_aside_unasked() -> None:
    data = Data.from_arrays(PIXELS, LABELS)
    assert list(data.splits) == ["train"]
    assert len(data.train) == 20


def test_shares_are_stratified_and_keep_duplicates_together() -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (400, 4, 4), np.uint8)
    images[200:] = images[:200]  # each picture twice
    labels = np.tile(np.arange(200) % 4, 2)
    data = Data.from_arrays(images, labels, validation=0.24, test=0.1, seed=5)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 264, "validation": 96, "test": 40}
    for split in data.splits.values():
        assert np.ptp(np.bincount(split.labels, minlength=4)) <= 2
        assert all(list(map(bytes, split.images)).count(picture) == 2 for picture in map(bytes, split.images))
    again = Data.from_arrays(images, labels, validation=0.24, test=0.1, seed=5)
    assert again.fingerprint == data.fingerprint
    assert Data.from_arrays(images, labels, validation=0.24, test=0.1, seed=6).fingerprint != data.fingerprint


def test_splits_of_their_own() -> None:
    data = Data.from_arrays(PIXELS, LABELS, validation=(PIXELS[:3], LABELS[:3]), test=(PIXELS[:2] / 255, LABELS[:2]))
    assert [len(split) for split in data.splits.values()] == [20, 3, 2]
    assert list(data.test.names) == ["test:0", "test:1"]  # type: ignore[union-attr]
    with pytest.raises(ShapeError, match=r"the test images are \(5, 5, 3\), the training images \(6, 5, 3\)"):
        Data.from_arrays(PIXELS, LABELS, test=(PIXELS[:2, :5], LABELS[:2]))
    with pytest.raises(UsageError, match=r"nothing is left to train on: validation 0\.6, test 0\.4"):
        Data.from_arrays(PIXELS, LABELS, validation=0.6, test=0.4)


def test_the_fingerprint_knows_pixels_labels_classes_and_splits() -> None:
    def fingerprint(images: Any = PIXELS, labels: Any = LABELS, classes: Any = "abcd", **splits: Any) -> str:
        return Data.from_arrays(images, labels, list(classes), **splits).fingerprint

    one_pixel, one_label = PIXELS.copy(), LABELS.copy()
    one_pixel[19, 5, 4, 2] ^= 1
    one_label[7] ^= 1
    held = (PIXELS[:1], LABELS[:1])
    different = [
        fingerprint(),
        fingerprint(one_pixel),
        fingerprint(labels=one_label),
        fingerprint(classes="abce"),
        fingerprint(validation=held),
        fingerprint(test=held),
        fingerprint(PIXELS[::-1], LABELS[::-1]),
    ]
    assert len(set(different)) == len(different)
    planes = np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    assert fingerprint(planes) == fingerprint()


def test_a_split_must_fit_together() -> None:
    with pytest.raises(ShapeError, match=r"20 images, \(19,\) labels and 20 names do not fit together"):
        Split(PIXELS, LABELS[:19], [""] * 20)
    with pytest.raises(ShapeError, match="images are float64"):
        Split(PIXELS / 255, LABELS, [""] * 20)  # type: ignore[arg-type]


def test_the_room_is_entered_without_torch() -> None:
    code = "import sys, pellucid.data as d; d.load, d.fetch, d.Data; print('torch' in sys.modules); d.Augment"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "False\n"
