"""The engine for CPUs: networks lowered to kernels in which the batch lies in the lanes of vectors.

Not here: what an operation is (ops), how a network is captured (graph), the kernels themselves (native/lanes).
"""

from pellucid.lanes.library import targets, why_not
from pellucid.lanes.module import Lanes, lower

__all__ = ["Lanes", "lower", "targets", "why_not"]
