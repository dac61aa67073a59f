"""Choose the numbers that stand beside an axis."""

from __future__ import annotations

import math


def ticks(low: float, high: float, *, most: int = 8) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten from `low` to `high`: as many as possible up to `most`."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    # Rounded, so that three steps of .1 are .3.
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_words(at: float) -> str:
    """Return the number of a tick, with a true minus sign."""
    return f"{at:,.12g}".replace("-", "−")
