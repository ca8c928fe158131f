"""What belongs to one pass forward and its way back: the arena, and the tensors of PyTorch that it meets."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pellucid.lanes.build import Emitted, Host
    from pellucid.lanes.library import Library

__all__ = ["ArenaMemory", "Frame", "Pool"]


class ArenaMemory:
    """Memory for the feature maps of one pass; given back when nobody holds it."""

    def __init__(self, library: Library, size: int) -> None:
        self.address, self.size, self._library = library.allocate(max(size, 64)), size, library

    def copy(self) -> ArenaMemory:
        """The same numbers elsewhere: for a way back that must leave them as they are."""
        other = ArenaMemory(self._library, self.size)
        ctypes.memmove(other.address, self.address, self.size)
        return other

    def __del__(self) -> None:
        self._library.release(self.address, self.size)


class Pool:
    """Arenas that wait for their next pass. A training step needs one; two passes before a way back need two."""

    def __init__(self, library: Library) -> None:
        self._library, self._free = library, list[ArenaMemory]()

    def take(self, size: int) -> ArenaMemory:
        """The smallest that is large enough, else a new one, in place of those that are too small."""
        fitting = [arena for arena in self._free if arena.size >= size]
        if fitting:
            arena = min(fitting, key=lambda arena: arena.size)
            self._free.remove(arena)
            return arena
        self._free.clear()
        return ArenaMemory(self._library, size)

    def give(self, arena: ArenaMemory) -> None:
        """Back for the next pass."""
        if len(self._free) < 2:
            self._free.append(arena)


class Frame:
    """One pass. tensors: by slot. tensor_of: finds the module's tensors by name, as they are now."""

    def __init__(
        self,
        bases: Sequence[str],
        slot_shapes: Mapping[str, tuple[int, ...]],
        arena: ArenaMemory,
        tensor_of: Callable[[str], Tensor],
    ) -> None:
        self.bases, self.slot_shapes, self.arena, self.tensor_of = bases, slot_shapes, arena, tensor_of
        self.tensors: dict[str, Tensor] = {}  # by slot
        self.shapes: dict[str, torch.Size] = {}  # of these tensors, once they are gone
        self.gradients: dict[str, Tensor] = {}  # of slots
        self.parameter_gradients: dict[str, Tensor] = {}  # by "gradient:NAME:USE" and, of PyTorch's parts, by name
        self.state: dict[object, Any] = {}  # what PyTorch's parts keep for their way back
        self.held: list[Tensor] = []  # copies that must outlive a call
        self.seconds: dict[Emitted | Host, float] | None = None
        self.keeps_graph = False
        # Drawn from PyTorch's generator: whoever seeds that repeats a pass, dropout and all.
        self.seed = torch.randint(2**62, (1,)) if "seed:" in bases else torch.zeros(1, dtype=torch.int64)

    def again(self) -> Frame:
        """The same pass for one more way back, which may overwrite this one's memory and gradients."""
        frame = Frame(self.bases, self.slot_shapes, self.arena.copy(), self.tensor_of)
        frame.shapes, frame.state, frame.keeps_graph = self.shapes, self.state, self.keeps_graph
        frame.seconds, frame.seed = self.seconds, self.seed
        return frame

    def addresses(self, used: Sequence[int]) -> ctypes.Array[ctypes.c_void_p]:
        """Of the bases in use, as they are now."""
        self.held.clear()
        found = (ctypes.c_void_p * len(self.bases))()
        for index in used:
            found[index] = self._address(self.bases[index])
        return found

    def _address(self, base: str) -> int:
        kind, _, name = base.partition(":")
        if kind == "arena":
            return self.arena.address
        if kind == "seed":
            return self.seed.data_ptr()
        if kind == "parameter":
            return self.contiguous(self.tensor_of(name))
        if kind == "slot":
            if name not in self.tensors:
                self.tensors[name] = torch.empty(self.slot_shapes[name])
            return self.contiguous(self.tensors[name])
        if kind == "slot_gradient":
            return self.contiguous(self.gradients[name])
        if base not in self.parameter_gradients:
            like = self.tensor_of(name.rpartition(":")[0])
            self.parameter_gradients[base] = torch.empty(like.shape, dtype=torch.float32)
        return self.parameter_gradients[base].data_ptr()

    def add_gradient(self, slot: str, gradient: Tensor) -> None:
        """One more part of dL/d(a tensor of the pass)."""
        before = self.gradients.get(slot)
        self.gradients[slot] = gradient if before is None else before + gradient

    def add_parameter_gradient(self, name: str, gradient: Tensor) -> None:
        """A part of dL/d(parameter) that PyTorch computed."""
        before = self.parameter_gradients.get(name)
        self.parameter_gradients[name] = gradient if before is None else before + gradient

    def complete_gradient(self, slot: str) -> None:
        """What nobody has given a gradient for has 0; what somebody has is made plain memory."""
        given = self.gradients.get(slot)
        self.gradients[slot] = torch.zeros(self.shapes[slot]) if given is None else given.contiguous()

    def let_go(self) -> None:
        """Hold the tensors no longer: the way back does without, and an output that its own pass held would stay."""
        self.shapes = {slot: tensor.shape for slot, tensor in self.tensors.items()}
        self.tensors.clear()

    def contiguous(self, tensor: Tensor) -> int:
        """The address of a tensor's numbers in PyTorch's plain order, in a copy where it has another."""
        if not tensor.is_contiguous():
            tensor = tensor.detach().contiguous()
            self.held.append(tensor)
        return tensor.data_ptr()
