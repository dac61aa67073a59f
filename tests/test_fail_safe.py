"""Fail-safe N against its definition: an ordinary analysis for every number of noise experiments and every series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import ale_dask as ale
from ale_dask.analyses import fail_safe as noisy
from ale_dask.analyses.main_effect import inference_of, mask_of, thresholded
from ale_dask.data.foci import concat, subset
from ale_dask.data.readers import read_foci
from ale_dask.numerics import clusters
from ale_dask.words.errors import InputError
from ale_dask.words.variables import FOCI

MOST, SERIES, ITERATIONS = 9, 3, 40
SETTINGS = {"iterations": ITERATIONS, "voxel_p": 0.01, "cluster_p": 0.2, "seed": 3}


def main_effect(tiny: Path, name: str, **changes: object) -> xr.Dataset:
    settings = {**SETTINGS, "mask": str(tiny / "ball.nii.gz"), **changes}
    return ale.main_effect(read_foci(tiny / f"{name}.txt"), name=name, **settings)


def enlarged(result: xr.Dataset, *, added: int, series: int, bits: int) -> xr.Dataset:
    """Return the ordinary main effect of a sample and some noise experiments."""
    noise = ale.noise_experiments(result, number=MOST, series=series)
    foci = concat([result[list(FOCI)], subset(noise, np.arange(MOST) < added)])
    settings = inference_of(result).model_dump()
    mask = mask_of(result)
    return ale.main_effect(foci, mask=mask, scale_bits=bits, **{k: v for k, v in settings.items() if k != "mask"})


def slowly(result: xr.Dataset, *, bits: int) -> dict[tuple[int, int], xr.Dataset]:
    """Return the analysis of every enlarged sample by series and number of noise experiments."""
    return {
        (j, m): enlarged(result, added=m, series=j, bits=bits) for j in range(SERIES) for m in range(1, MOST + 1)
    }


def clusters_of(kept: np.ndarray, volume: np.ndarray) -> list[np.ndarray]:
    labels = clusters.label_clusters(kept, volume=volume)
    found = [np.flatnonzero(labels == c) for c in range(1, labels.max() + 1)]
    return sorted(found, key=len, reverse=True)


def by_definition(cluster: np.ndarray, kept: dict[int, np.ndarray]) -> int:
    """Return the largest m such that a surviving voxel lies in the cluster for every number up to it."""
    n = 0
    while n + 1 in kept and kept[n + 1][cluster].any():
        n += 1
    return n


@pytest.mark.parametrize("correction", ["cluster-size", "cluster-mass", "voxel"])
def test_main_effect_by_definition(tiny: Path, correction: str) -> None:
    result = main_effect(tiny, "drug", correction=correction)
    found = ale.fail_safe(result, most=MOST, series=SERIES, iterations=ITERATIONS)
    runs = slowly(result, bits=found.attrs["scale_bits"][0])
    column = {"cluster-size": "cut_size", "cluster-mass": "cut_mass", "voxel": "cut_s"}[correction]
    for (j, m), run in runs.items():
        assert found["threshold_added"].values[0, m, j] == run.attrs["threshold"]
        assert found["cut_added"].values[0, m, j] == run.attrs[column]
    volume = mask_of(result).volume
    wanted = clusters_of(thresholded(result, "cluster-fwe"), volume)
    expected = [
        [by_definition(c, {m: thresholded(runs[j, m], "cluster-fwe") for m in range(1, MOST + 1)}) for c in wanted]
        for j in range(SERIES)
    ]
    assert found["fail_safe_n"].values[0].tolist() == expected
    assert 0 < np.mean(expected) < MOST
    assert len({tuple(row) for row in expected}) > 1
