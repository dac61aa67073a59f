"""Statistics of a whole map: the iterations are those of the stored null, and the numbers those of plain arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from scipy.stats import beta
from support.real_data import shared
from support.samples import LEFT, MASK, sample

import ale_dask as ale
from ale_dask.analyses.statistics.functions import Numbers, statistic_of
from ale_dask.analyses.statistics.given import correlation, dice, laterality, networks, regions
from ale_dask.analyses.statistics.images import on_grid
from ale_dask.analyses.statistics.maps import probability
from ale_dask.analyses.statistics.null import assess
from ale_dask.datasets.atlases import label_names
from ale_dask.errors import InputError
from ale_dask.numerics.ale import ale_from_s

ITERATIONS = 30
SETTINGS = {"iterations": ITERATIONS, "voxel_p": 0.01, "seed": 4}


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    return ale.main_effect(sample("drug", [LEFT]), name="drug", mask=MASK, null="both", **SETTINGS)


def largest(maps: xr.Dataset) -> dict[str, int]:
    """Return the largest S, and z in steps of 1/4096 where a voxel passes, as the stored nulls have them."""
    z = maps["z"].values[maps["above"].values].max(initial=0.0)
    return {"s": int(maps["s"].max()), "z": round(4096 * float(z)), "passing": int(maps["above"].sum())}


def test_iterations_are_those_of_the_stored_nulls(result: xr.Dataset) -> None:
    test = ale.null(result, largest)
    uniform, base_rate = test["null"].sel(against="uniform"), test["null"].sel(against="base-rate")
    np.testing.assert_array_equal(uniform.sel(number="s"), result["null"].sel(statistic="max_s"))
    stored = result["null_base_rate"].values
    np.testing.assert_array_equal(base_rate.sel(number="z"), stored[:, 0])
    # A cluster is no larger than all that passes, and something passes where there is a cluster.
    for against, size in ((uniform, result["null"].sel(statistic="max_size").values), (base_rate, stored[:, 1])):
        passing = against.sel(number="passing").values
        assert (size <= passing).all()
        np.testing.assert_array_equal(size > 0, passing > 0)
    assert test["null"].dtype == np.int64


@pytest.mark.parametrize("null_space", ["mask", "grid"])
def test_iterations_are_those_of_a_null_in_a_region(null_space: str) -> None:
    half = replace(MASK, volume=MASK.volume & (np.arange(20)[:, None, None] < 10), name="half")
    foci = sample("drug", [LEFT])
    there = ale.main_effect(foci, mask=MASK, search=half, null="uniform", **SETTINGS)
    test = ale.null(there, largest)
    np.testing.assert_array_equal(test["null"].sel(number="s")[0], there["null"].sel(statistic="max_s"))
    if null_space == "grid":
        wide = ale.main_effect(foci, mask=MASK, null="uniform", null_space="grid", **SETTINGS)
        within = ale.null(wide, largest)["null"].sel(number="s")[0].values
        # The stored null looks beyond the mask, a statistic of the map does not.
        assert (within <= wide["null"].sel(statistic="max_s").values).all()


def test_the_observed_map_is_that_of_the_result(result: xr.Dataset) -> None:
    seen: dict[str, xr.Dataset] = {}

    def keep(maps: xr.Dataset) -> int:
        if maps.attrs["iteration"] < 0:
            seen[maps.attrs["null"]] = maps
        return 0

    ale.null(result, keep, iterations=1)
    uniform, base_rate = seen["uniform"], seen["base-rate"]
    np.testing.assert_array_equal(uniform["s"], result["s"])
    np.testing.assert_allclose(
        uniform["ale"], ale_from_s(result["s"].values, bits=result.attrs["scale_bits"]), rtol=1e-9
    )
    np.testing.assert_allclose(uniform["z"], np.maximum(result["z"], 0), atol=2e-3)
    np.testing.assert_allclose(base_rate["z"], np.maximum(result["z_base_rate"], 0), atol=1e-6)
    threshold = result.attrs["threshold"]
    np.testing.assert_array_equal(uniform["above"], result["s"] >= threshold)
    excess = np.maximum(result["s"].values - threshold, 0) / 2.0 ** result.attrs["scale_bits"]
    np.testing.assert_array_equal(uniform["excess"], excess)
    np.testing.assert_array_equal(base_rate["excess"] > 0, base_rate["above"] & (base_rate["excess"] > 0))
    xyz, mirror = uniform["xyz"].values, uniform["mirror"].values
    np.testing.assert_allclose(xyz[mirror[mirror >= 0]], xyz[mirror >= 0] * [-1, 1, 1])
    assert (mirror >= 0).mean() > 0.5


def test_probability_is_one_minus_exp() -> None:
    s = np.array([0, 1, 1000, 2**20, 2**28, 2**30, 8 * 2**28])
    np.testing.assert_allclose(probability(s, bits=28), -np.expm1(-s / 2.0**28), rtol=1e-12)


@pytest.mark.parametrize("tail", ["upper", "lower", "two-sided"])
def test_p_is_that_of_plain_counting(tail: str) -> None:
    random = np.random.default_rng(3)
    # Of few values, so that there are ties.
    null = random.integers(0, 6, (99, 4)).astype(np.float64) * [1, 10, 1, 1]
    observed = Numbers((("a", "x"), ("a", "y"), ("b", "x"), ("c", "constant")), np.array([5.0, 0.0, 3.0, 1.0]))
    null[:, 3] = 1.0
    test = assess(observed, null, tail=tail)
    for i, value in enumerate(observed.values):
        above, below = sum(null[:, i] >= value), sum(null[:, i] <= value)
        r = {"upper": above, "lower": below, "two-sided": min(above, below)}[tail]
        sides = 2 if tail == "two-sided" else 1
        assert test["p"][i] == min(1, sides * (1 + r) / 100)
        assert test["p_high"][i] == pytest.approx(min(1, sides * (beta.ppf(0.975, r + 1, 99 - r) if r < 99 else 1)))
    both = np.vstack([observed.values, null])[:, :2]
    deviation = (both - both.mean(axis=0)) / both.std(axis=0)
    deviation = {"upper": deviation, "lower": -deviation, "two-sided": abs(deviation)}[tail]
    for i in range(2):
        r = sum(max(row) >= deviation[0, i] for row in deviation[1:])
        assert test["p_fwe"][i] == (1 + r) / 100
        assert test["p_fwe"][i] >= test["p"][i] / 2
    np.testing.assert_array_equal(test["p_fwe"][2:], test["p"][2:])


def small() -> xr.Dataset:
    """Return a map of six voxels, of which the first two are mirrored by the next two."""
    return xr.Dataset(
        {
            "z": ("voxel", np.array([3.0, 1.0, 0.5, 0.0, 2.0, 4.0])),
            "above": ("voxel", np.array([True, False, False, False, False, True])),
            "excess": ("voxel", np.array([0.25, 0, 0, 0, 0, 0.75])),
            "xyz": (("voxel", "axis"), np.array([[-2, 0, 0], [-4, 0, 0], [2, 0, 0], [4, 0, 0], [-6, 0, 0], [0, 2, 0]])),
            "mirror": ("voxel", np.array([2, 3, 0, 1, -1, 5])),
        }
    )


def test_given_statistics_are_plain_arithmetic() -> None:
    labelled = small().assign(image=("voxel", np.array([1, 1, 2, 0, 2, 0]), {"labels": {1: "one", 2: "two"}}))
    assert networks(labelled) == {"mean z": {"one": 2.0, "two": 1.25}, "share of mass": {"one": 0.25, "two": 0.0}}
    assert regions(labelled) == {"mean z": {"one": 2.0, "two": 1.25}, "largest z": {"one": 3.0, "two": 2.0}}
    sides = laterality(small())
    assert sides["difference of z"] == {"left - right": (2.5 + 1.0) / 2}
    # The voxel on the midline is on no side.
    assert sides["index of mass"] == {"(L - R) / (L + R)": 1.0}
    values = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 7.0])
    known = np.isfinite(values)
    r = correlation(small().assign(image=("voxel", values)))["correlation"]["r"]
    assert r == pytest.approx(np.corrcoef(values[known], small()["z"].values[known])[0, 1])
    other = small().assign(image=("voxel", np.array([1, 1, 0, 0, 0, 0])))
    assert dice(other)["overlap"]["Dice"] == 2 * 1 / (2 + 2)


def test_given_statistics_of_an_empty_map_are_numbers() -> None:
    empty = small() * 0
    empty["above"], empty["xyz"] = empty["above"].astype(bool), small()["xyz"]
    empty["image"] = ("voxel", np.zeros(6), {"labels": {}})
    for function in (laterality, correlation, dice):
        assert [v for group in function(empty).values() for v in group.values()] in ([0.0], [0.0, 0.0])


def fails(maps: xr.Dataset) -> float:
    if maps.attrs["iteration"] == 3:
        raise ZeroDivisionError("three is too many")
    return 1.0


def nan(maps: xr.Dataset) -> dict[str, float]:
    return {"first": 1.0, "second": float("nan") if maps.attrs["iteration"] == 2 else 0.5}


def longer(maps: xr.Dataset) -> list[float]:
    return [1.0] * (2 if maps.attrs["iteration"] < 4 else 3)


def half(maps: xr.Dataset) -> float:
    return 1 if maps.attrs["iteration"] < 5 else 0.5


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (fails, "'fails' of iteration 3 of the uniform null: ZeroDivisionError: three is too many .*line"),
        (nan, "'nan' of iteration 2 of the uniform null: 'second' is no finite number"),
        (longer, "'longer' of iteration 4 of the uniform null: returned 3 number.s. where the observed map has 2"),
        (half, "'half' of iteration 5 of the uniform null: returned a number that is not whole"),
        (lambda maps: "many", "'lambda' of the observed map: returned str 'many', wanted one or a few numbers"),
        (lambda maps: [], "'lambda' of the observed map: returned list"),
        (lambda maps: True, "'lambda' of the observed map: returned bool True"),
        (lambda maps: np.ones((2, 2)), "wanted one or a few numbers"),
    ],
)
def test_a_statistic_that_goes_wrong_names_the_iteration(result: xr.Dataset, function: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ale.null(result, function, null="uniform")


def test_maps_cannot_be_spoilt_for_the_next_iteration(result: xr.Dataset) -> None:
    def spoils(maps: xr.Dataset) -> float:
        maps["xyz"].values[:] = 0
        return 1.0

    with pytest.raises(InputError, match="read-only"):
        ale.null(result, spoils, null="uniform", iterations=1)


@pytest.mark.parametrize(
    ("statistic", "options", "said"),
    [
        ("network", {}, "did you mean 'networks'"),
        ("networks", {}, "needs an image"),
        ("laterality", {"image": "AAL"}, "takes no image"),
        ("laterality", {"arguments": {"x": 1}}, "takes no arguments"),
        ("laterality", {"tail": "left"}, "give upper, lower, two-sided"),
        ("laterality", {"null": "flat"}, "give uniform, base-rate or both"),
        ("laterality", {"iteration": 3}, "did you mean 'iterations'"),
        ("networks", {"image": "yeo8"}, "did you mean 'yeo"),
        ("nowhere.py:f", {}, "cannot read the file"),
        (max, {}, "give a function"),
    ],
)
def test_what_cannot_be_asked_is_said(result: xr.Dataset, statistic: object, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ale.null(result, statistic, **options)


def test_labels_and_values_come_to_the_grid(tmp_path: Path) -> None:
    # A grid of 2 mm with another origin: values rise along x by 1 per mm, labels are its sides.
    shape, affine = (50, 50, 50), np.array([[2.0, 0, 0, -49], [0, 2, 0, -71], [0, 0, 2, -41], [0, 0, 0, 1]])
    x = affine[0, 0] * np.arange(50) + affine[0, 3]
    rising = np.broadcast_to(x[:, None, None], shape)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(rising, dtype=np.float64) + 0.25, affine), tmp_path / "x.nii.gz")
    nib.save(nib.Nifti1Image((1 + (rising > 0)).astype(np.int16), affine), tmp_path / "sides.nii.gz")
    (tmp_path / "sides.txt").write_text("left\nright\n")
    mm = MASK.to_mm(MASK.voxel_ijk)
    values = on_grid(tmp_path / "x.nii.gz", MASK, wanted="values")
    inside = (np.abs(mm - [0, -22, 8]) <= 49).all(axis=1)
    np.testing.assert_allclose(values.values[inside], mm[inside, 0] + 0.25)
    labels = on_grid(tmp_path / "sides.nii.gz", MASK, wanted="labels")
    assert labels.labels == {1: "left", 2: "right"}
    np.testing.assert_array_equal(labels.values[inside], 1 + (mm[inside, 0] > 0))
    assert "2 x 2 x 2 mm" in labels.note
    # Without a word on what is wanted, whole numbers are labels.
    assert on_grid(tmp_path / "sides.nii.gz", MASK, wanted=None).values.dtype == np.int64
    with pytest.raises(InputError, match="no labels"):
        on_grid(tmp_path / "x.nii.gz", MASK, wanted="labels")


def test_names_of_labels_are_read_in_three_forms() -> None:
    assert label_names("a\nb\n") == {1: "a", 2: "b"}
    assert label_names("0 none 0 0\n1\tLH_Vis_1\t120 18 131 0\n12 RH_1\n") == {1: "LH_Vis_1", 12: "RH_1"}
    assert label_names("index\tname\n3\tThalamus\n") == {3: "Thalamus"}


def test_arguments_and_source_make_another_statistic(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def f(maps, k=1):\n    return k\n")
    one = statistic_of(f"{file}:f", {"k": 2})
    assert one.function(None, **one.arguments) == 2
    file.write_text("def f(maps, k=1):\n    return k + 1\n")
    assert statistic_of(f"{file}:f").source != one.source
    file.write_text("raise ValueError('no')\n")
    with pytest.raises(InputError, match="cannot be run"):
        statistic_of(f"{file}:f")
    file.write_text("def networks(maps):\n    return 1\n")
    with pytest.raises(InputError, match="did you mean 'networks'"):
        statistic_of(f"{file}:network")
    assert statistic_of(f"{file}:networks").name == "own-networks"


@pytest.mark.integration
def test_networks_of_real_language_foci() -> None:
    foci = ale.read_foci(shared("language_children/children.txt"))
    image = shared("yeo_networks/TY7.nii.gz")
    result = ale.main_effect(foci, null="uniform", iterations=20, seed=1)
    test = ale.null(result, "networks", image=image)
    assert test["label"].values[:7].tolist() == [
        "Visual",
        "Somatomotor",
        "DorsAttn",
        "Sal/VenAttn",
        "Limbic",
        "Control",
        "Default",
    ]
    mean = test["observed"].sel(against="uniform").values[:7]
    volume = np.asarray(nib.load(image).dataobj)[tuple(result["voxel_ijk"].values.T)]
    plain = [np.maximum(result["z"].values[volume == i], 0).mean() for i in range(1, 8)]
    np.testing.assert_allclose(mean, plain, atol=1e-3)
    assert ale.tables(test)["null"].shape[0] == 14
