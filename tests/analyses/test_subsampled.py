"""Subsamples: each equals the main effect of its experiments alone, and a voxel's share counts those it survives in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from support.effects import BITS, SETTINGS, effect

import ale_dask as ale
from ale_dask.analyses import subsampled
from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.main_effect import plan_main_effect
from ale_dask.analyses.main_effect_result import thresholded
from ale_dask.analyses.sample import sample
from ale_dask.analyses.sensitivity import base_rate_variants, variant_null
from ale_dask.config.analysis import INPUTS, Subsampled
from ale_dask.config.study import inference_from, load_study
from ale_dask.coordinates.foci import subset
from ale_dask.errors import InputError
from ale_dask.reporting.common.maps import map_specs_of
from ale_dask.workflows.prepare import prepare


def alone(foci: xr.Dataset, found: xr.Dataset, tiny: Path, **changes: object) -> list[xr.Dataset]:
    """Return the main effect of each subsample, run by itself with the same seed."""
    labels = foci["experiment_id"].values.astype(str)
    kept = [np.isin(labels, found["group"].values[has].astype(str)) for has in found["subsample_has"].values]
    return [effect(subset(foci, keep), tiny, "part", **changes) for keep in kept]


@pytest.mark.parametrize(
    ("size", "subsamples", "changes"),
    [
        (7, 8, {}),
        (5, 6, {"correction": "cluster-mass"}),
        (4, 6, {"correction": "voxel", "within": "additive"}),
        (6, 3, {"null_cut": "own"}),
    ],
    ids=str,
)
def test_each_subsample_is_its_main_effect(tiny: Path, size: int, subsamples: int, changes: dict[str, str]) -> None:
    foci = ale.read_foci(tiny / "drug.txt")
    found = ale.subsampled(effect(foci, tiny, "drug", **changes), size=size, subsamples=subsamples)
    assert (found["subsample_has"].values.sum(axis=1) == size).all()
    parts = alone(foci, found, tiny, **changes)
    for source in INPUTS:
        survives = np.array([thresholded(part, source) for part in parts])
        share = found["subsample_share"].sel(input=source).values
        np.testing.assert_array_equal(share, survives.mean(axis=0).astype(np.float32))
        assert found["subsample_volume"].sel(input=source).values.tolist() == survives.sum(axis=1).tolist()
        assert share.max() > 0
    by_voxel = np.mean([part["z_voxel_fwe"].values != 0 for part in parts], axis=0)
    np.testing.assert_array_equal(found["subsample_share_voxel_fwe"].values, by_voxel.astype(np.float32))
    thresholds = [part.attrs["threshold_ale"] for part in parts]
    np.testing.assert_allclose(found["subsample_threshold_ale"].values, thresholds, rtol=1e-12)
    assert len(set(thresholds)) > 1
    # The ALE map of a main effect has whole kernels, S those that end at 4 standard deviations.
    mean = np.mean([part["ale"].values for part in parts], axis=0)
    np.testing.assert_allclose(found["subsample_ale"].values, mean, atol=1e-4)


@pytest.mark.parametrize(
    ("subsamples", "changes"),
    [
        (4, {"null": "both"}),
        (3, {"null": "base-rate", "correction": "cluster-mass"}),
        (3, {"null": "both", "correction": "voxel"}),
    ],
    ids=str,
)
def test_each_subsample_is_its_main_effect_against_the_base_rate(
    tiny: Path, subsamples: int, changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that the subsamples need several passes.
    monkeypatch.setattr(base_rate_variants, "MOST", 3)
    foci = ale.read_foci(tiny / "drug.txt")
    found = ale.subsampled(effect(foci, tiny, "drug", **changes), size=7, subsamples=subsamples)
    parts = alone(foci, found, tiny, **changes)
    correction = CORRECTION_OF[changes.get("correction", "cluster-size")]
    by_voxel = CORRECTION_OF["voxel"].base_rate.map
    for end, name in (("", correction.base_rate.map), ("_voxel_fwe", by_voxel)):
        survives = np.array([part[name].values != 0 for part in parts])
        share = found[f"subsample_base_rate_share{end}"].values
        np.testing.assert_array_equal(share, survives.mean(axis=0).astype(np.float32))
        assert share.max() > 0
    cuts = [part.attrs[correction.base_rate.cut] for part in parts]
    assert found["subsample_base_rate_cut"].values.tolist() == cuts
    uniform = np.array([part[correction.uniform.map].values != 0 for part in parts])
    np.testing.assert_array_equal(found["subsample_share"].values[0], uniform.mean(axis=0).astype(np.float32))
    assert (found["subsample_share"].values[0] != found["subsample_base_rate_share"].values).any()


def test_the_null_that_decides_has_the_tables_without_an_ending(tiny: Path) -> None:
    foci = ale.read_foci(tiny / "drug.txt")
    tables, maps = {}, {}
    for null in ("both", "base-rate"):
        found = ale.subsampled(effect(foci, tiny, "drug", null=null), size=7, subsamples=3)
        tables[null] = ale.tables(found)
        maps[null] = {spec.suffix: spec.level for spec in map_specs_of(found)}
    further = set(tables["both"]) - set(tables["base-rate"])
    assert further == {"clusters_base-rate", "clusters_desc-baseRate_level-voxel"}
    pd.testing.assert_frame_equal(tables["both"]["clusters_base-rate"], tables["base-rate"]["clusters"])
    assert maps["both"].keys() == maps["base-rate"].keys()
    levels = {null: [maps[null][f"stat_desc-subsample{what}"] for what in _BOTH] for null in maps}
    assert levels["both"] == ["thresholded", "base-rate-thresholded"]
    assert levels["base-rate"] == ["uniform-thresholded", "thresholded"]


_BOTH = ("Clusters_input-clusterFWE", "BaseRateClusters")


def test_few_subsamples_are_enumerated_and_have_no_interval(tiny: Path) -> None:
    foci = ale.read_foci(tiny / "drug.txt")
    whole = effect(foci, tiny, "drug")
    every, some = (ale.subsampled(whole, size=7, subsamples=number) for number in (8, 7))
    assert every.attrs["enumerated"]
    assert every.attrs["distinct"] == 8
    for end in ("low", "high"):
        np.testing.assert_array_equal(every[f"subsample_share_{end}"].values, every["subsample_share"].values)
    assert not some.attrs["enumerated"]
    at = int(some["subsample_share"].values[0].argmax())
    r = round(float(some["subsample_share"][0, at]) * 7)
    ends = [float(some[f"subsample_share_{end}"][0, at]) for end in ("low", "high")]
    np.testing.assert_allclose(ends, stats.binomtest(r, 7).proportion_ci(0.95, "exact"), rtol=1e-5)


def test_a_subsample_depends_on_seed_group_and_number_alone(tiny: Path) -> None:
    """More subsamples begin with the same ones, and the order of experiments changes none."""
    foci = ale.read_foci(tiny / "drug.txt")
    few, many = (ale.subsampled(effect(foci, tiny, "drug"), size=4, subsamples=n)["subsample_has"] for n in (5, 30))
    np.testing.assert_array_equal(few.values, many.values[:5])
    # Each of the 8 groups is in half of the subsamples, within four standard deviations of 30 of them.
    assert (abs(many.values.mean(axis=0) - 0.5) < 4 * 0.5 / np.sqrt(30)).all()
    turned = effect(ale.select(foci, {"where": "n > 0"}).isel(experiment=slice(None)), tiny, "drug", seed=2)
    assert (ale.subsampled(turned, size=4, subsamples=5)["subsample_has"].values != few.values).any()


def test_clusters_hold_the_least_share_and_the_minimum_volume(tiny: Path) -> None:
    foci = ale.read_foci(tiny / "drug.txt")
    found = ale.subsampled(effect(foci, tiny, "drug", min_volume=640.0), size=5, subsamples=10, share=0.8)
    share, shown = found["subsample_share"].values, found["subsample_clusters"].values
    assert shown.any()
    np.testing.assert_array_equal(shown[shown > 0], share[shown > 0])
    assert shown[shown > 0].min() >= np.float32(0.8)
    tables = ale.tables(found)
    assert (tables["clusters"]["Cluster Size (mm3)"] >= 640).all()
    assert tables["clusters"]["Peak Share"].max() == share[0].max()


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, 8, r"analysis\.part\.size: 8 of the 8 groups of subjects of 'drug'.*give a size from 2 to 7"),
        ({}, 1, r"part: size: Input should be greater than or equal to 2"),
        ({"correction": "tfce"}, 5, r"subsamples need a cluster or voxel correction.*set correction to cluster-mass"),
    ],
    ids=str,
)
def test_mistakes(tiny: Path, changes: dict[str, str], size: int, message: str) -> None:
    whole = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug", **changes)
    with pytest.raises(InputError, match=message):
        ale.subsampled(whole, size=size, name="part")


def test_mistakes_in_a_study(tiny: Path) -> None:
    toml = tiny / "study.toml"
    text = toml.read_text()

    def fails(lines: str, message: str) -> None:
        toml.write_text(text + f'[analysis.part]\nkind = "subsampled"\n{lines}\n')
        with pytest.raises(InputError, match=message):
            prepare(load_study(toml))

    fails('of = "drug"', r"analysis\.part\.size: is missing")
    fails('of = "drag"\nsize = 4', r"analysis\.part\.of: no main effect named 'drag'; did you mean 'drug'")
    fails('of = "drug-vs-therapy"\nsize = 4', r"analysis\.part\.of: no main effect named 'drug-vs-therapy'")
    fails('of = "drug"\nsize = 4\nsubsample = 9', r"analysis\.part\.subsample: unknown key; did you mean 'subsamples'")
    fails('of = "drug"\nsize = 8', r"analysis\.part\.size: 8 of the 8 groups")


def test_nulls_one_by_one_are_those_of_one_pass(tiny: Path) -> None:
    """Few of 8 groups are quicker one by one, many in one pass."""
    foci = ale.read_foci(tiny / "drug.txt")
    inference = inference_from(SETTINGS | {"mask": str(tiny / "ball.nii.gz")})
    chosen = sample(foci, mask=ale.load_mask(inference.mask), inference=inference)
    whole = plan_main_effect(chosen, bits=BITS, name="drug")
    for size, together in ((3, False), (6, True)):
        taken = Subsampled(kind="subsampled", of="drug", size=size, subsamples=4)
        plan = subsampled.plan_subsampled(chosen, whole, taken, name="part")
        before = subsampled._alone.cache_info().misses
        found = subsampled.block(plan, 5, 30)["null"]
        assert (subsampled._alone.cache_info().misses == before) == together
        np.testing.assert_array_equal(found, variant_null.block(plan, 5, 30)["null"])
