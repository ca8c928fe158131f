"""A module run once, every operation written down: for roads that depend on values, and for shapes that do not fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.errors import CaptureError
from pellucid.graph.ir import Graph, Input, Ref, Size, first_names, tensors_of
from pellucid.graph.naming import Call, name_nodes
from pellucid.ops import TensorShape, op_for


@dataclass(frozen=True)
class Traced:
    """What a run wrote down: the whole graph, or the part up to an error, and where that was."""

    graph: Graph | None
    partial: Graph
    error: BaseException | None = None
    path: str = ""
    given: tuple[tuple[int, ...], ...] = ()  # the shapes that the failing module was given


def trace(module: nn.Module, examples: tuple[Tensor, ...]) -> Traced:
    """Run a module on examples and write down every operation. The caller puts the module back as it was.

    The graph keeps the road that these examples took (``specialized``). Where the run fails, ``partial`` ends before
    the failing call.
    """
    recorder = _Recorder(module, examples)
    error: BaseException | None = None
    outputs: tuple[str, ...] = ()
    try:
        with warnings.catch_warnings(), torch.no_grad(), recorder.paths(), recorder:
            warnings.simplefilter("ignore")
            result = module(*examples)
        outputs = tuple(recorder.name_of(tensor) for tensor in _tensors(result))
    except Exception as caught:
        error = caught
    if error is None:
        graph = recorder.graph(recorder.calls, outputs, module.training)
        return Traced(graph, graph)
    path, given = recorder.failed
    before = [call for call in recorder.calls if call.path.partition("@")[0] != path or not path]
    # All that was computed is of interest now, not only what leads to an output; counters (no dimensions) are not.
    keys = tuple(call.key for call in before if call.dims)
    return Traced(None, recorder.graph(before, keys, module.training), error, path, given)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes calls down as their functional forms: what an in-place call changes gets a new name."""

    def __init__(self, module: nn.Module, examples: tuple[Tensor, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.module, self.examples = module, examples
        self.tensors = tensors_of(module)
        self.names: dict[int, str] = {id(tensor): name for name, tensor in reversed(self.tensors.items())}
        self.names |= {id(tensor): f"input_{i}" if i else "input" for i, tensor in enumerate(examples)}
        self.alive: list[Tensor] = list(examples)  # so that no id is used twice
        self.calls: list[Call] = []
        self.stack: list[tuple[str, nn.Module, tuple[tuple[int, ...], ...]]] = []
        self.failed: tuple[str, tuple[tuple[int, ...], ...]] = ("", ())
        self.visits: dict[str, int] = {}

    @contextmanager
    def paths(self) -> Iterator[None]:
        """Know which module is running, by hooks on all modules that are gone afterwards."""
        known = {id(part): name for name, part in self.module.named_modules()}

        def enter(part: nn.Module, given: Any) -> None:
            path = known.get(id(part), self.stack[-1][0] if self.stack else "")
            self.visits[path] = self.visits.get(path, 0) + 1
            self.stack.append((path, part, tuple(tuple(t.shape) for t in _tensors(given))))
            self.failed = (path, self.stack[-1][2])

        def leave(part: nn.Module, given: Any, result: Any) -> None:
            self.stack.pop()
            if self.stack:
                self.failed = (self.stack[-1][0], self.stack[-1][2])

        before = nn.modules.module.register_module_forward_pre_hook(enter)
        after = nn.modules.module.register_module_forward_hook(leave)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target, call = str(func), func
        arguments = tuple(self._plain(item) for item in args)
        options = {name: self._plain(item) for name, item in kwargs.items()}
        schema = tuple(argument.name for argument in func._schema.arguments)
        shaped = {**dict(zip(schema, args, strict=False)), **kwargs}
        shapes = {name: _shaped(item) for name, item in shaped.items()}
        result = func(*args, **kwargs)
        changed = func._schema.is_mutable
        if changed:
            target, call = _functional(func, target)
            self._refuse_views(args[0])
        self._write(target, call, arguments, options, schema, shapes, args[0] if changed else result)
        return result

    def _write(
        self, target: str, call: Any, arguments: Any, options: Any, schema: Any, shapes: Any, result: Any
    ) -> None:
        path, part, _ = self.stack[-1] if self.stack else ("", self.module, ())
        again = self.visits.get(path, 1)
        key = f"call{len(self.calls)}"
        many = isinstance(result, list | tuple)
        first = next((item for item in result if isinstance(item, Tensor)), None) if many else result
        is_tensor = isinstance(first, Tensor)
        kind = f"{type(part).__module__}.{type(part).__qualname__}"
        made = Call(
            key=key,
            op=op_for(target, shapes),
            target=target,
            call=call,
            arguments=arguments,
            options=options,
            path=f"{path}@{again}" if again > 1 and path else path,
            module_kind=kind,
            source="",
            dims=self._dims(first) if is_tensor and first is not None else (),
            itemsize=first.element_size() if is_tensor and first is not None else 0,
            schema=schema,
            is_tensor=is_tensor,
        )
        self.calls.append(made)
        if isinstance(result, Tensor):
            self._keep(result, key)
        for i, item in enumerate(result if many else ()):
            if isinstance(item, Tensor):
                self._keep_part(item, key, i)

    def _keep(self, tensor: Tensor, key: str) -> None:
        self.names[id(tensor)] = key
        self.alive.append(tensor)

    def _keep_part(self, tensor: Tensor, key: str, i: int) -> None:
        import operator

        part = f"{key}.{i}"
        self.calls.append(
            Call(
                part, op_for("getitem", {}), "getitem", operator.getitem, (Ref(key), i), {}, "", "", "",
                self._dims(tensor), tensor.element_size(), ("input", "index"),
            )
        )  # fmt: skip
        self._keep(tensor, part)

    def name_of(self, tensor: Tensor) -> str:
        """The name of a value; a tensor that came from elsewhere becomes a constant."""
        if id(tensor) not in self.names:
            name = f"constant_{len(self.tensors)}"
            self.tensors[name] = tensor
            self._keep(tensor, name)
        return self.names[id(tensor)]

    def graph(self, calls: list[Call], outputs: tuple[str, ...], training: bool) -> Graph:
        """The graph of some of the calls."""
        nodes, renamed = name_nodes(calls, outputs)
        inputs = tuple(
            Input(f"input_{i}" if i else "input", self._dims(t), t.element_size()) for i, t in enumerate(self.examples)
        )
        return Graph(
            nodes=nodes,
            inputs=inputs,
            outputs=tuple(renamed.get(name, name) for name in outputs),
            tensors=self.tensors,
            parameters=tuple(name for name, _ in self.module.named_parameters(remove_duplicate=False)),
            same=first_names(self.module),
            training=training,
            specialized=True,
        )

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return Ref(self.name_of(value))
        if isinstance(value, list | tuple):
            return [self._plain(item) for item in value]
        return value

    def _dims(self, tensor: Tensor) -> tuple[int | Size, ...]:
        batch = self.examples[0].shape[0] if self.examples and self.examples[0].ndim else 1
        sizes: list[int | Size] = [int(n) for n in tensor.shape]
        if sizes and sizes[0] == batch:
            sizes[0] = Size(lambda wanted: wanted)
        return tuple(sizes)

    def _refuse_views(self, tensor: Any) -> None:
        """A change through one name must not go unseen under another."""
        if (
            isinstance(tensor, Tensor)
            and tensor._is_view()
            and tensor._base is not None
            and id(tensor._base) in self.names
        ):
            raise CaptureError("a part of a tensor is changed in place on a road that depends on values",
                               fits="x = torch.cat(...) or torch.where(...) instead of x[...] = y")  # fmt: skip


def _functional(func: Any, target: str) -> tuple[str, Any]:
    """The operator that computes what an in-place one leaves behind."""
    name, _, overload = target.removeprefix("aten.").partition(".")
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None)
    plain = getattr(packet, overload, None) if packet is not None and name.endswith("_") else None
    if plain is None:
        raise CaptureError(f"{target} changes its input in place and has no functional form that is known")
    return str(plain), plain


def _shaped(value: Any) -> Any:
    if isinstance(value, Tensor):
        return TensorShape(value.shape)
    if isinstance(value, list | tuple):
        return [_shaped(item) for item in value]
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
