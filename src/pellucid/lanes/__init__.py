"""The engine for CPUs: networks lowered to kernels in which the batch lies in the lanes of vectors.

Not here: what an operation is (ops), how a network is captured (graph), the kernels themselves (native/lanes).
"""

from __future__ import annotations

from pellucid._lazy import attach

_homes = {
    "Lanes": ".module",
    "PlanReport": ".report",
    "lower": ".module",
    "planned": ".report",
    "targets": ".library",
    "why_not": ".library",
}
__getattr__, __dir__ = attach(__name__, _homes)
__all__ = ["Lanes", "PlanReport", "lower", "planned", "targets", "why_not"]
