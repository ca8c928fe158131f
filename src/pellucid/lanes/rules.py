"""Which block runs an operation: one rule a class of operations, found by the class alone."""

from __future__ import annotations

RULES = {}
