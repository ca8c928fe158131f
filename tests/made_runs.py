"""Run folders as training leaves them, made in a moment: logs, probabilities, pictures, and names that are traps."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.train.log import append
from pellucid.train.measure import Measured, measure
from pellucid.train.runfolder import write_config, write_environment
from pellucid.train.settings import Settings

PLAIN_CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox")
HOSTILE_CLASSES = (
    "</script><script>window.hacked=1</script>",
    "\"><img src=x onerror='window.hacked=1'>",
    "猫与狗",
    "كلب",
    "$\\frac{a}{b}$ & <b>bold</b>",
    "a very long name of a class that would push everything else off the page",
    "🐈",
)
HOSTILE_NAME = "<img src=http://192.0.2.1/x.png onerror=window.hacked=1>/'\"&.png"


def measured(
    classes: Sequence[str], n: int, seed: int = 0, *, skill: float = 2.2, name: str = "test/{}.png"
) -> Measured:
    """What a classifier of some skill gets right on n pictures; the second class is often taken for the first."""
    chance = np.random.default_rng(seed)
    k = len(classes)
    labels = chance.integers(0, k, n)
    outputs = chance.normal(size=(n, k))
    outputs[np.arange(n), labels] += skill
    outputs[labels == 1, 0] += 1.5
    powers = np.exp(outputs * 2)
    return measure(powers / powers.sum(1, keepdims=True), labels, [name.format(i) for i in range(n)], classes)


def pictures(result: Measured, seed: int = 0, size: tuple[int, int, int] = (32, 32, 3)) -> dict[int, np.ndarray]:
    """A picture of noise with a gradient for each mistake."""
    chance = np.random.default_rng(seed)
    slope = np.linspace(0, 160, size[1])[None, :, None]
    return {
        item.index: (chance.integers(0, 90, size) + slope).astype(np.uint8) for item in result.mistakes
    }  # fmt: skip


def write_run(
    folder: Path,
    *,
    classes: Sequence[str] = PLAIN_CLASSES,
    epochs: int = 8,
    done: int | None = None,
    end: str | None = "finished",
    result: Measured | None = None,
    split: str = "test",
    data: str = "animals",
    notes: Sequence[str] = (),
    **settings: Any,
) -> Path:
    """A run folder: ``done`` of ``epochs`` epochs, an end unless it was killed, metrics where it was measured."""
    folder.mkdir(parents=True)
    given = Settings.parse({"net": "lenet", "epochs": epochs, **settings})
    write_config(folder, {"data": data, "settings": given.model_dump(), "classes": list(classes)})
    write_environment(folder, "ab" * 32, "cpu", 2, list(notes))
    append(folder, {"kind": "start", "step": 0})
    for epoch in range(1, (epochs if done is None else done) + 1):
        for step in range(epoch * 40 - 39, epoch * 40 + 1, 10):
            record = {"loss": 2 * math.exp(-step / 90) + 0.2 + 0.1 * math.sin(step * 7), "learning_rate": 0.1 / epoch}
            append(folder, {"kind": "step", "step": step, "epoch": epoch - 1, **record})
        append(
            folder,
            {
                "kind": "epoch",
                "epoch": epoch,
                "step": epoch * 40,
                "train_loss": 1.8 * math.exp(-epoch / 3) + 0.3,
                "train_accuracy": 0.95 - 0.6 * math.exp(-epoch / 3),
                "validation_loss": 1.7 * math.exp(-epoch / 2.5) + 0.4,
                "validation_accuracy": 0.9 - 0.5 * math.exp(-epoch / 2.5),
                "learning_rate": 0.1 / epoch,
                "seconds": 15.0,
                "samples_per_second": 4000.0,
            },
        )
    if end is not None:
        append(folder, {"kind": "end", "step": 40 * epochs, "reason": end})
    if result is not None:
        text = json.dumps({"split": split, **result.to_json()}, ensure_ascii=False)
        (folder / "metrics.json").write_text(text, "utf-8")
    return folder
