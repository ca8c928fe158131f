"""Draws the figures of docs/guide/course/17-sequences.md into docs/pictures, from numbers that the networks compute.

python scripts/sequences_figures.py
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib import cbook
from matplotlib.dates import MonthLocator
from matplotlib.figure import Figure
from torch import nn

import pellucid

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
COLOURS = ["#1f6feb", "#d1690e", "#1a7f4b", "#8250df"]


def reach(file: Path) -> None:
    """How much of the last state's gradient arrives at inputs further and further back."""
    kinds = {
        "RNN": (nn.RNN, None),
        "GRU": (nn.GRU, None),
        "LSTM": (nn.LSTM, None),
        "LSTM, forget gates open": (nn.LSTM, 3.0),
    }
    figure = Figure((6.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for colour, (name, (kind, forget)) in zip(COLOURS, kinds.items(), strict=True):
        torch.manual_seed(0)
        layer = kind(1, 32, batch_first=True)
        if forget is not None:
            layer.bias_ih_l0.data[32:64] = forget
        x = torch.randn(8, 40, 1, requires_grad=True)
        (gradient,) = torch.autograd.grad(layer(x)[0][:, -1].square().sum(), x)
        size = gradient.square().mean((0, 2)).sqrt().flip(0)
        axes.semilogy(range(40), (size / size[0]).tolist(), color=colour, label=name)
    axes.set_xlabel("steps back")
    axes.set_ylabel("gradient, of that of the last step")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, file)


def prices(file: Path) -> None:
    """What the LSTM of the chapter says of Google's price, five days at a time."""
    found = np.load(cbook.get_sample_data("goog.npz", asfileobj=False))["price_data"]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "google.csv"
        with table.open("w", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(["date", "close"])
            writer.writerows([str(row["date"]), row["adj_close"]] for row in found)
        model = pellucid.Model("lstm", task="forecasting").compile(threads=1)
        model.fit(table, epochs=8, progress=False)
        split = model.task.load(str(table), model.settings).splits["test"]
    known = split.known(np.arange(len(split)))
    said = model.preprocess.forecasts(model.outputs(split), known)[:, :, 0]
    figure = Figure((7.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(split.dates[split.history :], split.own[:, 0], color="#1c2430", linewidth=1, label="what came")
    for i in range(0, len(split), split.horizon):
        days = split.dates[split.target_rows(np.array([i]))[0]]
        axes.fill_between(days, said[i, :, 0], said[i, :, 2], color="#d1690e", alpha=0.3, linewidth=0)
        label = "what was said, and its 80% interval" if i == 0 else None
        axes.plot(days, said[i, :, 1], color="#d1690e", linewidth=1.4, label=label)
    axes.xaxis.set_major_locator(MonthLocator(interval=2))
    axes.set_ylabel("dollars")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    with matplotlib.rc_context({"svg.hashsalt": "pellucid", "svg.fonttype": "none", "font.family": "DejaVu Sans"}):
        figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, draw in (("reach", reach), ("prices", prices)):
        made = FOLDER / f"sequences-{name}.svg"
        draw(made)
        print(made.relative_to(FOLDER.parents[1]), f"{made.stat().st_size:,} bytes")
