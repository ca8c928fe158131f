"""What the optimizers of ``torch.optim`` do with one weight, line by line, as the papers write them.

Every rule writes its lines on a ``Sheet`` in float64 and returns the summands of the new weight. Old averages and the
gradient enter a step linearly, so each keeps a share of its own; what divides the step (a root of squares) is a factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from pellucid.errors import UsageError
from pellucid.look.update_sheet import Sheet, UpdateTerm, bracketed, scaled, term, written
from pellucid.train.muon import Muon

OLD, DECAY, GRADIENT, MOMENTUM = "old weight", "weight decay", "gradient", "momentum"
_DIGITS = 8  # of a weight: a small step shows, and float32's 0.1 is still written 0.1


@dataclass(frozen=True)
class Case:
    """One weight before its step: its gradient, the options of its group, and its part of the optimizer's state."""

    weight: float
    gradient: float
    clip_scale: float
    group: Mapping[str, Any]
    state: Mapping[str, float]

    def option(self, name: str) -> float:
        """An option of the parameter's group as a number; 0 where the optimizer has none of that name."""
        return float(self.group.get(name) or 0.0)

    @property
    def step(self) -> int:
        """The number t of the step that is opened, from 1."""
        return int(self.state.get("step", 0.0)) + 1


Rule = Callable[[Case, Sheet], list[UpdateTerm]]


def sgd(case: Case, sheet: Sheet) -> list[UpdateTerm]:
    """w <- w - lr g; with momentum v <- mu v + (1 - tau) g and w <- w - lr v (Polyak 1964); with Nesterov's, the step
    is along g + mu v (Sutskever et al. 2013). The first velocity is the gradient itself, undamped."""
    rate, mu, damped = case.option("lr"), case.option("momentum"), 1 - case.option("dampening")
    g, shares = _gradient(case, sheet, case.option("weight_decay"))
    symbol, along, parts = "g", g, shares
    if mu:
        old = case.state.get("momentum_buffer")
        if old is None:
            symbol, along = "v", sheet.add("v", "v <- g", [term(GRADIENT, 1.0, g)])
        else:
            formula = "v <- mu v + g" if damped == 1 else "v <- mu v + (1 - tau) g"
            symbol, along = "v", sheet.add("v", formula, [term(MOMENTUM, mu, old), term(GRADIENT, damped, g)])
            parts = [term(MOMENTUM, mu, old), *scaled(shares, damped)]
        if case.group["nesterov"]:
            ahead = [term(GRADIENT, 1.0, g), term(MOMENTUM, mu, along)]
            symbol, along = "u", sheet.add("u", "u <- g + mu v", ahead)
            parts = _merged([*shares, *scaled(parts, mu)])
    _new_weight(case, sheet, f"w <- w - lr {symbol}", rate, along)
    return [term(OLD, 1.0, case.weight), *scaled(parts, -rate)]


def adagrad(case: Case, sheet: Sheet) -> list[UpdateTerm]:
    """s <- s + g^2;  w <- w - lr g / (sqrt(s) + eps)  (Duchi, Hazan & Singer 2011); the rate may fall with t."""
    rate, falling, eps = case.option("lr"), case.option("lr_decay"), case.option("eps")
    g, shares = _gradient(case, sheet, case.option("weight_decay"))
    symbol = "lr"
    if falling:
        text = f"{written(rate)} / (1 + ({case.step} - 1)·{bracketed(falling)})"
        rate, symbol = rate / (1 + (case.step - 1) * falling), "lr_t"
        sheet.compute("lr_t", "lr_t <- lr / (1 + (t - 1) eta)", text, rate)
    old = case.state.get("sum", case.option("initial_accumulator_value"))
    terms = [term("old sum of squares", 1.0, old), term("gradient squared", 1.0, g * g)]
    s = sheet.add("s", "s <- s + g^2", terms, f"{written(old)} + {bracketed(g)}^2")
    below = _root(s) + eps
    text = f"{written(rate)}·{bracketed(g)} / (sqrt({written(s)}) + {written(eps)})"
    step = sheet.compute("step", f"step <- {symbol} g / (sqrt(s) + eps)", text, _over(rate * g, below))
    _new_weight(case, sheet, "w <- w - step", 1.0, step)
    return [term(OLD, 1.0, case.weight), *scaled(shares, -_over(rate, below))]


