"""Recordings as data: which there are, how they are split, what is kept, and what is said of broken ones."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from pellucid.data.sounds import Hearing, Spectrograms, Waves, load_sounds
from pellucid.data.sounds_arrays import sounds_of
from pellucid.data.sounds_files import holds_recordings, list_recordings
from pellucid.data.sounds_split import by_group
from pellucid.data.spectrogram import LogMel
from pellucid.errors import DataError, ShapeError, UsageError
from tests.data.made_sounds import PITCHES, RATE, sine, write_sounds


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """36 recordings: 3 labels, 4 speakers, 3 takes."""
    return write_sounds(tmp_path / "flat")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pellucid" / "sounds"


def in_folders(flat: Path, to: Path, splits: bool = False) -> Path:
    """A folder per class; with ``splits`` the last take is the test."""
    for file in sorted(flat.iterdir()):
        label, speaker, take = file.stem.split("_")
        above = ("test" if take == "2" else "train") if splits else "."
        (to / above / label).mkdir(parents=True, exist_ok=True)
        (to / above / label / f"{speaker}_{take}.wav").write_bytes(file.read_bytes())
    return to


def table_of(flat: Path, rows: str = "{name},{label},{speaker}", head: str = "file,label,speaker") -> Path:
    lines = [head]
    for file in sorted(flat.iterdir()):
        label, speaker, _ = file.stem.split("_")
        lines.append(rows.format(name=file.name, label=label, speaker=speaker))
    (flat / "list.csv").write_text("\n".join(lines) + "\n")
    return flat / "list.csv"


def zip_of(flat: Path) -> Path:
    file = flat.with_suffix(".zip")
    with zipfile.ZipFile(file, "w") as packed:
        for item in sorted(flat.iterdir()):
            packed.write(item, item.name)
    return file


def who(data: Any, split: str, part: int = 1) -> set[str]:
    return {Path(name).stem.split("_")[part] for name in data.splits[split].names}


def test_every_form_on_disk_holds_the_same(flat: Path, tmp_path: Path) -> None:
    listings = [
        list_recordings(flat),
        list_recordings(zip_of(flat)),
        list_recordings(in_folders(flat, tmp_path / "folders")),
        list_recordings(in_folders(flat, tmp_path / "splits", splits=True)),
        list_recordings(table_of(flat)),
    ]
    for found in listings:
        assert found.classes == ("high", "low", "middle")
        assert sorted(item.label for item in found.recordings) == sorted([*PITCHES] * 12)
        assert holds_recordings(found.origin)


def test_a_folder_of_pictures_holds_none(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"")
    assert not holds_recordings(tmp_path)
    assert not holds_recordings(tmp_path / "nowhere")


@pytest.mark.parametrize(("part", "at"), [("speaker", 1), ("take", 2)])
@pytest.mark.parametrize("seed", range(4))
def test_no_group_stands_on_two_sides(flat: Path, part: str, at: int, seed: int) -> None:
    data = load_sounds(flat, split_by=part, seed=seed)
    sides = [who(data, split, at) for split in data.splits]
    assert list(data.splits) == ["train", "validation", "test"]
    assert sum(map(len, sides)) == len(set.union(*sides)) == (4 if part == "speaker" else 3)
    assert sum(map(len, data.splits.values())) == 36


def test_the_seed_chooses_who_is_held_out(flat: Path) -> None:
    assert len({tuple(who(load_sounds(flat, split_by="speaker", seed=seed), "test")) for seed in range(8)}) > 1


def test_who_is_held_out_by_name(flat: Path) -> None:
    data = load_sounds(flat, split_by="speaker", held_out=["s1", "s3"], validation=0)
    assert who(data, "test") == {"s1", "s3"}
    assert who(data, "train") == {"s0", "s2"}
    assert any("test s1, s3" in note for note in data.notes)


def test_a_column_of_a_table_is_a_part_too(flat: Path) -> None:
    data = load_sounds(table_of(flat), split_by="speaker", held_out=["s2"])
    assert who(data, "test") == {"s2"}


def test_parts_of_names_in_folders_of_classes(flat: Path, tmp_path: Path) -> None:
    folders = in_folders(flat, tmp_path / "folders")
    data = load_sounds(folders, names="speaker_take", split_by="take", held_out=["1"])
    assert who(data, "test", 1) == {"1"}


def test_splits_of_the_source_are_kept(flat: Path, tmp_path: Path) -> None:
    data = load_sounds(in_folders(flat, tmp_path / "splits", splits=True))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 24, "test": 12}
    assert all(name.startswith("test/") for name in data.splits["test"].names)


def test_without_groups_equal_files_stay_together(flat: Path) -> None:
    for i in range(5):
        (flat / f"low_s0_{10 + i}.wav").write_bytes((flat / "low_s0_0.wav").read_bytes())
    data = load_sounds(flat)
    equal = {"low_s0_0.wav", *(f"low_s0_{10 + i}.wav" for i in range(5))}
    assert sum(bool(equal & set(split.names)) for split in data.splits.values()) == 1


def test_equal_files_of_two_speakers_are_told(flat: Path) -> None:
    (flat / "low_s0_0.wav").write_bytes((flat / "low_s1_0.wav").read_bytes())
    data = load_sounds(flat, split_by="speaker", held_out=["s0"])
    assert any("1 recordings stand in several splits as equal files" in note for note in data.notes)


def test_shares_of_groups() -> None:
    groups = [name for name in "abcdefghij" for _ in range(10)]
    split, members = by_group(groups, seed=3, shares={"test": 0.2, "validation": 0.1})
    assert [len(members[name]) for name in ("train", "validation", "test")] == [7, 1, 2]
    assert split.count("test") == 20


def test_too_few_groups() -> None:
    with pytest.raises(DataError, match=r"2 groups \(a, b\) are too few for 3 splits"):
        by_group(["a", "b"], seed=0, shares={"test": 0.1, "validation": 0.1})


def test_spectrograms_are_those_of_the_waves(flat: Path) -> None:
    data = load_sounds(flat, mels=20)
    waves = load_sounds(flat, form="wave")
    assert isinstance(data, Spectrograms)
    assert isinstance(waves, Waves)
    assert data.hearing is not None
    np.testing.assert_array_equal(data.test.waves, waves.splits["test"].waves)  # type: ignore[union-attr]
    for picture, wave in zip(data.test.images, waves.splits["test"].waves, strict=True):  # type: ignore[union-attr]
        np.testing.assert_array_equal(picture, data.hearing.mel.picture(wave))
    assert data.hearing.rate == RATE
    assert data.hearing.length == 400


def test_labels_follow_their_recordings(flat: Path) -> None:
    data = load_sounds(flat, form="wave")
    for split in data.splits.values():
        for wave, label, name in zip(split.waves, split.labels, split.names, strict=True):
            assert data.classes[label] == name.split("_")[0]
            rate, samples = wavfile.read(flat / name)
            assert np.corrcoef(wave, samples)[0, 1] > 0.999


def test_rates_and_lengths_become_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for label, pitch in (("low", 300), ("high", 1200)):
        for i, (rate, seconds) in enumerate([(8000, 0.2), (8000, 0.3), (16000, 0.2), (22050, 0.1)] * 3):
            wavfile.write(tmp_path / "a" / f"{label}_{i}.wav", rate, sine(pitch, seconds, rate).astype(np.float32))
    data = load_sounds(tmp_path / "a", form="wave", seconds=0.25)
    assert data.hearing is not None
    assert (data.hearing.rate, data.hearing.length) == (8000, 2000)
    for split in data.splits.values():
        for wave, name in zip(split.waves, split.names, strict=True):
            spectrum = np.abs(np.fft.rfft(wave * np.hanning(2000)))
            assert spectrum.argmax() * 4 == pytest.approx(300 if "low" in name else 1200, abs=8)
    assert any("lost both ends" in note for note in data.notes)


def test_computed_once_and_found_again(flat: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_sounds(flat)
    calls: list[Any] = []
    monkeypatch.setattr(LogMel, "picture", lambda *given: calls.append(given))
    again = load_sounds(flat)
    assert not calls
    assert again.fingerprint == first.fingerprint
    assert len([item for item in cache.iterdir() if not item.name.startswith(".")]) == 1


@pytest.mark.parametrize("change", ["content", "settings", "order"])
def test_whatever_it_depends_on_makes_another_entry(flat: Path, cache: Path, change: str) -> None:
    load_sounds(flat)
    if change == "content":
        (flat / "low_s0_0.wav").write_bytes((flat / "high_s0_0.wav").read_bytes())
    load_sounds(flat, **{"settings": {"mels": 20}, "order": {"seed": 5}}.get(change, {}))
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("file", ["waves", "levels", "index.json"])
def test_a_damaged_entry_is_made_again(flat: Path, cache: Path, file: str) -> None:
    first = load_sounds(flat).fingerprint
    (entry,) = cache.iterdir()
    content = bytearray((entry / file).read_bytes())
    content[len(content) // 2] ^= 1
    (entry / file).write_bytes(content)
    assert load_sounds(flat).fingerprint == first
    assert bytes(content) != (entry / file).read_bytes()


def test_a_cache_that_cannot_be_written_is_told(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    data = load_sounds(flat, cache=tmp_path / "taken")
    assert data.fingerprint == load_sounds(flat).fingerprint
    assert any("could not be kept" in note for note in data.notes)


def test_a_broken_file_is_passed_over_and_named(flat: Path) -> None:
    file = flat / "low_s0_0.wav"
    file.write_bytes(file.read_bytes()[:100])
    data = load_sounds(flat)
    assert [item.name for item in data.skipped] == ["low_s0_0.wav"]
    assert any("low_s0_0.wav (is truncated: 56 of 800 bytes of samples are there)" in note for note in data.notes)
    assert sum(map(len, data.splits.values())) == 35


def test_more_than_a_tenth_broken_stops(flat: Path) -> None:
    for file in sorted(flat.iterdir())[:4]:
        file.write_bytes(b"")
    with pytest.raises(DataError, match="4 of 36 recordings in .* cannot be read") as error:
        load_sounds(flat)
    assert "high_s0_0.wav (is empty)" in error.value.facts["broken"]


def test_samples_that_are_no_numbers_are_found_when_they_are_read(flat: Path) -> None:
    wavfile.write(flat / "low_s0_0.wav", RATE, np.full(400, np.nan, np.float32))
    data = load_sounds(flat)
    assert any("low_s0_0.wav (holds samples that are no numbers" in note for note in data.notes)
    for split in data.splits.values():
        assert [data.classes[label] for label in split.labels] == [name.split("_")[0] for name in split.names]


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"split_by": "speeker"}, UsageError, "no part of the names of recordings named 'speeker'; did you mean"),
        ({"split_by": "speaker", "held_out": ["s9"]}, UsageError, "no group to hold out named 's9'"),
        ({"held_out": ["s1"]}, UsageError, "held_out names groups, and it is not said of what"),
        ({"names": "speaker_take_label_date"}, DataError, "has 3 parts, and names=speaker_take_label_date has 4"),
        ({"names": "a_b_c"}, UsageError, "in which no part is the label"),
        ({"names": "label_label_x"}, UsageError, "names is 'label_label_x'"),
        ({"rate": 5}, UsageError, "rate is 5"),
        ({"form": "picture"}, UsageError, "form is 'picture'"),
        ({"validation": 1.5}, UsageError, "validation is 1.5"),
        ({"split_by": "label"}, DataError, "no training recording in .* is of the class"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit(flat: Path, settings: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        load_sounds(flat, **settings)


@pytest.mark.parametrize(
    ("rows", "head", "said"),
    [
        ("{name},{label}", "what,ever", "has no header file,label"),
        ("{name},", "file,label", "line 2 of .* has no label for high_s0_0.wav"),
        ("gone.wav,{label}", "file,label", "line 2 of .*: there is no recording"),
        ("{name},{label},later", "file,label,split", "line 2 of .*: there is no split 'later'"),
    ],
)
def test_tables_that_do_not_fit(flat: Path, rows: str, head: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_sounds(table_of(flat, rows, head))


def test_names_that_say_nothing(tmp_path: Path) -> None:
    for name in ("one", "two_a", "three_b_c"):
        wavfile.write(tmp_path / f"{name}.wav", RATE, sine(300).astype(np.float32))
    with pytest.raises(DataError, match="what the names of the recordings in .* say is unknown"):
        load_sounds(tmp_path)


def test_arrays_are_data_like_files() -> None:
    waves = [sine(pitch * (1 + 0.01 * i), 0.1 + 0.005 * (i % 3)) for i in range(10) for pitch in PITCHES.values()]
    labels = [name for _ in range(10) for name in PITCHES]
    groups = [i // 5 for i in range(30)]
    data = sounds_of(waves, labels, rate=RATE, groups=groups)
    assert data.classes == ("high", "low", "middle")
    numbers = {name: {int(called.split()[1]) // 5 for called in split.names} for name, split in data.splits.items()}
    assert sum(map(len, numbers.values())) == 6
    assert data.splits["train"].images.shape[1] == 64
    again = sounds_of(waves, labels, rate=RATE, form="wave", hearing=Hearing("wave", 300, LogMel(8000)))
    assert again.splits["train"].waves.shape[1] == 300


def test_arrays_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="there are 2 recordings, 1 labels"):
        sounds_of(np.zeros((2, 50)), ["a"], rate=RATE)
    with pytest.raises(ShapeError, match=r"recording 0 is float64 of shape \(5, 5\)"):
        sounds_of(np.zeros((2, 5, 5)), ["a", "b"], rate=RATE)


def test_what_a_network_hears_is_read_back() -> None:
    hearing = Hearing("wave", 8000, LogMel(8000, mels=33, high=3500.0))
    assert Hearing.from_json(json.loads(json.dumps(hearing.to_json()))) == hearing
