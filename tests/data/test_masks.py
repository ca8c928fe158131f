"""Pictures and masks from files: which belong together, what labels mean, sizes, and every mistake in one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.data.masks import MaskData, MaskSplit, load_masks
from pellucid.data.masks_files import recognised
from pellucid.errors import DataError, ShapeError, UsageError
from tests.data.made_masks import scene, write


def save(mask: np.ndarray, file: Path, mode: str | None = None) -> None:
    image = Image.fromarray(mask)
    if mode == "P":
        image.putpalette([n for i in range(256) for n in (i, 255 - i, 7)])
    image.save(file)


def test_splits_classes_and_void(tmp_path: Path) -> None:
    data = load_masks(write(tmp_path))
    assert data.classes == ("ground", "red", "green")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "validation": 3, "test": 3}
    picture, mask = scene(0)
    np.testing.assert_array_equal(data.train.images[0], picture)
    np.testing.assert_array_equal(data.train.masks[0], mask)
    assert data.train.names[0] == "train/images/p00.png"
    assert data.task == "segmentation"


def test_without_splits_it_is_split_at_random_and_said(tmp_path: Path) -> None:
    data = load_masks(write(tmp_path, [("", 20)]))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 16, "validation": 2, "test": 2}
    assert "the source has no splits, so it was split at random: 16 for train" in data.notes[0]
    again = load_masks(tmp_path)
    assert again.fingerprint == data.fingerprint
    assert load_masks(tmp_path, seed=1).fingerprint != data.fingerprint


def test_splits_below_the_two_sides(tmp_path: Path) -> None:
    write(tmp_path / "made")
    for split in ("train", "val", "test"):
        for side in ("images", "masks"):
            (tmp_path / "other" / side).mkdir(parents=True, exist_ok=True)
            shutil.copytree(tmp_path / "made" / split / side, tmp_path / "other" / side / split)
    shutil.copy(tmp_path / "made" / "classes.txt", tmp_path / "other")
    assert load_masks(tmp_path / "other").fingerprint == load_masks(tmp_path / "made").fingerprint


@pytest.mark.parametrize("form", ["zip", "gztar"])
def test_an_archive_is_the_same(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path / "root" / "set")
    packed = shutil.make_archive(str(tmp_path / "packed"), form, tmp_path / "root")
    assert recognised(packed)
    assert load_masks(packed).fingerprint == load_masks(tmp_path / "root").fingerprint


def test_what_is_recognised(tmp_path: Path) -> None:
    write(tmp_path / "set")
    (tmp_path / "cats").mkdir()
    (tmp_path / "no.zip").write_bytes(b"PK nothing")
    found = [recognised(tmp_path / name) for name in ("set", "cats", "no.zip", "nowhere")]
    assert found == [True, False, False, False]


def test_the_real_street_scenes(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = load_masks(shared_data / "camvid_small.zip", limit=10)
    assert len(data.classes) == 11
    assert "void" not in data.classes
    assert data.image_size == (180, 240)
    assert set(np.unique(data.train.masks)) <= {*range(11), 255}


FORMS: dict[str, Callable[[np.ndarray, Path], None]] = {
    "grey": lambda mask, file: save(mask, file),
    "palette": lambda mask, file: save(mask, file, "P"),
    "sixteen bits": lambda mask, file: Image.fromarray(mask.astype(np.uint16)).save(file),
    "grey as colour": lambda mask, file: save(np.repeat(mask[..., None], 3, 2), file),
    "turned by EXIF": lambda mask, file: Image.fromarray(np.rot90(mask).copy()).save(file, exif=_turned()),
}


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    return exif


@pytest.mark.parametrize("form", sorted(FORMS))
def test_the_index_counts_however_it_is_stored(form: str, tmp_path: Path) -> None:
    write(tmp_path, [("train", 3)])
    for i in range(3):
        FORMS[form](scene(i)[1], tmp_path / "train" / "masks" / f"p{i:02}.png")
    data = load_masks(tmp_path, validation=0.0)
    found = {name: mask for split in data.splits.values() for name, mask in zip(split.names, split.masks, strict=True)}
    for i in range(3):
        np.testing.assert_array_equal(found[f"train/images/p{i:02}.png"], scene(i)[1])


@pytest.mark.parametrize("named", [True, False])
def test_black_and_white_are_two_classes(named: bool, tmp_path: Path) -> None:
    write(tmp_path, [("train", 3)], classes=("sky", "bird") if named else None)
    for i in range(3):
        save(np.where(scene(i)[1] == 1, 255, 0).astype(np.uint8), tmp_path / "train" / "masks" / f"p{i:02}.png")
    data = load_masks(tmp_path, validation=0.0)
    assert data.classes == (("sky", "bird") if named else ("background", "foreground"))
    np.testing.assert_array_equal(np.unique(data.train.masks), [0, 1])


def test_colours_of_the_list(tmp_path: Path) -> None:
    write(tmp_path, [("train", 3)], classes=("ground 0 0 0", "red, 200, 10, 20", "green tree 1 2 3", "void 9 9 9"))
    palette = np.array([(0, 0, 0), (200, 10, 20), (1, 2, 3)] + [(9, 9, 9)] * 253, np.uint8)
    for i in range(3):
        save(palette[scene(i)[1]], tmp_path / "train" / "masks" / f"p{i:02}.png")
    data = load_masks(tmp_path, validation=0.0)
    assert data.classes == ("ground", "red", "green tree")
    np.testing.assert_array_equal(data.train.masks[0], scene(int(data.train.names[0][-6:-4]))[1])


def test_void_by_its_name_in_the_midst(tmp_path: Path) -> None:
    write(tmp_path, classes=("ground", "void", "green"))
    data = load_masks(tmp_path)
    assert data.classes == ("ground", "green")
    wanted = np.array([0, 255, 1] + [255] * 253, np.uint8)[scene(0)[1]]
    np.testing.assert_array_equal(data.train.masks[0], wanted)


def test_void_one_beyond_the_classes_is_said(tmp_path: Path) -> None:
    data = load_masks(write(tmp_path, void=3))
    assert "the label 3 is one beyond the 3 classes: it is taken for void" in data.notes
    np.testing.assert_array_equal(data.train.masks[0], scene(0)[1])


def test_void_as_the_user_says(tmp_path: Path) -> None:
    data = load_masks(write(tmp_path, void=77, classes=None), void=77)
    assert data.classes == ("0", "1", "2")
    np.testing.assert_array_equal(data.train.masks[0], scene(0)[1])
    with pytest.raises(UsageError, match="void is 300"):
        load_masks(tmp_path, void=300)


def test_another_size_by_the_nearest_label(tmp_path: Path) -> None:
    write(tmp_path)
    data = load_masks(tmp_path, image_size=(12, 16))
    np.testing.assert_array_equal(data.train.masks[0], scene(0)[1][1::2, 1::2])
    assert data.facts["scale"] == 0.5
    cut = load_masks(tmp_path, image_size=(12, 12))  # the middle 24 of 32 columns
    np.testing.assert_array_equal(cut.train.masks[0], scene(0)[1][1::2, 5:29:2])


@pytest.mark.parametrize(
    ("size", "found"), [((24, 32), (24, 32)), ((300, 400), (192, 256)), ((100, 40), (100, 40))], ids=str
)
def test_the_size_where_none_is_said(size: tuple[int, int], found: tuple[int, int], tmp_path: Path) -> None:
    data = load_masks(write(tmp_path, [("train", 2)], height=size[0], width=size[1]), validation=0.0)
    assert data.image_size == found


def test_sizes_of_all_kinds(tmp_path: Path) -> None:
    write(tmp_path, [("train", 2)])
    write(tmp_path, [("test", 2)], height=40, width=70)
    assert load_masks(tmp_path).image_size == (32, 48)


def test_the_fingerprint_is_of_both(tmp_path: Path) -> None:
    write(tmp_path)
    before = load_masks(tmp_path).fingerprint
    mask = scene(1)[1]
    mask[5, 5] = (mask[5, 5] + 1) % 3
    save(mask, tmp_path / "train" / "masks" / "p01.png")
    changed = load_masks(tmp_path).fingerprint
    picture = scene(1)[0]
    picture[5, 5, 0] ^= 1
    Image.fromarray(picture).save(tmp_path / "train" / "images" / "p01.png")
    assert len({before, changed, load_masks(tmp_path).fingerprint}) == 3


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def _photo(file: Path, *, grey: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32) if grey else (24, 32, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file)


def _mode(mask: np.ndarray, value: int) -> np.ndarray:
    mask = mask.copy()
    mask[3, 4] = value
    return mask


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "an image without a mask": (
        lambda root: (root / "train/masks/p02.png").unlink(),
        r"the image train/images/p02.png has no mask",
    ),
    "a mask without an image": (
        lambda root: (root / "test/images/p09.png").unlink(),
        r"the mask test/masks/p09.png has no image",
    ),
    "sizes that differ": (
        lambda root: save(scene(1)[1][:20], root / "train/masks/p01.png"),
        r"the image train/images/p01.png is 24 x 32 and its mask 20 x 32",
    ),
    "a label that is not in the list": (
        lambda root: save(_mode(scene(1)[1], 9), root / "train/masks/p01.png"),
        r"the mask train/masks/p01.png has a label that is not in the list: 9",
    ),
    "a mask that is a grey photo": (
        lambda root: _photo(root / "train/masks/p01.png", grey=True),
        r"the mask train/masks/p01.png looks like a photo: it has \d+ shades of grey",
    ),
    "a mask that is a photo": (
        lambda root: _photo(root / "train/masks/p01.png", grey=False),
        r"the mask train/masks/p01.png looks like a photo: it has \d+ colours",
    ),
    "a mask in colours nobody named": (
        lambda root: save(np.stack([scene(1)[1]] * 2 + [0 * scene(1)[1]], -1), root / "train/masks/p01.png"),
        r"the mask train/masks/p01.png is in colours \(4\), and what they mean is not known",
    ),
    "a mask with a label above 255": (
        lambda root: Image.fromarray(scene(1)[1].astype(np.uint16) * 200).save(root / "train/masks/p01.png"),
        r"the mask train/masks/p01.png has the label 51,000",
    ),
    "a JPEG as a mask": (
        lambda root: (root / "train/masks/p01.png").rename(root / "train/masks/p01.jpg"),
        r"the mask train/masks/p01.jpg is a JPEG, which changes labels",
    ),
    "no pictures": (
        lambda root: [file.unlink() for file in root.rglob("*.png")],
        r"there is no picture in .*set",
    ),
    "damaged masks": (
        lambda root: [_truncate(root / f"train/masks/p0{i}.png") for i in (0, 1)],
        r"2 of 12 pictures in .*set cannot be decoded",
    ),
    "damaged images": (
        lambda root: [_truncate(root / f"train/images/p0{i}.png") for i in (0, 1)],
        r"2 of 12 pictures in .*set cannot be decoded",
    ),
    "no training pictures": (
        lambda root: shutil.rmtree(root / "train"),
        r"has no training pictures",
    ),
    "a split without masks": (
        lambda root: shutil.rmtree(root / "val/masks"),
        r"set/val has no folders of images and masks",
    ),
    "two pictures of one name": (
        lambda root: shutil.copy(root / "train/images/p01.png", root / "train/images/p01.bmp"),
        r"train/images/p01.bmp and train/images/p01.png have the same name",
    ),
    "a class twice": (
        lambda root: (root / "classes.txt").write_text("a\nb\na\n"),
        r"classes.txt names 'a' twice",
    ),
    "no text in classes.txt": (
        lambda root: (root / "classes.txt").write_bytes(b"\xff\xfe\x00"),
        r"classes.txt is no UTF-8 text",
    ),
    "one class": (
        lambda root: (root / "classes.txt").write_text("a\n"),
        r"has a label that is not in the list: 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_every_mistake_is_one_clear_sentence(mistake: str, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    spoil, sentence = MISTAKES[mistake]
    spoil(root)
    with pytest.raises(DataError, match=sentence) as error:
        load_masks(root)
    assert "\n" not in error.value.message


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file or folder .*nowhere"):
        load_masks(tmp_path / "nowhere")
    with pytest.raises(DataError, match="there are no pictures with masks in"):
        load_masks(tmp_path)


def test_a_few_damaged_files_are_passed_over_and_named(tmp_path: Path) -> None:
    write(tmp_path, [("train", 20), ("test", 20)])
    _truncate(tmp_path / "train/masks/p03.png")
    _truncate(tmp_path / "test/images/p30.png")
    data = load_masks(tmp_path)
    assert (len(data.train), len(data.splits["test"])) == (19, 19)
    assert "train/images/p03.png" not in data.train.names
    note = next(note for note in data.notes if "broken" in note)
    assert "2 broken files were skipped" in note
    assert "train/masks/p03.png" in note
    np.testing.assert_array_equal(data.train.masks[3], scene(4)[1])
    np.testing.assert_array_equal(data.train.images[3], scene(4)[0])


def test_a_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    write(tmp_path, [("train", 3)])
    Image.new("L", (8000, 8000)).save(tmp_path / "train" / "masks" / "p01.png")
    with pytest.raises(DataError, match="1 of 3 pictures .* cannot be decoded") as error:
        load_masks(tmp_path)
    assert "8000 x 8000 pixels, more than the limit of 50000000" in str(error.value)


def test_arrays_that_do_not_fit() -> None:
    images, masks = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(ShapeError, match=r"masks are uint8 of shape \(2, 4, 4\)"):
        MaskSplit(images[:, :3], masks, ["a", "b"])
    with pytest.raises(ShapeError, match="2 images and 1 names do not fit"):
        MaskSplit(images, masks, ["a"])
    with pytest.raises(UsageError, match="the train masks have the label 7, but there are 2 classes"):
        MaskData(("a", "b"), MaskSplit(images, masks + np.uint8(7), ["a", "b"]))
