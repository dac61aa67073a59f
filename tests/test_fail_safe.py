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
SETTINGS = {"iterations": ITERATIONS, "voxel_p": 0.01, "cluster_p": 0.05, "seed": 3}


def main_effect(tiny: Path, name: str, *, part: slice = slice(None), **changes: object) -> xr.Dataset:
    """Return the main effect of some experiments of a file of the tiny study."""
    foci = read_foci(tiny / f"{name}.txt")
    chosen = np.zeros(foci.sizes["experiment"], dtype=bool)
    chosen[part] = True
    settings = {**SETTINGS, "mask": str(tiny / "ball.nii.gz"), **changes}
    return ale.main_effect(subset(foci, chosen), name=f"{name}-{part.start}", **settings)


def enlarged(result: xr.Dataset, *, added: int, series: int, bits: int) -> xr.Dataset:
    """Return the ordinary main effect of a sample and some noise experiments."""
    noise = ale.noise_experiments(result, number=MOST, series=series)
    foci = concat([result[list(FOCI)], subset(noise, np.arange(MOST) < added)])
    settings = inference_of(result).model_dump(exclude={"mask"})
    return ale.main_effect(foci, mask=mask_of(result), name=result.attrs["name"], scale_bits=bits, **settings)


def slowly(result: xr.Dataset, *, bits: int) -> dict[tuple[int, int], xr.Dataset]:
    """Return the analysis of every enlarged sample by series and number of noise experiments."""
    return {(j, m): enlarged(result, added=m, series=j, bits=bits) for j in range(SERIES) for m in range(MOST + 1)}


def clusters_of(kept: np.ndarray, result: xr.Dataset) -> list[np.ndarray]:
    """Return the voxels of each cluster, the largest first."""
    labels = clusters.label_clusters(kept, volume=mask_of(result).volume)
    found = [np.flatnonzero(labels == c) for c in range(1, labels.max() + 1)]
    return sorted(found, key=len, reverse=True)


def by_definition(cluster: np.ndarray, kept: dict[int, np.ndarray]) -> int:
    """Return the largest m such that a surviving voxel lies in the cluster for every number from 1 up to it."""
    n = 0
    while n + 1 in kept and kept[n + 1][cluster].any():
        n += 1
    return n


@pytest.mark.parametrize("correction", ["cluster-size", "cluster-mass", "voxel"])
def test_main_effect_by_definition(tiny: Path, correction: str) -> None:
    result = main_effect(tiny, "therapy", correction=correction)
    found = ale.fail_safe(result, most=MOST, series=SERIES, iterations=ITERATIONS)
    runs = slowly(result, bits=found.attrs["scale_bits"][0])
    column = {"cluster-size": "cut_size", "cluster-mass": "cut_mass", "voxel": "cut_s"}[correction]
    for (j, m), run in runs.items():
        assert found["threshold_added"].values[0, m, j] == run.attrs["threshold"]
        assert found["cut_added"].values[0, m, j] == run.attrs[column]
    expected = [
        [
            by_definition(c, {m: thresholded(runs[j, m], "cluster-fwe") for m in range(1, MOST + 1)})
            for c in clusters_of(thresholded(result, "cluster-fwe"), result)
        ]
        for j in range(SERIES)
    ]
    assert found["fail_safe_n"].values[0].tolist() == expected
    assert 0 < np.mean(expected) < MOST
    shares = np.stack([(np.array(expected) >= m).mean(axis=0) for m in range(MOST + 1)])
    assert (found["survives"].values[0] >= shares).all()


def test_conjunction_by_definition(tiny: Path) -> None:
    parts = [main_effect(tiny, "drug", part=p, voxel_p=0.02) for p in (slice(0, 4), slice(2, 8))]
    result = ale.conjunction(parts, name="both", min_volume=800)
    found = ale.fail_safe(result, of=parts, most=MOST, series=SERIES, iterations=ITERATIONS)
    runs = [slowly(p, bits=b) for p, b in zip(parts, found.attrs["scale_bits"], strict=True)]
    assert found["noise"].values.tolist() == ["drug-0", "drug-2", "all"]
    (cluster,) = clusters_of(result["z_min"].values[0] != 0, result)
    # 4 and 6 experiments: the next one where the share in proportion to them lacks most.
    order = [(0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (2, 4), (3, 4), (3, 5), (4, 5), (4, 6), (4, 7), (5, 7)]
    routes = {
        "drug-0": {m: (m, None) for m in range(1, MOST + 1)},
        "drug-2": {m: (None, m) for m in range(1, MOST + 1)},
        "all": {m: have for m, have in enumerate(order, start=1)},
    }
    lost = 0
    for name, route in routes.items():
        for j in range(SERIES):
            kept = {}
            for m, have in route.items():
                both = [p if k is None else r[j, k] for p, r, k in zip(parts, runs, have, strict=True)]
                kept[m] = ale.conjunction(both, min_volume=800)["z_min"].values[0] != 0
            expected = by_definition(cluster, kept)
            lost += expected < len(route)
            n = int(found["fail_safe_n"].sel(noise=name).values[j, 0])
            assert min(n, len(route)) == expected
    assert lost >= 2
