"""Balanced contrasts: each pair of subsamples is held to all its relabellings, written out plainly here."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from support.effects import effect

import ale_dask as ale
from ale_dask.analyses.execute import sample_of
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import sums_and_null
from ale_dask.analyses.sample import study_bits
from ale_dask.config.study import load_study
from ale_dask.coordinates.foci import subset
from ale_dask.errors import InputError
from ale_dask.workflows.prepare import prepare


def both(tiny: Path, **changes: object) -> list[xr.Dataset]:
    return [effect(ale.read_foci(tiny / f"{name}.txt"), tiny, name, **changes) for name in ("drug", "therapy")]


def dense(arm: xr.Dataset, names: np.ndarray, *, bits: int, exact: bool = True) -> np.ndarray:
    """Return X of each experiment (experiment, voxel), in the order of names."""
    model = model_of(arm)
    sample = sample_of(arm, inference=model.inference, mask=model.mask)
    rows = np.zeros((len(sample.key), model.mask.n_voxels), dtype=np.int64)
    for row, (voxel, value) in zip(rows, sample.rows(bits, exact=exact), strict=True):
        row[voxel] = value
    ids = sample.foci["experiment_id"].values.astype(str).tolist()
    return rows[[ids.index(name) for name in names.astype(str)]]


def plain(a: np.ndarray, b: np.ndarray, *, p: float, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return T (voxel) of a pair, and which voxels survive FWE and uncorrected (level x direction, voxel)."""
    rows, k = np.concatenate([a, b]), len(a)
    total = rows.sum(axis=0)

    def difference(first: list[int]) -> np.ndarray:
        s = rows[first].sum(axis=0)
        return np.round((np.exp(-(total - s) * 2.0**-bits) - np.exp(-s * 2.0**-bits)) * 2.0**40)

    observed = difference(list(range(k)))
    null = np.array([difference(list(chosen)) for chosen in combinations(range(2 * k), k)])
    survives = []
    for sign in (1, -1):
        # Differences of equal sums are equal but for rounding.
        least = sign * observed - 2
        largest = (sign * null).max(axis=1)
        survives.append(((largest[:, None] >= least).mean(axis=0) <= p, ((sign * null) >= least).mean(axis=0) < p))
    corrected, uncorrected = zip(*survives, strict=True)
    return observed * 2.0**-40, np.array([*corrected, *uncorrected])


@pytest.mark.parametrize("changes", [{}, {"within": "additive"}], ids=str)
def test_each_pair_is_held_to_all_its_relabellings(tiny: Path, changes: dict[str, str]) -> None:
    a, b = both(tiny, contrast_p=0.2, **changes)
    found = ale.balanced_contrast(a, b, size=3, subsamples=8)
    assert found.attrs["relabellings_enumerated"]
    assert found.attrs["iterations"] == 20
    samples = [sample_of(arm, inference=model_of(arm).inference, mask=model_of(arm).mask) for arm in (a, b)]
    bits = int(found.attrs["scale_bits"])
    assert bits <= study_bits(samples)
    s, null = sums_and_null([row for one in samples for row in one.rows(bits)], n_voxels=a.sizes["voxel"], bits=bits)
    compared = s >= null.critical(0.05)
    assert found.attrs["candidates"] == compared.sum() > 0
    x, y = (
        dense(arm, found[f"{which}_group"].values, bits=bits)[:, compared]
        for arm, which in ((a, "first"), (b, "second"))
    )
    pairs = zip(found["pair_has_first"].values, found["pair_has_second"].values, strict=True)
    made = [plain(x[one], y[two], p=0.2, bits=bits) for one, two in pairs]
    mean = np.mean([difference for difference, _ in made], axis=0)
    np.testing.assert_allclose(found["balanced_difference"].values[compared], mean, atol=1e-7)
    survives = np.array([each for _, each in made])
    share = found["balanced_share"].values.reshape(4, -1)
    assert (share[:, ~compared] == 0).all()
    np.testing.assert_array_equal(share[:, compared], survives.mean(axis=0).astype(np.float32))
    volume = found["pair_volume"].values.reshape(4, -1)
    np.testing.assert_array_equal(volume, survives.sum(axis=2).T)
    assert (share[2:].max(axis=1) > 0).all()
    if not changes:
        assert share[0].max() > 0


