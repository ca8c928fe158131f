"""How pictures of a segmentation become input, at any size, and how often each class was seen in training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from pellucid.data.dataset import Pixels
from pellucid.data.decode import decode
from pellucid.data.masks import MaskData
from pellucid.data.preprocess import Preprocess
from pellucid.data.preprocess import channel_statistics as _statistics
from pellucid.errors import DataError


@dataclass(frozen=True)
class MaskPreprocess(Preprocess):
    """Mean and deviation as for any pictures, and what segmentation needs besides.

    counts: pixels of each class in the training masks: the most frequent one is what always answering the same would
    say. scale: pixels of the network's pictures for one pixel of a file; 1 where files were taken as they are.
    """

    counts: tuple[int, ...] = ()
    scale: float = 1.0

    @classmethod
    def of_masks(cls, data: MaskData) -> Self:
        """What the training split teaches."""
        mean, std = _statistics(data.train)  # type: ignore[arg-type]  # of pictures alone, which both have
        counts = tuple(data.train.counts(len(data.classes)).sum(0).tolist())
        fit, scale = str(data.facts.get("fit", "crop")), float(data.facts.get("scale", 1.0))
        size = data.image_size
        return cls(size, data.channels, mean, std, data.classes, fit=fit, counts=counts, scale=scale)

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | str) -> Self:
        read = json.loads(values) if isinstance(values, str) else dict(values)
        for name in ("image_size", "mean", "std", "classes", "counts"):
            read[name] = tuple(read[name])
        return cls(**read)

    def whole(self, encoded: bytes | Path, name: str) -> Pixels:
        """A picture at its own size, uint8 (h, w, C).

        Raises:
            DecodeError, DataError: for what cannot be decoded or read.
        """
        try:
            content = encoded.read_bytes() if isinstance(encoded, Path) else encoded
        except OSError as error:
            raise DataError(f"{name} cannot be read: {error.strerror or error}") from None
        return decode(content, name=name, channels=3 if self.channels == 3 else 1)

    def scaled(self, picture: Pixels) -> torch.Tensor:
        """A picture (h, w, C) of any size as input (1, C, H, W), scaled as the training pictures were."""
        from PIL import Image

        height, width = (max(1, round(side * self.scale)) for side in picture.shape[:2])
        if (height, width) != picture.shape[:2]:
            plain = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
            picture = np.asarray(plain.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)
        return replace(self, image_size=(height, width)).tensor(picture)
