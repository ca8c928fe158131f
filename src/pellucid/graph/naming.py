"""Names for nodes: the module's path for its main operation, else path and operation; and which nodes are shown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.graph.ir import Node, Ref, Size, references
from pellucid.ops import Op

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_MAIN = (
    "attention",
    "recurrent",
    "convolution",
    "linear",
    "normalisation",
    "pooling",
    "activation",
    "dropout",
    "opaque",
)
_LIBRARY = ("/torch/", "\\torch\\", "/pellucid/graph/", "\\pellucid\\graph\\")
MARK = "%"  # begins every key, so that no key is the name of a parameter


@dataclass
class Call:
    """A node that has no name yet; ``key`` is what the capture called it, with ``MARK`` before it."""

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
    number: int | Size | None = None


def name_nodes(
    calls: Sequence[Call], outputs: Sequence[str], inputs: Sequence[str], tensors: Iterable[str]
) -> tuple[tuple[Node, ...], dict[str, str]]:
    """The calls as nodes with names, and the names of calls and inputs by key. ``tensors``: names that are taken.

    Hidden is what leads to no output (updates of running statistics), what is no tensor (sizes), and what is
    bookkeeping. Of the others, a module that makes one call gives it its path; among several calls of a module of
    PyTorch's own, those of its main kind have the path; all else is path and operation. Equal names are numbered; no
    two of nodes, inputs, parameters and buffers have the same.
    """
    needed = _needed(calls, outputs)
    hidden = {c.key for c in calls if c.key not in needed or not c.is_tensor or c.op.is_bookkeeping}
    by_path: dict[str, list[Call]] = {}
    for call in calls:
        if call.key not in hidden:
            by_path.setdefault(call.path, []).append(call)
    wanted = {call.key: _wanted(call, by_path.get(call.path, [])) for call in calls}
    names = _unique(
        [
            *((c.key, wanted[c.key]) for c in calls if c.key not in hidden),
            *((key, key.removeprefix(MARK)) for key in inputs),
            *((c.key, f"{wanted[c.key]}~") for c in calls if c.key in hidden),
        ],
        set(tensors),
    )
    nodes = tuple(
        Node(
            name=names[c.key],
            op=c.op,
            target=c.target,
            call=c.call,
            arguments=renamed(c.arguments, names),
            options=renamed(dict(c.options), names),
            path=c.path.partition("@")[0],
            source=c.source,
            dims=c.dims,
            itemsize=c.itemsize,
            schema=c.schema,
            hidden=c.key in hidden,
            number=c.number,
        )
        for c in calls
    )
    return nodes, names


def _unique(wanted: Sequence[tuple[str, str]], taken: set[str]) -> dict[str, str]:
    """A name of its own for each key: the one that it wants, or that with the first number that nobody has."""
    first_choices = {name for _, name in wanted}
    used: set[str] = set(taken)
    names: dict[str, str] = {}
    count: Counter[str] = Counter()
    for key, name in wanted:
        chosen = name
        if name in used:
            count[name] = max(1, count[name])
            while chosen in used or chosen in first_choices:
                count[name] += 1
                chosen = f"{name}_{count[name]}"
        used.add(chosen)
        names[key] = chosen
    return names


def source_line(trace: str | None) -> str:
    """The innermost line of the user's own code in a stack trace, as ``net.py:41``."""
    own = [(file, line) for file, line in _FRAME.findall(trace or "") if is_own_code(file)]
    file, line = (own or [("", "")])[-1]
    return f"{Path(file).name}:{line}" if file else ""


def is_own_code(file: str) -> bool:
    """Whether a file is the user's: neither PyTorch's nor this room's."""
    return not any(part in file for part in _LIBRARY)


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


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Nested arguments with references by other names, where there is one."""
    if isinstance(value, Ref):
        return Ref(names.get(value.name, value.name))
    if isinstance(value, list | tuple):
        return type(value)(renamed(item, names) for item in value)
    if isinstance(value, dict):
        return {key: renamed(item, names) for key, item in value.items()}
    return value
