"""Devices, layouts, denormals on every thread, and what is remembered of a machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pellucid import native
from pellucid.errors import UsageError
from pellucid.train import Settings, execution
from tests.train.conftest import tiny

CPU = torch.device("cpu")

DENORMALS = """
import torch
from pellucid.train.execution import flush_denormals
torch.set_num_threads(3)
tiny = torch.full((1 << 22,), 1e-40)
assert bool((tiny * 1.0 != 0).all())  # the pool's threads are awake by now, and keep denormals
flush_denormals()
print(int((tiny * 1.0 != 0).sum()))
"""


def test_denormals_become_zero_on_every_thread() -> None:
    if native.load() is None:
        pytest.skip("the native library is not built: denormals are flushed on the main thread alone")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", DENORMALS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"


def test_devices() -> None:
    assert execution.device_of("cpu") == CPU
    assert execution.device_of("auto").type in ("cpu", "cuda")
    with pytest.raises(UsageError, match="there is no device 'gpu'"):
        execution.device_of("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="there is no device 'cuda:3' here"):
            execution.device_of("cuda:3")


def test_a_layout_that_is_set_is_taken() -> None:
    sample = torch.randn(4, 1, 8, 8)
    for layout in (True, False):
        chosen = execution.decide(Settings.parse({"channels_last": layout}), tiny(), CPU, (sample,))
        assert chosen.channels_last is layout


def test_a_layout_is_measured_once_on_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trials = []
    monkeypatch.setattr(execution, "_is_faster", lambda *given: trials.append(given) or True)
    sample = torch.randn(4, 1, 8, 8)
    settings = Settings(engine="torch")
    assert [execution.decide(settings, tiny(), CPU, (sample,)).channels_last for _ in range(3)] == [True] * 3
    assert len(trials) == 1
    (tmp_path / "pellucid" / "layouts.json").write_text("damaged")
    execution.decide(settings, tiny(), CPU, (sample,))
    assert len(trials) == 2
    assert list(json.loads((tmp_path / "pellucid" / "layouts.json").read_text()).values()) == [True]


def test_a_trial_leaves_the_network_and_the_random_state_alone() -> None:
    net = tiny(dropout=0.5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(8)
    wanted = torch.rand(2)
    sample = torch.randn(4, 1, 8, 8)
    torch.manual_seed(8)
    one, other = (execution.Execution(CPU, layout, False) for layout in (True, False))
    assert execution._is_faster(net, one, other, sample) in (True, False)
    assert torch.equal(torch.rand(2), wanted)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_feature_maps_are_laid_out_as_decided() -> None:
    net = nn.Conv2d(4, 8, 3)
    chosen = execution.Execution(CPU, True, True)
    chosen.place(net)
    images = chosen.images(torch.randn(2, 4, 8, 8))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert net.weight.is_contiguous(memory_format=torch.channels_last)
    with chosen.precision():
        assert net(images).dtype == torch.bfloat16
    with execution.Execution(CPU, False, False).precision():
        assert net(images).dtype == torch.float32


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_with_channels_last_works_in_that_layout_from_its_first_map_on(channels: int) -> None:
    last = execution.Execution(CPU, channels_last=True, bf16=False)
    pictures = torch.randn(4, channels, 6, 5)
    placed = last.images(pictures)
    assert torch.equal(placed, pictures)
    assert placed.stride() == (30 * channels, 1, 5 * channels, channels)
    first = last.place(nn.Conv2d(channels, 8, 3))(placed)
    assert first.is_contiguous(memory_format=torch.channels_last)
