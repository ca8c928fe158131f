"""Which block runs an operation: one rule a class of ops, found by the class alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["RULES", "rule"]

_RULES: dict[type, Callable[..., Any]] = {}
RULES: Mapping[type, Callable[..., Any]] = MappingProxyType(_RULES)


def rule(*kinds: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function (lowering, node) -> entry for classes of operations."""

    def registered(function: Callable[..., Any]) -> Callable[..., Any]:
        _RULES.update(dict.fromkeys(kinds, function))
        return function

    return registered
