"""Muon: steps along the nearest orthogonal matrix of the momentum (Jordan et al. 2024); AdamW elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients that take singular values of 0..1 near 1 in five rounds
_ROUNDS = 5


def orthogonalize(matrix: Tensor) -> Tensor:
    """Roughly U V^T for matrix = U S V^T, (rows, columns), by the Newton-Schulz iteration X <- a X + (b A + c A A) X,
    A = X X^T: singular values end between about 0.7 and 1.2."""
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.T if tall else x
    return result


class Muon(Optimizer):
    """Groups with ``"orthogonal": True`` step by Muon, kernels (O, I, K, K) laid out as (O, I*K*K); others by AdamW.

    Muon: m <- mu m + g; step lr * max(1, rows / columns)^(1/2) along orthogonalize(g + mu m). Weight decay is decoupled
    in both.
    """

    def __init__(
        self, params: Iterable[dict[str, Any]], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "orthogonal": False,
            "betas": (0.9, 0.999),
            "eps": 1e-8,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step for every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    (self._orthogonal if group["orthogonal"] else self._adaptive)(parameter, group)
        return loss

    def _orthogonal(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"]
        buffer.mul_(group["momentum"]).add_(parameter.grad)
        direction = parameter.grad + group["momentum"] * buffer
        matrix = direction.reshape(len(direction), -1)
        scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        parameter.add_(orthogonalize(matrix).reshape(parameter.shape), alpha=-group["lr"] * scale)

    def _adaptive(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        steps = int(state["step"].item())
        first, second = group["betas"]
        state["exp_avg"].lerp_(parameter.grad, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
        root = (state["exp_avg_sq"] / (1 - second**steps)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["exp_avg"], root, value=-group["lr"] / (1 - first**steps))
