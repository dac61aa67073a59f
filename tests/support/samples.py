"""Samples of foci in a small ball that results, tables and figures are made of."""

from __future__ import annotations

import numpy as np

from ale_dask.coordinates.foci import Experiment, build
from ale_dask.numerics.space import Mask

EVIL = '<script>alert("x")</script> & "co"'


def ball() -> Mask:
    grid = np.stack(np.indices((20, 20, 20)), axis=-1) - 9.5
    affine = np.array([[-4.0, 0, 0, 38], [0, 4, 0, -58], [0, 0, 4, -30], [0, 0, 0, 1]])
    return Mask((grid**2).sum(axis=-1) < 9.6**2, affine, name="/somewhere/private/ball.nii.gz")


MASK = ball()


LEFT, RIGHT = (-18.0, -18.0, 2.0), (18.0, -20.0, 10.0)


def sample(word, peaks, *, experiments=18):
    rng = np.random.default_rng(sum(map(ord, word)))
    made = []
    for i in range(experiments):
        noise = MASK.to_mm(MASK.voxel_ijk[rng.integers(MASK.n_voxels, size=2)])
        foci = [*noise, *(np.array(p) + rng.normal(0, 2, 3) for p in peaks)]
        name = EVIL if word == "drug" and i == 0 else f"{word} {i}"
        xyz = tuple((float(x), float(y), float(z)) for x, y, z in foci)
        made.append(Experiment(name, 12 + i, xyz, "MNI", f"/home/somebody/{word}.txt:{i + 1}"))
    return build(made)