def rmsprop(case: Case, sheet: Sheet) -> list[UpdateTerm]:
    """v <- a v + (1 - a) g^2;  w <- w - lr g / (sqrt(v) + eps)  (Tieleman & Hinton 2012). Centred, the square of the
    mean gradient is taken off v (Graves 2013, equations 38 to 45); with momentum, the quotients are gathered in b."""
    rate, alpha, mu, eps = (case.option(name) for name in ("lr", "alpha", "momentum", "eps"))
    g, shares = _gradient(case, sheet, case.option("weight_decay"))
    spread, symbol = _mean_of_squares(sheet, "alpha", alpha, case.state.get("square_avg", 0.0), g), "v"
    if case.group["centered"]:
        old = case.state.get("grad_avg", 0.0)
        mean = sheet.add(
            "m", "m <- alpha m + (1 - alpha) g", [term("old mean", alpha, old), term(GRADIENT, 1 - alpha, g)]
        )
        terms = [term("mean square", 1.0, spread), term("mean squared", -1.0, mean * mean)]
        text = f"{written(spread)} - {bracketed(mean)}^2"
        spread, symbol = sheet.add("variance", "variance <- v - m^2", terms, text), "variance"
    below = _root(spread) + eps
    quotient, text = _over(g, below), f"{written(g)} / (sqrt({written(spread)}) + {written(eps)})"
    parts = scaled(shares, _over(1.0, below))
    if mu > 0:
        old = case.state.get("momentum_buffer", 0.0)
        terms = [term(MOMENTUM, mu, old), term("scaled gradient", 1.0, quotient)]
        text = f"{written(mu)}·{bracketed(old)} + {text}"
        quotient = sheet.add("b", f"b <- mu b + g / (sqrt({symbol}) + eps)", terms, text)
        parts = [term(MOMENTUM, mu, old), *parts]
        _new_weight(case, sheet, "w <- w - lr b", rate, quotient)
    else:
        formula = f"step <- lr g / (sqrt({symbol}) + eps)"
        step = sheet.compute("step", formula, f"{written(rate)}·{text}", rate * quotient)
        _new_weight(case, sheet, "w <- w - step", 1.0, step)
    return [term(OLD, 1.0, case.weight), *scaled(parts, -rate)]


def adam(case: Case, sheet: Sheet) -> list[UpdateTerm]:
    """m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  w <- w - lr m_hat / (sqrt(v_hat) + eps), where m_hat and
    v_hat are m and v over 1 - b1^t and 1 - b2^t (Kingma & Ba 2014, algorithm 1). AMSGrad divides by the largest v so
    far (Reddi, Kale & Kumar 2018). Decay is of the gradient (L2), or decoupled: w <- w - lr lambda w (Loshchilov &
    Hutter 2017, algorithm 2)."""
    rate, decay, eps, t = case.option("lr"), case.option("weight_decay"), case.option("eps"), case.step
    first, second = map(float, case.group["betas"])
    decoupled = bool(case.group.get("decoupled_weight_decay"))
    g, shares = _gradient(case, sheet, 0.0 if decoupled else decay)
    old = case.state.get("exp_avg", 0.0)
    m = sheet.add("m", "m <- beta1 m + (1 - beta1) g", [term(MOMENTUM, first, old), term(GRADIENT, 1 - first, g)])
    v, symbol = _mean_of_squares(sheet, "beta2", second, case.state.get("exp_avg_sq", 0.0), g), "v"
    if case.group.get("amsgrad"):
        largest = case.state.get("max_exp_avg_sq", 0.0)
        text = f"max({written(largest)}, {written(v)})"
        v, symbol = sheet.compute("v_max", "v_max <- max(v_max, v)", text, largest if largest > v else v), "v_max"
    kept1, kept2 = 1 - first**t, 1 - second**t
    m_hat = sheet.compute(
        "m_hat", "m_hat <- m / (1 - beta1^t)", f"{written(m)} / (1 - {written(first)}^{t})", m / kept1
    )
    v_hat = sheet.compute(
        "v_hat", f"v_hat <- {symbol} / (1 - beta2^t)", f"{written(v)} / (1 - {written(second)}^{t})", v / kept2
    )
    below = _root(v_hat) + eps
    text = f"{written(rate)}·{bracketed(m_hat)} / (sqrt({written(v_hat)}) + {written(eps)})"
    step = sheet.compute("step", "step <- lr m_hat / (sqrt(v_hat) + eps)", text, _over(rate * m_hat, below))
    new = [term(OLD, 1.0, case.weight)]
    if decoupled and decay:
        new.append(term(DECAY, -rate * decay, case.weight))
    _new_weight(case, sheet, "w <- w - lr lambda w - step" if len(new) > 1 else "w <- w - step", 1.0, step, new[1:])
    parts = [term(MOMENTUM, first, old), *scaled(shares, 1 - first)]
    return [*new, *scaled(parts, -_over(rate, kept1 * below))]


