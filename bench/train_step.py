"""Training steps side by side: Pellucid's Model, a plain PyTorch loop, Keras on TensorFlow, Keras on JAX.

    python bench/train_step.py --json train_step.json

Claim: training with Pellucid is never slower than a plain PyTorch loop. LeNet (28x28x1), basic_cnn and resnet18
(32x32x3); one process for each engine, all alive at once, taking turns of one epoch, so that each round sees the same
machine; three such sets of processes one after another; median and spread of milliseconds per step. The same pictures,
batch size, loss (cross-entropy), optimizer (SGD, momentum 0.9, no decay) and number of parameters; everyone keeps loss
and accuracy of the epoch.

The plain loop is as people write it: float pictures in memory, a random permutation, `loss.item()`; once with NCHW and
once with channels_last pictures. Pellucid cuts and normalises its batches from uint8 within the time that is measured.
Keras compiles its step (jit_compile="auto") before it is measured. An engine that is not installed is left out, and
the result says so: `pip install pellucid[bench]`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ENGINES = ("pellucid", "pytorch", "pytorch_channels_last", "keras_tensorflow", "keras_jax")
NETWORKS = {"lenet": (28, 28, 1), "basic_cnn": (32, 32, 3), "resnet18": (32, 32, 3)}
ROUNDS_AND_STEPS = {"lenet": (21, 100), "basic_cnn": (15, 20), "resnet18": (9, 2)}
NET_SETTINGS: dict[str, dict[str, Any]] = {"lenet": {"activation": "relu", "pool": "max"}}
RATE, MOMENTUM = 0.01, 0.9
LIVES, WARM_UP = 3, 2
Told = Callable[[float, int], None]
"""An engine calls it after each epoch with the seconds that it took and the number of parameters; it returns when the
engine's next turn has come."""


def pictures(net: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, H, W, C) and labels (N,)."""
    chance = np.random.default_rng(0)
    return chance.integers(0, 256, (count, *NETWORKS[net]), np.uint8), chance.integers(0, 10, count)


def pellucid_engine(net: str, steps: int, batch: int, device: str, told: Told) -> None:
    """One long ``fit``, as a user's; between its epochs it waits for its turn."""
    from pellucid.data import Data
    from pellucid.train import Epoch as Record
    from pellucid.train import Model, Quiet

    class Waits(Quiet):
        def on_epoch(self, epoch: Record) -> None:
            told(epoch.seconds, sum(parameter.numel() for parameter in model.net.parameters()))

    data = Data.from_arrays(*pictures(net, steps * batch), tuple("abcdefghij"), layout="NHWC")
    model = Model(net, **NET_SETTINGS.get(net, {})).compile(
        "momentum", batch_size=batch, learning_rate=RATE, schedule="constant", warmup=0.0, weight_decay=0.0,
        label_smoothing=0.0, crop=0, flip=False, device=device,
    )  # fmt: skip
    model.fit(data, epochs=1_000_000, listeners=[Waits()], progress=False)


def pytorch_engine(net: str, steps: int, batch: int, device: str, channels_last: bool, told: Told) -> None:
    import torch
    from torch.nn import functional

    from pellucid import nets

    height, _, channels = NETWORKS[net]
    torch.manual_seed(0)
    module = nets.make(net, classes=10, in_channels=channels, image_size=height, **NET_SETTINGS.get(net, {}))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    module = module.to(device).to(memory_format=layout)
    raw, labels = pictures(net, steps * batch)
    images = ((torch.from_numpy(raw).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.29).to(device, memory_format=layout)
    targets = torch.from_numpy(labels).to(device)
    del raw  # glibc keeps freed blocks up to the size of the largest that it saw freed: the plain loop's best case
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE, momentum=MOMENTUM)

    def epoch() -> float:
        module.train()
        began = time.perf_counter()
        order = torch.randperm(len(images), device=device)
        loss_sum = right = 0.0
        for first in range(0, len(images), batch):
            chosen = order[first : first + batch]
            x, y = images[chosen], targets[chosen]
            optimizer.zero_grad()
            outputs = module(x)
            loss = functional.cross_entropy(outputs, y)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(y)
            right += (outputs.argmax(1) == y).sum().item()
        return time.perf_counter() - began

    while True:
        told(epoch(), sum(parameter.numel() for parameter in module.parameters()))


