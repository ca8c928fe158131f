"""A log-mel spectrogram in loops: every sum of the definition, written out."""

from __future__ import annotations

import cmath
import math


def mel(hertz: float) -> float:
    return 1127.0104805 * math.log(1 + hertz / 700)  # 2595 / ln 10


def hertz(value: float) -> float:
    return 700 * math.expm1(value / 1127.0104805)


def log_mel(
    wave: list[float], rate: int, frame: int, hop: int, transform: int, bands: int, low: float, high: float
) -> list[list[float]]:
    """decibels[band][time]"""
    step = (mel(high) - mel(low)) / (bands + 1)
    tops = [hertz(mel(low) + i * step) for i in range(bands + 2)]
    found: list[list[float]] = [[] for _ in range(bands)]
    for first in range(0, len(wave) - frame + 1, hop):
        shaped = [wave[first + n] * math.sin(math.pi * n / frame) ** 2 for n in range(frame)]
        powers = []
        for k in range(transform // 2 + 1):
            total = sum(x * cmath.exp(-2j * math.pi * k * n / transform) for n, x in enumerate(shaped))
            powers.append(abs(total) ** 2)
        for band in range(bands):
            left, top, right = tops[band : band + 3]
            energy = 0.0
            for k, power in enumerate(powers):
                f = k * rate / transform
                if left < f <= top:
                    energy += power * (f - left) / (top - left)
                elif top < f < right:
                    energy += power * (right - f) / (right - top)
            found[band].append(10 * math.log10(max(energy, 1e-10)))
    return found
