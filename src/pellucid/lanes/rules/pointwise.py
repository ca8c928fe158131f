"""Number by number operations: activations, arithmetic, dropout, batch normalisation. They extend expressions."""

from __future__ import annotations

from typing import Any

from pellucid import ops
from pellucid.graph import Node, Ref
from pellucid.lanes.blocks.batch_norm import BatchNormBlock
from pellucid.lanes.blocks.convolution import ConvolutionBlock
from pellucid.lanes.blocks.expression import ACTIVATIONS, LEAVES, Expression
from pellucid.lanes.lowering import Entry, Lowering, Refused, Results, Seen

__all__ = ["RULES"]

_ALONE = {"neg", "abs", "exp", "log", "sqrt", "square", "reciprocal", "rsqrt", "erf"}
_PAIRS = {"add", "sub", "mul", "div", "maximum", "minimum"}
_SETTINGS = "self input weight generator training noise inplace".split()


def activation(lowering: Lowering, node: Node) -> Entry:
    """y = f(x)."""
    function: str = node.op.function  # type: ignore[attr-defined]
    arguments = node.by_name()
    given = node.arguments[0]
    if function == "prelu":
        return _prelu(lowering, node, arguments)
    name = node.target.removeprefix("aten.").split(".")[0]
    name = {"log_sigmoid_forward": "log_sigmoid"}.get(name, name)
    if name not in ACTIVATIONS or (name == "rrelu" and arguments.get("training")):
        raise Refused(f"there is no kernel for {node.target}")
    settings = {key: value for key, value in arguments.items() if key not in _SETTINGS}
    if any(isinstance(value, Ref) for value in settings.values()):
        raise Refused("its settings are computed by the network itself")
    expression, axes = _with_room(lowering, given)
    made = Seen(expression.activate(name, **settings), axes)
    return Results((made, None)) if node.target == "aten.log_sigmoid_forward.default" else made


def _prelu(lowering: Lowering, node: Node, arguments: dict[str, Any]) -> Entry:
    slope = lowering.parameter(node.arguments[1])
    expression, axes = _with_room(lowering, node.arguments[0], leaf=True)
    if axes[0] != "C":
        raise Refused("its channels are not the dimension after the batch")
    shared = lowering.parameter_shape(slope) in ((1,), ())
    return Seen(expression.join("prelu", Expression.of_parameter(slope, expression, shared)), axes)


def arithmetic(lowering: Lowering, node: Node) -> Entry:
    """Of one feature map and a number, of two feature maps, or of one and a parameter for each channel."""
    call: str = node.op.call  # type: ignore[attr-defined]
    arguments = node.by_name()
    alpha = float(arguments.get("alpha", 1))
    if arguments.get("rounding_mode") is not None:
        raise Refused("it divides with rounding")
    operands = [given for given in node.arguments[:2] if isinstance(given, Ref)]
    if call in _ALONE and len(operands) == 1:
        expression, axes = _with_room(lowering, operands[0])
        return Seen(expression.apply(call), axes)
    if len(operands) == 1:
        return _with_number(lowering, node, call, alpha)
    if call not in _PAIRS or len(operands) != 2:
        raise Refused(f"there is no kernel for {node.target}")
    if any(lowering.is_parameter(given) for given in operands):
        return _with_parameter(lowering, call, operands, alpha)
    return _pair(lowering, node, call, operands, alpha)


def _with_number(lowering: Lowering, node: Node, call: str, alpha: float) -> Entry:
    first, second = node.arguments[0], node.arguments[1] if len(node.arguments) > 1 else None
    number = second if isinstance(first, Ref) else first
    if not isinstance(number, int | float) or isinstance(number, bool):
        raise Refused(f"there is no kernel for {node.target}")
    if not isinstance(first, Ref):
        raise Refused(f"there is no kernel for {node.target} of a number and a feature map")
    expression, axes = _with_room(lowering, first)
    made: dict[str, Any] = {
        "add": lambda: expression.linear(1.0, alpha * number),
        "sub": lambda: expression.linear(1.0, -alpha * number),
        "rsub": lambda: expression.linear(-alpha, number),
        "mul": lambda: expression.linear(number),
        "div": lambda: expression.linear(1.0 / number),
        "pow": lambda: expression.power(number),
    }
    if call not in made or (call == "div" and number == 0):
        raise Refused(f"there is no kernel for {node.target}")
    return Seen(made[call](), axes)


