"""Input pipelines side by side: images per second of Pellucid and of the usual per-sample Dataset + DataLoader.

    python bench/input.py --cifar DIR --photos DIR --out FILE.json

Two kinds of data, the same work on both sides:
  small   CIFAR-10: crop out of 4 pixels of padding, mirror, normalise
  photos  a folder of JPEG per class: decode, resized crop, mirror, normalise

The peers are per-sample code as people write it, in torch's DataLoader with 0, 1 and 2 workers, kept between epochs:
"torchvision" is the usual one, its transforms on Pillow images (left out, and said so, where it is not installed);
"Pillow" does the same by hand, without its overhead; "tensors" is by hand and leaner still, for arrays.
Candidates take turns in each round, in one process, each for whole epochs until half a
second has passed; the first round warms up and is not counted. Reported: the median over rounds, lowest and highest,
and how many times faster Pellucid is than the fastest of each kind of peer. Pellucid decodes photos once; the
"first epoch" counts that decoding too.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset

from pellucid import data as pellucid_data
from pellucid.data import Augment, Batches, Preprocess

WORKERS = (0, 1, 2)
TURN_S = 0.5
PAD = 4
SMALLEST_AREA = 0.35


@dataclass
class Candidate:
    """Something that yields batches (images, labels) for an epoch; `count` pictures a round."""

    name: str
    count: int
    epoch: Callable[[int], Iterator[Any]]


class SmallPillow(Dataset[Any]):
    """Arrays, transformed through Pillow: what torchvision's CIFAR10 with transforms does."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: torch.Tensor, std: torch.Tensor) -> None:
        self.images, self.labels, self.mean, self.std = images, labels, mean, std

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        picture = Image.fromarray(self.images[i])
        size = picture.size[0]
        picture = ImageOps.expand(picture, PAD)
        left, top = random.randint(0, 2 * PAD), random.randint(0, 2 * PAD)
        picture = picture.crop((left, top, left + size, top + size))
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return normalised(picture, self.mean, self.std), int(self.labels[i])


class SmallTorchvision(SmallPillow):
    """Arrays through torchvision's transforms, as its CIFAR10 hands them over."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__(images, labels, mean, std)
        t = transforms()
        self.change = t.Compose(
            [
                t.RandomCrop(images.shape[1], padding=PAD),
                t.RandomHorizontalFlip(),
                t.ToTensor(),
                t.Normalize(mean.flatten().tolist(), std.flatten().tolist()),
            ]
        )

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.change(Image.fromarray(self.images[i])), int(self.labels[i])


class SmallTensor(Dataset[Any]):
    """Arrays, transformed one by one as tensors."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, mean: torch.Tensor, std: torch.Tensor) -> None:
        self.images = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        self.labels, self.mean, self.std = labels, mean, std

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = self.images[i]
        height, width = image.shape[1:]
        image = torch.nn.functional.pad(image, (PAD, PAD, PAD, PAD))
        top, left = random.randint(0, 2 * PAD), random.randint(0, 2 * PAD)
        image = image[:, top : top + height, left : left + width]
        if random.random() < 0.5:
            image = image.flip(2)
        return (image.float() / 255 - self.mean) / self.std, int(self.labels[i])


