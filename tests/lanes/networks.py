"""Whole networks on the engine beside float64 and float32 PyTorch: one comparison for all tests of networks."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.lanes import Lanes, lower


@dataclass(frozen=True)
class Compared:
    """Relative errors against float64, in the Euclidean norm: of the output, of each parameter's gradient, of the
    input's gradient; of each buffer the largest difference beside 1 + its size. And what float32 PyTorch itself makes:
    of its output, and the worst of its gradients."""

    output: float
    gradients: dict[str, float]
    input: float
    buffers: dict[str, float]
    pytorch_output: float
    pytorch: float
    lanes: Lanes

    @property
    def worst(self) -> tuple[float, str]:
        """The worst gradient of a parameter."""
        return max((error, name) for name, error in self.gradients.items())


def without_dropout(net: nn.Module) -> nn.Module:
    """Nothing is dropped: two engines draw different masks."""
    for part in net.modules():
        if isinstance(part, nn.Dropout | nn.Dropout2d):
            part.p = 0.0
    return net


def relative(found: Tensor, wanted: Tensor) -> float:
    """||found - wanted|| / ||wanted||."""
    assert torch.isfinite(found).all()
    size = wanted.norm().item()
    return (found.double() - wanted).norm().item() / size if size else found.norm().item()


def compared(net: nn.Module, *inputs: Tensor, training: bool = True, **settings: Any) -> Compared:
    """One pass forward and back on all three, from the same weights, with a loss that every output takes part in."""
    net = without_dropout(net).train(training)
    exact, plain, own = copy.deepcopy(net).double(), copy.deepcopy(net), copy.deepcopy(net)
    lanes = lower(own, tune=False, **settings)
    seen: list[tuple[Tensor, Tensor | None]] = []
    for run, number in ((exact, torch.float64), (plain, torch.float32), (lanes, torch.float32)):
        given = [x.clone().to(number).requires_grad_() if x.is_floating_point() else x for x in inputs]
        output = _tensor(run(*given))
        weights = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).reshape(output.shape).sin()
        (output * weights.to(number)).sum().backward()
        seen.append((output.detach(), given[0].grad))
    (wanted, wanted_input), (others, others_input), (found, found_input) = seen
    assert wanted.abs().max() > 0
    assert wanted.std() > 0
    errors, pytorch = {}, 0.0
    for (name, a), b, c in zip(exact.named_parameters(), plain.parameters(), own.parameters(), strict=True):
        if a.grad is None:
            assert c.grad is None, name
            continue
        errors[name] = relative(c.grad, a.grad)  # type: ignore[arg-type]
        pytorch = max(pytorch, relative(b.grad, a.grad))  # type: ignore[arg-type]
    pairs = zip(exact.named_buffers(), own.buffers(), strict=True)
    buffers = {name: ((c.double() - a).abs() / (1 + a.abs())).max().item() for (name, a), c in pairs}
    of_input = 0.0
    if wanted_input is not None:
        of_input = relative(found_input, wanted_input)  # type: ignore[arg-type]
        pytorch = max(pytorch, relative(others_input, wanted_input))  # type: ignore[arg-type]
    return Compared(relative(found, wanted), errors, of_input, buffers, relative(others, wanted), pytorch, lanes)


def _tensor(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple):
        return torch.cat([part.flatten(1) for part in output], dim=1)
    return next(iter(output.values()))  # type: ignore[no-any-return]
