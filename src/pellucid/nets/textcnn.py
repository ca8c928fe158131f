"""A convolution over words: every kernel looks for one short phrase, wherever in the sentence it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.nets.parts import several


class TextCNN(nn.Module):
    """(N, length) token numbers -> (N, classes), as in Figure 1 of Kim, "Convolutional neural networks for sentence
    classification" (EMNLP 2014), the variant CNN-rand.

    Every token becomes a row of numbers. A kernel of k tokens makes one number for each k neighbours (eq. 2), the
    largest of which is all that is kept of the sentence (max over time, section 2). Token 0 is padding, which stands at
    the end; a sentence gives the same numbers however much of it follows. Windows may reach over the ends of the
    sentence by all tokens but one, as in the author's code, so that a sentence of one word has its windows too.
    """

    reads: ClassVar[str] = "tokens"

    def __init__(
        self, classes: int, vocabulary: int, width: int, kernels: tuple[int, ...], maps: int, dropout: float
    ) -> None:
        super().__init__()
        self.kernels = kernels
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.convs = nn.ModuleList(nn.Conv1d(width, maps, k, padding=k - 1) for k in kernels)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(maps * len(kernels), classes)
        with torch.no_grad():
            self.embedding.weight[1:].uniform_(-0.25, 0.25)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, length) -> (N, classes)"""
        rows = self.embedding(tokens).transpose(1, 2)  # (N, width, length)
        lengths = (tokens != 0).sum(1, keepdim=True)
        phrases = [self.strongest(conv, rows, lengths) for conv in self.convs]
        scores: Tensor = self.fc(self.dropout(torch.cat(phrases, 1)))
        return scores

    def heard(self, conv: nn.Module, rows: Tensor, lengths: Tensor) -> Tensor:
        """The number of each map at every window, 0 where it holds no token: (N, width, length) -> (N, maps, length +
        k - 1). Window i holds the tokens i - k + 1 to i."""
        maps = torch.relu(conv(rows))
        windows = lengths + (maps.shape[2] - rows.shape[2])
        holds = torch.arange(maps.shape[2], device=maps.device) < windows
        return maps * holds.unsqueeze(1)

    def strongest(self, conv: nn.Module, rows: Tensor, lengths: Tensor) -> Tensor:
        """The largest number of each map, (N, maps): after the ReLU nothing is less than the 0 of an empty window."""
        return self.heard(conv, rows, lengths).amax(2)

    def example_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Token numbers (N, 20), for whoever asks what the network is like."""
        numbers = torch.arange(batch * 20).view(batch, 20)
        return (1 + numbers % (self.embedding.num_embeddings - 1),)


def textcnn(
    classes: int = 2,
    vocabulary: int = 20_000,
    width: int = 300,
    kernels: int | Sequence[int] = (3, 4, 5),
    maps: int = 100,
    dropout: float = 0.5,
) -> TextCNN:
    """(N, length) token numbers -> (N, classes), with Kim's sizes: 300 numbers a word, kernels of 3, 4 and 5 words with
    100 maps each, dropout of a half. ``300 V + 360,300 + 301 K`` parameters for V tokens and K classes.

    Where the paper bounds the norm of the last layer's rows, weight decay is what training here has.

    Args:
        classes: K.
        vocabulary: V, padding (0) and unknown (1) among them.
        width: numbers a token.
        kernels: tokens that each kind of kernel spans.
        maps: kernels of each kind.
        dropout: of the strongest phrases, before the last layer.

    Raises:
        UsageError: for sizes below 1, or a vocabulary of nothing but padding.
    """
    if vocabulary < 2:
        raise UsageError(f"a vocabulary of {vocabulary} has no token beside padding", fits="vocabulary=2 or more")
    several("width", width), several("maps", maps)
    return TextCNN(classes, vocabulary, width, several("kernels", kernels), maps, dropout)
