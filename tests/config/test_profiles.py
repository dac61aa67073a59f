"""Convention profiles: whole tables, the effect of each choice, and results of other programs for the built-in example.

tests/goldens/nimare-*.npz and jale-*.npz are made by scripts/goldens, in the programs' own environments.
"""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, special, stats
from support.real_data import shared
from typer.testing import CliRunner

import ale_dask as ale
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.ma import ma_maps
from ale_dask.analyses.main_effect import block, plan_main_effect
from ale_dask.analyses.sample import Sample, sample, study_bits
from ale_dask.cli import app
from ale_dask.config.inference import (
    BUILT_IN,
    CONVENTIONS,
    PROFILES,
    PROGRAMS,
    Inference,
    Profile,
    departures,
    with_changes,
)
from ale_dask.config.study import inference_from
from ale_dask.errors import InputError
from ale_dask.numerics import correct
from ale_dask.numerics.ale import cell_index, modelled_activation
from ale_dask.numerics.elementary import fixed_point
from ale_dask.numerics.gaussian import kernel_box
from ale_dask.numerics.space import rounded

GOLDENS = Path(__file__).parents[1] / "goldens"
THEIRS = ("nimare", "jale")
BIN = {"nimare": 1e-5, "jale": 1e-4}
"""Of the histograms that the voxel null is made of."""


def example(profile: str, **settings: Any) -> Sample:
    """The example's antidepressants as an analysis under a profile takes them."""
    foci = ale.read_foci(Path(str(files("ale_dask.datasets.example"))) / "antidepressants.csv")
    inference = inference_from({"profile": profile, **settings})
    return sample(foci, mask=ale.load_mask(inference.mask), inference=inference)


def golden(profile: str) -> dict[str, np.ndarray]:
    with np.load(GOLDENS / f"{profile}-antidepressants.npz") as archive:
        return dict(archive)


# The tables.


def test_every_profile_makes_every_choice_and_the_recommended_ones_are_the_defaults():
    assert set(get_args(Profile)) == set(PROFILES) == {"recommended", *PROGRAMS}
    for name, table in PROFILES.items():
        assert set(table) == set(CONVENTIONS) <= set(Inference.model_fields)
        assert {k: v for k, v in inference_from({"profile": name}).model_dump().items() if k in table} == table
    assert {name: field.default for name, field in Inference.model_fields.items() if name in CONVENTIONS} == PROFILES[
        "recommended"
    ]


def test_a_setting_of_ones_own_is_kept_and_told():
    chosen = inference_from({"profile": "jale", "rounding": "half-up", "mask": "brain"})
    assert (chosen.rounding, chosen.mask, chosen.cluster_cut) == ("half-up", "brain", "above")
    assert departures(chosen.model_dump()) == {"rounding": "half-up", "mask": "brain"}
    assert Inference.model_validate_json(chosen.model_dump_json()) == chosen


