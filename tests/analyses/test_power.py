"""Power: fast simulations equal a plain one, and results without a cluster report it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage
from support.commands import quietly as command
from support.effects import effect

import ale_dask as ale
from ale_dask.analyses import base_rate
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import plan_main_effect
from ale_dask.analyses.sample import sample
from ale_dask.analyses.sensitivity.power import with_power
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.datasets.base_rate import density, load_counts
from ale_dask.errors import InputError
from ale_dask.numerics import clusters
from ale_dask.numerics import power as kernels
from ale_dask.numerics.base_rate_null import source_of_foci
from ale_dask.numerics.base_rate_tfce import base_rate_tfce_map
from ale_dask.numerics.density_levels import least_z, z_map
from ale_dask.numerics.gaussian import kernel_box
from ale_dask.numerics.weighted_draws import cumulative_words, draw_weighted
from ale_dask.reporting.sensitivity.power import power_line, power_table
from ale_dask.schema import FOCI

WITHIN = 9.0


def tables(result: xr.Dataset) -> dict[str, object]:
    """Return the tables of the simulation of a result, and those that a plain simulation needs."""
    inference, mask = model_of(result).inference, model_of(result).mask
    chosen = sample(result[list(FOCI)], mask=mask, inference=inference)
    distinct, kernel = chosen.kernels
    boxes = [kernel_box(s, support=inference.support, bits=int(result.attrs["scale_bits"])) for s in distinct]
    trial = kernels.trial_of(
        np.r_[0, np.cumsum(chosen.n_foci)].astype(np.int64),
        kernel=kernel,
        experiment_key=chosen.key,
        seed=inference.seed,
        additive=chosen.additive,
    )
    space = kernels.space_of(mask.voxel_ijk, near=kernels.offsets_within(WITHIN, affine=mask.affine))
    return {"trial": trial, "kernels": kernels.kernels_of(boxes, sigma=distinct), "space": space, "boxes": boxes}


def plain(result: xr.Dataset, simulations: int, *, null: str = "uniform") -> np.ndarray:
    """Return whether each place is found (simulation, 1 + experiment), map by map, with ndimage's clusters."""
    made, mask = tables(result), model_of(result).mask
    trial, space, boxes = made["trial"], made["space"], made["boxes"]
    work = kernels.work_of(trial, made["kernels"], space)
    survives = surviving(result) if null == "uniform" else surviving_base_rate(result)
    weight = density(mask, load_counts()) if null == "base-rate" else None
    words = None if weight is None else source_of_foci(cumulative_words(weight))
    out = []
    for i in range(simulations):
        centre = kernels.draw(i, trial, made["kernels"], space, work)
        voxels, moved = work.voxel.copy(), work.moved.copy()
        for key, begin, end in zip(trial.key, trial.focus_begin, trial.focus_begin[1:], strict=False):
            if words is not None:
                draw_weighted(key, i, words.cumulative, words.guide, voxels, begin, end)
        order = kernels.orders(i, 1, trial=trial)[0]
        row = []
        for m in range(len(order) + 1):
            if m:
                voxels[trial.focus_begin[order[m - 1]]] = moved[order[m - 1]]
            s = np.zeros(np.array(mask.volume.shape) + 40, dtype=np.int64)
            for e, k in enumerate(trial.kernel):
                own = np.zeros_like(s)
                radius = np.array(boxes[k].shape) // 2
                for v in voxels[trial.focus_begin[e] : trial.focus_begin[e + 1]]:
                    at = tuple(
                        slice(20 + c - r, 20 + c + r + 1) for c, r in zip(mask.voxel_ijk[v], radius, strict=True)
                    )
                    own[at] = own[at] + boxes[k] if trial.additive else np.maximum(own[at], boxes[k])
                s += own
            s = s[tuple(slice(20, 20 + n) for n in mask.volume.shape)][mask.volume]
            apart = mask.to_mm(mask.voxel_ijk.astype(float)) - mask.to_mm(mask.voxel_ijk[centre].astype(float))
            near = (apart**2).sum(axis=1) <= WITHIN**2
            row.append(bool((survives(s) & near).any()))
        out.append(row)
    return np.array(out)