_RULES: dict[type[Optimizer], Rule] = {SGD: sgd, Adagrad: adagrad, RMSprop: rmsprop, Adam: adam, AdamW: adam}


def rule_for(optimizer: Optimizer, group: Mapping[str, Any]) -> tuple[str, Rule, Mapping[str, Any]]:
    """The name of the optimizer, the rule of its step, and the options that the rule reads.

    Raises:
        UsageError: for an optimizer whose step is not that of one weight, or is not known.
    """
    kind = type(optimizer)
    if kind is Muon and not group["orthogonal"]:  # biases, norms and the head take AdamW's step
        return "Muon's AdamW", adam, {**group, "decoupled_weight_decay": True}
    if kind is Muon or kind.__name__ == "Muon":
        raise UsageError(
            "Muon has no step for one weight: it makes all numbers of a kernel orthogonal together, so that each"
            " depends on every other",
            fits="a bias, a norm or the head, which pellucid's Muon steps by AdamW; or another optimizer",
        )
    if kind not in _RULES:  # a subclass may have another step
        raise UsageError(
            f"the step of {kind.__module__}.{kind.__name__} cannot be opened: its arithmetic is not known here",
            fits=", ".join(f"torch.optim.{known.__name__}" for known in _RULES),
        )
    return kind.__name__, _RULES[kind], group


def _gradient(case: Case, sheet: Sheet, decay: float) -> tuple[float, list[UpdateTerm]]:
    """The gradient that the rule sees, and its shares in the given one and in the weight (an L2 penalty)."""
    g = case.gradient
    shares = [term(GRADIENT, 1.0, g)]
    if case.clip_scale != 1:
        shares = scaled(shares, case.clip_scale)
        g = sheet.add("g clipped", "g <- c g", shares)
    if case.group.get("maximize"):
        shares = scaled(shares, -1.0)
        g = sheet.add("g negated", "g <- -g", [term(GRADIENT, -1.0, g)])
    if decay:
        penalty = term(DECAY, decay, case.weight)
        shares.append(penalty)
        g = sheet.add("g with decay", "g <- g + lambda w", [term(GRADIENT, 1.0, g), penalty])
    return g, shares


def _mean_of_squares(sheet: Sheet, symbol: str, keep: float, old: float, g: float) -> float:
    """v <- keep v + (1 - keep) g^2"""
    terms = [term("old mean square", keep, old), term("gradient squared", 1 - keep, g * g)]
    text = f"{written(keep)}·{bracketed(old)} + {written(1 - keep)}·{bracketed(g)}^2"
    return sheet.add("v", f"v <- {symbol} v + (1 - {symbol}) g^2", terms, text)


def _new_weight(
    case: Case, sheet: Sheet, formula: str, rate: float, along: float, decay: list[UpdateTerm] | None = None
) -> None:
    terms = [term(OLD, 1.0, case.weight), *(decay or []), term("step", -rate, along)]
    sheet.add("w", formula, terms, digits=_DIGITS)


def _merged(terms: list[UpdateTerm]) -> list[UpdateTerm]:
    """One summand for each role and value: Nesterov's step has the gradient twice."""
    factors: dict[tuple[str, float], float] = {}
    for each in terms:
        factors[each.role, each.value] = factors.get((each.role, each.value), 0.0) + each.factor
    return [term(role, factor, value) for (role, value), factor in factors.items()]


def _root(value: float) -> float:
    return math.sqrt(value) if value >= 0 else math.nan


def _over(above: float, below: float) -> float:
    """A quotient as floating point has it: nothing is raised for a zero below."""
    if below:
        return above / below
    return math.copysign(math.inf, above) if above else math.nan