def test_another_profile_brings_its_choices_but_for_departures():
    base = inference_from({"profile": "jale", "connectivity": 18, "seed": 5}).model_dump()
    now = inference_from(with_changes(base, {"profile": "nimare"}))
    assert departures(now.model_dump()) == {"connectivity": 18}
    assert now.seed == 5
    assert with_changes(base, {"seed": 6}) == base | {"seed": 6}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"profile": "fsl"}, "profile: Input should be"),
        ({"kernel": "lattice"}, "needs rounding"),
        ({"profile": "jale", "rounding": "none"}, "needs rounding"),
        ({"profile": "matlab", "correction": "tfce"}, "tfce needs connectivity 6"),
        ({"connectivity": 26}, "connectivity"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(settings, why):
    with pytest.raises(InputError, match=why):
        inference_from(settings)


def test_the_identity_of_a_default_study_knows_nothing_of_profiles():
    plain = example("recommended")
    assert not set(plain.conventions(30)) & {*CONVENTIONS} - {"mask", "support"}
    # What is decided after the null is not part of it.
    assert example("gingerale").conventions(30) == plain.conventions(30)
    identities = {json.dumps(example(p).conventions(30), sort_keys=True) for p in PROFILES}
    assert len(identities) == len(PROFILES) - 1


# What each choice does.


@given(st.lists(st.floats(-5, 200), min_size=3, max_size=3))
def test_rounding_ends_at_a_voxel_centre_next_to_the_focus(at):
    point = np.array([at])
    assert np.array_equal(rounded(point, "none"), point)
    for how in ("half-even", "half-up", "ceil", "floor"):
        found = rounded(point, how)
        assert np.array_equal(found, np.rint(found))
        assert np.abs(found - point).max() <= (1 if how in ("ceil", "floor") else 0.5)
        assert np.array_equal(rounded(found, how), found)
    assert (rounded(point, "ceil") >= point - 1e-9).all()
    assert (rounded(point, "floor") <= point + 1e-9).all()


def test_halves_are_where_roundings_differ():
    halves = np.array([[0.5, 1.5, 2.5]])
    assert rounded(halves, "half-even").tolist() == [[0, 2, 2]]
    assert rounded(halves, "half-up").tolist() == rounded(halves, "ceil").tolist() == [[1, 2, 3]]
    assert rounded(halves, "floor").tolist() == [[0, 1, 2]]
    # 6 - 1e-12 voxels is 6 with a rounding error, not 5.
    assert rounded(np.array([[6 - 1e-12, -1.25, 7.999]]), "floor").tolist() == [[6, -2, 7]]


@pytest.mark.parametrize("sigma", [(1.8, 1.8, 1.8), (2.4, 1.2, 0.9)])
def test_a_lattice_kernel_is_what_a_gaussian_filter_makes_of_one_voxel(sigma):
    one = np.zeros((31, 31, 31))
    one[15, 15, 15] = 1
    made = ndimage.gaussian_filter(one, sigma, mode="constant", truncate=4.0)
    box = kernel_box(np.array(sigma), support=4.0, bits=30, kernel="lattice")
    middle = tuple(slice(15 - n // 2, 16 + n // 2) for n in box.shape)
    assert np.count_nonzero(made) == np.count_nonzero(made[middle])
    np.testing.assert_allclose(-np.expm1(-box / 2.0**30), made[middle], atol=2.0**-30)


@given(st.floats(0.6, 4.1), st.floats(1.5, 4.5))
def test_a_lattice_kernel_rounded_up_reaches_and_sums_as_it_says(sigma, support):
    box = kernel_box(np.full(3, sigma), support=support, bits=30, kernel="lattice-ceil")
    reach = math.ceil(support * sigma)
    assert box.shape == (2 * reach + 1,) * 3
    d = np.arange(-reach, reach + 1)
    factor = np.exp(-(d**2) / (2 * sigma**2)) / np.exp(-(d**2) / (2 * sigma**2)).sum()
    expected = np.einsum("i,j,k", factor, factor, factor)
    np.testing.assert_allclose(-np.expm1(-box / 2.0**30), expected, atol=2.0**-30)


@pytest.mark.parametrize("kernel", ["density", "lattice", "lattice-ceil"])
def test_the_observed_map_has_the_kernel_of_the_null(kernel):
    sigma, volume = np.array([1.9, 1.3, 0.8]), np.ones((25, 21, 19), dtype=bool)
    box = kernel_box(sigma, support=3.5, bits=30, kernel=kernel)
    centre = np.array([12.0, 10.0, 9.0])
    voxel, ma = modelled_activation(
        centre[None], sigma=sigma, support=3.5, voxel_of_cell=cell_index(volume), kernel=kernel
    )
    found = np.zeros(volume.shape, dtype=np.int64)
    found.reshape(-1)[voxel] = fixed_point(ma, bits=30)
    around = tuple(slice(int(c) - n // 2, int(c) + n // 2 + 1) for c, n in zip(centre, box.shape, strict=True))
    assert np.array_equal(found[around], box)
    assert found.sum() == box.sum(dtype=np.int64)


@given(
    # Of two iterations, NiMARE's p is 1/2 whatever was observed.
    st.lists(st.integers(0, 30), min_size=3, max_size=300),
    st.sampled_from([0.01, 0.05, 0.2, 0.5]),
)
def test_cuts_let_through_what_their_rules_say(values, alpha):
    null, n = np.array(values), len(values)
    at = {rule: correct.cut(null, alpha=alpha, rule=rule) for rule in ("plus-one", "share", "at", "above")}
    for k in range(33):
        r = int((null >= k).sum())
        assert (k >= at["plus-one"]) == ((1 + r) / (1 + n) <= alpha + 1e-12)
        assert (k >= at["share"]) == (max(r, 1) / n <= alpha + 1e-12)
        assert (k >= at["above"]) == (k > np.quantile(null, 1 - alpha))
        assert (k >= at["at"]) == (k >= np.sort(null)[::-1][math.ceil(alpha * n - 1e-9) - 1])
    p = correct.monte_carlo_p(null, np.arange(33), rule="share")
    assert ((p <= alpha + 1e-12) == (np.arange(33) >= at["share"])).all()
    assert p.min() >= 1 / n
    assert p.max() <= max(1 - 1 / n, 1 / n)


def test_the_nulls_own_value_is_a_little_above_the_observed_one():
    chosen = example("jale")
    settings = plan_main_effect(chosen, bits=study_bits([chosen]), name="x").settings
    # Reported foci overlap, drawn ones hardly.
    assert 1.005 < settings["null_threshold"] / settings["threshold"] < 1.02
    assert "null_threshold" not in plan_main_effect(example("matlab"), bits=28, name="x").settings


def test_a_conjunction_peaks_where_its_own_measure_does(tiny: Path):
    arms = [
        ale.main_effect(ale.read_foci(tiny / f"{n}.txt"), name=n, mask=str(tiny / "ball.nii.gz"), iterations=40, **how)
        for n, how in (("drug", {"voxel_p": 0.2}), ("therapy", {"voxel_p": 0.2}))
    ]
    for measure, variable in (("z", "z_min"), ("ale", "ale_min")):
        both = ale.conjunction(arms, conjunction_of=measure)
        values = both["z_min"].sel(input="uncorrected").values
        found = model_of(both).clusters(values)
        assert found
        for cluster in found:
            rank = both[variable].sel(input="uncorrected").values
            assert rank[cluster.peak] == rank[cluster.voxels].max()


@pytest.mark.integration
@pytest.mark.parametrize("profile", [p for p in PROFILES if p != "recommended"])
def test_a_run_under_a_profile_writes_down_what_it_chose(profile, tiny: Path, tmp_path: Path):
    arguments = ["run", str(tiny / "study.toml"), "-o", str(tmp_path / "out"), "-b", "serial", "-q", "--no-pictures"]
    done = CliRunner().invoke(app, [*arguments, "--profile", profile])
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "out" / "run.json").read_text())["inference"]
    mask = {"mask": "ball.nii.gz"}
    assert {k: told[k] for k in PROFILES[profile]} | mask == {**PROFILES[profile], **mask}
    assert told["profile"] == profile
    assert f"{PROGRAMS[profile]} (profile" in (tmp_path / "out" / "logs" / "CITATION.md").read_text().replace("\\", "")


# The other programs.


@pytest.fixture(scope="module")
def observed() -> dict[str, tuple[Sample, xr.Dataset]]:
    """The example under each profile, with maps but hardly a null."""
    out = {}
    for profile in THEIRS:
        chosen = example(profile)
        out[profile] = chosen, ale.main_effect(chosen.foci, iterations=20, profile=profile)
    return out


@pytest.mark.parametrize("profile", THEIRS)
def test_ale_is_theirs(profile, observed):
    theirs, (_, ours) = golden(profile), observed[profile]
    # Both are float32: half a unit in the last place of 0.035 is 2e-9.
    np.testing.assert_allclose(ours["ale"].values[theirs["voxel"]], theirs["ale"], rtol=0, atol=5e-9)


@pytest.mark.parametrize(("profile", "above_3", "above_1"), [("nimare", 0.004, 0.015), ("jale", 0.03, 0.06)])
def test_z_is_theirs_up_to_their_bins(profile, above_3, above_1, observed):
    theirs, (_, ours) = golden(profile), observed[profile]
    apart = np.abs(ours["z"].values[theirs["voxel"]] - theirs["z"])
    assert apart[theirs["z"] > 3].max() < above_3
    assert apart[theirs["z"] > 1].max() < above_1
    assert abs(ours.attrs["threshold_ale"] - theirs["threshold"]) <= BIN[profile]


@pytest.mark.parametrize("profile", THEIRS)
def test_what_is_left_of_z_is_their_bins(profile, observed):
    theirs, (chosen, ours) = golden(profile), observed[profile]
    width, n_voxels = BIN[profile], chosen.mask.n_voxels
    law = np.ones(1)
    for row in ma_maps(chosen)["ma"].values:
        one = np.bincount(np.floor(row.astype(np.float64) / width + 0.5).astype(int)) / n_voxels
        x, y = np.flatnonzero(law), np.flatnonzero(one)
        score = 1 - (1 - width * x[:, None]) * (1 - width * y)
        law = np.bincount(
            np.floor(score / width + 0.5).astype(int).reshape(-1), weights=np.outer(law[x], one[y]).reshape(-1)
        )
    tail = np.cumsum(law[::-1])[::-1]
    at = np.floor(ours["ale"].values[theirs["voxel"]].astype(np.float64) / width + 0.5).astype(int)
    z = np.maximum(special.ndtri(1 - np.maximum(tail[np.minimum(at, len(tail) - 1)], 2.0**-52)), 0)
    kept = (theirs["z"] < 6) & (theirs["z"] > 0)
    apart, before = (np.quantile(np.abs(of - theirs["z"])[kept], 0.9) for of in (z, ours["z"].values[theirs["voxel"]]))
    # A value at the edge of a bin falls to one side here, to the other there.
    assert apart < before / 10
    assert kept.sum() > 2000


@pytest.mark.parametrize("profile", THEIRS)
def test_thresholds_are_theirs_within_both_intervals(profile):
    theirs, chosen = golden(profile), example(profile)
    bits = study_bits([chosen])
    null = block(plan_main_effect(chosen, bits=bits, name="x"), 0, 4000)["null"]
    ours = {"max_ale": -np.expm1(-null[:, 0] / 2.0**bits), "max_size": null[:, 1]}
    for name, values in ours.items():
        (low, high), (least, most) = (interval(v) for v in (values, theirs[name].astype(np.float64)))
        assert low <= most
        assert least <= high
        assert stats.ks_2samp(values, theirs[name]).pvalue > 0.001


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the 95th percentile."""
    ordered, n = np.sort(values), len(values)
    low, high = stats.binom.ppf([0.025, 0.975], n, 0.95).astype(int)
    return float(ordered[low - 1]), float(ordered[min(high, n - 1)])


@pytest.mark.parametrize(
    ("name", "voxel", "size"),
    [("one", 0.029492, 119), ("two", 0.041034, 109), ("three", 0.028351, 96), ("four", 0.04857, 142)],
)
def test_matlab_thresholds_of_the_reward_networks(name, voxel, size):
    foci = ale.read_foci(shared("reward_talairach") / f"{name}.txt", talairach="spm")
    inference = inference_from({"profile": "matlab"})
    chosen = sample(foci, mask=ale.load_mask("grey10"), inference=inference)
    bits = study_bits([chosen])
    null = block(plan_main_effect(chosen, bits=bits, name=name), 0, 2000)["null"]
    cut = correct.cut(null[:, 0], alpha=0.05, rule="at")
    # Theirs lie 2-4 % below ours in all four, which no reading of their source explains.
    assert voxel == pytest.approx(-math.expm1(-cut / 2.0**bits), rel=0.055)
    assert 0.025 < correct.monte_carlo_p(null[:, 1], [size])[0] < 0.11


def test_grey10_is_the_mask_of_jale():
    mask = ale.load_mask("grey10")
    assert "grey10" in BUILT_IN
    assert mask.n_voxels == 211_590
    assert np.array_equal(mask.affine, ale.load_mask("brain").affine)