def keras_engine(net: str, steps: int, batch: int, backend: str, told: Told) -> None:
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    class Waits(keras.callbacks.Callback):
        began = 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            told(time.perf_counter() - self.began, parameters)

    model = keras_network(keras, net)
    model.compile(
        optimizer=keras.optimizers.SGD(RATE, momentum=MOMENTUM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    raw, labels = pictures(net, steps * batch)
    images = (raw.astype(np.float32) / 255 - 0.5) / 0.29
    del raw
    parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    model.fit(images, labels, batch_size=batch, epochs=1_000_000, shuffle=True, verbose=0, callbacks=[Waits()])


def keras_network(keras: Any, net: str) -> Any:
    """The same layers in Keras, pictures (H, W, C) as it prefers them."""
    layers = keras.layers
    inputs = keras.Input(NETWORKS[net])
    if net == "lenet":
        x = layers.Conv2D(6, 5, padding="same", activation="relu")(inputs)
        x = layers.MaxPooling2D()(x)
        x = layers.Conv2D(16, 5, activation="relu")(x)
        x = layers.Flatten()(layers.MaxPooling2D()(x))
        x = layers.Dense(120, activation="relu")(x)
        return keras.Model(inputs, layers.Dense(10)(layers.Dense(84, activation="relu")(x)))
    if net == "basic_cnn":
        x = inputs
        for channels in (32, 64, 128):
            x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
            x = layers.Activation("relu")(layers.BatchNormalization()(x))
            x = layers.Dropout(0.1)(layers.MaxPooling2D()(x))
        return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))
    x = layers.Conv2D(64, 3, padding="same", use_bias=False)(inputs)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    for width, strides in ((64, (1, 1)), (128, (2, 1)), (256, (2, 1)), (512, (2, 1))):
        for stride in strides:
            x = keras_block(layers, x, width, stride)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def keras_block(layers: Any, x: Any, width: int, stride: int) -> Any:
    """Two 3x3 convolutions and a shortcut (He et al. 2016, figure 2)."""
    short = x
    y = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(x)
    y = layers.Activation("relu")(layers.BatchNormalization()(y))
    y = layers.Conv2D(width, 3, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization()(y)
    if stride != 1 or x.shape[-1] != width:
        short = layers.BatchNormalization()(layers.Conv2D(width, 1, strides=stride, use_bias=False)(x))
    return layers.Activation("relu")(layers.Add()([y, short]))


def live(engine: str, net: str, steps: int, batch: int, device: str, told: Told) -> None:
    if engine == "pellucid":
        pellucid_engine(net, steps, batch, device, told)
    elif engine.startswith("pytorch"):
        pytorch_engine(net, steps, batch, device, engine.endswith("channels_last"), told)
    else:
        keras_engine(net, steps, batch, engine.removeprefix("keras_"), told)


def work(engine: str, net: str, steps: int, batch: int, device: str) -> None:
    """A worker: one line in, one epoch, one line out. The first epochs compile and warm up."""
    said = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print does not mix with the answers
    epochs = 0

    def told(seconds: float, parameters: int) -> None:
        nonlocal epochs
        epochs += 1
        if epochs < WARM_UP:
            return
        said.write(json.dumps({"seconds": seconds, "parameters": parameters}) + "\n")
        if not sys.stdin.readline():
            sys.exit()

    live(engine, net, steps, batch, device, told)


def missing(engine: str) -> str:
    """What an engine needs and is not installed; the empty string where nothing is."""
    needs = {"keras_tensorflow": ("keras", "tensorflow"), "keras_jax": ("keras", "jax")}.get(engine, ("torch",))
    return ", ".join(name for name in needs if importlib.util.find_spec(name) is None)


def compare(
    net: str, engines: list[str], rounds: int, steps: int, batch: int, device: str, threads: int
) -> dict[str, Any]:
    """All engines on one network, in turns; each lives ``LIVES`` times, for where a process's memory happens to lie
    makes all its epochs faster or slower together."""
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    parameters: dict[str, int] = {}
    for life in range(LIVES):
        with tempfile.TemporaryDirectory() as cache:  # Pellucid measures its memory layout afresh
            workers: dict[str, subprocess.Popen[str]] = {}
            for engine in engines[life % len(engines) :] + engines[: life % len(engines)]:
                workers[engine] = born(engine, net, steps, batch, device, threads, cache)
                # Wait: what the next engine tries out at its start, it tries on a quiet machine.
                parameters[engine] = answer(workers[engine])["parameters"]
            for turn in range(rounds // LIVES):
                for engine in engines[turn % len(engines) :] + engines[: turn % len(engines)]:
                    ask(workers[engine])
                    times[engine].append(1000 * answer(workers[engine])["seconds"] / steps)
            for worker in workers.values():
                end(worker)
    if len(set(parameters.values())) != 1:
        raise RuntimeError(f"the networks called {net} are not the same: {parameters} parameters")
    results = {engine: summary(values) for engine, values in times.items()}
    plain = min(results[engine]["median_ms"] for engine in engines if engine.startswith("pytorch"))
    return {
        "parameters": parameters["pellucid"],
        "engines": results,
        "fastest_plain_loop_over_pellucid": round(plain / results["pellucid"]["median_ms"], 3),
    }


def born(engine: str, net: str, steps: int, batch: int, device: str, threads: int, cache: str) -> subprocess.Popen[str]:
    """A worker, which says a line when it has warmed up."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
        "XDG_CACHE_HOME": cache,
    }
    command = [sys.executable, __file__, "--steps", str(steps), "--batch", str(batch), "--device", device]
    return subprocess.Popen(
        [*command, "--worker", engine, net],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(worker: subprocess.Popen[str]) -> None:
    if worker.stdin is not None:
        worker.stdin.write("go\n")
        worker.stdin.flush()


def end(worker: subprocess.Popen[str]) -> None:
    if worker.stdin is not None:
        worker.stdin.close()
    worker.wait()


def answer(worker: subprocess.Popen[str]) -> dict[str, Any]:
    line = worker.stdout.readline() if worker.stdout is not None else ""
    if not line:
        raise RuntimeError(f"the worker {worker.args} ended with code {worker.wait()}")
    found: dict[str, Any] = json.loads(line)
    return found


def summary(values: list[float]) -> dict[str, Any]:
    """Milliseconds per step: the median over rounds, lowest and highest."""
    return {
        "median_ms": round(statistics.median(values), 4),
        "lowest_ms": round(min(values), 4),
        "highest_ms": round(max(values), 4),
        "rounds": len(values),
    }


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    from pellucid import __version__

    found = {"python": platform.python_version(), "pellucid": __version__}
    for name in ("torch", "keras", "tensorflow", "tensorflow-cpu", "jax", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rounds", type=int, help="of turns; else 21, 15 and 9 for the three networks")
    parser.add_argument("--steps", type=int, help="in an epoch; else 100, 20 and 2 for the three networks")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--worker", nargs=2, metavar=("ENGINE", "NET"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(*asked.worker, asked.steps, asked.batch, asked.device)
        return 0
    without = {engine: missing(engine) for engine in asked.engines if missing(engine)}
    for engine, needs in without.items():
        print(f"{engine} is left out: {needs} is not installed (pip install 'pellucid[bench]')", file=sys.stderr)
    engines = [engine for engine in asked.engines if engine not in without]
    result: dict[str, Any] = {
        "what": "milliseconds per training step, engines in turns",
        "device": asked.device,
        "batch": asked.batch,
        "threads": asked.threads,
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "left_out": without,
        "networks": {},
    }
    for net in asked.networks:
        rounds, steps = ROUNDS_AND_STEPS[net]
        rounds, steps = asked.rounds or rounds, asked.steps or steps
        found = compare(net, engines, rounds, steps, asked.batch, asked.device, asked.threads)
        result["networks"][net] = found
        for engine, values in found["engines"].items():
            spread = f"{values['lowest_ms']:.2f} to {values['highest_ms']:.2f}"
            print(f"{net:<10} {engine:<22} {values['median_ms']:9.2f} ms  ({spread})", file=sys.stderr)
    text = json.dumps(result, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")
    slower = [n for n, found in result["networks"].items() if found["fastest_plain_loop_over_pellucid"] < 1]
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