def kept(result: xr.Dataset, passing: np.ndarray, measure: np.ndarray, cut: int) -> np.ndarray:
    """Return the voxels (voxel) of the clusters of those that pass whose measure, summed, reaches a cut."""
    mask, volume = model_of(result).mask, np.zeros(model_of(result).mask.volume.shape, dtype=np.int64)
    volume[mask.volume] = passing
    labels, n = ndimage.label(volume, clusters.structure(model_of(result).inference.connectivity))
    volume[mask.volume] = measure
    total = ndimage.sum_labels(volume, labels, np.arange(1, n + 1))
    return np.isin(labels, 1 + np.flatnonzero(total >= cut))[mask.volume]


def surviving(result: xr.Dataset):
    """Return a function from S (voxel) to the voxels (voxel) that survive against the uniform null."""
    attrs, correction = result.attrs, model_of(result).inference.correction
    if correction == "voxel":
        return lambda s: s >= attrs["cut_s"]
    threshold = attrs["threshold"]
    if correction == "cluster-mass":
        return lambda s: kept(result, s >= threshold, s - threshold, attrs["cut_mass"])
    return lambda s: kept(result, s >= threshold, np.ones_like(s), attrs["cut_size"])


def surviving_base_rate(result: xr.Dataset):
    """Return the same against the base rate: with the thresholds that its plan has for each voxel."""
    inference, attrs, mask = model_of(result).inference, result.attrs, model_of(result).mask
    chosen = sample(result[list(FOCI)], mask=mask, inference=inference)
    main = plan_main_effect(chosen, bits=int(attrs["scale_bits"]), name="a")
    made = base_rate.plan_base_rate(chosen, main=main, name="b")
    least, threshold, table = least_z(inference.voxel_p), made.threshold, made.table
    if inference.correction == "voxel":
        return lambda s: (s >= threshold) & (z_map(s, table) >= attrs["base_rate_cut_peak"])
    if inference.correction == "cluster-mass":
        return lambda s: kept(result, s >= threshold, z_map(s, table) - least, attrs["base_rate_cut_mass"])
    if inference.correction == "tfce":
        # test_numerics_base_rate holds it to labelling at every level.
        enhanced = partial(base_rate_tfce_map, shift=0, volume=mask.volume, searched=mask.searched)
        return lambda s: enhanced(z_map(s, table)) >= attrs["base_rate_cut_tfce"]
    return lambda s: kept(result, s >= threshold, np.ones_like(s), attrs["base_rate_cut_size"])


@pytest.mark.parametrize(
    "changes",
    [{}, {"correction": "cluster-mass"}, {"correction": "voxel"}, {"within": "additive"}, {"connectivity": 18}],
)
def test_simulations_are_those_of_whole_maps(tiny: Path, changes: dict[str, object]) -> None:
    result = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug", **changes)
    curve = ale.power(result, simulations=40, within_mm=WITHIN, threads=3)
    expected = plain(result, 40)
    np.testing.assert_array_equal(curve["power"].values, expected.mean(axis=0))
    assert 0 < expected.mean() < 1


@pytest.mark.parametrize(
    ("null", "changes"),
    [
        ("both", {}),
        ("base-rate", {"correction": "cluster-mass", "connectivity": 18}),
        ("both", {"correction": "voxel"}),
    ],
)
def test_against_the_base_rate_they_are_those_of_whole_maps(tiny: Path, null: str, changes: dict[str, object]) -> None:
    result = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug", null=null, **changes)
    curve = ale.power(result, simulations=10, within_mm=WITHIN, threads=2)
    expected = plain(result, 10, null="base-rate")
    end = "_base_rate" if null == "both" else ""
    np.testing.assert_array_equal(curve[f"power{end}"].values, expected.mean(axis=0))
    assert 0 < expected.mean() < 1
    if null == "both":
        np.testing.assert_array_equal(curve["power"].values, plain(result, 10).mean(axis=0))
    else:
        assert "power_base_rate" not in curve
    # A place in the third of the mask where foci are reported most needs no fewer reports.
    least, most = (curve.attrs[f"power_needed_{which}_reported"] or 99 for which in ("least", "most"))
    assert least <= most
    said = power_line(curve)
    assert "against the base rate" in said
    assert "needs more studies of this sample" in said
    assert ("Power Base Rate (%)" in power_table(curve).columns) == (null == "both")


