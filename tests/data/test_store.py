"""The cache of decoded pictures: written once, whole or not at all, verified, never in the user's folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.data import Data, load, store
from pellucid.data.source import Source, open_source
from pellucid.errors import DataError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(40):
        file = tmp_path / "photos" / str(i % 2) / f"{i:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 20, 3), np.uint8)).save(file)
    return tmp_path / "photos"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder; blocks are small, so that there are several."""
    monkeypatch.setattr(store, "_BLOCK_BYTES", 9 * 20 * 20 * 3)
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The entries that were decoded."""
    seen: list[int] = []
    one = store._one

    def counted(source: Source, entry: int, how: store.Decoding) -> Any:
        seen.append(entry)
        return one(source, entry, how)

    monkeypatch.setattr(store, "_one", counted)
    return seen


def entry(cache: Path) -> Path:
    (folder,) = (cache / "decoded").iterdir()  # exactly one, and nothing half made beside it
    return folder


def test_the_second_time_nothing_is_decoded(photos: Path, cache: Path, reads: list[int]) -> None:
    first = load(photos, cache=cache)
    assert len(reads) == 40
    assert isinstance(first.train.images, np.memmap)
    assert not first.train.images.flags.writeable
    assert first.train.images.transpose(0, 3, 1, 2).flags.c_contiguous
    second = load(photos, cache=cache)
    assert len(reads) == 40
    assert second.fingerprint == first.fingerprint == load(photos).fingerprint
    assert sorted(file.name for file in entry(cache).iterdir()) == ["index.json", "pixels"]


def test_few_pictures_stay_in_memory_and_many_are_mapped(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert not isinstance(load(photos).train.images, np.memmap)
    assert not (tmp_path / "user").exists()
    monkeypatch.setattr(store, "IN_MEMORY_BYTES", 1000)
    data = load(photos)
    assert isinstance(data.train.images, np.memmap)
    assert entry(tmp_path / "user" / "pellucid").is_dir()


def test_nothing_is_written_into_the_users_folder(photos: Path, cache: Path) -> None:
    before = sorted((str(file), file.stat().st_mtime_ns) for file in [photos, *photos.rglob("*")])
    load(photos, cache=cache)
    assert sorted((str(file), file.stat().st_mtime_ns) for file in [photos, *photos.rglob("*")]) == before


def flip_a_bit(at: float) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[int(at * (len(content) - 1))] ^= 4
        file.write_bytes(content)

    return damage


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def lengthen(file: Path) -> None:
    with file.open("ab") as out:
        out.write(b"0")


@pytest.mark.parametrize("name", ["pixels", "index.json"])
@pytest.mark.parametrize(
    "damage",
    [flip_a_bit(0), flip_a_bit(0.37), flip_a_bit(0.7), flip_a_bit(1), cut, Path.unlink, lambda f: f.write_bytes(b"")],
    ids=["first bit", "a bit", "another bit", "last bit", "cut off", "gone", "empty"],
)
def test_damage_is_found_and_mended(
    name: str, damage: Callable[[Path], object], photos: Path, cache: Path, reads: list[int]
) -> None:
    wanted = load(photos, cache=cache).fingerprint
    damage(entry(cache) / name)
    assert load(photos, cache=cache).fingerprint == wanted
    assert len(reads) == 80
    assert load(photos, cache=cache).fingerprint == wanted
    assert len(reads) == 80
    entry(cache)


def test_an_index_that_still_reads_well_is_damage_too(photos: Path, cache: Path, reads: list[int]) -> None:
    wanted = load(photos, cache=cache)
    index = entry(cache) / "index.json"
    text = index.read_text("utf-8")
    kept = text[text.index("kept") :]
    first = kept[kept.index("[") + 1 : kept.index(",")]
    index.write_text(text.replace(f"[{first},", "[39,", 1), "utf-8")
    assert index.read_text("utf-8") != text
    assert list(load(photos, cache=cache).train.names) == list(wanted.train.names)
    assert len(reads) == 80


def test_pixels_that_are_too_many_are_damage_too(photos: Path, cache: Path, reads: list[int]) -> None:
    load(photos, cache=cache)
    lengthen(entry(cache) / "pixels")
    load(photos, cache=cache)
    assert len(reads) == 80


def test_a_changed_file_or_setting_is_decoded_anew(photos: Path, cache: Path, reads: list[int]) -> None:
    first = load(photos, cache=cache)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(photos / "0" / "00.png")
    second = load(photos, cache=cache)
    assert second.fingerprint != first.fingerprint
    assert len(reads) == 80
    load(photos, cache=cache, image_size=16)
    load(photos, cache=cache, channels=1)
    load(photos, cache=cache, fit="squash")
    assert len(reads) == 200


def test_the_skipped_are_remembered(photos: Path, cache: Path, reads: list[int]) -> None:
    (photos / "0" / "02.png").write_text("broken")
    first, second = load(photos, cache=cache), load(photos, cache=cache)
    assert len(reads) == 40
    assert first.skipped == second.skipped
    assert [item.name for item in second.skipped] == ["0/02.png"]
    assert second.fingerprint == first.fingerprint


def test_too_many_broken_leave_no_entry(photos: Path, cache: Path) -> None:
    for i in range(6):
        (photos / str(i % 2) / f"{i:02}.png").write_text("broken")
    with pytest.raises(DataError, match="6 of 40 pictures in .* cannot be decoded"):
        load(photos, cache=cache)
    assert list((cache / "decoded").iterdir()) == []


def test_a_crash_while_writing_leaves_no_entry(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, reads: list[int]
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "_put", crash)
        with pytest.raises(KeyboardInterrupt):
            load(photos, cache=cache)
    assert list((cache / "decoded").iterdir()) == []
    load(photos, cache=cache)
    assert len(reads) == 80


def test_a_full_disk_is_told_and_memory_serves(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    data = load(photos, cache=cache)
    assert not isinstance(data.train.images, np.memmap)
    assert "could not be kept in" in data.notes[-1]
    assert "there is no space left" in data.notes[-1]
    assert list((cache / "decoded").iterdir()) == []
    monkeypatch.setattr(store, "_memory_bytes", lambda: 10)
    with pytest.raises(DataError, match=r"GiB of decoded pictures cannot be kept in .*: there is no space left"):
        load(photos, cache=cache)


def test_a_cache_that_cannot_be_made_is_told(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    data = load(photos, cache=tmp_path / "file")
    assert len(data.train) == 32
    assert "could not be kept in" in data.notes[-1]


def test_many_processes_at_once_write_one_entry(photos: Path, cache: Path) -> None:
    code = "import sys; from pellucid.data import load; print(load(sys.argv[1], cache=sys.argv[2]).fingerprint)"
    from pathlib import Path as P

    command = [sys.executable, "-c", code.replace("sys.argv[2]", "__import__('pathlib').Path(sys.argv[2])")]
    running = [
        subprocess.Popen([*command, str(photos), str(cache)], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    outputs = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert outputs == {load(P(photos)).fingerprint + "\n"}
    entry(cache)


def test_two_that_finish_together(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process puts its entry in place between our writing and our renaming."""
    put = store._put
    rivals: list[Data] = []

    def late(made: Path, folder: Path, how: store.Decoding) -> None:
        monkeypatch.setattr(store, "_put", put)
        rivals.append(load(photos, cache=cache))
        put(made, folder, how)

    monkeypatch.setattr(store, "_put", late)
    assert load(photos, cache=cache).fingerprint == rivals[0].fingerprint
    entry(cache)


def test_an_archive_is_known_by_its_own_time(photos: Path, tmp_path: Path, cache: Path, reads: list[int]) -> None:
    import shutil

    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", photos))
    first = load(archive, cache=cache)
    assert load(archive, cache=cache).fingerprint == first.fingerprint
    assert len(reads) == 40


def test_files_that_cannot_be_found_are_known_by_their_content(photos: Path, cache: Path, reads: list[int]) -> None:
    from dataclasses import replace

    from pellucid.data.resize import Fit

    source = replace(open_source(photos), origin="somewhere else")
    how = store.Decoding(Fit("crop", (20, 20)), 3)
    order = list(range(40))
    store.decoded(source, order, how, cache=cache)
    store.decoded(source, order, how, cache=cache)
    assert len(reads) == 40
    content = (photos / "0" / "00.png").read_bytes()
    changed = replace(source, read=lambda i: content)
    store.decoded(changed, order, how, cache=cache)
    assert len(reads) == 80
