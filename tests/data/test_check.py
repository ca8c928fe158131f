"""`check`: a data set with everything wrong with it, and every finding."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.data.check import Checked, check
from pellucid.errors import DataError
from tests.data.pictures import a_picture, encoded, write, write_idx


def odd_set(root: Path) -> Path:
    """Three classes in two splits: 23 good pictures, 2 broken; the odd ones are named by what is odd."""
    for i in range(12):
        write(root / "train" / "cat" / f"{i:02}.png", a_picture(100 + i, 40, 60))
    for i in range(2):
        write(root / "train" / "dog" / f"{i}.png", a_picture(200 + i, 40, 60))
    write(root / "test" / "cat" / "0.png", a_picture(300, 40, 60))
    write(root / "test" / "dog" / "0.png", a_picture(301, 30, 30))
    write(root / "test" / "cat" / "copy.bmp", encoded(a_picture(103, 40, 60), "BMP"))
    write(root / "train" / "dog" / "cat04.png", a_picture(104, 40, 60))
    write(root / "test" / "dog" / "near.jpg", encoded(a_picture(200, 40, 60), "JPEG", quality=85))
    write(root / "train" / "cat" / "broken.png", encoded(a_picture(9, 40, 60))[:300])
    write(root / "train" / "cat" / "empty.jpg", b"")
    exif = Image.Exif()
    exif[0x0112] = 6
    write(root / "train" / "cat" / "turned.jpg", encoded(a_picture(400, 40, 60), "JPEG", exif=exif))
    write(root / "train" / "cat" / "named.png", encoded(a_picture(401, 40, 60), "JPEG"))
    write(root / "train" / "cat" / "grey.png", a_picture(402, 40, 60, channels=1))
    write(
        root / "train" / "cat" / "deep.png",
        encoded((a_picture(403, 40, 60, channels=1)[..., 0].astype(np.uint16)) * 257),
    )
    Image.fromarray(a_picture(404, 40, 60)).convert("CMYK").save(root / "train" / "cat" / "cmyk.jpg")
    alpha = np.concatenate([a_picture(405, 40, 60), a_picture(406, 40, 60, channels=1)], axis=2)
    write(root / "train" / "cat" / "alpha.png", encoded(alpha))
    frames = [Image.fromarray(a_picture(407 + i, 40, 60)) for i in range(3)]
    frames[0].save(root / "train" / "cat" / "moving.gif", save_all=True, append_images=frames[1:])
    write(root / "train" / "cat" / "notes.txt", b"text")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd_set(tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="module")
def found(folder: Path) -> Checked:
    return check(folder)


def test_counts(found: Checked) -> None:
    assert found.counts == {"train": {"cat": 19, "dog": 3}, "test": {"cat": 2, "dog": 2}}
    assert found.total == 26
    assert found.imbalance == pytest.approx(21 / 5)


def test_sizes(found: Checked) -> None:
    assert found.sizes == (("60 x 40", 24), ("30 x 30", 1), ("40 x 60", 1))


def test_broken_files_with_their_reasons(found: Checked) -> None:
    reasons = {item.name: item.reason for item in found.broken}
    assert set(reasons) == {"train/cat/broken.png", "train/cat/empty.jpg"}
    assert reasons["train/cat/empty.jpg"] == "is empty"
    assert "truncated" in reasons["train/cat/broken.png"]
    assert "train/cat" not in reasons["train/cat/broken.png"]


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("turned.jpg", {"its EXIF says that it must be turned; it is"}),
        ("named.png", {"it is named .png and is a JPEG"}),
        ("grey.png", {"it is grey, most others are in colour"}),
        ("deep.png", {"it has more than 8 bits a channel", "it is grey, most others are in colour"}),
        ("cmyk.jpg", {"its colours are CMYK"}),
        ("alpha.png", {"it has transparency; it is laid over white"}),
        ("moving.gif", {"it has 3 frames; the first is used"}),
    ],
)
def test_odd_files(found: Checked, name: str, reasons: set[str]) -> None:
    assert {item.reason for item in found.odd if item.name == f"train/cat/{name}"} == reasons


def test_nothing_else_is_odd(found: Checked) -> None:
    assert {Path(item.name).name for item in found.odd} == {
        "turned.jpg", "named.png", "grey.png", "deep.png", "cmyk.jpg", "alpha.png", "moving.gif"
    }  # fmt: skip


def test_exact_copies_across_splits_and_classes(found: Checked) -> None:
    groups = {group.names: group for group in found.exact}
    assert set(groups) == {
        ("test/cat/copy.bmp", "train/cat/03.png"),
        ("train/cat/04.png", "train/dog/cat04.png"),
    }
    across = groups["test/cat/copy.bmp", "train/cat/03.png"]
    assert across.crosses_splits
    assert not across.crosses_classes
    assert groups["train/cat/04.png", "train/dog/cat04.png"].crosses_classes
    assert found.across == (across,)


def test_near_copies(found: Checked) -> None:
    assert [group.names for group in found.near] == [("test/dog/near.jpg", "train/dog/0.png")]
    assert found.near_across == found.near


def test_what_was_passed_over(found: Checked) -> None:
    assert [(item.name, item.reason) for item in found.passed_over] == [
        ("train/cat/notes.txt", "a file that ends in '.txt' is no picture")
    ]


def test_text(found: Checked) -> None:
    text = found.text()
    for line in [
        "class       train        test",
        "cat            19           2",
        "dog             3           2",
        "               22           4",
        "sizes         60 x 40 (24), 30 x 30 (1), 40 x 60 (1)",
        "broken: 2",
        "  train/cat/moving.gif: it has 3 frames; the first is used",
        "exact copies: 2",
        "  train/cat/04.png = train/dog/cat04.png (in different classes: cat, dog)",
        "across splits: 1",
        "near copies across splits: 1",
    ]:
        assert line in text.splitlines(), line


def test_json(found: Checked) -> None:
    plain = json.loads(found.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert plain["total"] == 26
    assert plain["counts"]["train"] == {"cat": 19, "dog": 3}
    assert plain["broken"][0]["name"] == "train/cat/broken.png"
    assert plain["across_splits"][0]["names"] == ["test/cat/copy.bmp", "train/cat/03.png"]
    assert len(plain["near_across_splits"]) == 1


def test_a_class_without_a_picture_that_can_be_read(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "1.png", 1)
    write(tmp_path / "dog" / "1.png", b"rubbish")
    found = check(tmp_path)
    assert found.imbalance is None
    assert "a class has no picture that can be read" in found.text()
    assert json.loads(found.to_json(), parse_constant=pytest.fail)["imbalance"] is None


def test_thumbnails(found: Checked, folder: Path) -> None:
    group = found.exact[0]
    for index, name in zip(group.indices, group.names, strict=True):
        np.testing.assert_array_equal(found.thumbnails[index], np.asarray(Image.open(folder / name)))
    assert max(max(picture.shape[:2]) for picture in found.thumbnails.values()) <= 96
    assert {i for row in found.samples.values() for i in row} <= set(found.thumbnails)


def test_copies_across_splits_have_thumbnails_even_when_there_are_many_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["pellucid.data.check"], "_SHOWN", 2)
    for i in range(6):
        write(tmp_path / "train" / "cat" / f"{i}.png", i)
        write(tmp_path / "train" / "cat" / f"{i}-again.png", i)
    for i in range(12):
        write(tmp_path / "train" / "dog" / f"{i}.png", 50 + i)
    write(tmp_path / "test" / "dog" / "z.png", 61)
    found = check(tmp_path)
    assert len(found.exact) == 7
    assert [group.names for group in found.across] == [("test/dog/z.png", "train/dog/11.png")]
    assert set(found.across[0].indices) <= set(found.thumbnails)


def test_colour_among_grey(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / "cat" / f"{i}.png", a_picture(i, channels=1))
        write(tmp_path / "dog" / f"{i}.png", a_picture(10 + i, channels=1))
    write(tmp_path / "dog" / "colour.png", a_picture(30))
    odd = check(tmp_path).odd
    assert [(item.name, item.reason) for item in odd] == [("dog/colour.png", "it is in colour, most others are grey")]


def test_a_cameras_jpeg_with_a_preview_is_not_odd(tmp_path: Path) -> None:
    first, preview = (Image.fromarray(a_picture(i, 40, 60)) for i in range(2))
    (tmp_path / "cat").mkdir()
    first.save(tmp_path / "cat" / "1.jpg", "MPO", save_all=True, append_images=[preview])
    write(tmp_path / "dog" / "1.jpg", encoded(a_picture(5, 40, 60), "JPEG"))
    found = check(tmp_path)
    assert found.odd == found.broken == ()


def test_imbalance_is_said(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / "cat" / f"{i}.png", i)
    write(tmp_path / "dog" / "1.png", 50)
    assert "imbalance     the largest class has 10.0 times the pictures of the smallest" in check(tmp_path).text()


def test_nothing_wrong(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "cat" / f"{i}.png", i)
        write(tmp_path / "dog" / f"{i}.png", 10 + i)
    text = check(tmp_path).text()
    assert "nothing is broken, odd or double" in text
    assert "imbalance" not in text


def test_arrays(tmp_path: Path) -> None:
    write_idx(tmp_path, packed=False)
    file = tmp_path / "t10k-images-idx3-ubyte"
    train = (tmp_path / "train-images-idx3-ubyte").read_bytes()
    content = file.read_bytes()
    write(file, content[:-20] + train[16 + 20 : 16 + 40])  # the second training picture is the last test picture
    found = check(tmp_path)
    assert [group.names for group in found.across] == [("train:1", "test:9")]
    assert found.sizes == (("4 x 5", 30),)


def test_all_are_broken(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        write(tmp_path / label / "1.png", b"rubbish")
    found = check(tmp_path)
    assert found.total == 0
    assert len(found.broken) == 2
    assert "0 pictures" in found.text()


def test_progress(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    check(folder, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 28) for i in range(1, 29)]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        check(tmp_path)


def test_real_photos(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = check(shared_data / "sign_language_digits.zip")
    assert found.total == 1000
    assert found.broken == ()
    assert found.sizes == (("100 x 100", 998), ("3024 x 3024", 2))
    assert {item.name for item in found.odd} == {"7/IMG_5935.JPG", "7/IMG_5978.JPG"}
