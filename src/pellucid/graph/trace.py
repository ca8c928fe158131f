"""A module run once, every operation written down: for roads that depend on values, and for shapes that do not fit."""

from __future__ import annotations

import contextlib
import operator
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.errors import CaptureError
from pellucid.graph.ir import Graph, Input, Ref, Size, first_names, tensors_of
from pellucid.graph.naming import MARK, Call, is_own_code, name_nodes
from pellucid.graph.restore import as_found
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
    the failing call. A second run, with every example twice, shows which numbers depend on the batch; where it takes
    another road, only first dimensions as long as the batch are taken to be it.
    """
    with as_found(module):
        first = _run(module, tuple(example.detach().clone() for example in examples))
    batch = examples[0].shape[0] if examples and examples[0].ndim else 0
    doubled = tuple(
        example.repeat(2, *[1] * (example.ndim - 1))
        if example.ndim and example.shape[0] == batch
        else example.detach().clone()
        for example in examples
    )
    with as_found(module):
        second = _run(module, doubled) if batch else first
    calls, inputs = first.calls, [first.dims_of(example) for example in first.examples]
    if batch and len(second.calls) == len(first.calls):
        pairs = list(zip(first.calls, second.calls, strict=True))
        if all(a.target == b.target for a, b in pairs):
            calls = [_for_any_batch(a, b, batch) for a, b in pairs]
            inputs = [_merged(tuple(a.shape), tuple(b.shape), batch) for a, b in zip(examples, doubled, strict=True)]
    if first.error is None:
        graph = first.graph(calls, inputs, first.outputs)
        return Traced(graph, graph)
    path, given = first.failed
    before = [call for call in calls if call.path.partition("@")[0] != path or not path]
    # All that was computed is of interest now, not only what leads to an output; counters (no dimensions) are not.
    keys = tuple(call.key for call in before if call.dims)
    return Traced(None, first.graph(before, inputs, keys), first.error, path, given)


def _run(module: nn.Module, examples: tuple[Tensor, ...]) -> _Recorder:
    recorder = _Recorder(module, examples)
    try:
        with warnings.catch_warnings(), torch.no_grad(), recorder.paths(), recorder:
            warnings.simplefilter("ignore")
            result = module(*examples)
        recorder.outputs = tuple(recorder.name_of(tensor) for tensor in _tensors(result))
    except Exception as caught:
        recorder.error = caught
    return recorder


def _for_any_batch(one: _Written, two: _Written, batch: int) -> _Written:
    """A call whose numbers depend on the batch as two runs show, with ``batch`` examples and with twice as many."""
    return replace(
        one,
        arguments=_merged(one.arguments, two.arguments, batch),
        options=_merged(dict(one.options), dict(two.options), batch),
        dims=_merged(one.sizes, two.sizes, batch),
    )


def _merged(one: Any, two: Any, batch: int) -> Any:
    if type(one) is int and type(two) is int and one != two:
        growth, rest = divmod(two - one, batch)
        return one if rest else Size(lambda wanted: one + growth * (wanted - batch))
    if isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        return type(one)(_merged(a, b, batch) for a, b in zip(one, two, strict=True))
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return {name: _merged(value, two[name], batch) for name, value in one.items()}
    return one


@dataclass
class _Written(Call):
    """A call with the sizes that it had; ``dims`` says which of them are the batch."""

    sizes: tuple[int, ...] = ()


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes calls down as their functional forms: what an in-place call changes gets a new name."""

    def __init__(self, module: nn.Module, examples: tuple[Tensor, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.module, self.examples = module, examples
        self.tensors = tensors_of(module)
        self.names: dict[int, str] = {id(tensor): name for name, tensor in reversed(self.tensors.items())}
        self.names |= {id(tensor): self.input_key(i) for i, tensor in enumerate(examples)}
        self.alive: list[Tensor] = []  # so that no id is used twice
        self.sharing: dict[int, list[int]] = {}  # memory -> the tensors that lie in it
        self.stale: set[int] = set()  # tensors that were changed under another name
        for tensor in (*self.tensors.values(), *examples):
            self._own(tensor)
        self.calls: list[_Written] = []
        self.outputs: tuple[str, ...] = ()
        self.error: BaseException | None = None
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
        target, call = _pure(func, args)
        arguments = tuple(self._plain(item) for item in args)
        options = {name: self._plain(item) for name, item in kwargs.items()}
        schema = tuple(argument.name for argument in func._schema.arguments)
        shaped = {**dict(zip(schema, args, strict=False)), **kwargs}
        shapes = {name: _shaped(item) for name, item in shaped.items()}
        result = func(*args, **kwargs)
        changed = func._schema.is_mutable
        if changed:
            target, call = _functional(func, target)
            arguments += _defaults(func, len(args))
            self._spoil_views(args[0])
        self._write(target, call, arguments, options, schema, shapes, args[0] if changed else result)
        return result

    def _write(
        self, target: str, call: Any, arguments: Any, options: Any, schema: Any, shapes: Any, result: Any
    ) -> None:
        path, part, _ = self.stack[-1] if self.stack else ("", self.module, ())
        again = self.visits.get(path, 1)
        key = f"{MARK}call{len(self.calls)}"
        many = isinstance(result, list | tuple)
        first = next((item for item in result if isinstance(item, Tensor)), None) if many else result
        is_tensor = isinstance(first, Tensor)
        kind = f"{type(part).__module__}.{type(part).__qualname__}"
        made = _Written(
            key=key,
            op=op_for(target, shapes),
            target=target,
            call=call,
            arguments=arguments,
            options=options,
            path=f"{path}@{again}" if again > 1 and path else path,
            module_kind=kind,
            source=_line(),
            dims=self.dims_of(first) if is_tensor and first is not None else (),
            sizes=tuple(first.shape) if is_tensor and first is not None else (),
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
        self.stale.discard(id(tensor))
        self._own(tensor)

    def _own(self, tensor: Tensor) -> None:
        self.alive.append(tensor)
        self.sharing.setdefault(_memory(tensor), []).append(id(tensor))

    @staticmethod
    def input_key(i: int) -> str:
        """Of an input until it has a name."""
        return f"{MARK}input_{i}" if i else f"{MARK}input"

    def _keep_part(self, tensor: Tensor, key: str, i: int) -> None:
        part = f"{key}.{i}"
        self.calls.append(
            _Written(
                part, op_for("getitem", {}), "getitem", operator.getitem, (Ref(key), i), {}, "", "", "",
                self.dims_of(tensor), tensor.element_size(), ("input", "index"), sizes=tuple(tensor.shape),
            )
        )  # fmt: skip
        self._keep(tensor, part)

    def name_of(self, tensor: Tensor) -> str:
        """The name of a value; a tensor that came from elsewhere becomes a constant."""
        if id(tensor) not in self.names:
            name = f"constant_{len(self.tensors)}"
            self.tensors[name] = tensor
            self._keep(tensor, name)
        if id(tensor) in self.stale:
            raise CaptureError(
                "on a road that depends on values, a tensor is changed in place and then used under another name",
                fits="x = torch.where(...) or torch.cat(...) instead of x[...] = y",
            )
        return self.names[id(tensor)]

    def graph(self, calls: list[_Written], dims: list[Any], outputs: tuple[str, ...]) -> Graph:
        """The graph of some of the calls; ``dims`` of the inputs."""
        keys = [self.input_key(i) for i in range(len(self.examples))]
        nodes, renamed = name_nodes(calls, outputs, keys, self.tensors)
        rows = zip(keys, dims, self.examples, strict=True)
        inputs = tuple(Input(renamed[key], shape, example.element_size()) for key, shape, example in rows)
        return Graph(
            nodes=nodes,
            inputs=inputs,
            outputs=tuple(renamed.get(name, name) for name in outputs),
            tensors=self.tensors,
            parameters=tuple(name for name, _ in self.module.named_parameters(remove_duplicate=False)),
            same=first_names(self.module),
            training=self.module.training,
            specialized=True,
        )

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return Ref(self.name_of(value))
        if isinstance(value, list | tuple):
            return [self._plain(item) for item in value]
        return value

    def dims_of(self, tensor: Tensor) -> tuple[int | Size, ...]:
        """The shape of a tensor; a first dimension as long as the batch is taken to be it."""
        batch = self.examples[0].shape[0] if self.examples and self.examples[0].ndim else 1
        sizes: list[int | Size] = [int(n) for n in tensor.shape]
        if sizes and sizes[0] == batch:
            sizes[0] = Size(lambda wanted: wanted)
        return tuple(sizes)

    def _spoil_views(self, changed: Tensor) -> None:
        """A change through one name must not go unseen under another: those may not be used any more."""
        self.stale |= {other for other in self.sharing.get(_memory(changed), ()) if other != id(changed)}


# What batch normalisation is called on different devices; each changes the running statistics that it is given.
_BATCH_NORMS = ("aten.native_batch_norm.default", "aten.cudnn_batch_norm.default", "aten.miopen_batch_norm.default")


def _bernoulli(like: Tensor, p: float = 0.5, **options: Any) -> Tensor:
    """Draw as the in-place call does, in the order of the memory: the functional form draws in that of the indices."""
    return torch.empty_like(like).bernoulli_(p, **options)


def _normal(like: Tensor, mean: float = 0, std: float = 1, **options: Any) -> Tensor:
    return torch.empty_like(like).normal_(mean, std, **options)


def _uniform(like: Tensor, low: float = 0, high: float = 1, **options: Any) -> Tensor:
    return torch.empty_like(like).uniform_(low, high, **options)


_DRAWS: dict[str, tuple[str, Callable[..., Tensor]]] = {
    "aten.bernoulli_.float": ("aten.bernoulli.p", _bernoulli),
    "aten.normal_.default": ("aten.normal_functional.default", _normal),
    "aten.uniform_.default": ("aten.uniform.default", _uniform),
}


def _pure(func: Any, args: Any) -> tuple[str, Any]:
    """The operator to run again: for batch normalisation in training that which returns the new statistics."""
    if str(func) in _BATCH_NORMS and args[5] and args[3] is not None:
        pure = torch.ops.aten._native_batch_norm_legit_functional.default
        return str(pure), pure
    return str(func), func


def _functional(func: Any, target: str) -> tuple[str, Any]:
    """The operator that computes what an in-place one leaves behind."""
    if target in _DRAWS:
        return _DRAWS[target]
    name, _, overload = target.removeprefix("aten.").partition(".")
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None)
    plain = getattr(packet, overload, None) if packet is not None and name.endswith("_") else None
    if plain is None:
        raise CaptureError(f"{target} changes its input in place and has no functional form that is known")
    return str(plain), plain


def _defaults(func: Any, given: int) -> tuple[Any, ...]:
    """The positional arguments that a call left out: a functional form may have none by default."""
    left = [argument for argument in func._schema.arguments[given:] if not argument.kwarg_only]
    return tuple(argument.default_value for argument in left)


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _line() -> str:
    """The line of the user's code that is running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_own_code(frame.f_code.co_filename) and frame.f_code.co_filename != contextlib.__file__:
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


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
