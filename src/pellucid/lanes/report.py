"""What the engine does with a network: each fused step with its work, its time, and its share of the machine's peak."""

from __future__ import annotations

import copy
import ctypes
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from pellucid import native
from pellucid.errors import PellucidError, UsageError
from pellucid.graph import forecast
from pellucid.lanes.arguments import structure_of
from pellucid.lanes.blocks.base import Block
from pellucid.lanes.blocks.border import Enter, Leave
from pellucid.lanes.blocks.island import Island
from pellucid.lanes.build import Emitted, Host
from pellucid.lanes.frame import Pool
from pellucid.lanes.library import Library, Run, Step
from pellucid.lanes.module import Lanes, lower
from pellucid.lanes.plan import Plan
from pellucid.lanes.values import Base, Memory, Value

__all__ = ["Cost", "Outside", "PlanReport", "PlanStep", "planned", "peak"]

_ROUNDS = (3, 15)  # passes that are measured, at least and at most
_SECONDS = 2.0  # then no more of them
_PEAK_SECONDS = (0.1, 0.5)  # of one measurement of the peak; the longer where threads are kept waiting by others
_PEAK_TRIALS = 100
_FIRST = (
    "convolution",
    "linear",
    "attention",
    "recurrent",
    "pooling",
    "normalisation",
    "join",
    "activation",
    "dropout",
)


@dataclass(frozen=True)
class Cost:
    """Of one pass through a step. flops: two for each multiply-accumulate. bytes: of feature maps, weights and sums
    that its kernels read and write; what a thread keeps to itself is left out. seconds: measured."""

    flops: int
    bytes: int
    seconds: float

    @property
    def gflops(self) -> float:
        """GFLOP/s."""
        return self.flops / self.seconds / 1e9 if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class PlanStep:
    """What one block does. modules: paths of the modules that it stands for. nodes: of the graph. kind: of its main
    operation, or ``border`` (from and to PyTorch's order of numbers) or ``PyTorch``. algorithm: how."""

    name: str
    kind: str
    modules: tuple[str, ...]
    nodes: tuple[str, ...]
    algorithm: str
    output: tuple[int, ...]
    forward: Cost
    backward: Cost

    @property
    def seconds(self) -> float:
        """Of both passes."""
        return self.forward.seconds + self.backward.seconds


@dataclass(frozen=True)
class Outside:
    """A node that PyTorch runs, and why."""

    node: str
    module: str
    operation: str
    reason: str


@dataclass(frozen=True)
class PlanReport:
    """A network on the engine at one batch size.

    peak: multiply-adds of this machine on all threads, measured in the same run, in GFLOP/s. seconds: of a whole pass
    and its way back, what lies between the steps as well. memory: bytes of all feature maps of a step. torch_memory:
    what PyTorch keeps for the same, by forecast; 0 where it is not known.
    """

    network: str
    batch: int
    shapes: tuple[tuple[int, ...], ...]
    training: bool
    threads: int
    instructions: str
    lanes: int
    peak: float
    seconds: float
    memory: int
    torch_memory: int
    steps: tuple[PlanStep, ...]
    outside: tuple[Outside, ...]

    @property
    def forward(self) -> Cost:
        """Of all steps."""
        return _sum([step.forward for step in self.steps])

    @property
    def backward(self) -> Cost:
        """Of all steps."""
        return _sum([step.backward for step in self.steps])

    def share(self, cost: Cost) -> float:
        """Of the peak. Winograd, and the multiplications by padding that are never done, may take it above 1."""
        return cost.gflops / self.peak if self.peak else 0.0

    def to_json(self) -> str:
        """All numbers, and those that follow from them."""
        record = asdict(self)
        for name in ("forward", "backward"):
            record[name] = self._full(getattr(self, name))
            for step, own in zip(record["steps"], self.steps, strict=True):
                step[name] = self._full(getattr(own, name))
        return json.dumps(record, indent=1, ensure_ascii=False)

    def _full(self, cost: Cost) -> dict[str, Any]:
        return {**asdict(cost), "gflops": cost.gflops, "share_of_peak": self.share(cost)}


