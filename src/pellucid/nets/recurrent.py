"""Forecasting networks: recurrent ones run by ``torch.nn``'s fused layers, and a convolutional one.

Each reads (N, window, features) and gives (N, horizon, targets, quantiles): all steps ahead at once, from what the
network knows after the last step ("direct" forecasts, Ben Taieb et al. 2012; quantiles as in Wen et al. 2017). The
cells are written out in ``cells.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.nets.parts import several

_KINDS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentForecaster(nn.Module):
    """A recurrent network over the window, and a dense layer on its last hidden state.

    The names of the weights are those of ``torch.nn``, below ``recurrent`` and ``head``.
    """

    reads: ClassVar[str] = "series"

    def __init__(
        self, kind: str, features: int, outputs: tuple[int, int, int], hidden: int, layers: int, dropout: float
    ) -> None:
        """outputs: (horizon, targets, quantiles). dropout: between the layers, and before the head."""
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.recurrent = _KINDS[kind](features, hidden, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, outputs[0] * outputs[1] * outputs[2])
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, window, features) -> (N, horizon, targets, quantiles)"""
        states, _ = self.recurrent(x)
        found: Tensor = self.head(self.dropout(states[:, -1]))
        return found.view(-1, *self.outputs)


def rnn(
    features: int = 1,
    horizon: int = 1,
    targets: int = 1,
    quantiles: int = 3,
    hidden: int = 64,
    layers: int = 1,
    dropout: float = 0.0,
) -> RecurrentForecaster:
    """Elman's recurrent network (1990): (N, window, features) -> (N, horizon, targets, quantiles)."""
    return _recurrent("rnn", features, (horizon, targets, quantiles), hidden, layers, dropout)


def lstm(
    features: int = 1,
    horizon: int = 1,
    targets: int = 1,
    quantiles: int = 3,
    hidden: int = 64,
    layers: int = 1,
    dropout: float = 0.0,
) -> RecurrentForecaster:
    """Long short-term memory (Hochreiter & Schmidhuber 1997, forget gate of Gers et al. 2000); else as ``rnn``."""
    return _recurrent("lstm", features, (horizon, targets, quantiles), hidden, layers, dropout)


def gru(
    features: int = 1,
    horizon: int = 1,
    targets: int = 1,
    quantiles: int = 3,
    hidden: int = 64,
    layers: int = 1,
    dropout: float = 0.0,
) -> RecurrentForecaster:
    """Gated recurrent units (Cho et al. 2014); else as ``rnn``."""
    return _recurrent("gru", features, (horizon, targets, quantiles), hidden, layers, dropout)


class TemporalBlock(nn.Module):
    """Two causal dilated convolutions and a way past them (Bai et al. 2018, figure 1b): (N, C, T) -> (N, K, T).

    Causal: zeros before the first step alone, so that a step sees itself and those before it. Without the weight
    normalisation of the paper.
    """

    def __init__(self, inputs: int, kernels: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.before = (kernel_size - 1) * dilation
        self.conv1 = nn.Conv1d(inputs, kernels, kernel_size, dilation=dilation)
        self.conv2 = nn.Conv1d(kernels, kernels, kernel_size, dilation=dilation)
        self.dropout = nn.Dropout(dropout)
        self.downsample = nn.Conv1d(inputs, kernels, 1) if inputs != kernels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) -> (N, K, T)"""
        y = self.dropout(F.relu(self.conv1(F.pad(x, (self.before, 0)))))
        y = self.dropout(F.relu(self.conv2(F.pad(y, (self.before, 0)))))
        return F.relu(y + self.downsample(x))


class TemporalConvolutional(nn.Module):
    """Blocks whose dilation doubles, and a dense layer on what the last step sees."""

    reads: ClassVar[str] = "series"

    def __init__(
        self,
        features: int,
        outputs: tuple[int, int, int],
        channels: Sequence[int],
        kernel_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        sizes = [features, *channels]
        self.network = nn.Sequential(
            *(
                TemporalBlock(inputs, kernels, kernel_size, 2**level, dropout)
                for level, (inputs, kernels) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
            )
        )
        self.linear = nn.Linear(sizes[-1], outputs[0] * outputs[1] * outputs[2])
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, window, features) -> (N, horizon, targets, quantiles)"""
        found: Tensor = self.linear(self.network(x.transpose(1, 2))[:, :, -1])
        return found.view(-1, *self.outputs)


def tcn(
    features: int = 1,
    horizon: int = 1,
    targets: int = 1,
    quantiles: int = 3,
    channels: int | Sequence[int] = (32, 32, 32, 32),
    kernel_size: int = 3,
    dropout: float = 0.0,
) -> TemporalConvolutional:
    """The temporal convolutional network (Bai, Kolter & Koltun 2018, "An empirical evaluation of generic convolutional
    and recurrent networks for sequence modeling"): (N, window, features) -> (N, horizon, targets, quantiles).

    The last step sees 1 + 2 (kernel_size - 1) (2^levels - 1) steps: 61 by default.
    """
    if kernel_size < 2:
        raise UsageError(f"kernel_size of tcn is {kernel_size}: a step would see itself alone", fits="2 or more")
    sizes = several("channels", channels)
    if not sizes:
        raise UsageError("channels of tcn is empty: it has no level", fits="channels=[32, 32, 32]")
    return TemporalConvolutional(features, (horizon, targets, quantiles), sizes, kernel_size, dropout)


def _recurrent(
    kind: str, features: int, outputs: tuple[int, int, int], hidden: int, layers: int, dropout: float
) -> RecurrentForecaster:
    if hidden < 1 or layers < 1:
        raise UsageError(f"{kind} has {layers} layers of {hidden} units", fits="at least 1 of each")
    return RecurrentForecaster(kind, features, outputs, hidden, layers, dropout)
