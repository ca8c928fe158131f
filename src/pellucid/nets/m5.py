"""A network on the raw wave: no spectrogram, the first layer learns its own filters."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError

_WINDOW, _STRIDE, _POOL = 80, 4, 4  # 10 ms at 8 kHz, as in the paper


class M5(nn.Module):
    """(N, 1, T) -> (N, classes), M5 of Dai, Dai, Qu, Li & Das, "Very deep convolutional neural networks for raw
    waveforms" (ICASSP 2017, Table 1): for waves of 8 kHz.

    A convolution over 80 samples, which can tell pitches apart, one output in 4; then three over 3 places each. After
    each normalisation, ReLU, and the largest of 4 neighbours; at the end every map's average over all of time, so a
    wave may have any length from ``SHORTEST`` on. The names of the weights are those of PyTorch's tutorial.
    """

    reads: ClassVar[str] = "waves"
    SHORTEST: ClassVar[int] = _STRIDE * (_POOL**4 - 1) + 4

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, channels, _WINDOW, stride=_STRIDE, padding=(_WINDOW - _STRIDE) // 2)
        self.bn1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm1d(channels)
        self.conv3 = nn.Conv1d(channels, 2 * channels, 3, padding=1)
        self.bn3 = nn.BatchNorm1d(2 * channels)
        self.conv4 = nn.Conv1d(2 * channels, 4 * channels, 3, padding=1)
        self.bn4 = nn.BatchNorm1d(4 * channels)
        self.pool = nn.MaxPool1d(_POOL)
        self.fc1 = nn.Linear(4 * channels, classes)
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, wave: Tensor) -> Tensor:
        """(N, 1, T) -> (N, classes)"""
        x = self.pool(torch.relu(self.bn1(self.conv1(wave))))
        x = self.pool(torch.relu(self.bn2(self.conv2(x))))
        x = self.pool(torch.relu(self.bn3(self.conv3(x))))
        x = self.pool(torch.relu(self.bn4(self.conv4(x))))
        scores: Tensor = self.fc1(x.mean(2))
        return scores

    def example_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """A second of sines at 8 kHz, (N, 1, 8000), for whoever asks what the network is like."""
        pitch = 200.0 * (1 + torch.arange(batch, dtype=torch.float32))
        return (torch.sin(torch.arange(8000) * pitch[:, None, None] * (2 * torch.pi / 8000)),)


def m5(classes: int = 10, channels: int = 128) -> M5:
    """(N, 1, T) -> (N, classes): 553,984 parameters in the convolutions and normalisations, 512 K + K in the last
    layer (the paper says 0.5 million, and leaves open how its 512 averages become K scores).

    Args:
        classes: K.
        channels: maps of the first layer, 128 in the paper; the others have 1, 2 and 4 times as many.

    Raises:
        UsageError: for channels below 1.
    """
    if channels < 1:
        raise UsageError(f"channels is {channels}", fits="channels=128")
    return M5(classes, channels)
