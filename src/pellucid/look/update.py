"""What the optimizer does with one weight, number by number: ``open_update`` reads, and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pellucid.errors import UsageError
from pellucid.look import update_kernel, update_rules
from pellucid.look.update_sheet import Sheet, Step, UpdateTerm, total, written

_ULPS = 8.0  # roundings to the parameter's precision that a step is allowed before they are called large

# Options as a reader knows them, by PyTorch's names.
_OPTIONS = {
    "lr": "learning rate",
    "momentum": "momentum",
    "dampening": "dampening",
    "nesterov": "nesterov",
    "alpha": "alpha",
    "centered": "centered",
    "betas": "betas",
    "eps": "eps",
    "amsgrad": "amsgrad",
    "lr_decay": "learning rate decay",
    "initial_accumulator_value": "initial sum",
    "weight_decay": "weight decay",
    "maximize": "maximize",
}


@dataclass(frozen=True)
class Update:
    """The next step of one weight.

    ``steps`` are the lines of the calculation in float64; the last gives ``after``. ``stored`` is what PyTorch's own
    step on this number leaves in the parameter, in the parameter's precision; ``note`` says where the two are further
    apart than rounding explains, and where the step is lost in rounding. ``settings`` are the optimizer's, with the
    number of the step (from 1) where the optimizer counts them.
    """

    name: str
    index: tuple[int, ...]
    optimizer: str
    before: float
    gradient: float
    after: float
    stored: float
    steps: tuple[Step, ...]
    settings: dict[str, Any]
    note: str = ""
    _terms: tuple[UpdateTerm, ...] = field(default=(), repr=False)

    def terms(self) -> tuple[UpdateTerm, ...]:
        """What the new weight is made of: the old weight, its decay, the momentum, the gradient. The products sum to
        ``after``; what divides an adaptive step stands in the factors."""
        return self._terms

    def __str__(self) -> str:
        """The whole calculation as a person would write it."""
        place = f"{self.name}{list(self.index)}" if self.index else self.name
        lines = [f"{place or 'the weight'}: {_settings_line(self.optimizer, self.settings)}"]
        lines.append(f"  w = {written(self.before, 8)}, g = {written(self.gradient)}")
        width = max(len(step.formula) for step in self.steps)
        lines += [f"  {step.formula:<{width}}   {step.sum}" for step in self.steps]
        lines.append(f"  of which {', '.join(f'{each.role} {written(each.product, 8)}' for each in self._terms)}")
        if self.note:
            lines.append(f"  {self.note}")
        return "\n".join(lines)


def open_update(
    optimizer: Optimizer,
    parameter: nn.Parameter,
    index: tuple[int, ...],
    gradient: float,
    *,
    name: str = "",
    clip_scale: float = 1.0,
) -> Update:
    """Open the step that ``optimizer`` would take next with one number of ``parameter``; nothing is changed in either.

    SGD (momentum, dampening, Nesterov), Adagrad, RMSprop (centred, momentum), Adam (AMSGrad) and AdamW of
    ``torch.optim`` can be opened, with weight decay and maximisation, and the parts of pellucid's Muon that step by
    AdamW.

    Args:
        index: of the number, one integer a dimension, (O, I, K, K) for a kernel.
        gradient: of the loss with respect to it, before clipping.
        name: of the parameter, to be printed.
        clip_scale: what clipping multiplies all gradients by (see ``clip_scale_of``).

    Raises:
        UsageError: where the optimizer does not hold the parameter, its step cannot be opened, or there is no such
            index.
    """
    group = _group_of(optimizer, parameter, name)
    kind, rule, options = update_rules.rule_for(optimizer, group)
    at = _checked(parameter, index, name)
    state = _state_at(optimizer, parameter, at)
    before = parameter.detach()[at].reshape(1).clone()
    case = update_rules.Case(
        before.item(), float(gradient), float(clip_scale), options, {key: value.item() for key, value in state.items()}
    )
    sheet = Sheet()
    terms = tuple(rule(case, sheet))
    after = sheet.steps[-1].value
    given = torch.full_like(before, case.gradient * case.clip_scale)
    stored = update_kernel.stored(rule, options, before, given, state)
    note = _note(case.weight, after, stored, terms, parameter.dtype)
    settings = {said: _plain(options[key]) for key, said in _OPTIONS.items() if key in options}
    if "step" in state or rule is not update_rules.sgd:
        settings["step"] = case.step
    return Update(
        name, at, kind, case.weight, case.gradient, after, stored, tuple(sheet.steps), settings, note, _terms=terms
    )


def clip_scale_of(gradients: Iterable[Tensor], clip_norm: float | None) -> float:
    """What ``torch.nn.utils.clip_grad_norm_`` multiplies all gradients by: clip_norm / norm, but no more than 1
    (Pascanu, Mikolov & Bengio 2013, algorithm 1). The norm is that of all gradients together; 1 without ``clip_norm``.
    """
    if clip_norm is None:
        return 1.0
    norm = torch.nn.utils.get_total_norm(list(gradients))
    return float((clip_norm / (norm + 1e-6)).clamp(max=1.0))


def _group_of(optimizer: Optimizer, parameter: nn.Parameter, name: str) -> Mapping[str, Any]:
    for group in optimizer.param_groups:
        if any(held is parameter for held in group["params"]):
            return group
    raise UsageError(
        f"the optimizer does not hold {name or 'this parameter'}: it never changes it",
        fits="a parameter that learns, of the network that the optimizer was made for",
    )


def _checked(parameter: nn.Parameter, index: tuple[int, ...], name: str) -> tuple[int, ...]:
    at, shape = tuple(map(int, index)), tuple(parameter.shape)
    if len(at) != len(shape) or not all(0 <= i < size for i, size in zip(at, shape, strict=True)):
        raise UsageError(f"{name or 'the parameter'} of shape {shape} has no number at {at}")
    if parameter.is_complex():
        raise UsageError(f"{name or 'the parameter'} is complex; steps of real numbers alone can be opened")
    return at


def _state_at(optimizer: Optimizer, parameter: nn.Parameter, at: tuple[int, ...]) -> dict[str, Tensor]:
    """Copies of the parameter's state at the index, (1,), and of its step count, (); empty before the first step."""
    found: dict[str, Tensor] = {}
    for key, value in optimizer.state.get(parameter, {}).items():  # [parameter] would add an entry
        if key == "step":
            found[key] = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(float(value))
        elif isinstance(value, Tensor) and value.shape == parameter.shape:
            found[key] = value.detach()[at].reshape(1).clone()
    return found


