"""Over repeated looks at growing samples without an effect, error is spent as planned, and exceeded without a plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.studies import write_ball

import ale_dask as ale
from ale_dask.analyses.spending import SPENDING, increments
from ale_dask.coordinates.foci import Experiment, build

LITERATURES = 16
LOOKS = (8, 16, 24)


def test_error_over_three_looks(tmp_path: Path) -> None:
    """Of 200 literatures 12 % had a cluster at some look at .05 each, 4 % at the levels of either function."""
    write_ball(tmp_path / "ball.nii.gz")
    mask = ale.load_mask(str(tmp_path / "ball.nii.gz"))
    mm = mask.to_mm(mask.voxel_ijk)
    rng = np.random.default_rng(5)
    p = np.ones((LITERATURES, len(LOOKS)))
    for literature in range(LITERATURES):
        drawn = [tuple(map(tuple, mm[rng.integers(len(mm), size=6)].tolist())) for _ in range(LOOKS[-1])]
        experiments = [Experiment(f"e{literature}_{i}", 20, xyz, "MNI", "s") for i, xyz in enumerate(drawn)]
        for look, number in enumerate(LOOKS):
            found = ale.main_effect(
                build(experiments[:number]), mask=mask, null="uniform", iterations=199, seed=literature, voxel_p=0.01
            )
            p[literature, look] = found["cluster_size_p"].values.min(initial=1.0)
    shares = [number / LOOKS[-1] for number in LOOKS]
    naive = int((p <= 0.05).any(axis=1).sum())
    for spending in SPENDING:
        levels = increments(shares, alpha=0.05, spending=spending)
        # 99.9 % of the binomial of 16 at .05.
        assert int((p <= levels).any(axis=1).sum()) <= min(naive, 4)
