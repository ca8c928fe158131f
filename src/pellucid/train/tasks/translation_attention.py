"""What each written token looked at in the source: the weights of the attention between decoder and encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data.pairs_batches import padded
from pellucid.data.subwords import END, SPECIAL, START
from pellucid.nets.attention import AdditiveAttention, MultiHeadAttention, scaled_dot_product

if TYPE_CHECKING:
    from pellucid.train.model import Model


@dataclass(frozen=True)
class AttentionMap:
    """One source and what was written for it.

    weights: float32 (layers, T, S), the mean over heads; each row sums to 1. source: S tokens to show; written: T, the
    last is the end.
    """

    source: tuple[str, ...]
    written: tuple[str, ...]
    weights: NDArray[np.float32]

    @property
    def mean(self) -> NDArray[np.float32]:
        """(T, S): over layers as well."""
        mean: NDArray[np.float32] = self.weights.mean(0)
        return mean


def maps_of(model: Model, texts: Sequence[tuple[str, str]]) -> tuple[AttentionMap, ...]:
    """The maps of (source, what was written); none where the network has no attention that is known here."""
    return tuple(found for source, written in texts if (found := map_of(model, source, written)) is not None)


def map_of(model: Model, source: str, written: str) -> AttentionMap | None:
    """The map of one source and what was written for it."""
    preparation, device = model.preprocess, model.execution().device
    numbers, said = preparation.source.encode(source), preparation.target.encode(written)
    net = model.net.to(device)
    layers = cross_attention(net, padded([numbers]).to(device), padded([[START, *said]]).to(device))
    if layers is None:
        return None
    return AttentionMap(
        tuple(preparation.source.symbol(number) for number in numbers),
        (*(preparation.target.symbol(number) for number in said), SPECIAL[END]),
        layers[:, 0].float().cpu().numpy(),
    )


@torch.no_grad()
def cross_attention(net: nn.Module, source: Tensor, before: Tensor) -> Tensor | None:
    """The weights (layers, N, T, S) of every attention of ``net`` from the target to the source, the mean over heads.

    Args:
        net: its mode is put back.
        source: int64 (N, S). before: int64 (N, T), start and what was written.

    Returns:
        None where it has no such attention.
    """
    training = net.training
    net.eval()
    try:
        with _watched(net) as found:
            net(source, before)
    finally:
        net.train(training)
    layers = [torch.cat(calls, 1) for calls in found.values() if calls]
    return torch.stack(layers) if layers else None


@contextmanager
def _watched(net: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Keep the weights of each attention between target and source while the network runs: (N, T, S) a call."""
    found: dict[str, list[Tensor]] = {}
    handles = []
    for name, module in net.named_modules():
        calls = found.setdefault(name, [])
        if isinstance(module, MultiHeadAttention):

            def multi_head(module: Any, given: tuple[Any, ...], calls: list[Tensor] = calls) -> None:
                x, seen, mask = given
                if seen is not x:  # else it looks at itself
                    calls.append(_of_heads(module, x, seen, mask))

            handles.append(module.register_forward_pre_hook(multi_head))
        elif isinstance(module, AdditiveAttention):

            def additive(module: Any, given: Any, result: Any, calls: list[Tensor] = calls) -> None:
                calls.append(result[1])

            handles.append(module.register_forward_hook(additive))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _of_heads(module: MultiHeadAttention, x: Tensor, seen: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(Q K^T / sqrt(E)) of each head, (N, T, S) the mean over heads."""
    query, key = (
        projected.unflatten(2, (module.heads, -1)).transpose(1, 2)
        for projected in (module.q_proj(x), module.k_proj(seen))
    )
    return scaled_dot_product(query, key, key, mask)[1].mean(1)
