"""Which engine runs a network's passes: PyTorch, or lanes (several times faster on a CPU, in float32)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid import lanes
from pellucid.cache import Remembered
from pellucid.errors import PellucidError, UsageError

if TYPE_CHECKING:
    from pellucid.lanes import Lanes

__all__ = ["Engine"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
_WORTH = 1.03  # lanes must be this much faster to be taken
_MEASURED = Remembered("engines.json")
Race = Callable[[nn.Module, tuple[Tensor, ...]], float]  # -> how many times as fast lanes is


class Engine:
    """What runs the passes of one network. It is decided once and kept with the run, which resumes with the same.

    name: ``torch``, ``lanes``, or empty while nothing has been decided. why: for people. instructions: of lanes.
    algorithms: those that lanes chose for the convolutions, by what it chose them for.
    """

    def __init__(
        self, name: str = "torch", why: str = "", instructions: str = "", algorithms: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.why, self.instructions = name, why, instructions
        self.demanded = False  # by a setting: then it is this one or none
        self._algorithms = dict(algorithms or {})
        self._lowered: Lanes | None = None

    def __str__(self) -> str:
        named = f"{self.name} ({self.instructions})" if self.instructions else self.name
        return f"engine {named}: {self.why}"

    @property
    def algorithms(self) -> dict[str, str]:
        """What lanes has chosen so far."""
        return dict(self._lowered.choices) if self._lowered is not None else dict(self._algorithms)

    def lowered(self, net: nn.Module) -> Lanes:
        """The network on lanes, which shares its tensors; the same again as long as its modules are the same.

        Raises:
            UsageError: where modules of it have hooks, or the instruction set is not there.
        """
        kept = self._lowered
        if kept is None or kept.module is not net or not kept.is_current():
            choices = self.algorithms
            self._lowered = kept = lanes.lower(net, instructions=self.instructions or None, choices=choices)
            self.instructions = kept.instructions
        return kept

    def runner(self, net: nn.Module) -> nn.Module:
        """What to call with a batch."""
        return self.lowered(net) if self.name == "lanes" else net

    def plan(self, net: nn.Module, inputs: Sequence[Tensor]) -> str:
        """Plan a training step of the network in its present mode; returns which of its nodes PyTorch runs, in words.

        Raises:
            UsageError: where it cannot be lowered at all.
        """
        if self.name != "lanes":
            return ""
        lowered = self.lowered(net)
        lowered.check()
        plan = lowered.plan_for(inputs)
        if plan is None:
            reason = "; ".join(lowered.reasons.values())
            if self.demanded:
                raise _cannot(reason)
            self.name, self.why, self.instructions = "torch", f"lanes cannot run it: {reason}", ""
            return ""
        nodes = list(plan.lowered.reasons)
        if not nodes:
            return ""
        some = ", ".join(nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
        return f"PyTorch runs {some}: 'pellucid plan' says why"

    def let_go(self) -> None:
        """Give back the memory of its passes; what it chose stays."""
        self._algorithms, self._lowered = self.algorithms, None

    def state(self) -> dict[str, Any]:
        """What a run keeps, so that it goes on with the same arithmetic."""
        return {**self.described(), "algorithms": self.algorithms}

    def described(self) -> dict[str, Any]:
        """What a trained network keeps, so that whoever measures it again gets the same numbers."""
        return {"name": self.name, "instructions": self.instructions, "demanded": self.demanded}

    @classmethod
    def kept(cls, state: Mapping[str, Any]) -> Engine:
        """The engine that a run began with, or the nearest that this machine has; ``why`` says which."""
        name, began = state.get("name", "torch"), str(state.get("instructions", ""))
        if name != "lanes":
            return cls("torch", "the run began with it")
        if reason := lanes.why_not():
            return cls("torch", f"the run began with lanes, and {reason}: the last bits may differ")
        usable = [target.name for target in lanes.targets() if target.usable]
        why = "the run began with it"
        if began not in usable:
            why = f"the run began with {began}, which this processor lacks: the last bits may differ"
        engine = cls("lanes", why, began if began in usable else usable[0], state.get("algorithms"))
        engine.demanded = bool(state.get("demanded"))
        return engine

    @classmethod
    def asked(cls, name: str, net: nn.Module, device: torch.device, bf16: bool) -> Engine:
        """The engine of a setting: itself where it can run; of ``auto`` one that is undecided, or torch, and why.

        Raises:
            UsageError: where lanes is asked for and cannot be.
        """
        if name == "torch":
            return cls("torch", "it was asked for")
        if reason := _why_not(net, device, bf16):
            if name == "lanes":
                raise _cannot(reason)
            return cls("torch", reason)
        if name == "lanes":
            engine = cls("lanes", "it was asked for", _best())
            engine.demanded = True
            return engine
        if not any(isinstance(layer, _CONVOLUTIONS) for layer in net.modules()):
            return cls("torch", "the network has no convolutions")
        return cls("", "nothing is decided yet")

    def decide(self, net: nn.Module, inputs: tuple[Tensor, ...], race: Race, *facts: Any) -> None:
        """Decide, if that is still to be done, by a trial step of both, or by what is remembered of one.

        Args:
            inputs: a batch.
            race: measures, where nothing is remembered.
            facts: what else the measurement depends on.
        """
        if self.name:
            return
        if len(inputs) != 1 or not inputs[0].is_floating_point() or inputs[0].ndim not in (3, 4):
            self.name, self.why = "torch", "its input is no feature map"
            return
        instructions = _best()
        about = [str(net), tuple(inputs[0].shape), torch.get_num_threads(), torch.__version__]
        key = _MEASURED.key(*about, instructions, *facts)
        times = _MEASURED.read().get(key)
        try:
            if not isinstance(times, float):
                times = race(net, inputs)
                _MEASURED.add({key: times})
        except Exception as error:  # whatever it is, training goes on
            reason = error.message if isinstance(error, PellucidError) else f"{type(error).__name__}: {error}"
            self.name, self.why = "torch", f"lanes cannot run it: {reason}"
            return
        self.name, self.why = ("lanes" if times >= _WORTH else "torch"), f"lanes was measured {_times(times)} PyTorch"
        self.instructions = instructions if self.name == "lanes" else ""


def _times(times: float) -> str:
    return f"{times:.2g} times as fast as" if times >= _WORTH else f"no faster ({times:.2g} times) than"


def _best() -> str:
    from pellucid.lanes.library import library

    return library().target.name


def _why_not(net: nn.Module, device: torch.device, bf16: bool) -> str:
    """Why lanes cannot run a network; empty where it can."""
    if device.type != "cpu":
        return f"lanes runs on a CPU, and this is {device}"
    if bf16:
        return "lanes computes in float32, and bf16 was asked for"
    wrong = next((p.dtype for p in net.parameters() if p.dtype != torch.float32), None)
    if wrong is not None:
        return f"lanes computes in float32, and there are weights in {wrong}"
    try:
        return lanes.why_not() or ("" if _best() else "it has no instructions")
    except (
        PellucidError,
        OSError,
    ) as error:  # a wrong PELLUCID_LANES, or an older library
        return str(error).splitlines()[0]


def _cannot(reason: str) -> UsageError:
    return UsageError(f"the engine lanes cannot run this: {reason}", fits="engine auto or torch")
