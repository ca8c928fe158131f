"""How the arithmetic runs: device, threads, denormals, memory layout, precision."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.train.allocator import keeping_freed_memory
from pellucid.train.checkpoint import replace_synced
from pellucid.train.settings import Settings

_TRIALS = (3, 25)  # of each layout, at least and at most
_TRIAL_SECONDS = 1.0  # then no more trials: short steps are told apart by many, long ones by few
_TRIAL_BATCH = 128  # pictures: a small batch may favour another layout than the batch of the run
_WORTH = 0.97  # a layout must be this much faster to be taken


@dataclass(frozen=True)
class Execution:
    """Decided once for a run and kept with it, so that a resumed run computes the same."""

    device: torch.device
    channels_last: bool
    bf16: bool

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


def decide(settings: Settings, net: nn.Module, device: torch.device, sample: tuple[Tensor, ...]) -> Execution:
    """How to run this network: the layout as set, else as remembered from a measurement here, else measured now."""
    bf16 = settings.precision == "bf16"
    if settings.channels_last is not None:
        return Execution(device, settings.channels_last, bf16)
    maps = len(sample) == 1 and sample[0].ndim == 4 and sample[0].is_floating_point()
    if not maps or not any(isinstance(layer, nn.Conv2d) for layer in net.modules()):
        return Execution(device, False, bf16)
    return Execution(device, _remembered(net, device, sample[0][:_TRIAL_BATCH], bf16), bf16)


def _remembered(net: nn.Module, device: torch.device, sample: Tensor, bf16: bool) -> bool:
    from pellucid.data.archive import cache_folder

    file = cache_folder() / "layouts.json"
    shapes = [str(net), tuple(sample.shape), str(device), bf16, torch.get_num_threads(), torch.__version__]
    key = hashlib.sha256(json.dumps([*shapes, platform.processor(), platform.node()]).encode()).hexdigest()[:24]
    try:
        known = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    if not isinstance(known.get(key), bool):
        known[key] = _is_faster(net, Execution(device, True, bf16), Execution(device, False, bf16), sample)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_synced(file, json.dumps(known, indent=1).encode())
        except OSError:
            pass  # it is measured again next time
    return bool(known[key])


def _is_faster(net: nn.Module, new: Execution, old: Execution, sample: Tensor) -> bool:
    """Whether steps take clearly less time under ``new``: the least of some trials each, in turns."""
    times: list[list[float]] = []
    with torch.random.fork_rng(range(torch.cuda.device_count()) if new.device.type == "cuda" else ()):
        steps = [_trial(net, execution, sample) for execution in (new, old)]
        for step in steps:  # the first warms up
            step()
        least, most = _TRIALS
        while len(times) < least or (len(times) < most and sum(map(sum, times)) < _TRIAL_SECONDS):
            times.append([step() for step in steps])
    return min(time[0] for time in times) < _WORTH * min(time[1] for time in times)


def _trial(net: nn.Module, execution: Execution, sample: Tensor) -> Callable[[], float]:
    """A function that takes one forward and backward pass on a copy of the network, and the seconds that it took."""
    trial = execution.place(copy.deepcopy(net)).train()
    images = execution.images(sample)

    def step() -> float:
        began = time.perf_counter()
        with execution.precision():
            outputs = trial(images)
        outputs.float().square().mean().backward()
        if execution.device.type == "cuda":
            torch.cuda.synchronize(execution.device)
        return time.perf_counter() - began

    return step
