"""What each kernel of a TextCNN listens for: the phrases of a split at which its number is largest."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.sentences_preprocess import TextPreprocess
from pellucid.data.tokens import joined
from pellucid.data.vocabulary import UNKNOWN, padded
from pellucid.nets.textcnn import TextCNN

_BATCH = 200
_EDGE = "·"  # stands for a place before the first token or after the last


@dataclass(frozen=True)
class Phrase:
    """Neighbouring tokens as a person reads them, the kernel's number there, and the text (its index) they stand in."""

    text: str
    value: float
    index: int


@dataclass(frozen=True)
class Filter:
    """One kernel.

    span: how many tokens it covers. number: among those of its span. speaks_for: the class whose score it raises most
    beside the mean of the others', by ``weight`` for each unit of its number. influence: weight x the deviation of its
    number over the texts: how far it tells texts apart. phrases: the loudest, each once.
    """

    span: int
    number: int
    speaks_for: str
    weight: float
    influence: float
    phrases: tuple[Phrase, ...]


@torch.no_grad()
def loudest_phrases(
    net: TextCNN, preprocess: TextPreprocess, texts: Sequence[str], count: int = 5
) -> tuple[Filter, ...]:
    """The ``count`` loudest phrases of every kernel over texts; the most influential kernels of each span first.

    Of each text a kernel has one phrase, that of its largest number: the one that reaches the output.

    Args:
        net: in evaluation mode or not: the kernels see no dropout.
        preprocess: of its training.
        texts: N of them, at least 1.
        count: phrases of each kernel.
    """
    device = net.fc.weight.device
    lists = [preprocess.tokens(text) for text in texts]
    values, windows = _strongest(net, [preprocess.vocabulary.encode(tokens) for tokens in lists], device)
    found: list[Filter] = []
    first = 0
    for span, value, window in zip(net.kernels, values, windows, strict=True):
        maps = value.shape[1]
        weights = net.fc.weight[:, first : first + maps].double().cpu().numpy()
        spread = value.astype(np.float64).std(axis=0)
        rows = []
        for j in range(maps):
            c, weight = _speaks_for(weights[:, j])
            phrases = _top(value[:, j], window[:, j], span, lists, preprocess, count)
            rows.append(Filter(span, j, preprocess.classes[c], weight, weight * float(spread[j]), phrases))
        found += sorted(rows, key=lambda one: -one.influence)
        first += maps
    return tuple(found)


def _strongest(
    net: TextCNN, encoded: Sequence[Sequence[int]], device: torch.device
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.int64]]]:
    """Of each kind of kernel the largest number in each text, (N, maps), and the last token of its window."""
    values: list[list[Tensor]] = [[] for _ in net.convs]
    windows: list[list[Tensor]] = [[] for _ in net.convs]
    for begin in range(0, len(encoded), _BATCH):
        tokens = torch.from_numpy(padded(encoded[begin : begin + _BATCH])[0]).to(device)
        rows, lengths = net.embedding(tokens).transpose(1, 2), (tokens != 0).sum(1, keepdim=True)
        for i, conv in enumerate(net.convs):
            best = net.heard(conv, rows, lengths).max(2)
            values[i].append(best.values.float().cpu())
            windows[i].append(best.indices.cpu())
    return [torch.cat(parts).numpy() for parts in values], [torch.cat(parts).numpy() for parts in windows]


def _speaks_for(weights: NDArray[np.float64]) -> tuple[int, float]:
    """The class of the largest weight, and how far that is above the mean of the others."""
    c = int(weights.argmax())
    return c, float(weights[c] - np.delete(weights, c).mean()) if len(weights) > 1 else float(weights[c])


def _top(
    value: NDArray[np.float32],
    window: NDArray[np.int64],
    span: int,
    lists: Sequence[Sequence[str]],
    preprocess: TextPreprocess,
    count: int,
) -> tuple[Phrase, ...]:
    phrases: dict[str, Phrase] = {}
    for i in heapq.nsmallest(len(value), range(len(value)), key=lambda i: (-value[i], i)):
        if value[i] <= 0 or len(phrases) == count:
            break
        text = _shown(lists[i], int(window[i]), span, preprocess)
        phrases.setdefault(text, Phrase(text, float(value[i]), i))
    return tuple(phrases.values())


def _shown(tokens: Sequence[str], last: int, span: int, preprocess: TextPreprocess) -> str:
    """The tokens of a window; those that the network does not know in brackets."""
    own = []
    for place in range(last - span + 1, last + 1):
        token = tokens[place] if 0 <= place < len(tokens) else _EDGE
        known = token == _EDGE or preprocess.vocabulary.encode([token]) != [UNKNOWN]
        own.append(token.replace(" ", "␣") if known else f"[{token}]")
    return joined(own) if preprocess.kind == "words" else "".join(own)
