"""Steps as they are emitted by blocks, for the forward and the backward pass, with everything that planning needs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pellucid.lanes.arguments import structure_of
from pellucid.lanes.values import Base, Memory, Storage, Value

if TYPE_CHECKING:
    from pellucid.lanes.blocks.base import Block
    from pellucid.lanes.frame import Frame

__all__ = ["Build", "Emitted", "Host"]

MOST_REMADE = 3  # results in a row, each made of the one before, that are made again on the way back
SLOTS = 8  # at most: into so many parts a batch is cut whose sums over pictures are taken apart
Where = Literal["start", "here", "end"]
Target = Value | Memory | Base


@dataclass(eq=False)
class Emitted:
    """One call of a kernel. pointers: where in the arguments which address belongs. group_fields: where the distance
    between groups of a value belongs, which is known once it has its place."""

    kernel: str
    arguments: ctypes.Structure
    by_groups: bool
    units: int
    pointers: list[tuple[int, Target]]
    group_fields: list[tuple[int, Value]]
    block: Block | None


@dataclass(eq=False)
class Host:
    """Something that Python does between steps: the parts of a network that PyTorch runs."""

    call: Callable[[Frame], None]
    block: Block | None


@dataclass(eq=False)
class _Direction:
    start: list[Emitted | Host] = field(default_factory=list)
    here: list[Emitted | Host] = field(default_factory=list)
    end: list[Emitted | Host] = field(default_factory=list)

    def all(self) -> list[Emitted | Host]:
        return [*self.start, *self.here, *self.end]


class Build:
    """What blocks emit into.

    batch: pictures. lanes: pictures of a group. groups: of lanes. live: pictures in the last group. slots: parts of the
    batch whose sums over pictures are taken apart and then added in order, so that they do not depend on threads.
    """

    def __init__(self, batch: int, lanes: int, threads: int, wanted: frozenset[str], gradients: bool) -> None:
        self.batch, self.lanes, self.threads = batch, lanes, threads
        self.groups = -(-batch // lanes)
        self.live = batch - (self.groups - 1) * lanes
        self.slots = min(self.groups, SLOTS)
        self.gradients = gradients
        self._wanted = wanted
        self._directions = {"forward": _Direction(), "backward": _Direction()}
        self._now = "forward"
        self.block: Block | None = None
        self.bases: list[str] = ["arena"]  # what each base is: "arena", "parameter:NAME", "slot:NAME", "gradient:NAME"
        self._base_of: dict[str, int] = {"arena": 0}
        self.gradient_uses: dict[str, list[str]] = {}  # parameter -> bases that hold parts of its gradient
        self.slot_shapes: dict[str, tuple[int, ...]] = {}
        self.inner_slots: set[str] = set()  # tensors that parts run by PyTorch take
        self.storages: list[Storage] = []
        self._gradient_of: dict[Storage, Storage] = {}
        self._written: dict[Storage, list[tuple[int, int]]] = {}
        self._remade: dict[Storage, Block] = {}  # what is not kept for the way back, and the block that computes it
        self._recalled: dict[Storage, Storage] = {}
        self._remaking = False

    # -- memory

    def value(self, name: str, channels: int, height: int, width: int) -> Value:
        """A new feature map."""
        storage = self._storage(name, channels * height * width * self.lanes, per_group=True)
        return Value(name, channels, height, width, storage, lanes=self.lanes)

    def memory(self, name: str, floats: int) -> Memory:
        """Flat memory."""
        return Memory(self._storage(name, floats, per_group=False))

    def recalled(self, value: Value) -> Value:
        """A feature map of the forward pass to read on the way back: as it stands, or computed a second time.

        What is computed a second time needs no memory in between: so the result of a map that only convolutions read
        never leaves the cache on the way there, and on the way back stands where its gradient's kernels find it. What
        was only needed to make another result is forgotten at once, and made once more when its own turn comes.
        """
        block = self._remade.get(value.storage)
        if block is None or not self.is_backward:
            return value
        storage = self._recalled.get(value.storage)
        if storage is None:
            (output,) = block.outputs
            fresh = self.value(f"{output.name} again", *output.shape)
            asking, self.block = (self.block, self._remaking), block
            self._remaking = True
            block.write(self, fresh)
            self.block, self._remaking = asking
            storage = fresh.storage
            if not self._remaking:
                self._recalled[value.storage] = storage
        return replace(value, storage=storage)

    def _choose_remade(self, blocks: Sequence[Block]) -> None:
        """Which results are not kept for the way back: what can be made again, and what nobody reads as kept."""
        kept = {value.storage.root for block in blocks if not block.recalls for value in block.inputs}
        in_row: dict[Storage, int] = {}
        for block in blocks:
            if not block.remakes or len(block.outputs) != 1:
                continue
            (output,) = block.outputs
            row = 1 + max((in_row.get(value.storage, 0) for value in block.inputs), default=0)
            if output.is_whole and output.storage not in kept and row <= MOST_REMADE:
                in_row[output.storage] = row
                self._remade[output.storage] = block

    def _storage(self, name: str, floats: int, per_group: bool) -> Storage:
        storage = Storage(name, floats, per_group)
        self.storages.append(storage)
        return storage

    # -- PyTorch's tensors

    def parameter(self, name: str) -> Base:
        """A parameter or buffer of the module."""
        return self._base(f"parameter:{name}")

    def slot(self, name: str) -> Base:
        """A tensor of the pass: an input, an output, what PyTorch's parts take and give."""
        return self._base(f"slot:{name}")

    def slot_gradient(self, name: str) -> Base:
        """dL/d(a tensor of the pass)."""
        return self._base(f"slot_gradient:{name}")

    def seed(self) -> Base:
        """Where the pass's seed stands, an int64 number, the same on its way back."""
        return self._base("seed:")

    def makes_slot(self, name: str, shape: tuple[int, ...]) -> None:
        """A tensor of the pass that steps fill: made anew at each pass, since whoever gets it may keep it."""
        self.slot_shapes[name] = shape

    def _base(self, what: str) -> Base:
        if what not in self._base_of:
            self._base_of[what] = len(self.bases)
            self.bases.append(what)
        return Base(self._base_of[what])

    # -- gradients

    def wants(self, of: str | Value) -> bool:
        """Whether the gradient of a parameter or a feature map is needed."""
        return self.gradients and (of in self._wanted if isinstance(of, str) else of.needs_gradient)

    def parameter_gradient(self, name: str) -> Base:
        """Where to write dL/d(parameter), whole. A parameter that is used twice has two such places, added later."""
        uses = self.gradient_uses.setdefault(name, [])
        uses.append(f"gradient:{name}:{len(uses)}")
        return self._base(uses[-1])

    def gradient(self, value: Value) -> Value:
        """dL/d(value), to read: what nobody has written is 0."""
        storage = self._gradient_storage(value)
        for first, last in self._missing(storage, value):
            self._fill(storage, first, last)
        return replace(value, name=f"d {value.name}", storage=storage, offset=value.first)

    def has_gradient(self, value: Value) -> bool:
        """Whether anybody has written any of dL/d(value)."""
        written = self._written.get(self._gradient_storage(value), [])
        return any(a < value.first + value.floats and value.first < b for a, b in written)

    def adds_gradient(self, value: Value) -> tuple[Value, int]:
        """Where dL/d(value) goes, and whether it is to be added (1) to what stands there or written (0)."""
        storage = self._gradient_storage(value)
        missing = self._missing(storage, value)
        whole = missing == [(value.first, value.first + value.floats)]
        if not whole:
            for first, last in missing:
                self._fill(storage, first, last)
        self._mark(storage, value.first, value.first + value.floats)
        return replace(value, name=f"d {value.name}", storage=storage, offset=value.first), int(not whole)

    def hands_on_gradient(self, output: Value, value: Value) -> bool:
        """Let what stands in the memory of dL/d(output) be dL/d(value) from now on. Returns whether that could be:
        nobody may have written any of it yet, and both must be feature maps of their own."""
        root = value.storage.root
        fits = value.is_whole and output.is_whole and value.floats == output.floats
        if not fits or root in self._gradient_of:
            return False
        self._gradient_of[root] = self._gradient_storage(output)
        return True

    def _gradient_storage(self, value: Value) -> Storage:
        root = value.storage.root
        if root not in self._gradient_of:
            self._gradient_of[root] = self._storage(f"d {root.name}", root.floats, per_group=True)
        return self._gradient_of[root]

    def _missing(self, storage: Storage, value: Value) -> list[tuple[int, int]]:
        """The parts of a value's gradient that nobody has written."""
        at, end = value.first, value.first + value.floats
        missing = []
        for first, last in sorted(self._written.get(storage, [])):
            if last <= at or first >= end:
                continue
            if first > at:
                missing.append((at, first))
            at = max(at, last)
        return [*missing, (at, end)] if at < end else missing

    def _fill(self, storage: Storage, first: int, last: int) -> None:
        part = Value("zero", (last - first) // self.lanes, 1, 1, storage, first, lanes=self.lanes)
        self.kernel("fill", lanes=part, n=last - first, number=0.0)
        self._mark(storage, first, last)

    def _mark(self, storage: Storage, first: int, last: int) -> None:
        self._written.setdefault(storage, []).append((first, last))

    # -- steps

    def direction(self, name: Literal["forward", "backward"]) -> None:
        """The pass that steps are emitted for from now on."""
        self._now = name

    @property
    def is_backward(self) -> bool:
        """Whether steps of the backward pass are being emitted."""
        return self._now == "backward"

    def kernel(self, kernel: str, *, units: int | None = None, at: Where = "here", **fields: Any) -> None:
        """One call of a kernel, by groups unless it has ``units``.

        Args:
            fields: of its arguments. A Value, Memory or Base fills a pointer; None leaves it null; where a value fills
                ``x``, a field ``x_group`` is filled too, unless it is given. Structures take dicts, arrays sequences.
        """
        arguments = structure_of(kernel)()
        emitted = Emitted(kernel, arguments, units is None, units or 0, [], [], self.block)
        self._fill_fields(emitted, arguments, type(arguments), 0, fields)
        getattr(self._directions[self._now], at).append(emitted)

    def _fill_fields(
        self, emitted: Emitted, into: Any, kind: type[ctypes.Structure], offset: int, fields: Mapping[str, Any]
    ) -> None:
        names = {name for name, *_ in kind._fields_}
        for name, given in fields.items():
            if name not in names:
                raise KeyError(f"{emitted.kernel} has no argument {name}")
            place = offset + getattr(kind, name).offset
            self._fill_field(emitted, into, name, place, given)
            group = f"{name}_group"
            if isinstance(given, Value) and group in names and group not in fields:
                emitted.group_fields.append((offset + getattr(kind, group).offset, given))

    def _fill_field(self, emitted: Emitted, into: Any, name: str, place: int, given: Any) -> None:
        if given is None:
            return
        if isinstance(given, Value | Memory | Base):
            emitted.pointers.append((place, given))
        elif isinstance(given, Mapping):
            inner = getattr(into, name)
            self._fill_fields(emitted, inner, type(inner), place, given)
        elif isinstance(given, Sequence) and not isinstance(given, str):
            array = getattr(into, name)
            size = ctypes.sizeof(array._type_)
            for i, item in enumerate(given):
                if isinstance(item, Mapping):
                    self._fill_fields(emitted, array[i], type(array[i]), place + i * size, item)
                elif isinstance(item, Value | Memory | Base):
                    emitted.pointers.append((place + i * size, item))
                elif item is not None:
                    array[i] = item
        else:
            setattr(into, name, given)

    def host(self, call: Callable[[Frame], None]) -> None:
        """Something that Python does at this point of the pass."""
        self._directions[self._now].here.append(Host(call, self.block))

    def steps(self, direction: Literal["forward", "backward"]) -> list[Emitted | Host]:
        """All steps of a pass, in order."""
        return self._directions[direction].all()

    def emit(self, blocks: Sequence[Block]) -> None:
        """The steps of all blocks: forward in order and, where gradients are wanted, backward in reverse."""
        self._choose_remade(blocks)
        self.direction("forward")
        for self.block in blocks:
            self.block.forward(self)
        if self.gradients:
            self.direction("backward")
            for self.block in reversed(blocks):
                if any(value.needs_gradient for value in self.block.outputs) or not self.block.outputs:
                    self.block.backward(self)
        self.block = None
