"""``capture``: any ``nn.Module`` as a graph, by ``torch.export``, else by running it once."""

from __future__ import annotations

import io
import logging
import operator
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import CaptureError, PellucidError, ShapeError, UsageError
from pellucid.graph.ir import Graph, Input, Ref, Size, first_names, tensors_of
from pellucid.graph.naming import MARK, Call, is_own_code, name_nodes, source_line
from pellucid.graph.restore import as_found
from pellucid.graph.trace import Traced, trace
from pellucid.ops import TensorShape, op_for

__all__ = ["EXAMPLE_BATCH", "Sizes", "as_found", "capture", "example_inputs"]

EXAMPLE_BATCH = 3  # neither 1 nor 2, which export and networks treat apart
Sizes = Sequence[int] | Sequence[Sequence[int]]


def capture(
    module: nn.Module,
    input_size: Sizes = (3, 224, 224),
    *,
    inputs: Tensor | Sequence[Tensor] | None = None,
    training: bool | None = None,
) -> Graph:
    """A network as a graph, with a symbolic batch. The module is left exactly as it was.

    Args:
        module: any ``nn.Module``.
        input_size: of one picture, (C, H, W) or any other shape without the batch; a list of such for several inputs.
        inputs: example tensors instead, for inputs that are no float32 or have another first dimension than the
            batch. A batch of 1 is repeated: export takes a 1 for a size that never changes.
        training: the mode to capture; the module's own by default.

    Where the road through the module depends on values, the graph keeps that which the examples took, and says so
    (``Graph.specialized``).

    Raises:
        UsageError: where a size is not one.
        ShapeError: where layers do not fit together or the input; ``pellucid.summary`` shows the rows up to there.
        CaptureError: where the module cannot be captured, with the reason.
    """
    examples = example_inputs(module, input_size) if inputs is None else _examples(inputs)
    with as_found(module, training):
        try:
            return _exported(module, examples, module.training)
        except Exception as error:
            reason = error
    with as_found(module, training):  # anew, for what the export left behind
        traced = trace(module, examples)
    if traced.graph is not None:
        return traced.graph
    raise _explained(module, traced, reason) from (traced.error or reason)


def example_inputs(module: nn.Module, input_size: Sizes) -> tuple[Tensor, ...]:
    """Random pictures of the sizes, on the module's device and in its precision."""
    sizes = _sizes(input_size)
    first = next(iter(module.parameters()), None)
    device = first.device if first is not None else torch.device("cpu")
    dtype = first.dtype if first is not None and first.is_floating_point() else torch.float32
    generator = torch.Generator().manual_seed(0)
    made = (torch.randn(EXAMPLE_BATCH, *size, generator=generator) for size in sizes)
    return tuple(tensor.to(device, dtype) for tensor in made)


def _sizes(input_size: Sizes) -> list[tuple[int, ...]]:
    """One size, or several, as a list. Raises UsageError where it is neither."""
    given = [input_size] if isinstance(input_size, int) else list(input_size)
    listed = [given] if all(isinstance(size, int) for size in given) else given
    plain = [tuple(size) if isinstance(size, Sequence) else (size,) for size in listed]
    if not all(isinstance(n, int) and n > 0 for size in plain for n in size):
        raise UsageError(f"an input size is whole numbers above 0, and {input_size} is not", example="(3, 224, 224)")
    return plain


