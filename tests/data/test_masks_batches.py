"""Pictures and masks are moved by the same numbers, whatever was asked for before; what comes from outside is void."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pellucid.data import augment as augmenting
from pellucid.data.augment import Augment
from pellucid.data.masks import MaskData, MaskSplit
from pellucid.data.masks_batches import MaskBatches
from pellucid.data.masks_preprocess import MaskPreprocess
from pellucid.errors import ShapeError, UsageError
from tests.data.made_masks import scene

EVERY = Augment(crop=3, flip=True, rotation=25.0, scale=0.4, resized_crop=0.5, color=0.3, cutout=4)


def data(count: int = 7, size: tuple[int, int] = (24, 32)) -> MaskData:
    pairs = [scene(seed, *size) for seed in range(count)]
    split = MaskSplit(
        np.stack([picture for picture, _ in pairs]),
        np.stack([mask for _, mask in pairs]),
        [str(i) for i in range(count)],
    )
    return MaskData(("ground", "red", "green"), split)


def batches(given: MaskData, augment: Augment | None = None, **settings: Any) -> MaskBatches:
    preparation = MaskPreprocess.of_masks(given)
    return MaskBatches(given.train, preparation, augment=augment, **{"batch_size": 3, "shuffle": True, **settings})


def position(count: int, height: int, width: int) -> MaskData:
    """Pictures whose pixels say where they are, which the masks say as well: row in red, column in green.
    Blue is full, and less where a pixel was mixed with what is outside."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([rows * 4, columns * 4, 0 * rows + 255], -1).astype(np.uint8)
    mask = ((rows // 6) * 10 + columns // 6).astype(np.uint8)
    split = MaskSplit(np.stack([picture] * count), np.stack([mask] * count), [str(i) for i in range(count)])
    return MaskData(tuple(map(str, range(100))), split)


def pixels(batch: Any, preparation: MaskPreprocess) -> np.ndarray:
    """The pictures of a batch in 0..255 again."""
    std, mean = (np.array(values).reshape(1, -1, 1, 1) for values in (preparation.std, preparation.mean))
    return (batch.images.numpy() * std + mean) * 255


@pytest.mark.parametrize(
    "augment",
    [Augment(flip=True), Augment(flip=True, crop=5), Augment(rotation=40.0, scale=0.5), EVERY],
    ids=["mirror", "shift", "turn", "every"],
)
def test_a_mask_goes_where_its_picture_goes(augment: Augment) -> None:
    """Inside a cell of 6 pixels a mask's label follows from the picture's pixel; colour and holes are left out."""
    given = position(8, 24, 30)
    moved = Augment(**{**augment.to_json(), "color": 0.0, "cutout": 0})
    made = batches(given, moved, batch_size=8)
    batch = next(made.epoch(3))
    found = pixels(batch, made.preprocess)
    row, column = found[:, 0] / 4, found[:, 1] / 4
    wanted = (np.round(row) // 6) * 10 + np.round(column) // 6
    inner = (np.abs(row % 6 - 2.5) < 1.9) & (np.abs(column % 6 - 2.5) < 1.9)  # the label is one, however it is rounded
    masks = batch.targets.numpy()
    valid = inner & (masks != 255) & (found[:, 2] > 254.9)
    assert valid.mean() > 0.15
    np.testing.assert_array_equal(masks[valid], wanted[valid])


def test_what_comes_from_outside_is_black_and_void() -> None:
    given = position(6, 24, 30)
    white = MaskSplit(np.full_like(given.train.images, 255), given.train.masks, given.train.names)
    made = MaskBatches(
        white, MaskPreprocess.of_masks(given), batch_size=6, augment=Augment(crop=6, flip=True), shuffle=True
    )
    batch = next(made.epoch(1))
    black = pixels(batch, made.preprocess)[:, 0] < 1
    assert black.any()
    np.testing.assert_array_equal(batch.targets.numpy() == 255, black)


def test_void_stays_void_and_count_leaves_it_out() -> None:
    given = data()
    batch = next(batches(given, shuffle=False).epoch(0))
    np.testing.assert_array_equal(batch.targets.numpy(), given.train.masks[:3])
    assert batch.count == 3 * 23 * 32
    assert batch.targets.dtype == torch.int64
    assert batch.labels is batch.targets
    assert len(batch) == 3


def test_a_mask_of_void_alone_counts_one() -> None:
    given = data(2)
    empty = MaskSplit(given.train.images, np.full_like(given.train.masks, 255), given.train.names)
    batch = next(MaskBatches(empty, MaskPreprocess.of_masks(given), batch_size=2).epoch(0))
    assert batch.count == 1


def test_a_batch_does_not_depend_on_what_came_before() -> None:
    given = data()
    made = batches(given, EVERY)
    whole = list(made.epoch(2))
    late = list(batches(given, EVERY).epoch(2, start=1))
    assert len(whole) == 3
    for one, other in zip(whole[1:], late, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)
    assert not torch.equal(whole[0].images, next(made.epoch(1)).images)


def test_pictures_are_changed_as_those_of_classification_are() -> None:
    """The same numbers for the same seed: the augmentation is shared, not another one."""
    from pellucid.data import Batches, Split

    given = data()
    preparation = MaskPreprocess.of_masks(given)
    plain = Split(given.train.images, np.zeros(7, np.int64), given.train.names)
    settings: dict[str, Any] = {"batch_size": 3, "seed": 4, "augment": EVERY, "shuffle": True}
    theirs = next(Batches(plain, preparation, **settings).epoch(5))
    ours = next(MaskBatches(given.train, preparation, **settings).epoch(5))
    assert torch.equal(ours.images, theirs.images)


def test_nearest_takes_the_nearest() -> None:
    """Against looking up pixel by pixel."""
    given = data(3)
    draws = augmenting.draw(Augment(rotation=30.0, scale=0.5), 0, 0, 3, (24, 32))
    assert draws.affine is not None
    found = next(batches(given, Augment(rotation=30.0, scale=0.5), shuffle=False).epoch(0)).targets.numpy()
    for i, (y, x) in [(i, place) for i in range(3) for place in [(5, 6), (12, 20), (20, 31), (0, 0), (17, 3)]]:
        left, top = draws.affine[i] @ [x + 0.5 - 16, y + 0.5 - 12, 1]
        inside = 0 <= left < 32 and 0 <= top < 24
        assert found[i, y, x] == (given.train.masks[i, int(top), int(left)] if inside else 255)


def test_what_does_not_fit() -> None:
    given = data()
    preparation = MaskPreprocess.of_masks(data(2, (30, 32)))
    with pytest.raises(ShapeError, match="pictures are 24 x 32 x 3, the network was made for 30 x 32 x 3"):
        MaskBatches(given.train, preparation, batch_size=2)
    with pytest.raises(UsageError, match="mixup blends labels"):
        batches(given, Augment(mixup=0.2))
    with pytest.raises(UsageError, match="batch_size is 0"):
        batches(given, batch_size=0)


def test_the_preparation_is_read_back_exactly() -> None:
    given = data()
    preparation = MaskPreprocess.of_masks(given)
    assert MaskPreprocess.from_json(preparation.to_json()) == preparation
    assert preparation.counts == tuple(np.bincount(given.train.masks.ravel())[:3].tolist())
    np.testing.assert_allclose(preparation.mean, given.train.images.mean((0, 1, 2)) / 255)


def test_a_picture_of_any_size_is_scaled_as_in_training() -> None:
    given = data()
    half = MaskPreprocess(**{**vars_of(MaskPreprocess.of_masks(given)), "scale": 0.5})
    assert half.scaled(scene(1, 61, 40)[0]).shape == (1, 3, 30, 20)
    same = MaskPreprocess.of_masks(given)
    torch.testing.assert_close(same.scaled(given.train.images[0]), same.tensor(given.train.images[0]))


def vars_of(preparation: MaskPreprocess) -> dict[str, Any]:
    return {name: getattr(preparation, name) for name in preparation.__dataclass_fields__}
