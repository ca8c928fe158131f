"""Zip and tar: any data set inside, unpacked once; traps refused."""

from __future__ import annotations

import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pellucid.data import archive
from pellucid.data.source import open_source
from pellucid.errors import DataError
from tests.data.pictures import a_picture, encoded, idx, write

Files = dict[str, bytes]
PHOTOS: Files = {f"{label}/{i}.png": encoded(a_picture(10 * (label == "dog") + i)) for label in ("cat", "dog")
                 for i in range(2)}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pellucid" / "unpacked"


def zipped(file: Path, files: Files, **options: int) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, **options) as out:  # type: ignore[arg-type]
        for name, content in files.items():
            out.writestr(name, content)
    return file


def tarred(file: Path, files: Files, mode: str = "w") -> Path:
    with tarfile.open(file, mode) as out:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return file


PACKERS: dict[str, Callable[[Path, Files], Path]] = {
    "zip": lambda folder, files: zipped(folder / "set.zip", files),
    "tar": lambda folder, files: tarred(folder / "set.tar", files),
    "tar.gz": lambda folder, files: tarred(folder / "set.tar.gz", files, "w:gz"),
    "tgz": lambda folder, files: tarred(folder / "set.tgz", files, "w:gz"),
    "tar.bz2": lambda folder, files: tarred(folder / "set.tar.bz2", files, "w:bz2"),
    "tar.xz": lambda folder, files: tarred(folder / "set.tar.xz", files, "w:xz"),
}


@pytest.mark.parametrize("form", PACKERS)
@pytest.mark.parametrize("around", ["", "photos/", "a/b/"])
def test_a_folder_per_class(tmp_path: Path, form: str, around: str) -> None:
    file = PACKERS[form](tmp_path, {around + name: content for name, content in PHOTOS.items()})
    source = open_source(file)
    assert source.origin == str(file)
    assert source.classes == ("cat", "dog")
    assert [entry.name for entry in source.entries] == list(PHOTOS)
    assert source.read is not None
    assert [source.read(i) for i in range(4)] == list(PHOTOS.values())


def test_a_table(tmp_path: Path) -> None:
    files = {"labels.csv": b"path,label\nimages/0.png,a\nimages/1.png,b\n"}
    files |= {f"images/{i}.png": encoded(a_picture(i)) for i in range(2)}
    for around in ("", "set/"):
        source = open_source(zipped(tmp_path / f"set{len(around)}.zip", {around + n: c for n, c in files.items()}))
        assert source.kind == "csv"
        assert source.read is not None
        assert source.read(1) == files["images/1.png"]


@pytest.mark.parametrize("around", ["", "mnist/"])
def test_idx_files(tmp_path: Path, around: str) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    files = {f"{around}{part}-images-idx3-ubyte": idx(images) for part in ("train", "t10k")}
    files |= {f"{around}{part}-labels-idx1-ubyte": idx(np.array([0, 1], np.uint8)) for part in ("train", "t10k")}
    source = open_source(tarred(tmp_path / "mnist.tar", files))
    assert source.pixels is not None
    np.testing.assert_array_equal(source.pixels[:2, ..., 0], images)


