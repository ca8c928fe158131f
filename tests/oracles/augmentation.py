"""Augmentation of one picture at a time, in float64 and with loops over pixels, from the sample's own random words.

Nothing here knows of batches. Pictures are lists of rows of pixels: arrays (H, W, C) of 0..255.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tests.oracles.philox import words_of_sample

FLIP, CROP, RESIZED_CROP, ROTATION, SCALE, COLOR, CUTOUT = 2, 3, 4, 5, 6, 7, 8
Picture = NDArray[np.float64]


def unit(seed: int, epoch: int, purpose: int, sample: int) -> list[float]:
    return [word / 2**32 for word in words_of_sample(seed, epoch, purpose, sample)]


def mirrored(picture: Picture, u: float) -> Picture:
    return picture[:, ::-1] if u < 0.5 else picture


def cropped(picture: Picture, pad: int, top: int, left: int) -> Picture:
    height, width, channels = picture.shape
    out = np.zeros((height, width, channels))
    for y in range(height):
        for x in range(width):
            from_y, from_x = y + top - pad, x + left - pad
            if 0 <= from_y < height and 0 <= from_x < width:
                out[y, x] = picture[from_y, from_x]
    return out


def looked_up(picture: Picture, y: float, x: float, clamp: bool) -> NDArray[np.float64]:
    """The bilinear value at (x, y), where pixel (i, j) has its middle at (j + 1/2, i + 1/2)."""
    height, width, channels = picture.shape
    y, x = y - 0.5, x - 0.5
    if clamp:
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    total = np.zeros(channels)
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(y - i)) * (1 - abs(x - j))
            if 0 <= i < height and 0 <= j < width:
                total += weight * picture[i, j]
    return total


def warped(picture: Picture, maps: list[Callable[[float, float], tuple[float, float]]], clamp: bool) -> Picture:
    """Each output pixel's middle is sent through the maps, one after the other, and looked up."""
    height, width, channels = picture.shape
    out = np.zeros((height, width, channels))
    for i in range(height):
        for j in range(width):
            x, y = j + 0.5, i + 0.5
            for step in maps:
                x, y = step(x, y)
            out[i, j] = looked_up(picture, y, x, clamp)
    return out


def turned(width: int, height: int, degrees: float, zoom: float) -> Callable[[float, float], tuple[float, float]]:
    def step(x: float, y: float) -> tuple[float, float]:
        z = complex(x - width / 2, y - height / 2) * complex(
            math.cos(math.radians(-degrees)), math.sin(math.radians(-degrees))
        )
        return width / 2 + z.real / zoom, height / 2 + z.imag / zoom

    return step


def boxed(width: int, height: int, smallest: float, u: list[float]) -> Callable[[float, float], tuple[float, float]]:
    area = smallest + (1 - smallest) * u[0]
    aspect = (3 / 4) ** (1 - u[1]) * (4 / 3) ** u[1]
    share_x, share_y = min(1, math.sqrt(area * aspect)), min(1, math.sqrt(area / aspect))
    left, top = u[2] * (width - share_x * width), u[3] * (height - share_y * height)
    return lambda x, y: (left + x * share_x, top + y * share_y)


def recolored(picture: Picture, original: Picture, brightness: float, contrast: float, saturation: float) -> Picture:
    """In the order brightness, contrast, saturation, each as it is usually defined."""

    def grey(p: Picture) -> Picture:
        weights = np.array([0.299, 0.587, 0.114]) if p.shape[2] == 3 else np.ones(p.shape[2]) / p.shape[2]
        return (p @ weights)[:, :, None]

    mean = grey(original).mean() * brightness
    picture = picture * brightness
    picture = mean + (picture - mean) * contrast
    picture = grey(picture) + (picture - grey(picture)) * saturation
    return np.clip(picture, 0, 255)


def normalised(picture: Picture, mean: list[float], std: list[float]) -> Picture:
    return (picture / 255 - np.array(mean)) / np.array(std)


def holed(image: Picture, row: int, column: int, side: int) -> Picture:
    out = image.copy()
    for y in range(row - side // 2, row - side // 2 + side):
        for x in range(column - side // 2, column - side // 2 + side):
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                out[y, x] = 0
    return out
