"""Each command does its work on real pictures, in a process of its own."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from tests.cli.conftest import Run


def test_train_leaves_a_whole_run_folder(trained: Path) -> None:
    names = {item.name for item in trained.iterdir()}
    assert {
        "best",
        "checkpoints",
        "config.yaml",
        "environment.json",
        "log.jsonl",
        "metrics.json",
        "report.html",
        "curves.png",
        "confusion.png",
        "mistakes.png",
    } <= names
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["settings"]["net"] == "lenet"
    assert None not in [config["settings"][name] for name in ("learning_rate", "batch_size", "weight_decay", "flip")]


def test_set_and_yaml_and_options_reach_the_run(photos: Path, pellucid: Run, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("epochs: 5\noptimizer: momentum\nactivation: relu\n")
    arguments = ["--net", "lenet", "--config", "settings.yaml", "--set", "pool=max", "--epochs", 1, "--run", "made"]
    done = pellucid("train", photos, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    settings = yaml.safe_load((tmp_path / "made" / "config.yaml").read_text())["settings"]
    assert (settings["epochs"], settings["optimizer"]) == (1, "momentum")
    assert settings["net_settings"] == {"activation": "relu", "pool": "max"}


def test_weights_are_found_again_from_any_folder(photos: Path, trained: Path, pellucid: Run, tmp_path: Path) -> None:
    shutil.copy(trained / "best" / "model.safetensors", tmp_path / "start.safetensors")
    arguments = ["--net", "lenet", "--weights", "start.safetensors", "--epochs", 1, "--run", "made"]
    done = pellucid("train", photos, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "made" / "checkpoints")  # as if killed before the first
    (tmp_path / "elsewhere").mkdir()
    again = pellucid("train", "--resume", tmp_path / "made", cwd=tmp_path / "elsewhere")
    assert again.returncode == 0, again.stderr


def test_anyones_network_by_package_and_factory(photos: Path, pellucid: Run, tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "def tiny(classes):\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))\n"
    )
    done = pellucid("train", photos, "--net", "my_nets:tiny", "--epochs", 1, "--run", "made", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in pellucid("evaluate", "made", photos, cwd=tmp_path).stdout


def test_evaluate_as_json(trained: Path, photos: Path, pellucid: Run) -> None:
    done = pellucid("evaluate", trained, photos, "--split", "all", "--json", cwd=trained)
    measured = json.loads(done.stdout)
    assert measured["n"] == 120
    assert sum(map(sum, measured["confusion"])) == 120


def test_predict_in_three_forms_and_from_standard_input(trained: Path, photos: Path, pellucid: Run) -> None:
    one = sorted((photos / "bag").iterdir())[0]
    text = pellucid("predict", trained, one, "--top", 1, cwd=trained).stdout
    rows = list(
        csv.DictReader(io.StringIO(pellucid("predict", trained, photos, "--format", "csv", cwd=trained).stdout))
    )
    listed = json.loads(pellucid("predict", trained, one, "--format", "json", cwd=trained).stdout)
    piped = json.loads(
        pellucid("predict", trained, "-", "--format", "json", cwd=trained, stdin=one.read_bytes()).stdout
    )
    assert text.startswith(f"{one}: ")
    assert len(rows) == 120 * 3
    assert sum(item["probability"] for item in listed[0]["classes"]) == pytest.approx(1, abs=1e-5)
    assert [item["class"] for item in piped[0]["classes"]] == [item["class"] for item in listed[0]["classes"]]
    assert piped[0]["picture"] == "-"


def test_predict_names_a_broken_picture_and_goes_on(trained: Path, photos: Path, pellucid: Run, tmp_path: Path) -> None:
    good = sorted((photos / "bag").iterdir())[0]
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:60])
    done = pellucid("predict", trained, tmp_path / "broken.png", good, cwd=tmp_path)
    assert done.returncode == 1
    assert "broken.png cannot be decoded" in done.stderr
    assert str(good) in done.stdout


def test_summary_draws_and_forecasts(pellucid: Run, tmp_path: Path) -> None:
    arguments = ["resnet18", "--input", "3x64x64", "--svg", "net.svg", "--html", "net.html", "--fit", "--batch", 8]
    done = pellucid("summary", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "parameters   11,689,512" not in done.stdout  # 64 pixels take the small stem: another first layer
    assert "layer1.0.conv1" in done.stdout
    assert "training at batch 8 takes at its highest" in done.stdout
    assert ElementTree.parse(tmp_path / "net.svg").getroot().tag.endswith("svg")
    assert "<html" in (tmp_path / "net.html").read_text()


def test_check_as_text_json_and_page(photos: Path, pellucid: Run, tmp_path: Path) -> None:
    text = pellucid("check", photos, "--html", tmp_path / "page.html", cwd=tmp_path)
    found = json.loads(pellucid("check", photos, "--json", cwd=tmp_path).stdout)
    assert "120 pictures" in text.stdout
    assert found["total"] == 120
    assert "data:image/png;base64," in (tmp_path / "page.html").read_text()


def test_runs_lists_and_compares(trained: Path, photos: Path, pellucid: Run) -> None:
    arguments = ["--net", "mlp", "--epochs", 1, "--run", trained.parent / "second"]
    assert pellucid("train", photos, *arguments, cwd=trained).returncode == 0
    table = pellucid("runs", trained.parent, cwd=trained).stdout
    compared = json.loads(
        pellucid("runs", trained.parent, "--compare", "--json", "--html", trained.parent / "c.html", cwd=trained).stdout
    )
    assert "first" in table
    assert compared["differ"]["net"] == ["lenet", "mlp"]
    assert "second" in (trained.parent / "c.html").read_text()


def test_doctor_says_what_is_there(pellucid: Run, tmp_path: Path) -> None:
    states = {line["what"]: line["state"] for line in json.loads(pellucid("doctor", "--json", cwd=tmp_path).stdout)}
    assert states["torch"] == "ok"
    assert "native library" in states


def test_every_command_has_help_with_an_example(pellucid: Run, tmp_path: Path) -> None:
    for command in ("train", "evaluate", "predict", "summary", "check", "fetch", "runs", "doctor"):
        done = pellucid(command, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert "Example" in done.stdout, command
