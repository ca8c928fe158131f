"""`load`: splits, sizes, channels, limits, broken files."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pellucid.data import load
from pellucid.errors import DataError, UsageError


def a_picture(number: int, height: int = 24, width: int = 24) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def save(file: Path, pixels: NDArray[np.uint8]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """40 pictures of two classes, 30 and 10, without splits."""
    for i in range(40):
        save(tmp_path / "photos" / ("cat" if i < 30 else "dog") / f"{i:02}.png", a_picture(i))
    return tmp_path / "photos"


def test_without_splits_a_tenth_each_is_set_aside(photos: Path) -> None:
    data = load(photos)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 32, "validation": 4, "test": 4}
    assert {name: np.bincount(split.labels).tolist() for name, split in data.splits.items()} == {
        "train": [24, 8],
        "validation": [3, 1],
        "test": [3, 1],
    }
    assert "split at random: 32 for train, 4 for validation, 4 for test" in " ".join(data.notes)
    assert data.origin == str(photos)


def test_pixels_and_labels_are_those_of_the_named_file(photos: Path) -> None:
    for split in load(photos).splits.values():
        for pixels, label, name in zip(split.images, split.labels, split.names, strict=True):
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(photos / name)))
            assert Path(name).parent.name == ("cat", "dog")[label]


def test_the_seed_decides_the_split_and_nothing_else_does(photos: Path) -> None:
    first, again, other = load(photos), load(photos), load(photos, seed=1)
    assert first.fingerprint == again.fingerprint
    assert list(first.test.names) == list(again.test.names)  # type: ignore[union-attr]
    assert list(first.test.names) != list(other.test.names)  # type: ignore[union-attr]


def test_exact_duplicates_stay_together(photos: Path) -> None:
    for i in range(30):
        shutil.copy(photos / "cat" / f"{i:02}.png", photos / "cat" / f"copy{i:02}.png")
    for split in load(photos).splits.values():
        cats = [Path(name).name for name in split.names if "cat" in name]
        assert {name.removeprefix("copy") for name in cats if "copy" in name} == {n for n in cats if "copy" not in n}


@pytest.mark.parametrize(("share", "sizes"), [(0.25, [26, 10, 4]), (0.0, [36, 0, 4])])
def test_the_share_for_validation(photos: Path, share: float, sizes: list[int]) -> None:
    data = load(photos, validation=share)
    assert [len(data.splits.get(name, ())) for name in ("train", "validation", "test")] == sizes


@pytest.mark.parametrize("share", [-0.1, 0.95, 1.0])
def test_shares_that_leave_nothing_are_refused(photos: Path, share: float) -> None:
    with pytest.raises(UsageError, match=f"validation is {share:g}"):
        load(photos, validation=share)


def with_splits(root: Path, splits: dict[str, int]) -> Path:
    number = 0
    for split, count in splits.items():
        for _ in range(count):
            for name in ("cat", "dog"):
                save(root / split / name / f"{number}.png", a_picture(number))
                number += 1
    return root


def test_train_and_test_train_on_everything(tmp_path: Path) -> None:
    data = load(with_splits(tmp_path, {"train": 10, "test": 3}))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 20, "test": 6}
    assert data.validation is None


def test_validation_comes_out_of_the_training_pictures(tmp_path: Path) -> None:
    where = with_splits(tmp_path, {"train": 10, "test": 3})
    data = load(where, validation=0.2)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 16, "validation": 4, "test": 6}
    assert list(data.test.names) == list(load(where).test.names)  # type: ignore[union-attr]


def test_a_validation_split_of_its_own_is_kept(tmp_path: Path) -> None:
    data = load(with_splits(tmp_path, {"train": 6, "val": 2, "test": 3}), validation=0.5)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 12, "validation": 4, "test": 6}
    assert "validation=0.5 was not used" in " ".join(data.notes)


def test_only_a_test_is_nothing_to_train_on(tmp_path: Path) -> None:
    with_splits(tmp_path, {"test": 2})
    rows = [f"{file.relative_to(tmp_path)},{file.parent.name},test" for file in tmp_path.rglob("*.png")]
    (tmp_path / "set.csv").write_text("\n".join(["path,label,split", *rows]))
    with pytest.raises(DataError, match="has no training pictures"):
        load(tmp_path / "set.csv")


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ([(24, 24)] * 4, (24, 24)),
        ([(40, 60)] * 4, (40, 60)),
        ([(300, 400)] * 4, (224, 224)),
        ([(100, 130), (130, 100), (100, 100), (140, 100)], (96, 96)),
        ([(10, 12), (14, 10), (10, 10), (10, 20)], (32, 32)),
    ],
    ids=str,
)
def test_the_size_is_chosen_from_the_files(
    tmp_path: Path, sizes: list[tuple[int, int]], wanted: tuple[int, int]
) -> None:
    for i in range(20):
        save(tmp_path / str(i % 2) / f"{i}.png", a_picture(i, *sizes[i % 4]))
    assert load(tmp_path).image_size == wanted


def test_size_channels_and_fit_as_asked(photos: Path) -> None:
    data = load(photos, image_size=(16, 12), channels=1, fit="squash")
    assert data.train.images.shape == (32, 16, 12, 1)
    assert data.facts["fit"] == "squash"
    assert load(photos, image_size=16).image_size == (16, 16)
    with pytest.raises(UsageError, match=r"channels is 2\n.*1 \(grey\) or 3 \(colour\)"):
        load(photos, channels=2)
    with pytest.raises(UsageError, match="the image size is 0 x 0"):
        load(photos, image_size=0)


def test_grey_files_stay_grey(tmp_path: Path) -> None:
    for i in range(20):
        save(tmp_path / str(i % 2) / f"{i}.png", a_picture(i)[:, :, 0])
    assert load(tmp_path).channels == 1
    save(tmp_path / "0" / "colour.png", a_picture(99))
    assert load(tmp_path).channels == 3


def test_a_few_broken_files_are_named_and_skipped(photos: Path) -> None:
    before = {name: list(split.names) for name, split in load(photos).splits.items()}
    (photos / "cat" / "03.png").write_bytes((photos / "cat" / "03.png").read_bytes()[:200])
    (photos / "dog" / "35.png").write_bytes(b"")
    data = load(photos)
    assert sum(map(len, data.splits.values())) == 38
    reasons = {item.name: item.reason for item in data.skipped}
    assert set(reasons) == {"cat/03.png", "dog/35.png"}
    assert reasons["dog/35.png"] == "is empty"
    assert reasons["cat/03.png"].startswith("cannot be decoded: ")
    everyone = {name for split in data.splits.values() for name in split.names}
    assert not everyone & set(reasons)
    for name, split in data.splits.items():  # nobody moved to another split
        assert list(split.names) == [n for n in before[name] if n not in reasons]
    for split in data.splits.values():  # nobody took a neighbour's label
        assert all(
            Path(n).parent.name == data.classes[label] for n, label in zip(split.names, split.labels, strict=True)
        )


def test_many_broken_files_stop_with_the_list(photos: Path) -> None:
    for i in range(5):
        (photos / "cat" / f"{i:02}.png").write_text("broken")
    with pytest.raises(DataError, match=r"5 of 40 pictures in .*photos cannot be decoded\n(.*\n)*.*cat/00\.png"):
        load(photos)


@pytest.mark.parametrize("limit", [8, 20])
def test_a_limit_takes_a_few_of_each_class(photos: Path, limit: int) -> None:
    data = load(photos, limit=limit)
    assert abs(len(data.train) - limit) <= 1
    cats, dogs = np.bincount(data.train.labels)
    assert 2 <= cats / dogs <= 4
    assert load(photos, limit=limit).fingerprint == data.fingerprint
    with pytest.raises(UsageError, match="limit is 0"):
        load(photos, limit=0)


def test_arrays_keep_their_size_or_are_resized_by_the_same_rule(tmp_path: Path) -> None:
    images = np.stack([a_picture(i) for i in range(20)])
    np.savez(
        tmp_path / "set.npz", x_train=images, y_train=np.arange(20) % 2, x_test=images[:4], y_test=np.arange(4) % 2
    )
    data = load(tmp_path / "set.npz")
    np.testing.assert_array_equal(data.train.images, images)
    small = load(tmp_path / "set.npz", image_size=12, channels=1)
    assert small.train.images.shape == (20, 12, 12, 1)
    wanted = Image.fromarray(images[3]).convert("L").resize((12, 12), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(small.train.images[3, :, :, 0], np.asarray(wanted))


def test_large_jpegs_are_shrunk_while_they_are_decoded_with_the_same_look(tmp_path: Path) -> None:
    y, x = np.mgrid[0:480, 0:640]
    smooth = np.stack([128 + 100 * np.sin(x / 60 + c) * np.cos(y / 50) for c in range(3)], -1).astype(np.uint8)
    for i in range(4):
        out = io.BytesIO()
        Image.fromarray(smooth).save(out, "JPEG", quality=95)
        file = tmp_path / str(i % 2) / f"{i}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(out.getvalue())
    data = load(tmp_path, image_size=60, validation=0.0)
    wanted = Image.fromarray(smooth).resize((60, 60), Image.Resampling.BILINEAR, box=(80, 0, 560, 480))
    assert np.abs(data.train.images[0].astype(int) - np.asarray(wanted)).max() <= 4


def test_progress_counts_to_the_end(photos: Path) -> None:
    calls: list[tuple[int, int]] = []
    load(photos, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 40) for i in range(1, 41)]


def test_real_photos(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = load(shared_data / "sign_language_digits.zip", limit=200)
    assert data.classes == tuple("0123456789")
    assert data.channels == 3
    assert sum(map(len, data.splits.values())) == 250
