"""Write the numbers of clusters beside their voxels, so that they cover neither colours nor each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.reporting.figures.print.page import SIZE, Look

F64 = npt.NDArray[np.float64]
_STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def clusters_words(numbers: Sequence[int]) -> str:
    """Return "cluster 3" or "clusters 3, 4"."""
    return f"cluster{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def write_numbers(axes: Any, points: Mapping[int, F64], look: Look) -> None:
    """Write each cluster's number beside its points (point, 2), which are in the units of the axes."""
    if not points:
        return
    (left, right), (bottom, top) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    per_inch = (right - left) / (axes.get_position().width * axes.figure.get_size_inches()[0])
    coloured = np.concatenate(list(points.values()))
    taken: list[tuple[float, float, float, float]] = []
    for number, own in sorted(points.items(), key=lambda pair: -len(pair[1])):
        half = per_inch * SIZE / 72 * np.array([0.32 * len(str(number)) + 0.25, 0.65])
        at = _place(own, half, coloured, taken, (left, right, bottom, top))
        taken.append((*at, *half))
        box = {"boxstyle": "round,pad=0.12", "facecolor": look.paper, "edgecolor": "none", "alpha": 0.7}
        axes.text(
            *at, str(number), size=SIZE - 0.5, color=look.ink, ha="center", va="center_baseline", bbox=box, zorder=5
        )


def _place(
    own: F64, half: F64, coloured: F64, taken: list[tuple[float, float, float, float]], edges: tuple[float, ...]
) -> tuple[float, float]:
    """Return the place around a cluster's box where a number covers least."""
    low, high = own.min(axis=0), own.max(axis=0)
    middle, reach = (low + high) / 2, (high - low) / 2 + half
    best, least = (float(middle[0]), float(middle[1])), np.inf
    for u, v in product(_STEPS, _STEPS):
        if max(abs(u), abs(v)) < 1:
            continue
        x, y = middle + reach * (u, v)
        covered = np.sum((np.abs(coloured - (x, y)) < half).all(axis=1)) / len(own)
        apart = [abs(x - a) < half[0] + w and abs(y - b) < half[1] + h for a, b, w, h in taken]
        outside = x - half[0] < edges[0] or x + half[0] > edges[1] or y - half[1] < edges[2] or y + half[1] > edges[3]
        # Beside is better than at a corner, and outwards (away from the midline) better than inwards.
        cost = 10 * sum(apart) + 10 * outside + covered + 0.02 * (abs(u) + abs(v)) - 0.01 * np.sign(middle[0]) * u
        if cost < least:
            best, least = (float(x), float(y)), cost
    return best
