"""One graph after another: a network, and the loss of what it gives."""

from __future__ import annotations

from dataclasses import replace

from pellucid.graph.ir import Graph
from pellucid.graph.naming import renamed


def chained(first: Graph, second: Graph, prefix: str) -> Graph:
    """A graph that gives the output of ``first`` to the first input of ``second``, whose names begin with ``prefix``.

    The inputs are those of ``first`` and the other ones of ``second``; the output is that of ``second``.
    """
    own = [*(given.name for given in second.inputs[1:]), *(node.name for node in second.nodes), *second.tensors]
    names = {name: f"{prefix}{name}" for name in own}
    names[second.inputs[0].name] = first.outputs[0]
    nodes = tuple(
        replace(
            node,
            name=names[node.name],
            arguments=renamed(node.arguments, names),
            options=renamed(dict(node.options), names),
        )
        for node in second.nodes
    )
    return replace(
        first,
        nodes=(*first.nodes, *nodes),
        inputs=(*first.inputs, *(replace(given, name=names[given.name]) for given in second.inputs[1:])),
        outputs=tuple(names[name] for name in second.outputs),
        tensors={**first.tensors, **{names[name]: tensor for name, tensor in second.tensors.items()}},
        specialized=first.specialized or second.specialized,
    )
