"""Cluster-level family-wise error of contrasts, from foci to tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from support.studies import experiments, write_sample

import ale_dask as ale
from ale_dask.config.study import Study, load_study
from ale_dask.coordinates.masks import load_mask
from ale_dask.numerics.contrast import relabellings
from ale_dask.numerics.correct import decisions
from ale_dask.reporting.common.maps import map_specs_of
from ale_dask.reporting.common.wording import notes
from ale_dask.reporting.tables.comparisons import contrast_table
from ale_dask.reporting.tables.study import cluster_tables, study_table
from ale_dask.workflows import run
from ale_dask.workflows.maintain import run_share, verify
from ale_dask.workflows.prepare import make_plans, prepare
from ale_dask.workflows.run_directory import create_run, jobs_of
from ale_dask.workflows.status import status

NAME = "drug-vs-therapy"


def with_settings(folder: Path, *, number: int | None = None, **changes: object) -> Study:
    """Return the tiny study with other settings, run by the plain loop, with `number` experiments in each arm."""
    planted = {"drug": (12, 4, 0), "therapy": (-12, 0, 8)}
    for seed, (name, place) in enumerate(planted.items(), start=1):
        if number:
            write_sample(folder / f"{name}.txt", experiments(seed, number=number, planted=place, prefix=name))
    study = load_study(folder / "study.toml")
    return study.model_copy(
        update={
            "backend": study.backend.model_copy(update={"name": "serial"}),
            "inference": study.inference.model_copy(update=changes),
        }
    )


def by_definition(plan, region, voxel_p, volume):
    """Sizes and masses of the observed clusters per side, and of the largest one of every relabelling.

    From dense sums: a voxel is in where the share of all values as large as its own is below voxel_p.
    """
    settings, arrays = plan.settings, plan.arrays
    n = len(arrays["draw_key"])
    s_q = np.zeros((n, len(arrays["candidate"])), dtype=np.int64)
    s_q[arrays["experiment"], np.repeat(np.arange(s_q.shape[1]), np.diff(arrays["begin"]))] = arrays["value"]
    count = int(settings["relabellings"])
    # With all relabellings of two arms of one size it does not matter whose members are chosen.
    chosen = relabellings(arrays["draw_key"], size=4, first=0, count=count, enumerate_all=True)
    values = np.concatenate([chosen.astype(np.int64) @ s_q, arrays["observed"][None]])
    found = []
    for sign in (1, -1):
        order = np.sort(sign * values[:-1], axis=0)
        as_large = np.stack([count - np.searchsorted(o, v) for o, v in zip(order.T, sign * values.T, strict=True)]).T
        inside = as_large / count < voxel_p
        # The largest value that is not in: what masses count from.
        edge = np.where(inside[:-1], -(2**40), sign * values[:-1]).max(axis=0)
        per_value = []
        for row, excess in zip(inside, sign * values - edge, strict=True):
            grid, weight = np.zeros(volume.shape, dtype=bool), np.zeros(volume.shape, dtype=np.int64)
            at = tuple(np.argwhere(volume)[arrays["candidate"]].T)
            grid[at], weight[at] = row & region, excess
            labels, n_found = ndimage.label(grid)
            index = np.arange(1, n_found + 1)
            per_value.append((np.bincount(labels.ravel())[1:], ndimage.sum(weight, labels, index).astype(np.int64)))
        found.append(per_value)
    return found


@pytest.mark.parametrize("gate", ["none", "pooled"])
def test_p_of_every_cluster_is_that_of_the_definition(tiny: Path, gate: str) -> None:
    # All 70 relabellings of 4 + 4 experiments: every p can be counted.
    study = with_settings(tiny, number=4, voxel_p=0.1, iterations=100, gate=gate, cluster_p=0.4)
    plan = make_plans(prepare(study))[NAME]
    results, _ = run.run(study, tiny / "out", quiet=True)
    result, pooled = results[NAME], results[f"{NAME}_pooled"]
    assert result.attrs["enumerated"]
    volume = load_mask(str(tiny / "ball.nii.gz")).volume
    component = plan.component
    label = result["contrast_cluster_of_voxel"].values
    for source in result["input"].values:
        mine = result.sel(input=source)
        tested = np.isfinite(mine["contrast_cluster_size_p"].values)
        surviving = pooled[{"cluster-fwe": "z_size_fwe", "uncorrected": "z_uncorrected"}[source]].values != 0
        taking = component[surviving[plan.candidate] | (gate == "none")]
        found = by_definition(plan, (component >= 0) & np.isin(component, taking), 0.1, volume)
        for side, per_value in enumerate(found):
            here = tested & np.isin(np.arange(1, len(tested) + 1), label[side])
            for measure, name in enumerate(("size", "mass")):
                observed = per_value[-1][measure]
                assert sorted(observed) == sorted(result[f"contrast_cluster_{name}"].values[here])
                largest = np.array([v[measure].max(initial=0) for v in per_value[:-1]])
                expected = {int(o): (largest >= o).mean() for o in observed}
                for o, p in zip(
                    result[f"contrast_cluster_{name}"].values[here],
                    mine[f"contrast_cluster_{name}_p"].values[here],
                    strict=True,
                ):
                    assert p == pytest.approx(expected[int(o)], abs=1e-12)
                said = mine[f"contrast_cluster_{name}_decision"].values
                significant = mine[f"contrast_cluster_{name}_p"].values[here] <= 0.4
                assert said[here].tolist() == ["significant" if s else "not" for s in significant]
                survives = np.isin(label[side], np.flatnonzero(here & (mine[f"contrast_cluster_{name}_p"] <= 0.4)) + 1)
                assert np.array_equal((1, -1)[side] * mine[f"z_contrast_{name}_fwe"].values > 0, survives)
    assert (label > 0).any(axis=1).all()


def test_python_gives_what_a_run_gives(tiny: Path) -> None:
    study = with_settings(tiny, voxel_p=0.03, iterations=250)
    results, _ = run.run(study, tiny / "out", quiet=True)
    bits = results["drug"].attrs["scale_bits"]
    arms = [
        ale.main_effect(
            results[name], name=name, scale_bits=bits, **study.inference.model_dump(exclude={"mask"}), mask=grid
        )
        for grid in [load_mask(study.inference.mask)]
        for name in ("drug", "therapy")
    ]
    there, back = ale.contrast(*arms, name=NAME), ale.contrast(*arms[::-1], name=NAME)
    for name in results[NAME].data_vars:
        np.testing.assert_array_equal(there[name], results[NAME][name], err_msg=name)
    # The other way round, the directions change places, to the last bit.
    np.testing.assert_array_equal(there["difference"], -back["difference"])
    np.testing.assert_array_equal(there["z_contrast_voxel_fwe"], -back["z_contrast_voxel_fwe"])
    for name in ("p", "p_voxel_fwe"):
        np.testing.assert_array_equal(there[f"{name}_greater"], back[f"{name}_less"])
        np.testing.assert_array_equal(there[f"{name}_less"], back[f"{name}_greater"])
    label, other = there["contrast_cluster_of_voxel"].values, back["contrast_cluster_of_voxel"].values
    assert np.array_equal(label[0] > 0, other[1] > 0)
    assert np.array_equal(label[1] > 0, other[0] > 0)
    for what in ("size", "mass"):
        assert np.array_equal(there[f"z_contrast_{what}_fwe"], -back[f"z_contrast_{what}_fwe"])
        for name in (f"contrast_cluster_{what}", f"contrast_cluster_{what}_p"):
            one, two = (
                r[name].values[..., label_of] for r, label_of in ((there, order(label)), (back, order(other[::-1])))
            )
            np.testing.assert_array_equal(one, two)


def order(label: np.ndarray) -> np.ndarray:
    """Positions of the clusters, by side and first voxel."""
    return np.concatenate([np.unique(side[side > 0]) - 1 for side in label])


def test_an_extension_repeats_the_second_pass_and_a_shorter_run_stays(tiny: Path) -> None:
    short, long = (with_settings(tiny, voxel_p=0.03, iterations=n) for n in (200, 300))

    def digests(study: Study, out: Path) -> tuple[str, str]:
        entry = run.run(study, out, quiet=True)[1]["analyses"][NAME]
        return entry["digest"], entry["digest_clusters"]

    out = tiny / "out"
    first = digests(short, out)
    assert digests(long, out) == digests(long, tiny / "direct")
    assert digests(short, out) == first
    assert {s.analysis: (s.done, s.iterations) for s in status(out)}[f"{NAME}_clusters"] == (200, 200)
    assert verify(out, blocks=100) == []


def test_shares_without_a_scheduler_compute_the_second_pass_too(tiny: Path) -> None:
    study = with_settings(tiny, voxel_p=0.03, iterations=200)
    out = tiny / "out"
    made = create_run(prepare(study), out)
    assert all(run_share(out, index=i, shares=2) > 0 for i in range(2))
    assert not any(job.sink.missing() for job in jobs_of(prepare(study), out, made, workers=1))
    _, results, record = run.collect(out)
    direct = run.run(study, tiny / "direct", quiet=True)[1]
    assert record["analyses"][NAME]["digest_clusters"] == direct["analyses"][NAME]["digest_clusters"]
    assert "z_contrast_size_fwe" in results[NAME]


def test_maps_and_tables_show_the_clusters_that_survive(tiny: Path) -> None:
    study = with_settings(tiny, voxel_p=0.03, iterations=300, cluster_p=0.2)
    results, _ = run.run(study, tiny / "out", quiet=True)
    result = results[NAME]
    suffixes = {v.suffix for v in map_specs_of(result)}
    assert "z_desc-group1MinusGroup2Size_level-cluster_corr-FWE_input-clusterFWE" in suffixes
    assert "z_desc-group1MinusGroup2Mass_level-cluster_corr-FWE_input-uncorrected" in suffixes
    table = contrast_table(result, source="uncorrected", level="size-fwe")
    mine = result.sel(input="uncorrected")
    survive = np.flatnonzero(mine["contrast_cluster_size_p"].values <= 0.2)
    assert len(table) == len(survive) > 0
    columns = {"p": "size_p", "p size low": "size_p_low", "p mass FWE": "mass_p", "Cluster Size (voxels)": "size"}
    for column, name in columns.items():
        assert sorted(table[column]) == sorted(mine[f"contrast_cluster_{name}"].values[survive])
    assert np.all((table["p size low"] <= table["p"]) & (table["p"] <= table["p size high"]))
    assert np.all(table["p size high"] < table["p size bound"])
    # Two measures at two inputs share the .001 of the contrast.
    r, n = (table["p"] * 301 - 1).round(), 300
    eps = 0.001 / (4 * result.sizes["contrast_cluster"])
    assert table["decision"].tolist() == decisions(r, n, alpha=0.2, eps=eps)
    untested = np.isnan(mine["contrast_cluster_size_p"].values)
    assert set(mine["contrast_cluster_size_decision"].values[untested]) <= {""}
    for level in ("uncorrected", "voxel-fwe"):
        assert not contrast_table(result, source="uncorrected", level=level)["decision"].notna().any()
    mass = mine["contrast_cluster_mass"].values[survive] / 2.0 ** result.attrs["scale_bits"]
    assert sorted(table["Cluster Mass"]) == pytest.approx(sorted(mass))
    assert {"_desc-size_level-cluster", "_desc-mass_level-cluster_uncorrected"} <= set(cluster_tables(result))
    listed = study_table(results).query("level == 'size-fwe' and input == 'uncorrected' and cluster != 'none'")
    assert listed["p"].tolist() == table["p"].tolist()
    assert listed["controls"].str.startswith("family-wise error of clusters at 0.2").all()


@pytest.mark.parametrize("changes", [{"correction": "voxel", "voxel_p": 0.03}, {"voxel_p": 0.01}])
def test_no_second_pass_where_none_is_asked_for_or_possible(tiny: Path, changes: dict[str, object]) -> None:
    study = with_settings(tiny, iterations=60, **changes)
    results, record = run.run(study, tiny / "out", quiet=True)
    assert "digest_clusters" not in record["analyses"][NAME]
    assert "z_contrast_size_fwe" not in results[NAME]
    assert not any("cluster" in level for level in cluster_tables(results[NAME]))
    # Too few are said to be so; what was not asked for is not missed.
    said = any("60 relabellings are too few" in note for note in notes(results[NAME]))
    assert said == ("correction" not in changes)
