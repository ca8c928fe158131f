"""Names that are imported when first used (PEP 562), so that ``import pellucid`` stays without torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` for a package whose public names live in the modules ``homes[name]``.

    A home is relative to the package (``".capture"``). A name whose home ends in the name itself is a module.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module = importlib.import_module(homes[name], package)
        return module if homes[name].rpartition(".")[2] == name else getattr(module, name)

    def names() -> list[str]:
        return sorted(homes)

    return load, names
