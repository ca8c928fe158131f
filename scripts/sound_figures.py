"""The figure of the guide's chapter on sound: four kinds of sounds as waves and as spectrograms.

python scripts/sound_figures.py [docs/pictures]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pellucid.data.spectrogram import LogMel

RATE, SECONDS = 8000, 0.4
KINDS = {"up": (400, 1500), "down": (1500, 400), "tone": (400, 400), "noise": (0, 0)}


def sound(kind: str) -> np.ndarray:
    """As the chapter makes them."""
    chance = np.random.default_rng(0)
    time = np.arange(int(RATE * SECONDS)) / RATE
    pitch = np.linspace(*KINDS[kind], len(time))
    wave = np.sin(2 * np.pi * np.cumsum(pitch) / RATE) if kind != "noise" else chance.normal(0, 0.4, len(time))
    return wave * np.hanning(len(time)) + chance.normal(0, 0.05, len(time))


def main() -> None:
    """Write ``sound-spectrograms.png``."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "pictures"
    mel = LogMel(RATE, mels=40)
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    for column, kind in enumerate(KINDS):
        wave = sound(kind)
        above = figure.add_subplot(2, 4, 1 + column)
        above.plot(np.arange(len(wave)) / RATE, wave, linewidth=0.3)
        above.set_title(kind)
        above.set_ylim(-1.5, 1.5)
        below = figure.add_subplot(2, 4, 5 + column)
        below.imshow(
            mel.picture(wave)[:, :, 0], cmap="gray", vmin=0, vmax=255, aspect="auto", extent=(0, SECONDS, 0, 40)
        )
        below.set_xlabel("seconds")
        for axes, unit in ((above, "sample"), (below, "mel band")):
            axes.tick_params(labelsize=7)
            axes.set_ylabel(unit if column == 0 else "")
    FigureCanvasAgg(figure)
    figure.savefig(folder / "sound-spectrograms.png", dpi=90)


if __name__ == "__main__":
    main()
