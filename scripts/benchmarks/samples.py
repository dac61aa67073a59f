"""The foci that every program gets: sample sizes, foci per experiment and the voxels that the foci lie on.

NiMARE and JALE round foci to voxels, each in its own way, so foci lie on voxel centres from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXAMPLE = {"A": "psychotherapy", "B": "antidepressants", "C": "affect"}
# Experiments, foci and seed of samples that the built-in example has no match for. E is as large as all of Neurosynth,
# which states no sample size: 20 for all.
DRAWN = {"D": (2_000, 40_000, 4), "E": (14_371, 448_255, 5)}
NAMES = (*EXAMPLE, *DRAWN)


@dataclass(frozen=True, eq=False)
class Foci:
    """Sample sizes (experiment), where each experiment's foci begin (experiment + 1), positions (focus, axis)."""

    n: NDArray[np.int64]
    begin: NDArray[np.int64]
    ijk: NDArray[np.int64]
    volume: NDArray[np.bool_]
    affine: NDArray[np.float64]

    @property
    def xyz(self) -> NDArray[np.float64]:
        """Positions (focus, axis) in mm."""
        return self.ijk @ self.affine[:3, :3].T + self.affine[:3, 3]

    @property
    def of_experiment(self) -> list[slice]:
        """The foci of each experiment."""
        return [slice(a, b) for a, b in zip(self.begin[:-1].tolist(), self.begin[1:].tolist(), strict=True)]

    def save(self, path: Path) -> Path:
        """Write the foci to an .npz file and return its path."""
        np.savez(path, n=self.n, begin=self.begin, ijk=self.ijk, volume=self.volume, affine=self.affine)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Foci:
        """Return the foci of an .npz file."""
        with np.load(path) as archive:
            return cls(**{name: archive[name] for name in archive.files})


def pooled(parts: Sequence[Foci]) -> Foci:
    """Return the experiments of several samples as one."""
    counts = np.concatenate([np.diff(p.begin) for p in parts])
    return Foci(
        np.concatenate([p.n for p in parts]),
        np.r_[0, np.cumsum(counts)],
        np.concatenate([p.ijk for p in parts]),
        parts[0].volume,
        parts[0].affine,
    )


def _from_example(name: str, mask: Any) -> Foci:
    from scipy.spatial import cKDTree

    from ale_dask import read_foci
    from ale_dask.datasets.example import sample_file

    foci = read_foci(sample_file(EXAMPLE[name]))
    owner = foci["focus_experiment"].values
    order = np.argsort(owner, kind="stable")
    _, nearest = cKDTree(mask.voxel_ijk).query(mask.to_grid(foci["focus_xyz"].values[order]))
    counts = np.bincount(owner, minlength=foci.sizes["experiment"])
    n = foci["experiment_n_subjects"].values.astype(np.int64)
    ijk = mask.voxel_ijk[nearest].astype(np.int64)
    return Foci(n, np.r_[0, np.cumsum(counts)], ijk, mask.volume, mask.affine)


def make(name: str) -> Foci:
    """Return sample "A" to "E": 17/120, 24/200, 216/3869, 2000/40000 and 14371/448255 experiments/foci."""
    from ale_dask import load_mask

    mask = load_mask("brain")
    if name in EXAMPLE:
        return _from_example(name, mask)
    experiments, total, seed = DRAWN[name]
    random = np.random.default_rng(seed)
    # One focus each, the others by weights as uneven as those of published tables.
    weight = random.gamma(1.2, size=experiments)
    counts = 1 + random.multinomial(total - experiments, weight / weight.sum())
    n = np.maximum(6, np.rint(random.gamma(6.0, 20 / 6, size=experiments))).astype(np.int64)
    if name == "E":
        n[:] = 20
    ijk = mask.voxel_ijk[random.integers(mask.n_voxels, size=total)].astype(np.int64)
    return Foci(n, np.r_[0, np.cumsum(counts)], ijk, mask.volume, mask.affine)
