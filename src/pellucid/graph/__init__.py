"""A network captured once: its nodes, what they cost and see, and an interpreter that can keep any value."""

from pellucid.graph.account import Account, Field, Row
from pellucid.graph.capture import capture
from pellucid.graph.ir import Graph, Input, Node

__all__ = ["Account", "Field", "Graph", "Input", "Node", "Row", "capture"]
