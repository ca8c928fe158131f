"""How the arithmetic runs: device, threads, denormals, memory layout, precision, engine."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.cache import Remembered
from pellucid.errors import UsageError
from pellucid.train.allocator import keeping_freed_memory
from pellucid.train.engine import Engine
from pellucid.train.settings import Settings

_TRIALS = (3, 25)  # of each layout, at least and at most
_TRIAL_SECONDS = 1.0  # then no more trials: short steps are told apart by many, long ones by few
_TRIAL_BATCH = 128  # pictures: a small batch may favour another layout than the batch of the run
_WORTH = 1.03  # a layout must be this much faster to be taken
_LAYOUTS = Remembered("layouts.json")


@dataclass(frozen=True)
class Execution:
    """Decided once for a run and kept with it, so that a resumed run computes the same."""

    device: torch.device
    channels_last: bool
    bf16: bool
    engine: Engine = field(default_factory=Engine, compare=False)

    def place(self, net: nn.Module) -> nn.Module:
        """The network on the device, in the layout."""
        net.to(self.device)
        if self.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return net

    def images(self, images: Tensor) -> Tensor:
        """A batch (N, C, H, W) on the device, in the layout."""
        if self.channels_last and images.ndim == 4:
            return images.to(self.device, memory_format=torch.channels_last)
        return images.to(self.device)

    def inputs(self, batch: Any) -> tuple[Tensor, ...]:
        """What a network is called with for a batch, on the device, in the layout."""
        return tuple(self.images(tensor) for tensor in batch.inputs)

    def seed(self, seed: int) -> None:
        """Seed the generators that this device draws from (dropout), and no others: it is done at every step."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def precision(self) -> AbstractContextManager[object]:
        """The context of forward passes."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def run(self, net: nn.Module, batch: Any) -> Any:
        """What a network gives for a batch."""
        inputs = self.inputs(batch)
        runner = net
        if net.training or self.engine.demanded or _is_worth_it(inputs):
            if not self.engine.name:  # nobody has trained it here
                self.engine.decide(net, inputs, self._race, "evaluation")
            runner = self.engine.runner(net)
        with self.precision():
            return runner(*inputs)

    def _race(self, net: nn.Module, inputs: tuple[Tensor, ...]) -> float:
        lanes = Execution(self.device, False, False, Engine("lanes"))
        return _times_as_fast(net, lanes, replace(self, engine=Engine()), inputs[0], training=False)


def device_of(name: str) -> torch.device:
    """The device of a setting; ``auto`` is CUDA where there is one.

    Raises:
        UsageError: for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"there is no device '{name}'", fits="cpu, cuda, cuda:1 or auto") from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError(f"there is no device '{name}' here", found=f"{torch.cuda.device_count()} CUDA devices")
    return device


def prepare(settings: Settings) -> torch.device:
    """Set threads, denormals and repeatable algorithms for this process; returns the device."""
    device = device_of(settings.device)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    flush_denormals()
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts: sums in a fixed order
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.set_float32_matmul_precision("high")  # TF32: several times faster, and 10 bits of mantissa suffice here
    return device


@contextmanager
def left_as_found() -> Iterator[None]:
    """PyTorch's random state, threads and switches, and the allocator's, are put back afterwards: they belong to the
    program around us."""
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    switches = cudnn.benchmark, cudnn.deterministic, torch.get_float32_matmul_precision()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        with torch.random.fork_rng(devices), keeping_freed_memory():
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = switches[:2]
        torch.set_float32_matmul_precision(switches[2])
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def flush_denormals() -> None:
    """Numbers below 1e-38 become 0 on every thread: they are a hundred times slower, and mean nothing.

    PyTorch sets it for the calling thread alone; its pool's threads have it where they are started afterwards. The
    native library, where there is one, sets it on the threads that run already.
    """
    from pellucid import native

    torch.set_flush_denormal(True)
    library = native.load()
    if library is not None:
        library.flush_denormals(torch.get_num_threads())


