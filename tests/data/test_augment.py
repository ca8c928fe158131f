"""Each augmentation of whole batches against the picture-at-a-time reference in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pellucid.data import Augment, Batches, Preprocess, Split
from pellucid.data.augment import draw
from pellucid.errors import UsageError
from tests.oracles import augmentation as reference

SEED, EPOCH, COUNT = 11, 3, 12
MEAN, STD = [0.4, 0.5, 0.3], [0.2, 0.25, 0.3]


def pictures(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (COUNT, height, width, channels), np.uint8)


def batches(images: NDArray[np.uint8], augment: Augment, **settings: Any) -> Batches:
    channels = images.shape[3]
    split = Split(images, np.arange(len(images)) % 4, [str(i) for i in range(len(images))])
    prepare = Preprocess(images.shape[1:3], channels, tuple(MEAN[:channels]), tuple(STD[:channels]), tuple("abcd"))
    return Batches(split, prepare, **{"batch_size": 5, "seed": SEED, "shuffle": True, "augment": augment, **settings})


def expected(image: NDArray[np.uint8], augment: Augment, sample: int) -> NDArray[np.float64]:
    """One picture, changed step by step with its own numbers, (C, H, W)."""
    height, width, channels = image.shape
    u = {purpose: reference.unit(SEED, EPOCH, purpose, sample) for purpose in range(2, 9)}
    picture = image.astype(np.float64)
    if augment.flip:
        picture = reference.mirrored(picture, u[reference.FLIP][0])
    offsets = [int(value * (2 * augment.crop + 1)) for value in u[reference.CROP][:2]]
    if augment.is_affine:
        maps = []
        degrees = augment.rotation * (2 * u[reference.ROTATION][0] - 1)
        zoom = (1 + augment.scale) ** (2 * u[reference.SCALE][0] - 1)
        maps.append(reference.turned(width, height, degrees, zoom))
        if augment.resized_crop:
            maps.append(reference.boxed(width, height, augment.resized_crop, u[reference.RESIZED_CROP]))
        if augment.crop:
            maps.append(lambda x, y: (x + offsets[1] - augment.crop, y + offsets[0] - augment.crop))
        picture = reference.warped(picture, maps, clamp=not (augment.rotation or augment.scale or augment.crop))
    elif augment.crop:
        picture = reference.cropped(picture, augment.crop, *offsets)
    if augment.color:
        factors = [1 + augment.color * (2 * value - 1) for value in u[reference.COLOR][:3]]
        picture = reference.recolored(picture, image.astype(np.float64), *factors)
    done = reference.normalised(picture, MEAN[:channels], STD[:channels])
    if augment.cutout:
        row, column = (int(value * size) for value, size in zip(u[reference.CUTOUT], (height, width), strict=False))
        done = reference.holed(done, row, column, augment.cutout)
    return done.transpose(2, 0, 1)


ALL = [
    Augment(),
    Augment(flip=True),
    Augment(crop=3),
    Augment(crop=2, flip=True),
    Augment(rotation=30),
    Augment(scale=0.5),
    Augment(rotation=20, scale=0.3, flip=True, crop=2),
    Augment(resized_crop=0.3),
    Augment(resized_crop=0.5, flip=True, rotation=10),
    Augment(color=0.6),
    Augment(cutout=5),
    Augment(cutout=4, flip=True, crop=1, color=0.3),
]


@pytest.mark.parametrize("shape", [(9, 9, 3), (8, 11, 1), (10, 7, 3)], ids=str)
@pytest.mark.parametrize("augment", ALL, ids=str)
def test_against_one_picture_at_a_time(augment: Augment, shape: tuple[int, int, int]) -> None:
    images = pictures(*shape)
    seen = 0
    for batch in batches(images, augment).epoch(EPOCH):
        for ours, index in zip(batch.images, batch.indices, strict=True):
            # Resampled coordinates are float32: a few ulp of ten pixels, times 255 a pixel, over the deviation.
            np.testing.assert_allclose(ours.numpy(), expected(images[index], augment, int(index)), atol=2e-4)
            seen += 1
    assert seen == COUNT


def test_mixup_is_a_convex_pair_with_its_targets() -> None:
    images = pictures(6, 6, 3)
    plain = torch.cat([batch.images for batch in batches(images, Augment(), shuffle=False).epoch(EPOCH)])
    for batch in batches(images, Augment(mixup=0.4)).epoch(EPOCH):
        assert batch.targets.dtype == torch.float32
        assert batch.targets.sum(1).tolist() == pytest.approx([1.0] * len(batch))
        numbers = draw(Augment(mixup=0.4), SEED, EPOCH, COUNT, (6, 6)).at(batch.indices)
        assert numbers.mix is not None
        partners = []
        for row, (image, target) in enumerate(zip(batch.images, batch.targets, strict=True)):
            weight = float(numbers.mix[row])
            own = plain[int(batch.indices[row])]
            candidates = [
                other
                for other in range(len(batch))
                if torch.allclose(image, weight * own + (1 - weight) * plain[int(batch.indices[other])], atol=1e-5)
            ]
            assert len(candidates) == 1
            partners += candidates
            one_hot = torch.eye(4)
            wanted = weight * one_hot[batch.labels[row]] + (1 - weight) * one_hot[batch.labels[candidates[0]]]
            torch.testing.assert_close(target, wanted, atol=1e-6, rtol=0)
        assert sorted(partners) == list(range(len(batch)))
        assert len(batch) == 1 or all(row != partner for row, partner in enumerate(partners))


def test_mixup_of_a_single_picture_leaves_it_alone() -> None:
    images = pictures(6, 6, 3)
    settings = {"batch_size": 1, "shuffle": False}
    plain = [batch.images for batch in batches(images, Augment(), **settings).epoch(0)]
    mixed = [batch.images for batch in batches(images, Augment(mixup=1.0), **settings).epoch(0)]
    for ours, theirs in zip(mixed, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_half_are_mirrored_and_crops_go_everywhere() -> None:
    numbers = draw(Augment(flip=True, crop=4), 0, 0, 5000, (32, 32))
    assert numbers.flip is not None
    assert numbers.corner is not None
    assert 0.47 < numbers.flip.mean() < 0.53
    assert set(map(tuple, numbers.corner.tolist())) == {(y, x) for y in range(9) for x in range(9)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": -1}, r"augmentation crop is -1"),
        ({"crop": 1.5}, r"augmentation crop is 1\.5\n.*a whole number of pixels"),
        ({"resized_crop": 1.2}, r"augmentation resized_crop is 1\.2\n.*0 \(off\) to 1"),
        ({"rotation": 200}, r"augmentation rotation is 200"),
        ({"mixup": float("nan")}, r"augmentation mixup is nan"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Augment(**settings)  # type: ignore[arg-type]


def test_settings_survive_json() -> None:
    augment = Augment(crop=4, flip=True, mixup=0.2)
    assert Augment.from_json(augment.to_json()) == augment
