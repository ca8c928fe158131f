"""How the arithmetic runs: device, threads, denormals, memory layout, precision."""

from __future__ import annotations

import copy
import hashlib
import json
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.train.checkpoint import replace_synced
from pellucid.train.settings import Settings

_TRIALS = 5
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
    """Set threads and denormals for this process; returns the device."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    flush_denormals()
    return device_of(settings.device)


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


def decide(settings: Settings, net: nn.Module, device: torch.device, sample: Tensor, loss: nn.Module) -> Execution:
    """How to run this network: the layout as set, else as remembered from a measurement here, else measured now."""
    bf16 = settings.precision == "bf16"
    if settings.channels_last is not None:
        return Execution(device, settings.channels_last, bf16)
    if sample.ndim != 4 or not any(isinstance(layer, nn.Conv2d) for layer in net.modules()):
        return Execution(device, False, bf16)
    return Execution(device, _remembered(net, device, sample, bf16, loss), bf16)


def _remembered(net: nn.Module, device: torch.device, sample: Tensor, bf16: bool, loss: nn.Module) -> bool:
    from pellucid.data import cache_folder

    file = cache_folder() / "layouts.json"
    shapes = [str(net), tuple(sample.shape), str(device), bf16, torch.get_num_threads(), torch.__version__]
    key = hashlib.sha256(json.dumps([*shapes, platform.processor(), platform.node()]).encode()).hexdigest()[:24]
    try:
        known = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    if not isinstance(known.get(key), bool):
        plain = _step_time(net, Execution(device, False, bf16), sample, loss)
        last = _step_time(net, Execution(device, True, bf16), sample, loss)
        known[key] = last() < _WORTH * plain()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_synced(file, json.dumps(known, indent=1).encode())
        except OSError:
            pass  # it is measured again next time
    return bool(known[key])


def _step_time(net: nn.Module, execution: Execution, sample: Tensor, loss: nn.Module) -> Callable[[], float]:
    """A function that measures the median seconds of a forward and backward pass on a copy of the network."""
    trial = execution.place(copy.deepcopy(net)).train()
    images = execution.images(sample)

    def once() -> float:
        began = time.perf_counter()
        with execution.precision():
            outputs = trial(images)
        outputs.float().square().mean().backward()
        if execution.device.type == "cuda":
            torch.cuda.synchronize(execution.device)
        return time.perf_counter() - began

    def measure() -> float:
        generator = torch.get_rng_state()
        try:
            once()
            return statistics.median(once() for _ in range(_TRIALS))
        finally:
            torch.set_rng_state(generator)

    return measure