def _is_worth_it(inputs: tuple[Tensor, ...]) -> bool:
    """Whether a batch to evaluate is worth planning for another engine: a few pictures are sooner done by PyTorch."""
    first = inputs[0]
    return len(first) >= 64 or (len(first) >= 16 and first.numel() >= 1_000_000)


def decide(settings: Settings, net: nn.Module, device: torch.device, sample: tuple[Tensor, ...]) -> Execution:
    """How to train this network: engine and layout as set, else as remembered from a measurement here, else measured.

    Raises:
        UsageError: for an engine that cannot be.
    """
    bf16 = settings.precision == "bf16"
    engine = Engine.asked(settings.engine, net, device, bf16)
    if settings.channels_last:
        if engine.name == "lanes":
            raise UsageError("channels_last is a layout of PyTorch, and lanes has its own", fits="one of the two")
        engine = Engine("torch", "channels_last was asked for") if not engine.name else engine
    if engine.name == "lanes":
        return Execution(device, False, bf16, engine)
    best = Execution(device, _layout(settings, net, device, sample), bf16)
    few = tuple(tensor[:_TRIAL_BATCH] for tensor in sample)

    def race(net: nn.Module, inputs: tuple[Tensor, ...]) -> float:
        return _times_as_fast(net, Execution(device, False, False, Engine("lanes")), best, inputs[0])

    engine.decide(net, few, race, "training", best.channels_last)
    return replace(best, channels_last=best.channels_last and engine.name != "lanes", engine=engine)


def _layout(settings: Settings, net: nn.Module, device: torch.device, sample: tuple[Tensor, ...]) -> bool:
    """Whether PyTorch is to work with the channels last."""
    if settings.channels_last is not None:
        return settings.channels_last
    maps = len(sample) == 1 and sample[0].ndim == 4 and sample[0].is_floating_point()
    if not maps or not any(isinstance(layer, nn.Conv2d) for layer in net.modules()):
        return False
    return _remembered(net, device, sample[0][:_TRIAL_BATCH], settings.precision == "bf16")


def _remembered(net: nn.Module, device: torch.device, sample: Tensor, bf16: bool) -> bool:
    shapes = [str(net), tuple(sample.shape), str(device), bf16, torch.get_num_threads(), torch.__version__]
    key = Remembered.key(*shapes)
    known = _LAYOUTS.read().get(key)
    if not isinstance(known, bool):
        known = _is_faster(net, Execution(device, True, bf16), Execution(device, False, bf16), sample)
        _LAYOUTS.add({key: known})
    return known


def _is_faster(net: nn.Module, new: Execution, old: Execution, sample: Tensor) -> bool:
    """Whether steps take clearly less time under ``new``."""
    return _times_as_fast(net, new, old, sample) >= _WORTH


def _times_as_fast(net: nn.Module, new: Execution, old: Execution, sample: Tensor, *, training: bool = True) -> float:
    """How many times as fast ``new`` is: by the least time of some trials each, in turns."""
    times: list[list[float]] = []
    with torch.random.fork_rng(range(torch.cuda.device_count()) if new.device.type == "cuda" else ()):
        steps = [_trial(net, execution, sample, training) for execution in (new, old)]
        for step in steps:  # the first warms up
            step()
        least, most = _TRIALS
        while len(times) < least or (len(times) < most and sum(map(sum, times)) < _TRIAL_SECONDS):
            times.append([step() for step in steps])
    return min(time[1] for time in times) / min(time[0] for time in times)


def _trial(net: nn.Module, execution: Execution, sample: Tensor, training: bool) -> Callable[[], float]:
    """A function that takes one pass on a copy of the network, in training with its way back, and the seconds that it
    took."""
    trial = execution.engine.runner(execution.place(copy.deepcopy(net)).train(training))
    images = execution.images(sample)

    def step() -> float:
        began = time.perf_counter()
        with execution.precision(), torch.set_grad_enabled(training):
            outputs = trial(images)
        if training:
            outputs.float().square().mean().backward()
        if execution.device.type == "cuda":
            torch.cuda.synchronize(execution.device)
        return time.perf_counter() - began

    return step
