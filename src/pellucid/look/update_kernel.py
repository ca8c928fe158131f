"""PyTorch's own step on a copy of one number: what the parameter will really hold, in its own precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from pellucid.look import update_rules as rules

Options = Mapping[str, Any]


@torch.no_grad()
def stored(rule: rules.Rule, options: Options, weight: Tensor, gradient: Tensor, state: Mapping[str, Tensor]) -> float:
    """The new weight after the step that ``torch.optim`` takes.

    Args:
        rule: of ``update_rules``; PyTorch's function for it is called.
        options: of the parameter's group.
        weight, gradient: copies of the one number, (1,); ``weight`` is changed.
        state: copies of its numbers, (1,), and of the step count, (); changed as well.
    """
    _KERNELS[rule](options, weight, gradient, dict(state))
    return float(weight.item())


def _sgd(options: Options, weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
    buffers: list[Tensor | None] = [state.get("momentum_buffer")] if options["momentum"] else []
    sgd(
        [weight],
        [gradient],
        buffers,
        **_picked(options, "foreach fused weight_decay momentum lr dampening nesterov maximize"),
    )


def _adagrad(options: Options, weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
    start = torch.full_like(weight, options.get("initial_accumulator_value", 0.0))
    adagrad(
        [weight],
        [gradient],
        [state.get("sum", start)],
        [state.get("step", torch.zeros(()))],
        **_picked(options, "foreach fused lr weight_decay lr_decay eps maximize"),
    )


def _rmsprop(options: Options, weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
    zero = torch.zeros_like(weight)
    rmsprop(
        [weight],
        [gradient],
        [state.get("square_avg", zero.clone())],
        [state.get("grad_avg", zero.clone())] if options["centered"] else [],
        [state.get("momentum_buffer", zero.clone())] if options["momentum"] > 0 else [],
        [state.get("step", torch.zeros(()))],
        **_picked(options, "foreach maximize capturable lr alpha eps weight_decay momentum centered"),
    )


def _adam(options: Options, weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
    zero = torch.zeros_like(weight)
    first, second = options["betas"]
    names = "foreach capturable fused decoupled_weight_decay lr weight_decay eps"
    adam(
        [weight],
        [gradient],
        [state.get("exp_avg", zero.clone())],
        [state.get("exp_avg_sq", zero.clone())],
        [state.get("max_exp_avg_sq", zero.clone())] if options.get("amsgrad") else [],
        [state.get("step", torch.zeros((), device=weight.device if options.get("fused") else "cpu"))],
        amsgrad=bool(options.get("amsgrad")),
        maximize=bool(options.get("maximize")),
        beta1=first,
        beta2=second,
        **_picked(options, names),
    )


def _picked(options: Options, names: str) -> dict[str, Any]:
    """Options by name, those that the optimizer has."""
    return {name: options[name] for name in names.split() if name in options}


_KERNELS: dict[rules.Rule, Callable[[Options, Tensor, Tensor, dict[str, Tensor]], None]] = {
    rules.sgd: _sgd,
    rules.adagrad: _adagrad,
    rules.rmsprop: _rmsprop,
    rules.adam: _adam,
}
