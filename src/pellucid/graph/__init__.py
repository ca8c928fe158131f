"""A network captured once: its nodes, what they cost and see, and an interpreter that can keep any value."""

from pellucid.graph.account import Account, Field, Row
from pellucid.graph.capture import capture, example_inputs
from pellucid.graph.chain import chained
from pellucid.graph.ir import Graph, Input, Node, Ref, Size
from pellucid.graph.memory import Forecast, forecast
from pellucid.graph.misfit import misfit

__all__ = [
    "Account",
    "Field",
    "Forecast",
    "Graph",
    "Input",
    "Node",
    "Ref",
    "Row",
    "Size",
    "capture",
    "chained",
    "example_inputs",
    "forecast",
    "misfit",
]