def planned(
    module: nn.Module,
    input_size: Sequence[int] | None = None,
    *,
    inputs: Sequence[Tensor] | None = None,
    batch: int = 128,
    training: bool = True,
    threads: int | None = None,
) -> PlanReport:
    """Plan a copy of a network, run it some times, and say what each step costs.

    Args:
        module: any network on the CPU; it is left as it is.
        input_size: of one picture, (C, H, W); else its own ``example_inputs(batch)``, else (3, 224, 224).
        inputs: tensors instead, with ``batch`` things each.
        batch: pictures at a time.
        training: a training step, forward and backward; else a pass in evaluation.
        threads: of PyTorch; as they are where it is left out.

    Raises:
        UsageError: where the native library is missing, or the network as a whole runs on PyTorch.
    """
    given = _inputs(module, input_size, inputs, batch)
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(()):
            return _planned(module, given, training, input_size)
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _planned(
    module: nn.Module, inputs: tuple[Tensor, ...], training: bool, input_size: Sequence[int] | None
) -> PlanReport:
    lowered = lower(copy.deepcopy(module).train(training))
    lowered.check()
    with torch.set_grad_enabled(training):
        plan = lowered.plan_for(inputs)
    if plan is None:
        reason = "; ".join(vars(lowered)["reasons"].values())
        raise UsageError(f"there is nothing to plan, PyTorch runs this network whole: {reason}")
    peaks = [peak(plan.library, plan.need.threads)]
    seconds, whole = _measured(lowered, plan, inputs)
    peaks.append(peak(plan.library, plan.need.threads))
    paths, members = {node.name: node.path for node in plan.graph.nodes}, _members(plan)
    outside = [
        Outside(name, paths.get(name, ""), plan.graph[name].target, reason)
        for name, reason in plan.lowered.reasons.items()
    ]
    return PlanReport(
        network=type(module).__name__,
        batch=plan.need.batch,
        shapes=tuple(tuple(tensor.shape[1:]) for tensor in inputs),
        training=training,
        threads=plan.need.threads,
        instructions=plan.library.target.name,
        lanes=plan.library.lanes,
        peak=max(peaks),
        seconds=whole,
        memory=plan.arena.bytes,
        torch_memory=_forecast(module, input_size, plan.need.batch) if training else 0,
        steps=tuple(_step(plan, block, members.get(id(block), ()), seconds) for block in plan.lowered.blocks),
        outside=tuple(outside),
    )


def _inputs(
    module: nn.Module, input_size: Sequence[int] | None, inputs: Sequence[Tensor] | None, batch: int
) -> tuple[Tensor, ...]:
    if inputs is not None:
        return tuple(inputs)
    own: Any = getattr(module, "example_inputs", None)
    if input_size is None and own is not None:
        return tuple(own(batch))
    return (torch.randn(batch, *(input_size or (3, 224, 224)), generator=torch.Generator().manual_seed(0)),)


def _forecast(module: nn.Module, input_size: Sequence[int] | None, batch: int) -> int:
    """Bytes that PyTorch keeps for feature maps in a training step; 0 where nobody can tell."""
    if input_size is None and hasattr(module, "example_inputs"):
        return 0
    try:
        return forecast(module, tuple(input_size or (3, 224, 224)), batch=batch).activations
    except (PellucidError, RuntimeError):
        return 0


def _measured(lowered: Lanes, plan: Plan, inputs: tuple[Tensor, ...]) -> tuple[dict[tuple[int, str], float], float]:
    """The median seconds of each block in each pass, by (id of the block, pass), and of all together."""
    rounds: list[dict[tuple[int, str], float]] = []
    whole: list[float] = []
    least, most = _ROUNDS
    began = time.perf_counter()
    while len(rounds) < least + 1 or (len(rounds) < most and time.perf_counter() - began < _SECONDS):
        start = time.perf_counter()
        rounds.append(_round(lowered, plan, inputs))
        whole.append(time.perf_counter() - start)
    keys = {key for one in rounds for key in one}
    del rounds[0], whole[0]  # they warm up
    return {key: median(one.get(key, 0.0) for one in rounds) for key in keys}, median(whole)


@torch.no_grad()
def _round(lowered: Lanes, plan: Plan, inputs: tuple[Tensor, ...]) -> dict[tuple[int, str], float]:
    """Seconds of one pass and its way back."""
    pool: Pool = vars(lowered)["_pool"]
    frame = plan.forward(inputs, pool, lowered.tensor_of, seconds=True)
    found: dict[tuple[int, str], float] = {}
    _add(found, frame.seconds or {}, "forward")
    if plan.need.gradients:
        outputs = plan.outputs(frame)
        frame.let_go()
        frame.seconds = {}
        plan.backward(frame, [torch.ones_like(output) if output.is_floating_point() else None for output in outputs])
        _add(found, frame.seconds, "backward")
    pool.give(frame.arena)
    return found


def _add(found: dict[tuple[int, str], float], seconds: Mapping[Emitted | Host, float], which: str) -> None:
    for step, taken in seconds.items():
        key = (id(step.block), which)
        found[key] = found.get(key, 0.0) + taken


