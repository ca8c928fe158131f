"""What every engine does, whatever the framework, and the list of them by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

RATE, MOMENTUM = 0.01, 0.9


class Works(Protocol):
    """A network that an engine has built for one workload."""

    parameters: int
    """How many numbers are learned."""

    network_seconds: float
    """What making the network itself took, whatever runs it."""

    def train(self, steps: int) -> float:
        """So many training steps, done when it returns; the loss of the last."""

    def evaluate(self, steps: int) -> float:
        """So many forward passes in evaluation mode without gradients; the sum of the last outputs."""


@dataclass(frozen=True)
class Engine:
    """One framework in one setting.

    kind: lanes, float32 (a peer that lanes is measured against) or bf16 (shown beside them). needs: modules.
    setting: for the module that builds it. environment: of the process. peer: runs on the peers' interpreter.
    """

    name: str
    kind: str
    needs: tuple[str, ...]
    setting: dict[str, str | bool] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    peer: bool = False

    @property
    def module(self) -> str:
        """Which file of this package builds it."""
        return "keras_engines" if "keras" in self.needs else "torch_engines"


def _torch(name: str, kind: str = "float32", *, keep: bool = False, **setting: str | bool) -> Engine:
    # What a step frees stays with the process: no page faults at every step
    kept = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "17179869184", "MALLOC_TOP_PAD_": "67108864"}
    return Engine(name, kind, ("torch",), setting, kept if keep else {})


def _keras(name: str, backend: str, **setting: str | bool) -> Engine:
    needs = ("keras", backend)
    return Engine(name, "float32", needs, {"backend": backend, **setting}, {"KERAS_BACKEND": backend}, peer=True)


ENGINES = {
    engine.name: engine
    for engine in (
        _torch("lanes", "lanes"),
        _torch("torch"),
        _torch("torch_channels_last", channels_last=True),
        _torch("torch_kept", keep=True, fused=True),
        _torch("torch_channels_last_kept", keep=True, channels_last=True, fused=True),
        _torch("torch_compile", keep=True, fused=True, compile="default"),
        _torch("torch_compile_channels_last", keep=True, channels_last=True, fused=True, compile="default"),
        _torch("torch_compile_max", keep=True, fused=True, compile="max-autotune"),
        _torch("torch_compile_max_channels_last", keep=True, channels_last=True, fused=True, compile="max-autotune"),
        _keras("keras_tensorflow", "tensorflow"),
        _keras("keras_tensorflow_xla", "tensorflow", xla=True),
        _keras("keras_jax", "jax"),
        _torch("bf16_autocast", "bf16", keep=True, channels_last=True, fused=True, bf16="autocast"),
        _torch("bf16_module", "bf16", keep=True, channels_last=True, fused=True, bf16="module"),
        _torch("bf16_autocast_compile", "bf16", keep=True, channels_last=True, fused=True, bf16="autocast",
               compile="default"),
        _torch("bf16_module_compile", "bf16", keep=True, channels_last=True, fused=True, bf16="module",
               compile="default"),
    )
}  # fmt: skip
