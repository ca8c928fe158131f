"""The kernels' arguments as ctypes structures, read from the C++ headers themselves: they are declared once."""

from __future__ import annotations

import ctypes
import functools
import re
from pathlib import Path
from typing import Any

__all__ = ["structure", "structure_of"]

_HEADERS = Path(__file__).parents[1] / "native" / "lanes"
_TYPES: dict[str, type[ctypes._SimpleCData[int]] | type[ctypes._SimpleCData[float]]] = {
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


@functools.cache
def _structures() -> dict[str, type[ctypes.Structure]]:
    """Every ``struct NAME { ... };`` of the headers, in the order in which arguments.h includes them."""
    found: dict[str, type[ctypes.Structure]] = {}
    constants: dict[str, int] = {}
    names = re.findall(r'#include "(\w+\.h)"', (_HEADERS / "arguments.h").read_text("utf-8"))
    for name in names:
        text = re.sub(r"//[^\n]*", "", (_HEADERS / name).read_text("utf-8"))
        constants |= {key: int(value) for key, value in re.findall(r"constexpr int (\w+) = (\d+);", text)}
        for kind, body in re.findall(r"struct (\w+) \{([^}]*)\};", text):
            found[kind] = _structure(kind, body, found, constants)
    return found


def _structure(
    name: str, body: str, known: dict[str, type[ctypes.Structure]], constants: dict[str, int]
) -> type[ctypes.Structure]:
    fields: list[tuple[str, type]] = []
    for declaration in filter(None, (part.strip() for part in body.split(";"))):
        matched = re.fullmatch(r"(?:const )?(\w+)( ?\*)? (\w+)(?:\[(\w+)\])?", declaration.replace("* ", " * ", 1))
        if matched is None:
            matched = re.fullmatch(r"(?:const )?(\w+)\s*(\*)\s*(\w+)(?:\[(\w+)\])?", declaration)
        if matched is None:
            raise ValueError(f"{name}: '{declaration}' is no plain declaration")
        kind, pointer, field, count = matched.groups()
        one: Any = ctypes.c_void_p if pointer else known[kind] if kind in known else _TYPES[kind]
        if count is not None:
            one = one * (int(count) if count.isdigit() else constants[count])
        fields.append((field, one))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def structure(name: str) -> type[ctypes.Structure]:
    """The structure of a name, such as ``ConvolutionArguments``."""
    return _structures()[name]


@functools.cache
def _kinds() -> dict[str, str]:
    listed = (_HEADERS / "kernels.list").read_text("utf-8")
    return dict(re.findall(r"^KERNEL\(\w+, (\w+), (\w+)\)", listed, re.MULTILINE))


def structure_of(kernel: str) -> type[ctypes.Structure]:
    """The structure of a kernel's arguments."""
    return structure(_kinds()[kernel])