def _examples(inputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if given and all(tensor.ndim and tensor.shape[0] == 1 for tensor in given):
        return tuple(tensor.repeat(EXAMPLE_BATCH, *[1] * (tensor.ndim - 1)) for tensor in given)
    return given


def _exported(module: nn.Module, examples: tuple[Tensor, ...], training: bool) -> Graph:
    shapes = tuple({0: torch.export.Dim.AUTO} if tensor.ndim else None for tensor in examples)
    with _silence():
        program = torch.export.export(module, examples, dynamic_shapes=_shapes_for(module, shapes))
        program = program.run_decompositions({})
    return _Converter(module, program, training).graph()


@contextmanager
def _silence() -> Iterator[None]:
    """Export tells of its own difficulties on every channel; whoever needs to know hears of them in our words."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    nowhere = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _shapes_for(module: nn.Module, shapes: tuple[Any, ...]) -> Any:
    """Export wants the shapes of ``*inputs`` in a tuple of their own."""
    import inspect

    parameters = list(inspect.signature(module.forward).parameters.values())
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return (shapes,)
    return shapes


class _Converter:
    """An exported program as our graph."""

    def __init__(self, module: nn.Module, program: Any, training: bool) -> None:
        self.module, self.program, self.training = module, program, training
        signature = program.graph_signature
        self.names: dict[str, str] = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self.tensors = {**tensors_of(module), **{k: v for k, v in program.constants.items() if isinstance(v, Tensor)}}
        self.mutated = set(signature.buffers_to_mutate)

    def graph(self) -> Graph:
        inputs: list[tuple[str, Tensor]] = []
        calls: list[Call] = []
        outputs: tuple[str, ...] = ()
        changed: dict[str, str] = {}
        users = set(self.program.graph_signature.user_inputs)
        for fx in self.program.graph.nodes:
            if fx.op == "placeholder" and fx.name in users and isinstance(fx.meta.get("val"), Tensor):
                inputs.append((MARK + fx.name, fx.meta["val"]))
            elif fx.op == "call_function":
                calls.append(self._call(fx))
            elif fx.op == "output":
                kinds = [spec.kind.name for spec in self.program.graph_signature.output_specs]
                pairs = zip(fx.args[0], kinds, strict=True)
                results = (arg for arg, kind in pairs if kind == "USER_OUTPUT" and isinstance(arg, torch.fx.Node))
                changed = self._changed(fx.args[0])
                outputs = tuple(self._key(arg) for arg in results)
            elif fx.op == "get_attr":
                raise CaptureError(f"{fx.target} is a graph inside the graph")
        nodes, renamed = name_nodes(calls, outputs, [key for key, _ in inputs], self.tensors)
        return Graph(
            nodes=nodes,
            inputs=tuple(Input(renamed[key], _dims(value.shape), value.element_size()) for key, value in inputs),
            outputs=tuple(renamed.get(key, key) for key in outputs),
            tensors=self.tensors,
            parameters=tuple(name for name, _ in self.module.named_parameters(remove_duplicate=False)),
            same=first_names(self.module),
            training=self.training,
            mutations={buffer: renamed.get(key, key) for buffer, key in changed.items()},
        )

    def _changed(self, results: Any) -> dict[str, str]:
        """The buffers that a pass changes, each with the key of what it becomes."""
        specs = zip(results, self.program.graph_signature.output_specs, strict=True)
        return {str(spec.target): self._key(arg) for arg, spec in specs if spec.kind.name == "BUFFER_MUTATION"}

    def _call(self, fx: Any) -> Call:
        value = fx.meta.get("val")
        first = value[0] if isinstance(value, list | tuple) and value else value
        is_tensor = isinstance(first, Tensor)
        target = target_name(fx.target)
        schema = schema_of(fx.target)
        shaped = {**dict(zip(schema, fx.args, strict=False)), **fx.kwargs}
        stack = list((fx.meta.get("nn_module_stack") or {}).values())
        path, kind = (str(stack[-1][0]), stack[-1][1]) if stack else ("", "")
        return Call(
            key=MARK + fx.name,
            op=op_for(target, {name: _shaped(item) for name, item in shaped.items()}),
            target=target,
            call=_runnable(fx.target),
            arguments=tuple(self._plain(item) for item in fx.args),
            options={name: self._plain(item) for name, item in fx.kwargs.items()},
            path="" if path.startswith("_empty") else path,
            module_kind=str(kind),
            source=source_line(fx.meta.get("stack_trace")),
            dims=_dims(first.shape) if is_tensor else (),
            itemsize=first.element_size() if is_tensor else 0,
            schema=schema,
            is_tensor=is_tensor,
            number=_dim(value) if isinstance(value, int | torch.SymInt) else None,
        )

    def _key(self, fx: Any) -> str:
        """What a node is called until it has a name: a parameter's or buffer's own, else its key."""
        return self.names.get(str(fx.name), f"{MARK}{fx.name}")

    def _plain(self, value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return Ref(self._key(value))
        if isinstance(value, list | tuple):
            return type(value)(self._plain(item) for item in value)
        if isinstance(value, dict):
            return {key: self._plain(item) for key, item in value.items()}
        return value


def _runnable(target: Callable[..., Any]) -> Callable[..., Any]:
    """What runs a call: itself. A view was proved for the strides that the capture saw, and a kernel may give others
    (attention in Swin does): a reshape gives the same numbers for any."""
    return torch.ops.aten.reshape.default if target is torch.ops.aten.view.default else target


def target_name(target: Callable[..., Any]) -> str:
    """``aten.conv2d.default``; ``getitem`` and the like by their own names."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    if target is operator.getitem:
        return "getitem"
    return getattr(target, "__name__", str(target))


def schema_of(target: Callable[..., Any]) -> tuple[str, ...]:
    """The names of an operator's arguments."""
    if isinstance(target, torch._ops.OpOverload):
        return tuple(argument.name for argument in target._schema.arguments)
    return ("input", "index")


def _shaped(value: Any) -> Any:
    """An argument as operations read it, with the example's batch."""
    if isinstance(value, torch.fx.Node):
        meta = value.meta.get("val")
        meta = meta[0] if isinstance(meta, list | tuple) and meta else meta
        if isinstance(meta, Tensor):
            return TensorShape(_hint(n) for n in meta.shape)
        return _hint(meta) if isinstance(meta, int | torch.SymInt) else None
    if isinstance(value, list | tuple):
        return [_shaped(item) for item in value]
    return _hint(value) if isinstance(value, torch.SymInt) else value


def _hint(value: Any) -> int:
    return int(value.node.hint) if isinstance(value, torch.SymInt) and value.node.hint is not None else int(value)


def _dims(shape: Any) -> tuple[int | Size, ...]:
    return tuple(_dim(n) for n in shape)


def _dim(size: Any) -> int | Size:
    if not isinstance(size, torch.SymInt):
        return int(size)
    expression = size.node.expr
    symbols = list(expression.free_symbols)
    if not symbols:
        return int(expression)
    return Size(lambda batch: int(expression.subs(dict.fromkeys(symbols, batch))))


def _explained(module: nn.Module, traced: Traced, reason: Exception) -> PellucidError:
    """What stopped the module, in which part of it and on which line; and, where it runs, what stopped the capture."""
    error = traced.error or reason
    name, text = type(module).__name__, _first_line(error)
    part = module.get_submodule(traced.path) if traced.path else module
    facts = {"module": f"{traced.path or 'the whole'} ({type(part).__name__})"}
    if line := _line_of(error):
        facts["line"] = line
    if isinstance(error, RuntimeError) and any(word in text for word in ("shape", "size", "channels")):
        return ShapeError(
            f"the layers of {name} do not fit together: {text}", **facts, fits="pellucid.summary shows where"
        )
    if isinstance(error, PellucidError):
        return CaptureError(f"{name} cannot be captured: {error.message}", **facts, **error.facts)
    return CaptureError(f"{name} cannot be captured: {type(error).__name__}: {text}", **facts)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def _line_of(error: BaseException) -> str:
    """The innermost line of the user's own code that an error passed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_own_code(frame.filename)]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}: {own[-1].line}" if own else ""