class Photos(Dataset[Any]):
    """Files, decoded each time: what torchvision's ImageFolder with transforms does."""

    def __init__(self, files: list[Path], labels: list[int], size: int, mean: torch.Tensor, std: torch.Tensor) -> None:
        self.files, self.labels, self.size, self.mean, self.std = files, labels, size, mean, std

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.files[i]) as file:
            picture = file.convert("RGB")
        width, height = picture.size
        area = random.uniform(SMALLEST_AREA, 1) * width * height
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = min(round(math.sqrt(area * aspect)), width), min(round(math.sqrt(area / aspect)), height)
        left, top = random.randint(0, width - w), random.randint(0, height - h)
        picture = picture.resize((self.size,) * 2, Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return normalised(picture, self.mean, self.std), self.labels[i]


class PhotosTorchvision(Photos):
    """Files through torchvision's transforms, as its ImageFolder hands them over."""

    def __init__(self, files: list[Path], labels: list[int], size: int, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__(files, labels, size, mean, std)
        t = transforms()
        self.change = t.Compose(
            [
                t.RandomResizedCrop(size, scale=(SMALLEST_AREA, 1.0)),
                t.RandomHorizontalFlip(),
                t.ToTensor(),
                t.Normalize(mean.flatten().tolist(), std.flatten().tolist()),
            ]
        )

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        with self.files[i].open("rb") as file:
            picture = Image.open(file).convert("RGB")
        return self.change(picture), self.labels[i]


def transforms() -> Any:
    """torchvision.transforms, which are Python alone.

    A torchvision built for CUDA beside a torch for the CPU cannot load its compiled operators, and then fails to
    describe them; declared here, they let it be imported. The transforms use none of them.
    """
    try:
        return importlib.import_module("torchvision.transforms")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        found = importlib.util.find_spec("torchvision")
        assert found is not None
        assert found.origin is not None
        text = Path(found.origin).with_name("_meta_registrations.py").read_text("utf-8")
        named = set(re.findall(r'register_(?:fake|meta)\("(?:torchvision::)?(\w+)"', text))
        for name in sorted(named):
            torch.library.define(f"torchvision::{name}", "(Tensor a) -> Tensor")
        return importlib.import_module("torchvision.transforms")


def has_torchvision() -> bool:
    return importlib.util.find_spec("torchvision") is not None


def normalised(picture: Image.Image, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
    return image.float().div(255).sub_(mean).div_(std)


def loaders(name: str, dataset: Dataset[Any], count: int, batch_size: int) -> list[Candidate]:
    def one(workers: int) -> Candidate:
        loader = DataLoader(
            dataset, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0, drop_last=False
        )
        return Candidate(f"{name}, {workers} workers", count, lambda _: iter(loader))

    return [one(workers) for workers in WORKERS]


def speed(candidate: Candidate, first_epoch: int, at_least_s: float) -> float:
    """Images per second over as many epochs as it takes."""
    seen, epoch = 0, first_epoch
    begin = time.perf_counter()
    while (taken := time.perf_counter() - begin) < at_least_s or not seen:
        seen += sum(len(batch[0]) if isinstance(batch, list) else len(batch) for batch in candidate.epoch(epoch))
        epoch += 1
    assert seen == candidate.count * (epoch - first_epoch), (candidate.name, seen)
    return seen / taken


def take_turns(candidates: list[Candidate], rounds: int) -> dict[str, dict[str, float]]:
    """Images per second of each: median, lowest, highest over the rounds after the first."""
    speeds: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
    for number in range(rounds + 1):
        for candidate in candidates:
            found = speed(candidate, 1000 * number, TURN_S)
            if number:
                speeds[candidate.name].append(found)
    return {
        name: {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
        for name, values in speeds.items()
    }


def compared(speeds: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The speeds, and ours over the fastest of each kind of peer."""
    kinds = {name.partition(",")[0] for name in speeds} - {"pellucid"}
    best = {
        kind: max(speed["median"] for name, speed in speeds.items() if name.partition(",")[0] == kind) for kind in kinds
    }
    times = {kind: speeds["pellucid"]["median"] / fastest for kind, fastest in sorted(best.items())}
    return {"images_per_second": speeds, "times_faster_than": times}


def small(where: str, rounds: int, batch_size: int, limit: int | None) -> dict[str, Any]:
    """CIFAR-10 sized pictures; the peers' epochs are a fifth of them, for they are as fast on few as on many."""
    found = pellucid_data.load(where, limit=limit)
    prepare = Preprocess.of(found)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (prepare.mean, prepare.std))
    few = max(batch_size, len(found.train) // 5)
    images, labels = np.ascontiguousarray(found.train.images[:few]), found.train.labels[:few]
    batches = Batches(
        found.train, prepare, batch_size=batch_size, seed=0, augment=Augment(crop=PAD, flip=True), shuffle=True
    )
    candidates = [
        Candidate("pellucid", len(found.train), batches.epoch),
        *(
            loaders("torchvision", SmallTorchvision(images, labels, mean, std), len(labels), batch_size)
            if has_torchvision()
            else ()
        ),
        *loaders("Pillow", SmallPillow(images, labels, mean, std), len(labels), batch_size),
        *loaders("tensors", SmallTensor(images, labels, mean, std), len(labels), batch_size),
    ]
    return {"pictures": len(found.train), "batch_size": batch_size, **compared(take_turns(candidates, rounds))}


def photos(where: str, rounds: int, batch_size: int, limit: int | None, size: int) -> dict[str, Any]:
    """JPEG files in folders."""
    with tempfile.TemporaryDirectory() as cache:
        begin = time.perf_counter()
        found = pellucid_data.load(where, image_size=size, limit=limit, cache=Path(cache))
        decoding = time.perf_counter() - begin
        prepare = Preprocess.of(found)
        files = [Path(where) / name for name in found.train.names]
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (prepare.mean, prepare.std))
        chosen = Augment(resized_crop=SMALLEST_AREA, flip=True)
        batches = Batches(found.train, prepare, batch_size=batch_size, seed=0, augment=chosen, shuffle=True)
        ours = Candidate("pellucid", len(found.train), batches.epoch)
        everyone = sum(map(len, found.splits.values()))
        begin = time.perf_counter()
        for _ in ours.epoch(0):
            pass
        first = len(found.train) / (decoding * len(found.train) / everyone + time.perf_counter() - begin)
        candidates = [ours]
        for name, kind in (("torchvision", PhotosTorchvision), ("Pillow", Photos)):
            if name == "Pillow" or has_torchvision():
                dataset = kind(files, found.train.labels.tolist(), size, mean, std)
                candidates += loaders(name, dataset, len(files), batch_size)
        result = compared(take_turns(candidates, rounds))
    fastest = result["images_per_second"]["pellucid"]["median"] / result["times_faster_than"]["Pillow"]
    return {
        "pictures": len(files),
        "image_size": size,
        "batch_size": batch_size,
        **result,
        "first_epoch_images_per_second": first,
        "first_epoch_times_faster": first / fastest,
    }


def machine() -> dict[str, Any]:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "torchvision": importlib.metadata.version("torchvision") if has_torchvision() else "not installed",
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", help="the folder of CIFAR-10's binary files")
    parser.add_argument("--photos", help="a folder of JPEG files, a folder per class")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--photo-size", type=int, default=96)
    parser.add_argument("--limit", type=int, help="fewer pictures, to try the script")
    parser.add_argument("--out", type=Path, help="write the JSON here as well")
    wanted = parser.parse_args()
    results: dict[str, Any] = {"machine": machine()}
    if wanted.cifar:
        results["small"] = small(wanted.cifar, wanted.rounds, wanted.batch_size, wanted.limit)
    if wanted.photos:
        size = min(wanted.batch_size, 64)
        results["photos"] = photos(wanted.photos, wanted.rounds, size, wanted.limit, wanted.photo_size)
    text = json.dumps(results, indent=1)
    print(text)
    if wanted.out:
        wanted.out.parent.mkdir(parents=True, exist_ok=True)
        wanted.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
