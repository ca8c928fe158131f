"""Checkpoints: every fault is noticed, and what was good stays good."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bench.reliability import faults

from pellucid.errors import CheckpointError
from pellucid.train import checkpoint


def assert_all_noticed(result: dict[str, object], at_least: int) -> None:
    assert not result["missed"]
    assert isinstance(result["tried"], int)
    assert result["tried"] >= at_least


def test_what_is_written_is_read_to_the_bit(tmp_path: Path) -> None:
    weights = torch.randn(5, 3)
    model = {
        "w": weights,
        "t": weights.t(),
        "half": weights.bfloat16(),
        "n": torch.tensor(2**40 + 1),
        "none": torch.zeros(0),
    }
    folder = checkpoint.write(tmp_path, 12, model, {"0.step": torch.tensor(3.0)}, {"sum": 0.1 + 0.2, "list": [1e-320]})
    assert sorted(item.name for item in folder.iterdir()) == sorted(faults.FILES)
    read = checkpoint.read(folder)
    assert read.step == 12
    assert {name: value.dtype for name, value in read.model.items()} == {n: v.dtype for n, v in model.items()}
    assert all(torch.equal(read.model[name], model[name]) for name in model)
    assert read.optimizer["0.step"].shape == ()
    assert read.state == {"sum": 0.1 + 0.2, "list": [1e-320]}


def test_each_of_a_thousand_flipped_bits_is_noticed(tmp_path: Path) -> None:
    result = faults.flips(tmp_path, 1000, seed=1)
    assert_all_noticed(result, 1000)
    assert min(result["by_file"].values()) > 100


def test_files_cut_short_or_missing_are_noticed(tmp_path: Path) -> None:
    assert_all_noticed(faults.cuts(tmp_path, seed=2), 100)


def test_every_call_that_the_system_refuses_leaves_the_one_before_intact(tmp_path: Path) -> None:
    assert_all_noticed(faults.refused_calls(tmp_path), 10)


def test_a_full_disk() -> None:
    result = faults.full_disk()
    if "why" in result:
        pytest.skip(str(result["why"]))
    assert_all_noticed(result, 10)


def test_a_full_disk_is_said_in_words(tmp_path: Path) -> None:
    faults.write(tmp_path, 1)
    with faults.failing(3), pytest.raises(CheckpointError, match="checkpoint of step 2 could not be written: No space"):
        faults.write(tmp_path, 2)
    assert [item.name for item in tmp_path.iterdir()] == ["000001"]


def test_the_last_two_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(1, 8):
        checkpoint.write(tmp_path, step, {}, {}, {}, keep={3})
    assert [item.name for item in sorted(tmp_path.iterdir())] == ["000003", "000006", "000007"]


def test_a_damaged_one_is_named_kept_and_passed_over(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        faults.write(tmp_path, step)
    (tmp_path / "000003" / "state.json").write_text("{}")
    found, errors = checkpoint.latest_good(tmp_path, set_aside=True)
    assert found is not None
    assert found.step == 2
    assert "state.json has 2 bytes instead of" in str(errors[0])
    assert (tmp_path / "000003.damaged" / "state.json").read_text() == "{}"
    faults.write(tmp_path, 3)
    assert [folder.name for folder in checkpoint.folders(tmp_path)] == ["000002", "000003"]
    assert (tmp_path / "000003.damaged").is_dir()


def test_the_same_step_again_is_written_over(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 5, {}, {}, {"epoch": 0})
    checkpoint.write(tmp_path, 5, {}, {}, {"epoch": 1})
    assert checkpoint.read(tmp_path / "000005").state == {"epoch": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["000005"]


def test_what_a_killed_process_left_is_cleaned(tmp_path: Path) -> None:
    faults.write(tmp_path, 1)
    (tmp_path / ".000002.tmp-99").mkdir()
    (tmp_path / ".000002.tmp-99" / "model.safetensors").write_bytes(b"half")
    assert [folder.name for folder in checkpoint.folders(tmp_path)] == ["000001"]
    checkpoint.clean(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["000001"]


def test_another_format_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", 9)
    folder = faults.write(tmp_path, 1)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has format 9; this Pellucid reads 1"):
        checkpoint.read(folder)


def test_nothing_is_ever_unpickled() -> None:
    source = Path(checkpoint.__file__).parent
    for file in source.glob("*.py"):
        text = file.read_text("utf-8")
        assert "import pickle" not in text
        assert "torch.load(" not in text
