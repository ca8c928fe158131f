"""Which block runs an operation: one rule a class of operations, found by the class alone.

A rule is a function (lowering, node) -> the node's result; it raises ``Refused`` with the reason where the engine has
no kernel for these settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pellucid.graph import Node
from pellucid.lanes.lowering import Entry, Lowering
from pellucid.lanes.rules import convolution, layout, normalisation, pointwise, pooling

__all__ = ["RULES"]

Rule = Callable[[Lowering, Node], Entry]
RULES: Mapping[type, Rule] = MappingProxyType(
    {**layout.RULES, **convolution.RULES, **pointwise.RULES, **pooling.RULES, **normalisation.RULES}
)
