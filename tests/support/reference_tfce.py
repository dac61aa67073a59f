"""TFCE by labelling at every level."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from ale_dask.numerics.kernels.kernel_rows import geometry
from ale_dask.numerics.tfce import Levels, max_tfce, tfce_map, tfce_memory

IDENTITY = Levels(np.arange(1 << 16).astype(np.uint16), 0, 1, 10)


GARBAGE = 7 * 10**8


def slow_map(level, volume):
    """Integer TFCE (voxel): label {l >= level} at every level and let each voxel see its component change."""
    grid = np.zeros(volume.shape, dtype=np.int64)
    grid[volume] = level
    total, top, size = np.zeros_like(grid), grid.copy(), np.zeros_like(grid)

    def credit(where, down):
        for v in map(tuple, np.argwhere(where)):
            total[v] += int(math.sqrt(size[v]) * float(int(top[v]) ** 3 - down**3))
            top[v] = down

    for here in sorted(set(level.tolist()) - {0}, reverse=True):
        labels, _ = ndimage.label(grid >= here)
        now = np.bincount(labels.reshape(-1))[labels]
        changed = (labels > 0) & (now != size)
        credit(changed, here)
        size[changed] = now[changed]
    credit(grid > 0, 0)
    return total[volume]


def maximum(s, levels, volume, *, work=None, radius=1):
    """`max_tfce` on a padded volume that holds other numbers everywhere outside the mask."""
    ijk = np.argwhere(volume).astype(np.int16)
    space = geometry(ijk, radius=np.full((1, 3), radius, dtype=np.int64))
    padded = np.full(space.size, GARBAGE, dtype=np.int32)
    padded[space.cell] = s
    return max_tfce(padded, space, levels, tfce_memory(space) if work is None else work)


def mask(seed, shape, share):
    volume = np.random.default_rng(seed).random(shape) < share
    volume[tuple(n // 2 for n in shape)] = True
    return volume


def several():
    """Maxima and sums of maps of some fields."""
    out = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        volume = mask(seed, (6, 7, 8), 0.8)
        s = random.integers(0, 60000, volume.sum())
        s[::3] //= 4096
        units = tfce_map(s, levels=IDENTITY, volume=volume)
        out.append([int(maximum(s, IDENTITY, volume)), int(units.max()), int(units.sum())])
    return out
