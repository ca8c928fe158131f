"""ViT: a Transformer over the patches of a picture (Dosovitskiy et al., "An image is worth 16x16 words", 2020).

The picture is cut into patches, each made a vector by one matrix; a learned vector, the class token, is put in front,
and what has become of it after all layers is classified. The weights bear the names under which timm and DeiT publish
theirs. "Tiny" and "small" are those of DeiT (Touvron et al. 2020).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import ShapeError, UsageError
from pellucid.nets.attention import attend
from pellucid.nets.parts import pair

SMALL = 64  # up to this size of pictures, patches are of 4 pixels, else of 16


class Attention(nn.Module):
    """Multi-head self-attention with one matrix for queries, keys and values (appendix A)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, width) -> (N, L, width)"""
        parts = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1)  # (N, L, 3, heads, width / heads)
        query, key, value = (part.transpose(1, 2) for part in parts.unbind(2))  # (N, heads, L, width / heads)
        found = attend(query, key, value, dropout=self.dropout if self.training else 0.0)
        return cast(Tensor, self.proj(found.transpose(1, 2).flatten(2)))


class MLP(nn.Module):
    """Two dense layers with a GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, width) -> (N, L, width)"""
        return cast(Tensor, self.fc2(F.gelu(self.fc1(x))))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) (eq. 2 and 3)."""

    def __init__(self, width: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, attention_dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, 4 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, width) -> (N, L, width)"""
        x = x + self.dropout(self.attn(self.norm1(x)))
        return cast(Tensor, x + self.dropout(self.mlp(self.norm2(x))))


class Patches(nn.Module):
    """One matrix on every patch, which is a convolution with a stride of its own size (eq. 1)."""

    def __init__(self, in_channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, patches, width), row by row"""
        return cast(Tensor, self.proj(x).flatten(2).transpose(1, 2))


class VisionTransformer(nn.Module):
    """(N, C, H, W) -> (N, classes). ``grid``: rows and columns of patches; the class token stands before them."""

    def __init__(
        self,
        classes: int,
        in_channels: int,
        grid: tuple[int, int],
        patch: int,
        shape: tuple[int, int, int],
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        width, layers, heads = shape
        self.grid = grid
        self.patch_embed = Patches(in_channels, width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid[0] * grid[1], width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout, attention_dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)"""
        patches = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], 1)
        x = self.blocks(self.dropout(x + self.pos_embed))
        return cast(Tensor, self.head(self.norm(x)[:, 0]))


def _initialize(net: VisionTransformer) -> None:
    """Normal numbers of deviation 0.02, without those beyond two deviations; biases of 0."""
    for weight in (net.cls_token, net.pos_embed):
        nn.init.trunc_normal_(weight, std=0.02)
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _vit(
    shape: tuple[int, int, int],
    classes: int,
    in_channels: int,
    image_size: int | tuple[int, int],
    patch: int | str,
    dropout: float,
    attention_dropout: float,
) -> VisionTransformer:
    height, width = pair(image_size)
    if patch != "auto" and (not isinstance(patch, int) or patch < 1):
        raise UsageError(f"patch is {patch!r}", fits="auto, or the pixels of a patch's side, such as 4")
    side = (4 if max(height, width) <= SMALL else 16) if isinstance(patch, str) else patch
    if min(height, width) < side:
        raise ShapeError(
            f"a picture of {height} x {width} is too small for a patch of {side} x {side}",
            fits=f"image_size of at least {side}, or patch={max(1, min(height, width))}",
        )
    if height % side or width % side:
        raise ShapeError(
            f"a picture of {height} x {width} cannot be cut into patches of {side} x {side}",
            fits=f"image_size={max(1, round(min(height, width) / side)) * side}, or a patch that divides both sides",
        )
    grid = (height // side, width // side)
    return VisionTransformer(classes, in_channels, grid, side, shape, dropout, attention_dropout)


def vit_mini(
    classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    patch: int | str = "auto",
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
) -> VisionTransformer:
    """A ViT of 6 layers, 4 heads and a width of 128 for small pictures and a CPU; of no paper.

    ``patch``: the pixels of a patch's side; ``auto`` is 4 for pictures up to 64 pixels, else 16. ``dropout``: on the
    embeddings and after each sub-layer; ``attention_dropout``: on the weights of attention.
    """
    return _vit((128, 6, 4), classes, in_channels, image_size, patch, dropout, attention_dropout)


def vit_tiny(
    classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    patch: int | str = "auto",
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
) -> VisionTransformer:
    """DeiT's tiny ViT: 12 layers, 3 heads, width 192; 5,717,416 parameters for 1,000 classes. Settings as vit_mini."""
    return _vit((192, 12, 3), classes, in_channels, image_size, patch, dropout, attention_dropout)


def vit_small(
    classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    patch: int | str = "auto",
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
) -> VisionTransformer:
    """DeiT's small ViT: 12 layers, 6 heads, width 384; 22,050,664 parameters for 1,000 classes. Settings as
    vit_mini."""
    return _vit((384, 12, 6), classes, in_channels, image_size, patch, dropout, attention_dropout)


def vit_b_16(
    classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    patch: int | str = 16,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
) -> VisionTransformer:
    """ViT-Base (Table 1): 12 layers, 12 heads, width 768; 86,567,656 parameters for 1,000 classes. Settings as
    vit_mini."""
    return _vit((768, 12, 12), classes, in_channels, image_size, patch, dropout, attention_dropout)