def _note(before: float, after: float, stored: float, terms: Iterable[UpdateTerm], precision: torch.dtype) -> str:
    """What a reader of both new weights would wonder at."""
    kind = str(precision).removeprefix("torch.")
    magnitude = total(UpdateTerm(each.role, 1.0, 0.0, abs(each.product)) for each in terms)
    both_lost = not math.isfinite(after) and not math.isfinite(stored)
    if both_lost or abs(after - stored) <= _ULPS * torch.finfo(precision).eps * magnitude:
        lost = after != before and stored == before
        return f"the step is too small for {kind}: the weight stays {written(before, 8)}" if lost else ""
    return (
        f"in {kind} PyTorch's step gives {written(stored, 8)}: more than rounding the sum explains; {kind} has too few"
        " digits, or too small a range, for a number on the way"
    )


def _plain(value: Any) -> Any:
    """A setting as a number, whatever holds it."""
    if isinstance(value, Tensor):
        return float(value.item())
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _settings_line(optimizer: str, settings: Mapping[str, Any]) -> str:
    """Those settings that do something."""
    said = [f"{name} {_said(value)}" for name, value in settings.items() if value not in (0, None, False)]
    return f"{optimizer}, {', '.join(said)}"


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_said, value))})"
    if value is True:
        return "on"
    return written(value) if isinstance(value, float) else str(value)
