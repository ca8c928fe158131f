"""What the engine computes with: feature maps in the layout of lanes, flat memory, and PyTorch's own tensors.

A feature map of a batch is [G][C][H][W][L]: G groups of L pictures, the pictures of a group innermost.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

__all__ = ["Base", "Memory", "Storage", "Value"]


@dataclass(eq=False)
class Storage:
    """Memory that is planned as one piece. floats: of one lane group where ``per_group``, else in all.

    A storage may become a part of another (``parent``, from ``start`` floats on): so the parts of a concatenation are
    computed where they belong, and nothing is copied.
    """

    name: str
    floats: int
    per_group: bool
    offset: int = -1  # in floats, once it has its place
    local: bool = False  # one group's size for each thread, not for each group
    parent: Storage | None = field(default=None, repr=False)
    start: int = 0

    @property
    def root(self) -> Storage:
        """The storage that it is a part of in the end."""
        return self if self.parent is None else self.parent.root

    @property
    def shift(self) -> int:
        """Floats from the beginning of the root."""
        return 0 if self.parent is None else self.start + self.parent.shift


@dataclass(frozen=True, eq=False)
class Value:
    """A feature map, or some channels of one. A vector of features has height and width 1; a signal has height 1.

    offset: floats from the start of a group's part of the storage. needs_gradient: whether anybody asks for dL/d(it).
    """

    name: str
    channels: int
    height: int
    width: int
    storage: Storage = field(repr=False)
    offset: int = 0
    needs_gradient: bool = False
    lanes: int = 16

    @property
    def first(self) -> int:
        """Floats from the start of a group's part of the root storage."""
        return self.storage.shift + self.offset

    @property
    def is_whole(self) -> bool:
        """Whether it is all of a storage that is no part of another."""
        return self.storage.parent is None and self.offset == 0 and self.floats == self.storage.floats

    @property
    def floats(self) -> int:
        """Of one lane group."""
        return self.channels * self.height * self.width * self.lanes

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    def channels_of(self, first: int, count: int) -> Value:
        """Some of its channels, as a value that shares its memory."""
        step = self.height * self.width * self.lanes
        return replace(
            self, name=f"{self.name}[{first}:{first + count}]", channels=count, offset=self.offset + first * step
        )

    def reshaped(self, channels: int, height: int, width: int) -> Value:
        """The same numbers under another shape."""
        return replace(self, channels=channels, height=height, width=width)


@dataclass(frozen=True, eq=False)
class Memory:
    """Flat memory that belongs to no group: packed weights, statistics, partial sums."""

    storage: Storage
    offset: int = 0  # floats

    def at(self, floats: int) -> Memory:
        """The part that begins so many floats later."""
        return Memory(self.storage, self.offset + floats)


@dataclass(frozen=True, eq=False)
class Base:
    """A tensor of PyTorch, by its place in the list of tensors of a pass; offset in floats."""

    index: int
    offset: int = 0
