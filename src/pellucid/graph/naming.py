"""Names for nodes: the module's path for its main operation, else path and operation; and which nodes are shown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.graph.ir import Node, Ref, Size, references
from pellucid.ops import Op

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_MAIN = ("attention", "convolution", "linear", "normalisation", "pooling", "activation", "dropout", "opaque")
_LIBRARY = ("/torch/", "\\torch\\")


@dataclass
class Call:
    """A node that has no name yet; ``key`` is what the capture called it."""

    key: str
    op: Op
    target: str
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    path: str
    module_kind: str
    source: str
    dims: tuple[int | Size, ...]
    itemsize: int
    schema: tuple[str, ...]
    is_tensor: bool = True


def name_nodes(calls: Sequence[Call], outputs: Sequence[str]) -> tuple[tuple[Node, ...], dict[str, str]]:
    """The calls as nodes with names, and the names by key.

    Hidden is what leads to no output (updates of running statistics), what is no tensor (sizes), and what is
    bookkeeping. Of the others, a module that makes one call gives it its path; among several calls of a module of
    PyTorch's own, those of its main kind have the path; all else is path and operation. Equal names are numbered.
    """
    needed = _needed(calls, outputs)
    hidden = {c.key for c in calls if c.key not in needed or not c.is_tensor or c.op.is_bookkeeping}
    by_path: dict[str, list[Call]] = {}
    for call in calls:
        if call.key not in hidden:
            by_path.setdefault(call.path, []).append(call)
    wanted = {call.key: _wanted(call, by_path.get(call.path, [])) for call in calls}
    taken: Counter[str] = Counter()
    names: dict[str, str] = {}
    for call in [*(c for c in calls if c.key not in hidden), *(c for c in calls if c.key in hidden)]:
        name = wanted[call.key] if call.key not in hidden else f"{wanted[call.key]}~"
        taken[name] += 1
        names[call.key] = name if taken[name] == 1 else f"{name}_{taken[name]}"
    nodes = tuple(
        Node(
            name=names[c.key],
            op=c.op,
            target=c.target,
            call=c.call,
            arguments=_renamed(c.arguments, names),
            options=_renamed(dict(c.options), names),
            path=c.path.partition("@")[0],
            source=c.source,
            dims=c.dims,
            itemsize=c.itemsize,
            schema=c.schema,
            hidden=c.key in hidden,
        )
        for c in calls
    )
    return nodes, names


def source_line(trace: str | None) -> str:
    """The innermost line of the user's own code in a stack trace, as ``net.py:41``."""
    frames = _FRAME.findall(trace or "")
    own = [frame for frame in frames if not any(part in frame[0] for part in _LIBRARY)]
    file, line = (own or [("", "")])[-1]
    return f"{Path(file).name}:{line}" if file else ""


def _needed(calls: Sequence[Call], outputs: Sequence[str]) -> set[str]:
    needed = set(outputs)
    for call in reversed(calls):
        if call.key in needed:
            needed |= {ref.name for ref in references((call.arguments, call.options))}
    return needed


def _wanted(call: Call, siblings: Sequence[Call]) -> str:
    path = call.path.replace("@", "_")
    own = call.op.name
    if not path:
        return own
    if len(siblings) == 1:
        is_leaf = ".nn.modules." in call.module_kind or call.op.kind in _MAIN
        return path if is_leaf else f"{path}.{own}"
    is_main = call.op.kind == _main_kind(siblings)
    return path if ".nn.modules." in call.module_kind and is_main else f"{path}.{own}"


def _main_kind(calls: Sequence[Call]) -> str:
    """The kind that a module with several calls is about: the first of ``_MAIN`` that one of them is."""
    kinds = {call.op.kind for call in calls}
    return next((kind for kind in _MAIN if kind in kinds), "")


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Ref):
        return Ref(names.get(value.name, value.name))
    if isinstance(value, list | tuple):
        return type(value)(_renamed(item, names) for item in value)
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    return value
