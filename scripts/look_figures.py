"""The figures of docs/look.md: what the channels of trained networks respond to.

    pellucid train fashion-mnist --net lenet --set activation=relu --set pool=max --epochs 10 --run runs/lenet
    pellucid train CIFAR --net basic_cnn --epochs 10 --run runs/basic_cnn
    python scripts/look_figures.py runs/lenet fashion-mnist docs/pictures/look-lenet.webp --layer 1 --layer 4 --layer 8
    python scripts/look_figures.py runs/basic_cnn CIFAR docs/pictures/look-basic-cnn.webp --layer 0.2 --layer 1.2 ...
    python scripts/look_figures.py SQUEEZENET PICTURES docs/pictures/look-squeezenet.webp --layer features.1 ...

SQUEEZENET is a folder with the published ``model.safetensors`` and ``imagenet_classes.txt``; PICTURES a folder of
pictures, with or without classes.

Each row is a layer, each block a channel: its nine strongest patches, and beside them what the deconvnet projects of
each. The channels are not chosen: they are evenly spaced over the layer.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parents[1]))

from pellucid import Model, nets
from pellucid.data import Preprocess, find_pictures
from pellucid.look import Atlas, atlas

CELL, GAP, HEAD, COLUMNS = 40, 2, 22, 6
BLOCK = 3 * (CELL + GAP)
INK, PAPER = (28, 36, 48), (255, 255, 255)


def evenly(count: int, wanted: int) -> list[int]:
    """So many channels, evenly spaced."""
    return sorted({round(i * (count - 1) / max(1, wanted - 1)) for i in range(wanted)})


def grid(tiles: np.ndarray) -> Image.Image:
    """Nine pictures (9, height, width, 4), three a row, each as large as a cell; what is outside is black."""
    sheet = Image.new("RGB", (BLOCK, BLOCK), PAPER)
    for i, tile in enumerate(tiles):
        picture = Image.fromarray(tile[..., :3])
        resample = Image.Resampling.NEAREST if max(picture.size) < CELL else Image.Resampling.LANCZOS
        sheet.paste(picture.resize((CELL, CELL), resample), (i % 3 * (CELL + GAP), i // 3 * (CELL + GAP)))
    return sheet


def drawn(found: Atlas, layers: list[str]) -> Image.Image:
    """Rows of layers, blocks of channels."""
    wide, tall = COLUMNS * (2 * BLOCK + 16), len(layers) * (BLOCK + 2 * HEAD + 8)
    sheet = Image.new("RGB", (wide, tall), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, name in enumerate(layers):
        top = row * (BLOCK + 2 * HEAD + 8)
        chosen = evenly(len(found[name]), COLUMNS)
        pen.text((0, top + 2), f"{name}, {len(found[name])} channels", INK, font)
        patches, projections = found.tiles.patches(name, chosen), found.tiles.projections(name, chosen)
        for column, number in enumerate(chosen):
            left = column * (2 * BLOCK + 16)
            pen.text((left, top + HEAD), f"channel {number}", INK, font)
            sheet.paste(grid(patches[column]), (left, top + 2 * HEAD))
            sheet.paste(grid(projections[column]), (left + BLOCK, top + 2 * HEAD))
    return sheet


def squeezenet(folder: Path) -> Model:
    """SqueezeNet 1.1 with its published weights."""
    net = nets.make("tests.nets.squeezenet:squeezenet")
    nets.load_weights(net, folder / "model.safetensors")
    names = tuple((folder / "imagenet_classes.txt").read_text("utf-8").splitlines())
    preprocess = Preprocess((224, 224), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), names, shorter=256)
    return Model(net, classes=names, preprocess=preprocess)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data")
    parser.add_argument("file", type=Path)
    parser.add_argument("--layer", action="append", required=True)
    parser.add_argument("--split", default="test")
    asked = parser.parse_args()
    if (asked.run / "imagenet_classes.txt").is_file():
        model = squeezenet(asked.run)
        pictures = np.stack([model.preprocess.picture(file) for file in find_pictures(asked.data)])
        found = atlas(model, pictures, k=9, layers=asked.layer)
    else:
        found = atlas(asked.run, asked.data, k=9, layers=asked.layer, split=asked.split)
    drawn(found, asked.layer).save(asked.file, quality=82, method=6)
    print(f"{asked.file}: {asked.file.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
