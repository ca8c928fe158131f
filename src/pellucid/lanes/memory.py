"""Where every feature map lies: planned once, from when each is first and last touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.lanes.build import Emitted, Host
from pellucid.lanes.values import Memory, Storage, Value

__all__ = ["Arena", "distance", "place"]

_ALIGN = 64  # floats: of a cache line's multiple
_STAGGER = 64 * 9  # floats between neighbours: equal distances of 4 KiB would share cache sets


@dataclass(frozen=True)
class Arena:
    """floats: of what is there once. local: of what each thread has for itself, for the group that it works on."""

    floats: int
    local: int
    threads: int

    @property
    def bytes(self) -> int:
        """In all."""
        return 4 * (self.floats + self.local * self.threads)


def place(passes: Sequence[Sequence[Emitted | Host]], groups: int, threads: int) -> Arena:
    """Give every storage that the steps of the passes touch its place; returns the size of the whole.

    A region is what runs without a barrier: consecutive steps by groups, all of them for one group before the next. So
    two feature maps may share memory only if one region is done with the first before another begins the second; but
    a feature map that lives within one region belongs to the group at work: each thread needs room for one group.
    """
    steps = [step for one in passes for step in one]
    regions = _regions(passes)
    touched: dict[Storage, list[int]] = {}
    for moment, step in enumerate(steps):
        if isinstance(step, Emitted):
            for _, target in step.pointers:
                if isinstance(target, Value | Memory):
                    touched.setdefault(target.storage.root, []).append(moment)
    lasting: list[tuple[Storage, int, int, int]] = []
    passing: list[tuple[Storage, int, int, int]] = []
    for storage, moments in touched.items():
        first, last = min(moments), max(moments)
        by_groups = all(isinstance(step := steps[m], Emitted) and step.by_groups for m in moments)
        storage.local = storage.per_group and by_groups and regions[first] == regions[last]
        if storage.local:
            passing.append((storage, storage.floats, first, last))
        else:
            floats = storage.floats * (groups if storage.per_group else 1)
            lasting.append((storage, floats, regions[first], regions[last]))
    return Arena(_pack(lasting), _pack(passing), threads)


def _regions(passes: Sequence[Sequence[Emitted | Host]]) -> list[int]:
    """The number of the region that each step belongs to; none reaches from one pass into the next."""
    numbers: list[int] = []
    now = 0
    for steps in passes:
        before = False
        for step in steps:
            by_groups = isinstance(step, Emitted) and step.by_groups
            now += 0 if by_groups and before else 1
            numbers.append(now)
            before = by_groups
    return numbers


def _pack(wanted: Sequence[tuple[Storage, int, int, int]]) -> int:
    """Places for (storage, floats, first moment, last moment), the large ones first, each as low as it fits."""
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
    highest = 0
    for storage, floats, first, last in sorted(wanted, key=lambda item: -item[1]):
        size = -(-floats // _ALIGN) * _ALIGN + _STAGGER
        offset = 0
        for low, high in sorted((low, high) for low, high, a, b in placed if a <= last and first <= b):
            if offset + size <= low:
                break
            offset = max(offset, high)
        storage.offset = offset
        placed.append((offset, offset + size, first, last))
        highest = max(highest, offset + size)
    return -(-highest // _ALIGN) * _ALIGN


def distance(value: Value) -> int:
    """Floats between the groups of a feature map: none where each thread has room for one."""
    root = value.storage.root
    return 0 if root.local else root.floats
