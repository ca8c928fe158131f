"""Draws the attention of a date for docs/guide/course/19-translation.md: the network of that page, trained as there.

python scripts/translation_figures.py    # half a minute
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure

from pellucid.data.pairs import Pairs, PairSplit, load_pairs
from pellucid.train import Model
from pellucid.train.tasks.translation_attention import AttentionMap, map_of

FILE = Path(__file__).parents[1] / "docs" / "pictures" / "translation-attention.svg"
SHOWN = (("一九九八年三月三日", "1998-03-03"), ("二〇一二年十一月二十八日", "2012-11-28"))
FONTS = ["DejaVu Sans", "WenQuanYi Zen Hei", "Noto Sans CJK SC", "sans-serif"]


def trained() -> Model:
    """The small Transformer of the page."""

    def chinese(split: PairSplit) -> PairSplit:
        return split.take([i for i, text in enumerate(split.sources) if not any(map(str.isascii, text))])

    dates = load_pairs("dates")
    model = Model("transformer", task="translation", width=64, layers=1, feed_forward=128, dropout=0.0)
    model.compile(learning_rate=0.004, schedule="inverse_square_root", batch_size=32)
    model.fit(Pairs({name: chinese(split) for name, split in dates.splits.items()}), epochs=4, progress=False)
    return model


def draw(maps: list[AttentionMap], file: Path = FILE) -> Path:
    """Maps side by side: the source across, what was written down; the darker, the larger the weight."""
    widths = [len(found.source) for found in maps]
    figure = Figure((0.34 * sum(widths) + 1.6, 4.2), layout="constrained")
    for axes, found in zip(figure.subplots(1, len(maps), width_ratios=widths), maps, strict=True):
        axes.imshow(found.mean, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(found.source)), found.source)
        axes.set_yticks(range(len(found.written)), [token.replace("<end>", "end") for token in found.written])
        axes.xaxis.tick_top()
        axes.tick_params(length=0, labelsize=11)
        axes.set(xlabel="read", ylabel="written")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "guide", "font.family": FONTS}):
        figure.savefig(file, facecolor="white", metadata={"Date": None})
    return file


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = trained()
    found = [map_of(model, source, target) for source, target in SHOWN]
    written = draw([item for item in found if item is not None])
    print(written, f"{written.stat().st_size:,} bytes")
