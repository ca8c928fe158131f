"""A bag of words: which tokens a text holds, whatever their order."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.nets.parts import several


class BagOfWords(nn.Module):
    """(N, length) token numbers -> (N, classes): the mean of the tokens' rows, then one linear layer, as in Joulin,
    Grave, Bojanowski & Mikolov, "Bag of tricks for efficient text classification" (EACL 2017), section 2.

    Token 0 is padding: its row is 0, and it is not counted.
    """

    reads: ClassVar[str] = "tokens"

    def __init__(self, classes: int, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, classes)
        with torch.no_grad():
            self.embedding.weight[1:].uniform_(-0.25, 0.25)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, length) -> (N, classes)"""
        lengths = (tokens != 0).sum(1, keepdim=True)
        mean = self.embedding(tokens).sum(1) / lengths.clamp(min=1)
        scores: Tensor = self.fc(self.dropout(mean))
        return scores

    def example_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Token numbers (N, 20), for whoever asks what the network is like."""
        numbers = torch.arange(batch * 20).view(batch, 20)
        return (1 + numbers % (self.embedding.num_embeddings - 1),)


def bag_of_words(classes: int = 2, vocabulary: int = 20_000, width: int = 300, dropout: float = 0.5) -> BagOfWords:
    """(N, length) token numbers -> (N, classes). ``width * V + (width + 1) K`` parameters for V tokens and K classes.

    Args:
        classes: K.
        vocabulary: V, padding (0) and unknown (1) among them.
        width: numbers a token.
        dropout: of the mean, before the linear layer.

    Raises:
        UsageError: for a width below 1, or a vocabulary of nothing but padding.
    """
    if vocabulary < 2:
        raise UsageError(f"a vocabulary of {vocabulary} has no token beside padding", fits="vocabulary=2 or more")
    several("width", width)
    return BagOfWords(classes, vocabulary, width, dropout)