def test_clusters_of_a_pair_are_those_of_a_contrast_of_its_experiments(tiny: Path) -> None:
    settings = {"contrast_floor": 0.0, "gate": "none", "voxel_p": 0.1, "cluster_p": 0.3, "iterations": 30}
    a, b = both(tiny, **settings)
    found = ale.balanced_contrast(a, b, size=5, subsamples=3)
    assert not found.attrs["relabellings_enumerated"]
    assert list(found["level"].values) == ["voxel-fwe", "uncorrected", "size-fwe", "mass-fwe"]
    total = np.zeros((2, 2, a.sizes["voxel"]))
    for pair in range(3):
        arms = []
        for name, which in (("drug", "first"), ("therapy", "second")):
            foci = ale.read_foci(tiny / f"{name}.txt")
            has = found[f"{which}_group"].values[found[f"pair_has_{which}"].values[pair]]
            chosen = subset(foci, np.isin(foci["experiment_id"].values, has))
            arms.append(effect(chosen, tiny, name, **settings))
        alone = ale.contrast(*arms).isel(input=0)
        side = np.array([(alone["contrast_cluster_of_voxel"].values[d] > 0).any() for d in range(2)])
        np.testing.assert_array_equal(found["pair_clusters"].values[:, pair] > 0, side)
        survives = np.array(
            [[s * alone[f"z_contrast_{measure}_fwe"].values > 0 for s in (1, -1)] for measure in ("size", "mass")]
        )
        np.testing.assert_array_equal(found["pair_volume"].values[2:, :, pair], survives.sum(axis=2))
        total += survives
    np.testing.assert_array_equal(found["balanced_share"].values[2:], (total / 3).astype(np.float32))
    assert (total > 0).any(axis=(1, 2)).all()
    # Where the correction is of voxels no cluster is tested, and all else is the same.
    voxels = ale.balanced_contrast(*both(tiny, **settings, correction="voxel"), size=5, subsamples=3)
    assert "pair_clusters" not in voxels
    np.testing.assert_array_equal(voxels["balanced_share"].values, found["balanced_share"].values[:2])


def test_arms_the_other_way_round_are_the_same_pairs_with_the_other_sign(tiny: Path) -> None:
    a, b = both(tiny)
    one, two = ale.balanced_contrast(a, b, subsamples=6), ale.balanced_contrast(b, a, subsamples=6)
    np.testing.assert_array_equal(one["balanced_share"].values, two["balanced_share"].values[:, ::-1])
    np.testing.assert_array_equal(one["balanced_difference"].values, -two["balanced_difference"].values)
    np.testing.assert_array_equal(one["pair_has_first"].values, two["pair_has_second"].values)
    shown = one["balanced_clusters"].values
    assert (shown > 0).any()
    np.testing.assert_array_equal(shown, -two["balanced_clusters"].values)


def test_size_is_one_fewer_than_the_smaller_arm_and_few_pairs_are_enumerated(tiny: Path) -> None:
    a, b = both(tiny, iterations=20)
    some = ale.balanced_contrast(a, b, subsamples=10)
    assert some.attrs["size"] == 5
    assert some.attrs["possible"] == 56 * 6
    at = np.unravel_index(int(some["balanced_share"].values.argmax()), some["balanced_share"].shape)
    r = round(float(some["balanced_share"].values[at]) * 10)
    ends = [float(some[f"balanced_share_{end}"].values[at]) for end in ("low", "high")]
    np.testing.assert_allclose(ends, stats.binomtest(r, 10).proportion_ci(0.95, "exact"), rtol=1e-5)
    # The same groups are those of subsamples of the arm by itself.
    alone = ale.subsampled(a, size=5, subsamples=10)
    np.testing.assert_array_equal(alone["subsample_has"].values, some["pair_has_first"].values)
    every = ale.balanced_contrast(a, b, subsamples=336)
    assert every.attrs["enumerated"]
    pairs = np.concatenate([every["pair_has_first"].values, every["pair_has_second"].values], axis=1)
    assert len(np.unique(pairs, axis=0)) == 336
    np.testing.assert_array_equal(every["balanced_share_low"].values, every["balanced_share_high"].values)


def test_mistakes(tiny: Path) -> None:
    toml = tiny / "study.toml"
    text = toml.read_text()

    def fails(lines: str, message: str) -> None:
        toml.write_text(text + f'[analysis.pairs]\nkind = "balanced-contrast"\n{lines}\n')
        with pytest.raises(InputError, match=message):
            prepare(load_study(toml))

    fails('arms = ["drug"]', r"analysis\.pairs\.arms: List should have at least 2")
    fails('arms = ["drug", "therapie"]', r"analysis\.pairs\.arms: no main effect named 'therapie'; did you mean")
    fails('arms = ["drug", "drug"]', r"analysis\.pairs\.arms: names the same one twice")
    fails('arms = ["drug", "therapy"]\nsize = 6', r"analysis\.pairs\.size: 6 of the 6 groups of subjects of 'therapy'")
    a, _ = both(tiny)
    with pytest.raises(InputError, match="both arms must be main effects"):
        ale.balanced_contrast(a, ale.read_foci(tiny / "therapy.txt"))
