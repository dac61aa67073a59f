"""Random experiments, and their integers by the slow reference."""

from __future__ import annotations

import numpy as np

from support import reference

BITS = 28


def integers(volume, experiments):
    """S_q (experiment, voxel) of the slow reference."""
    ijk = np.argwhere(volume)
    mas = np.array([reference.modelled_activation(ijk, foci, sigma, support=3.5) for foci, sigma in experiments])
    return np.rint(-np.log1p(-mas) * 2.0**BITS).astype(np.int64)


def random_experiments(random, n, shape, n_foci, sigma):
    return [
        ([random.uniform(-0.5, np.array(shape) - 0.5) for _ in range(n_foci)], sigma * random.uniform(0.9, 1.1))
        for _ in range(n)
    ]
