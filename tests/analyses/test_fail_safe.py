"""Fail-safe N against its definition: an ordinary analysis for every number of noise experiments and every series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import ale_dask as ale
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import plan_main_effect
from ale_dask.analyses.main_effect_result import thresholded
from ale_dask.analyses.sample import sample
from ale_dask.analyses.sensitivity import base_rate_variants
from ale_dask.analyses.sensitivity.fail_safe import in_proportion
from ale_dask.analyses.sensitivity.fail_safe_base_rate import AddedBaseRate, steps_of
from ale_dask.analyses.sensitivity.noise_experiments import noise_of
from ale_dask.analyses.sensitivity.noise_null import cluster_forming, numbers_tested
from ale_dask.coordinates.foci import concat, n_foci, subset
from ale_dask.coordinates.readers import read_foci
from ale_dask.errors import InputError
from ale_dask.numerics import clusters
from ale_dask.reporting.sensitivity.fail_safe import fail_safe_table, summary_lines
from ale_dask.schema import FOCI

MOST, SERIES, ITERATIONS = 8, 2, 40
SETTINGS = {"iterations": ITERATIONS, "voxel_p": 0.01, "cluster_p": 0.05, "seed": 3, "null": "uniform"}


def main_effect(tiny: Path, name: str, *, part: slice = slice(None), **changes: object) -> xr.Dataset:
    """Return the main effect of some experiments of a file of the tiny study."""
    foci = read_foci(tiny / f"{name}.txt")
    chosen = np.zeros(foci.sizes["experiment"], dtype=bool)
    chosen[part] = True
    given_settings = {**SETTINGS, "mask": str(tiny / "ball.nii.gz"), **changes}
    return ale.main_effect(subset(foci, chosen), name=f"{name}-{part.start}", **given_settings)


def enlarged(result: xr.Dataset, *, added: int, series: int, bits: int) -> xr.Dataset:
    """Return the ordinary main effect of a sample and some noise experiments."""
    noise = ale.noise_experiments(result, number=MOST, series=series)
    foci = concat([result[list(FOCI)], subset(noise, np.arange(MOST) < added)])
    given_settings = model_of(result).inference.model_dump(exclude={"mask"})
    return ale.main_effect(
        foci, mask=model_of(result).mask, name=result.attrs["name"], scale_bits=bits, **given_settings
    )


def slowly(result: xr.Dataset, *, bits: int) -> dict[tuple[int, int], xr.Dataset]:
    """Return the analysis of every enlarged sample by series and number of noise experiments."""
    return {(j, m): enlarged(result, added=m, series=j, bits=bits) for j in range(SERIES) for m in range(MOST + 1)}


def clusters_of(kept: np.ndarray, result: xr.Dataset) -> list[np.ndarray]:
    """Return the voxels of each cluster, the largest first."""
    labels = clusters.label_clusters(kept, volume=model_of(result).mask.volume)
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
    parts = [main_effect(tiny, "drug", part=p, voxel_p=0.005) for p in (slice(0, 4), slice(2, 8))]
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
        "all": dict(enumerate(order, start=1)),
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
    assert lost >= 4


@pytest.mark.parametrize("correction", ["cluster-mass", "voxel"])
def test_base_rate_by_definition(tiny: Path, monkeypatch: pytest.MonkeyPatch, correction: str) -> None:
    """Each enlarged sample is an ordinary analysis against the base rate, also where it takes several passes."""
    monkeypatch.setattr(base_rate_variants, "MOST", 2)
    changes = {"null": "base-rate", "correction": correction, "cluster_p": 0.5}
    result = main_effect(tiny, "therapy", **changes)
    found = ale.fail_safe(result, most=2, series=2, iterations=ITERATIONS)
    column = {"cluster-mass": "base_rate_cut_mass", "voxel": "base_rate_cut_peak"}[correction]
    chosen = sample(result[list(FOCI)], mask=model_of(result).mask, inference=model_of(result).inference)
    bits = found.attrs["scale_bits"][0]
    steps = steps_of(chosen, plan_main_effect(chosen, bits=bits, name="x"), tested=np.arange(3), series=2, name="x")
    plans = [steps.plan(i, name="x") for i in range(2)]
    nulls = [base_rate_variants.block(plan, 0, ITERATIONS)["null"] for plan in plans]
    added = AddedBaseRate(steps, plans, nulls)
    kept: dict[tuple[int, int], np.ndarray] = {}
    for j, m in [(0, 1), (0, 2), (1, 2)]:
        noise = ale.noise_experiments(result, number=2, series=j)
        foci = concat([result[list(FOCI)], subset(noise, np.arange(2) < m)])
        asked = model_of(result).inference.model_dump(exclude={"mask"})
        run = ale.main_effect(foci, mask=model_of(result).mask, name="x", scale_bits=bits, **asked)
        assert found["cut_added"].values[0, m, j] == run.attrs[column]
        kept[j, m] = thresholded(run, "cluster-fwe")
        np.testing.assert_array_equal(added.surviving(j)[m], np.flatnonzero(kept[j, m]))
    groups = clusters_of(thresholded(result, "cluster-fwe"), result)
    expected = [by_definition(c, {m: kept[0, m] for m in (1, 2)}) for c in groups]
    assert found["fail_safe_n"].values[0, 0].tolist() == expected
    assert len(groups) > 0
    assert "against the base rate" in summary_lines(result, found)[0]
    uniform, other = (ale.noise_experiments(main_effect(tiny, "therapy"), number=2), noise)
    assert not np.array_equal(uniform["focus_xyz"].values, other["focus_xyz"].values)


def test_some_numbers_of_noise_experiments_are_tested_as_all_are(tiny: Path) -> None:
    parts = [main_effect(tiny, "drug", part=p, voxel_p=0.005) for p in (slice(0, 4), slice(2, 8))]
    result = ale.conjunction(parts, name="both", min_volume=800)
    options = {"of": parts, "series": SERIES, "iterations": ITERATIONS}
    every, some = (ale.fail_safe(result, **options, most=n) for n in (MOST, [2, 3, 6, MOST]))
    assert some["n_added"].values[0].tolist()[:5] == [0, 2, 3, 6, 8]
    for i, tested in enumerate(([0, 2, 3, 6, 8], [0, 2, 3, 6, 8])):
        for name in ("cut_added", "threshold_added"):
            np.testing.assert_array_equal(some[name].values[i], every[name].values[i, tested])
        np.testing.assert_array_equal(some["survives"].values[i, :5], every["survives"].values[i, tested])
    # In proportion, with the tested numbers of each main effect up to its share: 1 and 2 of 3 are 0 and 2.
    assert some["n_added"].values[2].tolist()[:4] == [0, 2, 4, 5]
    shown = fail_safe_table(result, some)
    assert shown["tested_every"].tolist()[:2] == [3, 3]
    assert "tested in steps of up to 3 experiments" in summary_lines(result, some)[0]
    assert "tested in steps" not in summary_lines(result, every)[0]


def test_the_base_rate_too_tests_some_numbers_as_all(tiny: Path) -> None:
    result = main_effect(tiny, "therapy", null="base-rate", cluster_p=0.5)
    every, some = (ale.fail_safe(result, most=n, series=2, iterations=ITERATIONS) for n in (4, [3, 4]))
    tested = some["n_added"].values[0]
    assert tested.tolist() == [0, 3, 4]
    for name in ("cut_added", "survives"):
        np.testing.assert_array_equal(some[name].values[0], every[name].values[0, tested])


def test_a_large_sample_is_tested_at_no_more_than_seventy_odd_numbers() -> None:
    assert numbers_tested(24, most=None).tolist() == list(range(73))
    large = numbers_tested(216, most=None)
    assert len(large) == 74
    assert {0, 9, 65, 648} <= set(large.tolist())
    assert numbers_tested(216, most=None, every=1).tolist() == list(range(649))
    assert numbers_tested(10, most=2).tolist() == [0, 1, 2]
    assert numbers_tested(10, most=8, every=3).tolist() == [0, 3, 6, 8]
    assert numbers_tested(10, most=range(3, 9, 5)).tolist() == [0, 3, 8]
    assert numbers_tested(10, most=np.array([8, 3])).tolist() == [0, 3, 8]
    with pytest.raises(InputError, match="from 0, one of them above 0, and no step"):
        numbers_tested(10, most=[0])
    with pytest.raises(InputError, match="every 0 noise experiments; the number must be 1 or more"):
        numbers_tested(10, most=2, every=0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_noise_in_all_stays_in_proportion(experiments: list[int]) -> None:
    steps = in_proportion(experiments, [3 * k for k in experiments])
    assert (np.diff(steps, axis=0).sum(axis=1) == 1).all()
    wanted = np.arange(len(steps))[:, None] * np.array(experiments) / sum(experiments)
    assert np.abs(steps - wanted).max() < len(experiments)
    assert len(steps) >= 2 * sum(experiments)


def test_noise_is_the_samples_own_in_balanced_order_and_the_same_whatever_comes_after(tiny: Path) -> None:
    result = main_effect(tiny, "therapy")
    some, more = (ale.noise_experiments(result, number=n, series=1) for n in (15, 20))
    sizes = sorted(zip(result["experiment_n_subjects"].values, n_foci(result), strict=True))
    for first in (0, 6):
        part = slice(first, first + 6)
        assert sorted(zip(some["experiment_n_subjects"].values[part], n_foci(some)[part], strict=True)) == sizes
    longer = subset(more, np.arange(20) < 15)
    for name in ("experiment_key", "focus_xyz", "focus_experiment", "experiment_n_subjects"):
        np.testing.assert_array_equal(some[name].values, longer[name].values)
    assert (model_of(result).mask.voxel_at(some["focus_xyz"].values) >= 0).all()
    other = ale.noise_experiments(result, number=15, series=0)
    np.testing.assert_array_equal(some["experiment_key"].values, other["experiment_key"].values)
    assert (some["focus_xyz"].values != other["focus_xyz"].values).any(axis=1).mean() > 0.9


def test_additive_noise_fits_the_null_to_a_unit_of_each_focus(tiny: Path) -> None:
    result = main_effect(tiny, "therapy", within="additive")
    found = ale.fail_safe(result, most=3, series=1, iterations=ITERATIONS)
    run = enlarged(result, added=3, series=0, bits=found.attrs["scale_bits"][0])
    assert found["threshold_added"].values[0, 3, 0] == run.attrs["threshold"]
    assert found["cut_added"].values[0, 3, 0] == run.attrs["cut_size"]


def test_the_fixed_point_loses_bits_to_hold_all_noise(tiny: Path) -> None:
    # At 30 bits the six of therapy fit an int32; thirty times as many do not.
    result = main_effect(tiny, "therapy")
    found = ale.fail_safe(result, most=180, series=1, iterations=5)
    assert found.attrs["scale_bits"][0] < result.attrs["scale_bits"]
    assert (found["threshold_added"].values > 0).all()


def test_threads_change_no_value(tiny: Path) -> None:
    result = main_effect(tiny, "therapy", iterations=1)
    chosen = sample(result[list(FOCI)], mask=model_of(result).mask, inference=model_of(result).inference)
    noise = noise_of(chosen, number=5)
    one, many = (cluster_forming(noise, tested=np.arange(6), series=4, bits=28, threads=n) for n in (1, 4))
    assert one.shape == (4, 6)
    np.testing.assert_array_equal(one, many)
    assert len(np.unique(one[:, 1:])) == 20


def test_what_survives_everything_is_said_to_do_so(tiny: Path) -> None:
    result = main_effect(tiny, "drug")
    found = ale.fail_safe(result, most=2, series=2, iterations=ITERATIONS)
    table = fail_safe_table(result, found)
    assert table["N"].tolist() == [">=2"]
    assert table["least"].tolist() == [3]
    assert table["reached"].tolist() == ["no"]
    assert "N at least 2 in all 2 series" in summary_lines(result, found)[0]


def test_what_it_is_not_for(tiny: Path) -> None:
    parts = [main_effect(tiny, name) for name in ("drug", "therapy")]
    with pytest.raises(InputError, match="is a contrast"):
        ale.fail_safe(parts[0].assign_attrs(kind="contrast"))
    with pytest.raises(InputError, match="of = the main effects drug-None, therapy-None, in this order; got none"):
        ale.fail_safe(ale.conjunction(parts))
    with pytest.raises(InputError, match="must be 1 or more"):
        ale.fail_safe(parts[0], series=0)
    with pytest.raises(InputError, match="no fail-safe N with TFCE"):
        ale.fail_safe(main_effect(tiny, "drug", correction="tfce", iterations=5))