def test_power_of_tfce_against_the_base_rate_equals_a_plain_computation(tiny: Path) -> None:
    result = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug", null="base-rate", correction="tfce")
    curve = ale.power(result, simulations=3, within_mm=WITHIN)
    found = plain(result, 3, null="base-rate")
    # Bisection takes what is found with some experiments to be found with more.
    assert (np.diff(found.astype(int), axis=1) >= 0).all()
    np.testing.assert_array_equal(curve["power"].values, found.mean(axis=0))


def test_another_base_rate_than_that_of_the_result_is_refused(tiny: Path) -> None:
    result = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug", null="both")
    with pytest.raises(InputError, match="not the one that 'drug' was computed with"):
        ale.power(result.assign_attrs(base_rate_sha256="0"), simulations=2)


def test_any_number_of_threads_gives_the_same_and_more_reports_more_power(tiny: Path) -> None:
    result = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug")
    one, many = (ale.power(result, simulations=101, threads=n) for n in (1, 5))
    xr.testing.assert_identical(one, many)
    assert one["power"].values[-1] > one["power"].values[0]
    assert (np.diff(one["power"].values) >= -0.02).all()
    needed = one.attrs["power_needed"]
    if needed:
        assert one["power"].values[needed] >= 0.8 > one["power"].values[needed - 1]


def test_tfce_by_bisection_is_found_where_its_map_is(tiny: Path) -> None:
    result = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug", correction="tfce")
    curve = ale.power(result, simulations=12)
    assert (np.diff(curve["power"].values) >= 0).all()
    assert curve["power"].values[-1] > 0


def test_what_could_have_been_found_stands_beside_nothing_found(tiny: Path, tmp_path: Path) -> None:
    def one_place(x: float) -> xr.Dataset:
        random = np.random.default_rng(int(x) + 50)
        some = [
            Experiment(
                f"e{i} {x}", 20, tuple(map(tuple, [(x, 0.0, 0.0), *random.uniform(-20, 20, (3, 3))])), "MNI", "f"
            )
            for i in range(8)
        ]
        return build(some)

    a, b = effect(one_place(16), tiny, "a"), effect(one_place(-16), tiny, "b")
    both = ale.conjunction([a, b], name="both")
    told = with_power({"a": a, "b": b, "both": both})
    assert told["both"].attrs["power_of"] == ["a", "b"]
    alone = ale.power(a)
    assert told["a"].attrs["power_needed"] == alone.attrs["power_needed"]
    for name in alone.data_vars:
        assert np.array_equal(told["a"][name].values, alone[name].values)
    assert "power" in told["a"]
    out = ale.write_report(list(told.values()), tmp_path / "out", pictures=False)
    assert "Finding no overlap does not show that there is none" in (out / "report.html").read_text()
    same = ale.conjunction([a, a.assign_attrs(name="a2")], name="same")
    assert "power_of" not in with_power({"a": a, "a2": a.assign_attrs(name="a2"), "same": same})["same"].attrs


def test_the_command_writes_a_row_per_number_of_experiments(tiny: Path, tmp_path: Path) -> None:
    command("run", tiny / "study.toml", "-o", tmp_path / "out")
    text, _ = command("power", tmp_path / "out", "drug", "--simulations", 20, "--json")
    told = json.loads(text)["analyses"]["drug"]
    lines = (tmp_path / "out" / "drug" / "drug_power.tsv").read_text().splitlines()
    assert len(lines) == 1 + told["power_experiments"] + 1
    command("power", tmp_path / "out", "nothing", code=65)


def test_conjunctions_and_impossible_numbers_are_refused(tiny: Path) -> None:
    a = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug")
    with pytest.raises(InputError, match="is no main effect: power is that of one sample"):
        ale.power(ale.conjunction([a, a.assign_attrs(name="again")]))
    with pytest.raises(InputError, match="0 simulations within"):
        ale.power(a, simulations=0)