def test_arrays(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.savez(out, images=np.zeros((2, 4, 4), np.uint8), labels=[0, 1])
    assert open_source(zipped(tmp_path / "set.zip", {"set/arrays.npz": out.getvalue()})).kind == "numpy"


def test_real_photos(shared_data: Path) -> None:
    source = open_source(shared_data / "sign_language_digits.zip")
    assert source.classes == tuple("0123456789")
    assert np.bincount(source.labels()).tolist() == [100] * 10
    assert source.read is not None
    assert source.read(0)[:2] == b"\xff\xd8"


def test_it_is_unpacked_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = zipped(tmp_path / "set.zip", PHOTOS)
    open_source(file)
    assert len(list(cache.iterdir())) == 1

    def never(*_: object) -> None:
        raise AssertionError("unpacked again")

    monkeypatch.setattr(archive, "_unpack", never)
    assert open_source(file).classes == ("cat", "dog")


def test_a_changed_archive_is_unpacked_again(tmp_path: Path) -> None:
    open_source(zipped(tmp_path / "set.zip", PHOTOS))
    assert open_source(zipped(tmp_path / "set.zip", PHOTOS | {"emu/1.png": encoded(a_picture(5))})).classes == (
        "cat",
        "dog",
        "emu",
    )


TRAPS = ["../outside.png", "a/../../outside.png", "/tmp/outside.png", "..\\outside.png", "C:\\outside.png", "C:x.png"]


@pytest.mark.parametrize("name", TRAPS)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_names_that_lead_out(tmp_path: Path, cache: Path, name: str, form: str) -> None:
    with pytest.raises(DataError, match="holds a name that leads out of it"):
        open_source(PACKERS[form](tmp_path, PHOTOS | {name: b"x"}))
    assert list(cache.iterdir()) == []
    assert list(tmp_path.rglob("outside*")) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar(tmp_path: Path, cache: Path, kind: bytes) -> None:
    file = tarred(tmp_path / "set.tar", PHOTOS)
    with tarfile.open(file, "a") as out:
        info = tarfile.TarInfo("cat/9.png")
        info.type, info.linkname = kind, "/etc/passwd"
        out.addfile(info)
    with pytest.raises(DataError, match="holds a link or device: cat/9.png"):
        open_source(file)
    assert list(cache.iterdir()) == []


def test_links_in_a_zip(tmp_path: Path) -> None:
    file = zipped(tmp_path / "set.zip", PHOTOS)
    with zipfile.ZipFile(file, "a") as out:
        info = zipfile.ZipInfo("cat/9.png")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        out.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="holds a link: cat/9.png"):
        open_source(file)


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.xz"])
def test_bombs(tmp_path: Path, cache: Path, form: str) -> None:
    """200 MB of zeros in some hundred kB."""
    file = PACKERS[form](tmp_path, {"cat/1.png": bytes(200 * 2**20)})
    with pytest.raises(DataError, match="unpacks to more than 200 times its size"):
        open_source(file)
    assert list(cache.iterdir()) == []


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    with pytest.raises(DataError, match="holds more than 3 files"):
        open_source(zipped(tmp_path / "set.zip", PHOTOS))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "set.zip is empty"),
        ({"a.txt": b"text"}, r"there is no data set in .*set.zip\n  found  a.txt"),
        ({"cat/1.png": b"x"}, "set.zip.* has one class, 'cat'"),
        ({"cat": b"x", "cat/1.png": b"x"}, "set.zip cannot be unpacked"),
        ({f"{'n' * 300}/1.png": b"x"}, "set.zip cannot be unpacked into .*: File name too long"),
    ],
)
def test_contents_that_are_no_data_set(tmp_path: Path, files: Files, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_source(zipped(tmp_path / "set.zip", files))
    assert "/unpacked/" not in str(caught.value) or "into" in str(caught.value)


@pytest.mark.parametrize("name", ["set.zip", "set.tar", "set.tar.gz", "set.tar.xz"])
@pytest.mark.parametrize("content", [b"", b"rubbish" * 200])
def test_rubbish(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DataError, match=f"{name} cannot be unpacked"):
        open_source(write(tmp_path / name, content))


def test_a_compressed_stream_that_makes_no_sense(tmp_path: Path) -> None:
    file = zipped(tmp_path / "set.zip", {"cat/1.txt": b"text " * 1000})
    whole = bytearray(file.read_bytes())
    first = 30 + len("cat/1.txt")  # after the local header
    whole[first : first + 8] = b"\xff" * 8
    with pytest.raises(DataError, match="set.zip cannot be unpacked: Error -3 while decompressing"):
        open_source(write(file, bytes(whole)))


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(write(tmp_path / "occupied", b"")))
    with pytest.raises(DataError, match="set.zip cannot be unpacked into .*: Not a directory"):
        open_source(zipped(tmp_path / "set.zip", PHOTOS))


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_any_damage_is_told_or_harmless(tmp_path: Path, cache: Path, form: str) -> None:
    """Bits flipped and ends cut off at random: a source, or a DataError, and nothing is left behind by the second."""
    whole = PACKERS[form](tmp_path, PHOTOS).read_bytes()
    chance = random.Random(form)
    told = 0
    for number in range(60):
        bad = bytearray(whole)
        for _ in range(chance.choice([1, 20])):
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        del bad[chance.choice([len(bad), chance.randrange(len(bad))]) :]
        try:
            open_source(write(tmp_path / f"{number}.{form}", bytes(bad)))
        except DataError:
            told += 1
    assert told > 5
    assert [file for file in cache.iterdir() if file.name.startswith(".")] == []