def _members(plan: Plan) -> dict[int, tuple[str, ...]]:
    """The nodes that each block computes, by its id: those that it names, and those whose results wait for it as an
    expression."""
    owner: dict[str, int] = {}
    for block in plan.lowered.blocks:
        if not isinstance(block, Enter | Leave):
            for name in (*block.nodes, block.name):
                owner.setdefault(name, id(block))
    readers: dict[str, str] = {}
    for node in plan.graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, node.name)
    for node in reversed(plan.graph.nodes):
        if node.name not in owner and node.number is None and readers.get(node.name) in owner:
            owner[node.name] = owner[readers[node.name]]
    found: dict[int, tuple[str, ...]] = {}
    for node in plan.graph.nodes:
        if node.name in owner:
            found[owner[node.name]] = (*found.get(owner[node.name], ()), node.name)
    return found


def _step(plan: Plan, block: Block, own: tuple[str, ...], seconds: Mapping[tuple[int, str], float]) -> PlanStep:
    nodes = {node.name: node for node in plan.graph.nodes}
    kinds = [nodes[name].op.kind for name in own]
    kind = next((kind for kind in _FIRST if kind in kinds), kinds[0] if kinds else "shape")
    own = tuple(name for name in own if not nodes[name].hidden) or own[:1]
    if isinstance(block, Enter | Leave):
        kind = "border"
    elif isinstance(block, Island):
        kind = "PyTorch"
    macs = block.macs(plan.need.batch)
    ways = any(value.needs_gradient for value in block.inputs) + any(map(plan.build.wants, block.parameters))
    return PlanStep(
        name=block.name,
        kind=kind,
        modules=tuple(dict.fromkeys(nodes[name].path for name in own if nodes[name].path)),
        nodes=own,
        algorithm=block.algorithm,
        output=block.outputs[0].shape if block.outputs else (),
        forward=Cost(2 * macs, _bytes(plan, block, "forward"), seconds.get((id(block), "forward"), 0.0)),
        backward=Cost(2 * macs * ways, _bytes(plan, block, "backward"), seconds.get((id(block), "backward"), 0.0)),
    )


def _bytes(plan: Plan, block: Block, direction: str) -> int:
    """Of what the kernels of a block read and write, each thing once a kernel."""
    total = 0
    for step in plan.steps[direction]:
        if isinstance(step, Emitted) and step.block is block:
            seen = {_place(target): _size(plan, target) for _, target in step.pointers}
            total += sum(seen.values())
    return total


def _place(target: Value | Memory | Base) -> tuple[int, int]:
    if isinstance(target, Base):
        return -1, target.index
    return id(target.storage.root), target.storage.shift + target.offset


def _size(plan: Plan, target: Value | Memory | Base) -> int:
    if isinstance(target, Value):
        return 0 if target.storage.root.local else 4 * target.floats * plan.build.groups
    if isinstance(target, Memory):
        return 4 * (target.storage.floats - target.offset)
    kind, _, name = plan.build.bases[target.index].partition(":")
    if kind == "slot" and name in plan.build.slot_shapes:
        return 4 * Tensor.numel(torch.empty(plan.build.slot_shapes[name], device="meta"))
    name = name.rpartition(":")[0] if kind == "gradient" else name
    tensor = plan.graph.tensors.get(name)
    if tensor is not None:
        return tensor.numel() * tensor.element_size()
    known = {own.name: own.shape(plan.need.batch) for own in plan.graph.inputs}
    return 4 * torch.Size(known.get(name, plan.build.slot_shapes.get(name, ()))).numel()


def peak(library: Library, threads: int) -> float:
    """Multiply-adds of this machine, on so many threads at once: GFLOP/s of the kernel that does nothing else.

    It is counted by the time that the threads are at work; while others use the machine, they also wait.
    """
    structure = structure_of("fma_peak")
    units, repeats, best = 4 * threads, 5_000, 0.0  # short: on a busy machine some are not interrupted
    results = (ctypes.c_float * units)()
    arguments = structure(result=ctypes.addressof(results), repeats=repeats)
    blocks, busy = (structure * threads)(*[arguments] * threads), (ctypes.c_double * threads)()
    step = Step(library.kernels["fma_peak"], 0, units, 0)
    run = Run(
        target=library.target.index,
        threads=threads,
        parallel_for=native.parallel_for(),
        steps=ctypes.addressof(step),
        step_count=1,
        arguments=ctypes.addressof(blocks),
        arguments_bytes=ctypes.sizeof(structure),
        groups=1,
        slots=1,
        seconds=ctypes.addressof(busy),
    )
    flops = 2 * 24 * library.lanes * units * repeats
    began, trials = time.perf_counter(), 0
    least, most = _PEAK_SECONDS
    while (passed := time.perf_counter() - began) < least or (trials < _PEAK_TRIALS and passed < most):
        ctypes.memset(busy, 0, ctypes.sizeof(busy))
        library.run(run)
        best, trials = max(best, threads * flops / max(sum(busy), 1e-9) / 1e9), trials + 1
    return best


def _sum(costs: Sequence[Cost]) -> Cost:
    return Cost(sum(c.flops for c in costs), sum(c.bytes for c in costs), sum(c.seconds for c in costs))
