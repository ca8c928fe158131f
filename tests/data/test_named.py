"""Known data sets: where they are found, and the embedded one, made again from the originals."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pellucid.data import load, named
from pellucid.errors import DataError, UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, no Debian, and a folder to work in that is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(named, "_DEBIAN", tmp_path / "debian")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_the_embedded_set_is_what_the_script_makes(fashion_mnist: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_embedded", ROOT / "scripts" / "make_embedded.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.make(fashion_mnist, tmp_path / "made")
    made = {file.name: file for file in (tmp_path / "made").iterdir()}
    assert set(made) == {file.name for file in named.EMBEDDED.iterdir()}
    for name, file in made.items():
        ours, theirs = named.EMBEDDED.joinpath(name).read_bytes(), file.read_bytes()
        if name.endswith(".gz"):  # what another zlib packs may be other bytes
            ours, theirs = gzip.decompress(ours), gzip.decompress(theirs)
        assert ours == theirs, name


def test_the_embedded_set_is_balanced_small_and_licensed() -> None:
    data = load("fashion-mnist-small")
    assert data.test is not None
    assert np.bincount(data.train.labels).tolist() == [500] * 10
    assert np.bincount(data.test.labels).tolist() == [100] * 10
    assert data.classes[0] == "T-shirt/top"
    assert data.classes[9] == "Ankle boot"
    assert data.image_size == (28, 28)
    assert data.channels == 1
    assert sum(file.stat().st_size for file in named.EMBEDDED.iterdir()) < 2_700_000
    assert "Copyright (c) 2017 Zalando SE" in (named.EMBEDDED / "LICENCE").read_text("utf-8")
    pictures = np.concatenate([data.train.images, data.test.images]).reshape(6000, -1)
    assert len(np.unique(pictures, axis=0)) > 5990


def test_fashion_mnist_falls_back_to_the_embedded_part_and_says_so() -> None:
    data = load("fashion-mnist")
    assert len(data.train) == 5000
    assert data.origin == "fashion-mnist"
    assert "5,000 of 60,000" in data.notes[0]
    assert "pellucid fetch fashion-mnist" in data.notes[0]


def test_the_cache_comes_before_debian(tmp_path: Path) -> None:
    for place in (tmp_path / "debian", tmp_path / "cache" / "pellucid"):
        (place / "fashion-mnist").mkdir(parents=True)
        (place / "fashion-mnist" / "train-images-idx3-ubyte.gz").touch()
        assert named.find("fashion-mnist") == named.Place(place / "fashion-mnist")


def test_all_of_fashion_mnist_where_debian_has_it(fashion_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "_DEBIAN", fashion_mnist.parent)
    data = load("fashion-mnist")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 60000, "test": 10000}
    assert data.notes == ()


def test_a_folder_of_that_name_is_what_the_user_means() -> None:
    Path("mnist").mkdir()
    place = named.find("mnist")
    assert place.path == Path("mnist")
    assert "not the known data set of that name" in place.notes[0]


def test_a_set_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"the data set cifar10 is not on this machine\n(.*\n)*.*pellucid fetch cifar10"
    ):
        load("cifar10")


def test_a_name_that_is_nearly_known() -> None:
    with pytest.raises(
        UsageError, match="there is no data set or folder named 'fashion-mnits'; did you mean 'fashion-mnist'"
    ):
        load("fashion-mnits")
    with pytest.raises(DataError, match="there is no file or folder photos/mine"):
        load("photos/mine")
