"""``pellucid plan``: real networks, planned and measured in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pellucid import lanes
from tests.cli.conftest import Run

pytestmark = pytest.mark.skipif(bool(lanes.why_not()), reason=f"lanes cannot run: {lanes.why_not()}")


def test_lenet_as_a_table_and_a_drawing(pellucid: Run, tmp_path: Path) -> None:
    arguments = ["plan", "lenet", "--input", "1x28x28", "--batch", 20, "--threads", 1, "--svg", "plan.svg"]
    done = pellucid(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "training, batch 20 of 1x28x28" in done.stdout.splitlines()[0]
    assert "GFLOP/s of multiply-adds, measured in the same run" in done.stdout
    assert "PyTorch keeps" in done.stdout
    assert "the drawing is in plan.svg" in done.stderr
    ElementTree.parse(tmp_path / "plan.svg")


def test_the_record_counts_what_a_person_would(pellucid: Run, tmp_path: Path) -> None:
    done = pellucid("plan", "lenet", "--input", "1x28x28", "--batch", 20, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    first = next(step for step in record["steps"] if step["kind"] == "convolution")
    # 6 kernels of 5 x 5 at 28 x 28 places of 20 pictures; the pictures themselves want no gradient.
    flops = 2 * 20 * 6 * 25 * 28 * 28
    assert first["forward"]["flops"] == first["backward"]["flops"] == flops
    # the feature map that it writes is there for 32 lanes or fewer; it reads the pictures and the weights as well
    assert first["forward"]["bytes"] > 4 * 20 * 6 * 28 * 28
    assert first["forward"]["seconds"] > 0
    assert first["forward"]["gflops"] == pytest.approx(flops / first["forward"]["seconds"] / 1e9)
    assert first["forward"]["share_of_peak"] == pytest.approx(first["forward"]["gflops"] / record["peak"])
    assert record["forward"]["flops"] == sum(step["forward"]["flops"] for step in record["steps"])
    assert record["forward"]["seconds"] == pytest.approx(sum(step["forward"]["seconds"] for step in record["steps"]))
    assert record["instructions"] in [target.name for target in lanes.targets()]
    assert record["memory"] > 4 * 20 * 6 * 28 * 28


def test_what_pytorch_runs_is_named_with_its_reason(pellucid: Run, tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Sorts(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(1, 4, 3)\n"
        "    def forward(self, x):\n"
        "        return torch.cumsum(self.conv(x), 3)\n"
        "def sorts():\n"
        "    return Sorts()\n"
    )
    done = pellucid("plan", "my_nets:sorts", "--input", "1x8x8", "--batch", 4, "--evaluation", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "evaluation, batch 4 of 1x8x8" in done.stdout
    assert "PyTorch runs 1 node:" in done.stdout
    assert "aten.cumsum.default): there is no kernel for aten.cumsum.default" in done.stdout


def test_a_network_that_runs_on_pytorch_whole_is_said_in_one_sentence(pellucid: Run, tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "class Counts(nn.Module):\n"
        "    calls = 0\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(1, 4, 3)\n"
        "    def forward(self, x):\n"
        "        self.calls += 1\n"
        "        return self.conv(x) * self.calls\n"
        "def counts():\n"
        "    return Counts()\n"
    )
    done = pellucid("plan", "my_nets:counts", "--input", "1x8x8", cwd=tmp_path)
    assert done.returncode == 2
    assert "PyTorch runs this network whole: its code keeps calls from pass to pass" in done.stderr
    assert "Traceback" not in done.stderr
