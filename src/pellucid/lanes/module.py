"""``lower``: any network as a module that computes the same, with the same parameters, on the engine lanes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import CaptureError, UsageError
from pellucid.graph import Graph, capture
from pellucid.lanes.choose import Chooser
from pellucid.lanes.frame import Frame, Pool
from pellucid.lanes.library import Library, library, why_not
from pellucid.lanes.lowering import Refused
from pellucid.lanes.plan import Need, Plan
from pellucid.lanes.purity import impurity

__all__ = ["Lanes", "lower"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_PLANS = 8  # plans that are kept: batch sizes and modes in turn


def lower(
    module: nn.Module,
    *,
    exact: bool = False,
    tune: bool = True,
    instructions: str | None = None,
    choices: Mapping[str, str] | None = None,
) -> Lanes:
    """A module that computes what ``module`` does, several times faster on a CPU, in float32.

    It shares parameters, buffers and modes with ``module``: train either, save either, load into either. Any loss,
    optimizer and scheduler works around it. A batch or picture size that it has not met is planned at its first pass.

    Args:
        module: any ``nn.Module`` on the CPU. What the engine has no kernel for runs on PyTorch inside; ``plan`` says
            what and why.
        exact: direct convolution alone: each sum in a fixed order, term by term, no Winograd.
        tune: measure which algorithm is fastest for each convolution at its first use, and remember it on disk; else
            choose by rules.
        instructions: the instruction set to use; the best of this machine by default.
        choices: algorithms chosen before (``Lanes.choices``), taken again as they are.

    Raises:
        UsageError: where the native library is missing.
    """
    if reason := why_not():
        raise UsageError(f"lanes cannot run here: {reason}", fits="the module itself: PyTorch computes the same")
    return Lanes(module, exact=exact, tune=tune, instructions=instructions, choices=choices)


class Lanes(nn.Module):
    """A lowered network. ``module`` is the network itself.

    Raises at a call:
        UsageError: under autocast, and where inner modules have hooks: use ``module`` for these.
    """

    module: nn.Module
    reasons: dict[str, str]
    _settings: dict[str, Any]
    _parts: tuple[nn.Module, ...]
    _hooks: tuple[Mapping[int, Any], ...]
    _owners: Mapping[str, tuple[nn.Module, str]]
    _trainable: _Trainable
    _library: Library
    _pool: Pool
    _chooser: Chooser
    _graphs: dict[Any, Graph | None]
    _plans: dict[Any, Plan | None]

    def __init__(
        self,
        module: nn.Module,
        *,
        exact: bool = False,
        tune: bool = True,
        instructions: str | None = None,
        choices: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        own = vars(self)
        own["module"], own["_settings"] = module, {"exact": exact, "tune": tune, "instructions": instructions}
        # The same dictionaries: the same names in state_dict, and whatever is put into one is in the other.
        own["_parameters"], own["_buffers"], own["_modules"] = module._parameters, module._buffers, module._modules
        own["_parts"] = tuple(module.modules())
        own["_hooks"] = tuple(getattr(part, hooks) for part in own["_parts"] for hooks in _HOOKS)
        own["_owners"] = _owners(module)
        own["_trainable"] = _Trainable(own["_owners"])
        own["_library"] = library(instructions)
        own["_pool"] = Pool(self._library)
        own["_chooser"] = Chooser(self._library, exact=exact, tune=tune, choices=choices)
        own["_graphs"], own["_plans"] = {}, {}
        own["reasons"] = {}
        self.training = module.training

    @property
    def choices(self) -> Mapping[str, str]:
        """The algorithms in use, by convolution, pass and batch size."""
        chosen: Mapping[str, str] = self._chooser.choices
        return chosen

    @property
    def instructions(self) -> str:
        """The instruction set in use."""
        return str(self._library.target.name)

    def is_current(self) -> bool:
        """Whether the network still has the parts that it had when it was lowered."""
        return tuple(self.module.modules()) == self._parts

    def train(self, mode: bool = True) -> Lanes:
        """Training or evaluation, for the network too."""
        self.module.train(mode)
        self.training = mode
        return self

    def forward(self, *inputs: Tensor) -> Any:
        """What the network gives for a batch."""
        self.check()
        if not all(_fits(tensor) for tensor in inputs):
            return self.module(*inputs)
        plan = self.plan_for(inputs)
        if plan is None:
            return self.module(*inputs)
        if not plan.need.gradients:
            with torch.no_grad():
                frame = plan.forward(inputs, self._pool, self.tensor_of)
            outputs = plan.outputs(frame)
            self._pool.give(frame.arena)
        else:
            parameters = [self.tensor_of(name) for name in plan.parameters]
            outputs = _Pass.apply(self, plan, len(inputs), *inputs, *parameters)  # type: ignore[no-untyped-call]
        return outputs[0] if len(outputs) == 1 else outputs

    def plan_for(self, inputs: Sequence[Tensor]) -> Plan | None:
        """The plan for such a batch, made at its first use; None where the network as a whole runs on PyTorch."""
        gradients = torch.is_grad_enabled()
        wanted = self._trainable.names() if gradients else frozenset()
        asks = tuple([gradients and tensor.requires_grad for tensor in inputs])
        shapes = tuple([(tuple(tensor.shape), tensor.dtype) for tensor in inputs])
        modes = tuple([part.training for part in self._parts])
        need = Need(int(inputs[0].shape[0]), torch.get_num_threads(), asks, wanted, bool(wanted) or any(asks))
        key = (shapes, modes, need)
        if key not in self._plans:
            graph = self._graph(inputs, shapes, modes)
            while len(self._plans) >= _PLANS:
                del self._plans[next(iter(self._plans))]
            try:
                self._plans[key] = None if graph is None else Plan(graph, need, self._library, self._chooser)
            except Refused as refused:
                self.reasons["the whole network"] = str(refused)
                self._plans[key] = None
        plan: Plan | None = self._plans[key]
        return plan

    def _graph(self, inputs: Sequence[Tensor], shapes: tuple[Any, ...], modes: tuple[bool, ...]) -> Graph | None:
        """The captured network, with a symbolic batch; None where PyTorch has to run it whole."""
        key = (tuple((shape[1:], dtype) for shape, dtype in shapes), modes)
        if key not in self._graphs:
            examples = [tensor.detach()[:1].expand(3, *tensor.shape[1:]).contiguous() for tensor in inputs]
            graph: Graph | None = None
            if reason := impurity(self.module, examples):
                self.reasons["the whole network"] = reason
            else:
                try:
                    graph = capture(self.module, inputs=examples)
                except CaptureError as error:
                    self.reasons["the whole network"] = str(error)
            if graph is not None and (graph.specialized or graph.mutations is None):
                self.reasons["the whole network"] = "its road depends on values, and PyTorch takes it"
                graph = None
            self._graphs[key] = graph
        found: Graph | None = self._graphs[key]
        return found

    def tensor_of(self, name: str) -> Tensor:
        """A parameter, buffer or constant of the network as it is now."""
        owner = self._owners.get(name)
        if owner is None:
            return next(graph.tensors[name] for graph in self._graphs.values() if graph and name in graph.tensors)
        part, attribute = owner
        tensor: Tensor | None = part._parameters.get(attribute)
        if tensor is None:
            tensor = part._buffers[attribute]
        if tensor is None:
            raise UsageError(f"{name} is no longer there; lower the network again")
        return tensor

    def check(self) -> None:
        """Raise UsageError where the engine cannot stand in for the network: autocast, hooks on inner modules."""
        if torch.is_autocast_enabled("cpu"):
            raise UsageError("lanes computes in float32 and autocast asks for less", fits="the module itself")
        if any(self._hooks):
            hooked = next(part for part in self._parts if any(getattr(part, hooks) for hooks in _HOOKS))
            name = next(name for name, own in self.module.named_modules() if own is hooked)
            raise UsageError(
                f"there is a hook on {name or 'the network'}, and lanes runs no module by itself",
                fits="the module itself, or pellucid.look",
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> Lanes:
        return Lanes(copy.deepcopy(self.module, memo), **self._settings, choices=self.choices)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.module, self._settings, dict(self.choices))

    def __repr__(self) -> str:
        return f"Lanes({self.module!r})"


def _again(module: nn.Module, settings: dict[str, Any], choices: dict[str, str]) -> Lanes:
    return Lanes(module, **settings, choices=choices)


def _fits(tensor: Any) -> bool:
    return isinstance(tensor, Tensor) and tensor.device.type == "cpu" and tensor.ndim > 0 and len(tensor) > 0


def _owners(module: nn.Module) -> Mapping[str, tuple[nn.Module, str]]:
    """For each parameter's and buffer's name, the module that has it and its name there."""
    return {
        f"{path}.{attribute}" if path else attribute: (part, attribute)
        for path, part in module.named_modules(remove_duplicate=False)
        for attribute in (*part._parameters, *part._buffers)
    }


class _Trainable:
    """Which parameters are trained: looked up at each pass, worked out anew where one was replaced or frozen."""

    def __init__(self, owners: Mapping[str, tuple[nn.Module, str]]) -> None:
        self._owners = [(name, part._parameters, key) for name, (part, key) in owners.items()]
        self._state: tuple[list[int], list[bool]] = [], []
        self._names = frozenset[str]()

    def names(self) -> frozenset[str]:
        """Each parameter that is trained, once, by its first name."""
        tensors = [parameters.get(key) for _, parameters, key in self._owners]
        state = list(map(id, tensors)), [tensor is not None and tensor.requires_grad for tensor in tensors]
        if state != self._state:
            first: dict[int, str] = {}
            for (name, *_), own, trained in zip(self._owners, *state, strict=True):
                if trained:
                    first.setdefault(own, name)
            self._state, self._names = state, frozenset(first.values())
        return self._names


class _Pass(torch.autograd.Function):
    """One pass forward and its way back, as one operation of autograd."""

    @staticmethod
    def forward(ctx: Any, lanes: Lanes, plan: Plan, count: int, *tensors: Tensor) -> Any:
        frame = plan.forward(tensors[:count], lanes._pool, lanes.tensor_of)
        ctx.lanes, ctx.plan, ctx.frame = lanes, plan, frame
        ctx.parameters = tensors[count:]
        ctx.versions = [tensor._version for tensor in ctx.parameters]
        ctx.set_materialize_grads(False)
        outputs = plan.outputs(frame)
        frame.let_go()
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise UsageError("lanes has no second derivatives", fits="the module itself: it shares the parameters")
        frame: Frame | None = ctx.frame
        if frame is None:
            raise UsageError("this way back was gone already", fits="backward(retain_graph=True) the first time")
        if ctx.versions != [tensor._version for tensor in ctx.parameters]:
            raise UsageError("a parameter was changed in place between the pass and its way back")
        frame.keeps_graph = torch._C._autograd._get_current_graph_task_keep_graph()
        if frame.keeps_graph:
            kept, frame = frame, frame.again()
            ctx.frame = kept
        else:
            ctx.frame = None
        plan: Plan = ctx.plan
        plan.backward(frame, gradients)
        inputs = plan.input_gradients(frame)
        parameters = plan.parameter_gradients(frame)
        ctx.lanes._pool.give(frame.arena)
        return (None, None, None, *inputs, *parameters)