def _with_parameter(lowering: Lowering, call: str, operands: list[Any], alpha: float) -> Entry:
    """A parameter [C] beside a feature map whose channels stand so that both meet, such as a layer's scale."""
    first, second = operands
    if lowering.is_parameter(first) and call in ("add", "mul", "maximum", "minimum") and alpha == 1:
        first, second = second, first
    if lowering.is_parameter(first):
        raise Refused("a parameter stands where a feature map is wanted")
    expression, axes = _with_room(lowering, first, leaf=True)
    name = lowering.parameter(second)
    shape = lowering.parameter_shape(name)
    sizes = {"C": expression.channels, "H": expression.height, "W": expression.width}
    spread = (1,) * (len(axes) + 1 - len(shape)) + shape
    wanted = (1, *(sizes["C"] if axis == "C" else 1 for axis in axes))
    if spread != wanted:
        raise Refused(f"its parameter of shape {shape} is not one number for each channel")
    return Seen(expression.join(call, Expression.of_parameter(name, expression), alpha), axes)


def _pair(lowering: Lowering, node: Node, call: str, operands: list[Any], alpha: float) -> Entry:
    (left, axes), (right, other) = (lowering.expression(given) for given in operands)
    if axes != other:
        raise Refused("its operands' dimensions are in different orders")
    if operands[0] == operands[1] and call == "mul":
        return Seen(_with_room(lowering, operands[0])[0].apply("square"), axes)
    if left.shape != right.shape and (1, 1) not in ((left.height, left.width), (right.height, right.width)):
        raise Refused(f"its operands of shapes {left.shape} and {right.shape} are spread over one another")
    for given, expression in ((operands[1], right), (operands[0], left)):  # a gate is a map of its own
        if left.shape != right.shape and (expression.height, expression.width) == (1, 1):
            lowering.value(given, axes)
    (left, _), (right, _) = (lowering.expression(given) for given in operands)
    for given in operands:
        if left.can_join(right):
            break
        lowering.value(given, axes)
        (left, _), (right, _) = (lowering.expression(given) for given in operands)
    if not left.can_join(right):
        raise Refused(f"its operands of shapes {left.shape} and {right.shape} do not fit together")
    if left.shape != right.shape and (left.height, left.width) == (1, 1):
        if call not in ("add", "mul", "maximum", "minimum") or alpha != 1:
            raise Refused("a gate stands first")
        left, right = right, left
    return Seen(left.join(call, right, alpha), axes)


def dropout(lowering: Lowering, node: Node) -> Entry:
    """The mask is drawn from a counter-based generator, the same forward and backward; nothing of it is kept."""
    p: float = node.op.probability  # type: ignore[attr-defined]
    variant: str = node.op.variant  # type: ignore[attr-defined]
    arguments = node.by_name()
    acts = arguments.get("train", True) is not False
    if variant == "alpha_dropout" and acts:
        raise Refused("alpha dropout has no kernel")
    if not acts or p == 0:
        expression, axes = lowering.expression(node.arguments[0])
    else:
        expression, axes = _with_room(lowering, node.arguments[0])
        of = "channel" if variant == "feature_dropout" else "number"
        expression = expression.dropout(p, lowering.build.seed(), lowering.stream(), of)
    made = Seen(expression, axes)
    return Results((made, None)) if variant == "native_dropout" else made


def batch_norm(lowering: Lowering, node: Node) -> Entry:
    """Scale and shift of its input's channels, by the batch's statistics in training."""
    arguments = node.by_name()
    training: bool = node.op.training  # type: ignore[attr-defined]
    value = lowering.value(arguments["input"])
    names = [arguments.get(key) for key in ("weight", "bias", "running_mean", "running_var")]
    weight, bias, mean, variance = (None if given is None else lowering.parameter(given) for given in names)
    momentum = arguments.get("momentum", 0.1)
    if not isinstance(momentum, int | float):
        raise Refused("its momentum is computed by the network itself")
    block = BatchNormBlock(
        value, weight, bias, mean, variance, training=training, momentum=float(momentum), eps=float(arguments["eps"])
    )
    producer = lowering.producer(value)
    if block.training and isinstance(producer, ConvolutionBlock):
        producer.measure_into(block.measured(lowering.build))
    lowering.add(block, node)
    made = Seen(Expression.of(block.leaf()), lowering.seen(arguments["input"]).axes)
    return made if node.target == "aten.batch_norm.default" else Results((made, None, None, None, None))


def _with_room(lowering: Lowering, given: Any, leaf: bool = False) -> tuple[Expression, tuple[str, ...]]:
    """An operand as an expression that takes one more instruction; a full one becomes a feature map first."""
    expression, axes = lowering.expression(given)
    if expression.room == 0 or (leaf and len(expression.leaves) == LEAVES):
        return Expression.of(lowering.value(given, axes)), axes
    return expression, axes


RULES = {
    ops.Activation: activation,
    ops.Arithmetic: arithmetic,
    ops.Dropout: dropout,
    ops.BatchNorm: batch_norm,
}
