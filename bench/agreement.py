"""Whether the engine lanes trains as PyTorch does: the losses of twenty steps of every network, and accuracies.

    python bench/agreement.py --steps --json bench/results/agreement.json
    python bench/agreement.py --accuracy lenet fashion-mnist --epochs 10 --rate 0.5 --json bench/results/agreement.json
    python bench/agreement.py --accuracy basic_cnn CIFAR10 --epochs 4 --rate 0.05 --json bench/results/agreement.json

Steps: both engines begin with the same weights and take twenty steps of SGD with momentum towards the same targets;
what is recorded is the largest difference of a loss, beside PyTorch's. A network may drive any rounding apart (a
rectifier that falls the other way in a deep one with few numbers to normalise by): how far PyTorch's float32 is from
its own float64 after the same steps is recorded beside it. Dropout is left out: two engines draw different masks.

Accuracies: both engines train from the same weights on the same batches in the same order, once for each seed; what is
recorded are the accuracies on all test pictures, the mean of their differences seed by seed, and the standard error of
that mean. Runs of several calls are added to the record.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from cifar10_speedrun import loaded, statistics_of
from speedrun import Pictures
from torch import Tensor, nn
from torch.nn import functional

import pellucid
from pellucid import nets

Record = dict[str, Any]
STEPS = 20
BATCH = 8
TRAINED = 128  # pictures of a batch, where accuracies are compared
SIZES = {"alexnet": 64, "googlenet": 64, "inception": 64, "lenet": 28, "local_cnn": 16, "mlp": 16, "zfnet": 64}
SETTINGS: dict[str, dict[str, Any]] = {  # of those that are large otherwise
    **{name: {"width": 8, "dense": 16} for name in ("fcn8s", "fcn16s", "fcn32s")},
    "unet": {"channels": 8, "depth": 2},
    "unet_small": {"channels": 8, "depth": 2},
    "vit_b_16": {"patch": 8},
}
SIGNALS = ("gru", "lstm", "rnn", "tcn")  # take (N, T, features)


def given(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network and a batch for it."""
    torch.manual_seed(3)
    known = nets.signature(name)
    wanted = {"classes": 10, "image_size": SIZES.get(name, 32), "dropout": 0.0}
    settings = {key: value for key, value in wanted.items() if key in known}
    net = nets.make(name, **{**settings, **SETTINGS.get(name, {})})
    for part in net.modules():
        if isinstance(part, nn.Dropout | nn.Dropout2d):
            part.p = 0.0
    if name in SIGNALS:
        return net, (torch.randn(BATCH, 24, 1),)
    example: Any = getattr(net, "example_inputs", None)
    if example is not None:
        return net, tuple(example(BATCH))
    channels = known["in_channels"].default
    return net, (torch.randn(BATCH, channels, SIZES.get(name, 32), SIZES.get(name, 32)),)


def losses(net: nn.Module, works: nn.Module, inputs: tuple[Tensor, ...]) -> list[float]:
    """Of each step towards fixed targets."""
    optimizer = torch.optim.SGD(net.parameters(), lr=2e-3, momentum=0.9)
    found = []
    for _ in range(STEPS):
        output: Tensor = works(*inputs)
        target = torch.linspace(0, 40, output.numel()).sin().reshape(output.shape).to(output.dtype)
        loss = functional.mse_loss(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def twenty_steps(name: str) -> Record:
    """Of one network on both engines."""
    net, inputs = given(name)
    other, exact = copy.deepcopy(net), copy.deepcopy(net).double()
    wanted = losses(net, net.train(), inputs)
    doubled = tuple(tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs)
    true = losses(exact, exact.train(), doubled)
    lanes = pellucid.lower(other.train(), tune=False)
    found = losses(other, lanes, inputs)
    return {
        "first_loss": wanted[0],
        "last_loss": wanted[-1],
        "worst_difference": _worst(found, wanted),
        "worst_difference_of_pytorch_to_float64": _worst(wanted, true),
        "runs_on_pytorch": lanes.reasons.get("the whole network", ""),
    }


def _worst(found: list[float], wanted: list[float]) -> float:
    return max(abs(a - b) / abs(b) for a, b in zip(found, wanted, strict=True))


def accuracy(name: str, pictures: dict[str, Pictures], engine: str, seed: int, epochs: int, rate: float) -> float:
    """On the test pictures, after training with a rate that falls to 0 in a half cosine."""
    torch.manual_seed(seed)
    images, labels = pictures["train"].images, pictures["train"].labels
    net = nets.make(name, classes=10, in_channels=images.shape[1], image_size=images.shape[2])
    works = pellucid.lower(net) if engine == "lanes" else net
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, fused=True)
    each = len(images) // TRAINED
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * each)
    chance = torch.Generator().manual_seed(seed)
    works.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=chance)[: each * TRAINED].split(TRAINED):
            loss = functional.cross_entropy(works(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    works.eval()
    test, right = pictures["test"], 0
    with torch.no_grad():
        for i in range(0, len(test.labels), 1000):
            right += int((works(test.images[i : i + 1000]).argmax(1) == test.labels[i : i + 1000]).sum())
    return right / len(test.labels)


def accuracies(name: str, where: str, seeds: int, epochs: int, rate: float) -> Record:
    """Of both engines, seed by seed."""
    raw = loaded(where, None)
    mean, deviation = statistics_of(raw["train"][0])
    pictures = {split: Pictures.of(*pair, mean, deviation) for split, pair in raw.items()}
    found: dict[str, list[float]] = {"torch": [], "lanes": []}
    for seed in range(seeds):
        for engine, own in found.items():
            began = time.perf_counter()
            own.append(accuracy(name, pictures, engine, seed, epochs, rate))
            print(f"{name}, seed {seed}, {engine}: {own[-1]:.4f}, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    differences = [a - b for a, b in zip(found["lanes"], found["torch"], strict=True)]
    return {
        "epochs": epochs,
        "rate": rate,
        "seeds": seeds,
        **found,
        "mean_of_torch": statistics.mean(found["torch"]),
        "mean_of_lanes": statistics.mean(found["lanes"]),
        "deviation_of_torch": statistics.stdev(found["torch"]),
        "mean_difference": statistics.mean(differences),
        "standard_error": statistics.stdev(differences) / seeds**0.5,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for and add it to the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="*", metavar="NETWORK", help="twenty steps, of all networks by default")
    parser.add_argument("--accuracy", nargs=2, metavar=("NETWORK", "DATA"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--json", type=Path, help="the record")
    asked = parser.parse_args(arguments)
    record: Record = json.loads(asked.json.read_text("utf-8")) if asked.json and asked.json.exists() else {}
    if asked.steps is not None:
        for name in asked.steps or nets.names():
            found = twenty_steps(name)
            record.setdefault("steps", {})[name] = found
            own, of_pytorch = found["worst_difference"], found["worst_difference_of_pytorch_to_float64"]
            print(f"{name}: {own:.1e}, PyTorch itself {of_pytorch:.1e}", file=sys.stderr)
            _keep(record, asked.json)
    if asked.accuracy:
        name, where = asked.accuracy
        record.setdefault("accuracy", {})[name] = accuracies(name, where, asked.seeds, asked.epochs, asked.rate)
        _keep(record, asked.json)
    if asked.json is None:
        print(json.dumps(record, indent=1))
    return 0


def _keep(record: Record, file: Path | None) -> None:
    if file is not None:
        file.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
