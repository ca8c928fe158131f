"""Numbers opened at random in many networks: do the terms add up, agree with autograd, and do the boxes hold?

    python bench/open_numbers.py --json bench/results/open_numbers.json --markdown docs/open-numbers.md
    python bench/open_numbers.py --only lenet --count 100

Claim: for every network, in training and in evaluation, the terms of every number sum to what the network computed
(within 1e-5 of the sum of magnitudes), gradients included, and no number's gradient reaches outside of its box. Half of
the gradients are of weights and biases, half of activations. The run of the scene is held against the module's own: its
outputs, and the gradients of all weights by ``torch.autograd`` on the module itself.

The weights are random, as each network begins; the pictures are photographs (``--pictures FOLDER``) or, without them,
random numbers. Two pictures a batch, so that normalisation by the batch has something to do.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.look.numbers import check

from pellucid import nets


def _transformer(name: str) -> nn.Module:
    import transformers as tf

    if name == "ResNet":
        config = tf.ResNetConfig(embedding_size=16, hidden_sizes=[16, 32, 64], depths=[2, 2, 2], num_labels=10)
        return tf.ResNetForImageClassification(config)
    if name == "MobileNetV2":
        return tf.MobileNetV2ForImageClassification(tf.MobileNetV2Config(depth_multiplier=0.5, num_labels=10))
    config = tf.ViTConfig(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128, image_size=64, num_labels=10
    )
    return tf.ViTForImageClassification(config)


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "mlp": (lambda: nets.make("mlp", classes=10), (1, 28, 28)),
    "lenet": (lambda: nets.make("lenet", classes=10), (1, 28, 28)),
    "basic_cnn": (lambda: nets.make("basic_cnn", classes=10), (3, 32, 32)),
    "alexnet": (lambda: nets.make("alexnet", classes=10), (3, 224, 224)),
    "vgg11": (lambda: nets.make("vgg11", classes=10, image_size=64), (3, 64, 64)),
    "inception_small": (lambda: nets.make("inception_small", classes=10), (3, 32, 32)),
    "resnet18": (lambda: nets.make("resnet18", classes=10), (3, 128, 128)),
    "transformers ResNet": (lambda: _transformer("ResNet"), (3, 64, 64)),
    "transformers MobileNetV2": (lambda: _transformer("MobileNetV2"), (3, 64, 64)),
    "transformers ViT": (lambda: _transformer("ViT"), (3, 64, 64)),
}


PAGE = """
Made by `bench/open_numbers.py`, never typed. Each network has the weights that it begins with and sees two pictures;
so many activations and as many gradients (half of them of weights and biases) are opened at random. A number is wrong
where its terms do not sum to what the network computed within 1e-5 of the sum of their magnitudes, or where its
gradient, by autograd, reaches a pixel outside of its receptive field's box. *Worst* is the largest error of a sum, in
parts of the sum of magnitudes. Before, the outputs of the scene and its gradients of all weights are held against the
module's own. *By PyTorch*: gradients with a local derivative that no operation has written, so that PyTorch's forward
mode gave it. Where a batch normalisation in training couples all places, the box is the picture.
"""


def images_of(folder: Path | None, size: tuple[int, int, int]) -> Tensor:
    """Two pictures, (2, C, H, W), of mean about 0 and deviation about 1."""
    if folder is None:
        return torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    from pellucid.data import Preprocess, find_pictures

    channels, height, width = size
    preprocess = Preprocess((height, width), channels, (0.45,) * channels, (0.25,) * channels)
    return torch.cat([preprocess.tensor(preprocess.picture(file)) for file in find_pictures(folder)[:2]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--boxes", type=int, default=1000)
    parser.add_argument("--only", choices=NETS)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the table as a page")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    rows: list[dict[str, Any]] = []
    for name, (make, size) in NETS.items():
        if asked.only in (None, name):
            for training in (False, True):
                rows.append(_row(name, make, size, training, asked))
                print(_written(rows[-1]), flush=True)
    if asked.json:
        facts = {"torch": torch.__version__, "machine": platform.machine(), "count": asked.count}
        asked.json.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n", "utf-8")
    if asked.markdown:
        asked.markdown.write_text(_page(rows), "utf-8")
    sys.exit(any(row["wrong"] for row in rows))


def _row(
    name: str, make: Callable[[], nn.Module], size: tuple[int, int, int], training: bool, asked: argparse.Namespace
) -> dict[str, Any]:
    torch.manual_seed(0)
    net = make()
    began = time.perf_counter()
    images = images_of(asked.pictures, size)
    checked = check(net, images, [3, 7], training=training, count=asked.count, boxes=asked.boxes)
    return {
        "network": name,
        "input": "x".join(map(str, size)),
        "mode": "training" if training else "evaluation",
        "activations": checked.activations,
        "gradients": checked.gradients,
        "boxes": checked.boxes,
        "wrong": checked.wrong,
        "worst": checked.worst,
        "from_pytorch": dict(checked.from_pytorch),
        "seconds": round(time.perf_counter() - began, 1),
    }


def _written(row: dict[str, Any]) -> str:
    local = ", ".join(f"{target} {count}" for target, count in row["from_pytorch"].items()) or "none"
    text = (
        f"{row['network']:<25} {row['mode']:<10} {row['activations']} + {row['gradients']} numbers, {row['boxes']} "
        f"boxes: {len(row['wrong'])} wrong, worst {row['worst']:.1e}, derivatives from PyTorch: {local} "
        f"({row['seconds']} s)"
    )
    return "\n  ".join([text, *row["wrong"][:5]])


def _page(rows: list[dict[str, Any]]) -> str:
    """The table as Markdown."""
    lines = [
        "# Numbers opened at random",
        "",
        *textwrap.wrap(" ".join(PAGE.split()), 120),
        "",
        "| network | input | mode | activations | gradients | boxes | wrong | worst | by PyTorch |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        local = sum(row["from_pytorch"].values())
        lines.append(
            f"| {row['network']} | {row['input'].replace('x', '×')} | {row['mode']} | {row['activations']:,} | "
            f"{row['gradients']:,} | {row['boxes']:,} | {len(row['wrong'])} | {row['worst']:.1e} | {local} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
