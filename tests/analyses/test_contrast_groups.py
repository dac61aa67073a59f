"""Contrasts of experiments that share subjects: whole groups change arms, and who leaves is a group."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.commands import quietly as command
from support.studies import write_sample

import ale_dask as ale
from ale_dask.analyses import contrast as contrasts
from ale_dask.analyses import contrast_clusters as second
from ale_dask.analyses import contrast_result
from ale_dask.analyses.main_effect import plan_main_effect
from ale_dask.analyses.sample import reorder, sample, study_bits
from ale_dask.config.analysis import INPUTS
from ale_dask.config.study import inference_from, load_study
from ale_dask.coordinates.foci import concat, subset
from ale_dask.coordinates.subject_groups import pool_subjects, subject_groups
from ale_dask.errors import InputError
from ale_dask.execution.plan import Plan
from ale_dask.numerics.contrast import relabellings
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.workflows import run
from ale_dask.workflows.maintain import extend

SETTINGS = {"voxel_p": 0.05, "min_volume": 8.0, "contrast_p": 0.2}
BITS = 24


def write_arm(path: Path, *, seed: int, sizes: tuple[int, ...], prefix: str) -> None:
    """Write studies of so many experiments each, which share most of their foci and all of their subjects."""
    random = np.random.default_rng(seed)
    paragraphs = []
    for study, size in enumerate(sizes):
        common = random.uniform(-20, 20, size=(6, 3))
        common[0] = (12, 4, 0)
        for number in range(size):
            rows = "\n".join("\t".join(f"{v:.1f}" for v in row) for row in common + random.normal(0, 3, (6, 3)))
            paragraphs.append(f"// {prefix} {study}: contrast {number}\n// Subjects={10 + study}\n{rows}\n")
    write_sample(path, paragraphs)


@pytest.fixture
def arms(tiny: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Return experiments of four and three groups of one to three experiments."""
    write_arm(tiny / "drug.txt", seed=1, sizes=(2, 1, 3, 2), prefix="drug")
    write_arm(tiny / "therapy.txt", seed=2, sizes=(1, 3, 2), prefix="therapy")
    return ale.read_foci(tiny / "drug.txt"), ale.read_foci(tiny / "therapy.txt")


def effect(foci: xr.Dataset, tiny: Path, name: str, **changes: object) -> xr.Dataset:
    settings = {"iterations": 60, "same_subjects": "keep", "contrast_floor": 0.0, **SETTINGS, **changes}
    return ale.main_effect(foci, mask=str(tiny / "ball.nii.gz"), name=name, scale_bits=BITS, **settings)


def plan_of(tiny: Path, arms: tuple[xr.Dataset, xr.Dataset], **changes: object) -> Plan:
    mask = ale.load_mask(str(tiny / "ball.nii.gz"))
    settings = {"iterations": 20, "same_subjects": "keep", "gate": "none", **SETTINGS, **changes}
    inference = inference_from({"mask": mask.name, **settings})
    one, two, both = (sample(foci, mask=mask, inference=inference) for foci in (*arms, concat(arms)))
    of = [plan_main_effect(s, bits=BITS, name="x") for s in (one, two, both)]
    return contrasts.plan_contrast(one, two, plans=of, name="x")


def counted(plan: Plan, first: int, count: int) -> list[list[int]]:
    return contrast_result.summed(np.c_[0, contrasts.block(plan, first, count)["exceed"].reshape(1, -1)]).tolist()


@pytest.mark.parametrize("backward", [False, True])
def test_p_counts_all_relabellings_of_whole_groups(tiny: Path, arms: tuple[xr.Dataset, ...], backward: bool) -> None:
    first, other = arms[::-1] if backward else arms
    result = ale.contrast(effect(first, tiny, "a"), effect(other, tiny, "b"), gate="none", iterations=100)
    assert (result.attrs["enumerated"], result.attrs["iterations"]) == (True, 35)
    assert result.attrs["groups_per_arm"] == ([3, 4] if backward else [4, 3])
    mask = ale.load_mask(str(tiny / "ball.nii.gz"))
    inference = inference_from({"mask": mask.name, "same_subjects": "keep"})
    samples = [sample(arm, mask=mask, inference=inference) for arm in (first, other)]
    bits = study_bits([sample(concat(arms), mask=mask, inference=inference)])
    # By (arm, group): the sum of what its experiments add to each voxel.
    of_group: dict[tuple[int, int], np.ndarray] = {}
    for arm, chosen in enumerate(samples):
        for group, (voxel, value) in zip(subject_groups(chosen.foci), chosen.rows(bits, exact=True), strict=True):
            of_group.setdefault((arm, int(group)), np.zeros(mask.n_voxels, dtype=np.int64))[voxel] += value
    observed = sum(row for (arm, _), row in of_group.items() if arm == 0)
    size = sum(arm == 0 for arm, _ in of_group)
    sums = np.array([sum(chosen) for chosen in combinations(of_group.values(), size)])
    assert len(sums) == 35
    greater, less = (sums >= observed).sum(axis=0), (sums <= observed).sum(axis=0)
    assert len(np.unique(greater)) > 20
    np.testing.assert_array_equal(result["p_greater"].values, (greater / 35).astype(np.float32))
    np.testing.assert_array_equal(result["p_less"].values, (less / 35).astype(np.float32))


@pytest.mark.parametrize("iterations", [20, 100])
def test_exchanging_arms_or_sorting_files_changes_no_bit(tiny: Path, arms, iterations: int) -> None:
    plan, swapped = plan_of(tiny, arms, iterations=iterations), plan_of(tiny, arms[::-1], iterations=iterations)
    moved = plan_of(tiny, tuple(reorder(arm, np.arange(arm.sizes["experiment"])[::-1]) for arm in arms))
    assert plan.complete == (iterations == 100)
    n = contrasts.how_many(plan, iterations)
    assert counted(plan, 0, n) == counted(swapped, 0, n)[::-1]
    null, other = (contrasts.block(p, 0, n)["null"] for p in (plan, swapped))
    np.testing.assert_array_equal(null, other[:, ::-1])
    if iterations == 20:
        assert moved.identity == plan.identity
        assert counted(moved, 0, n) == counted(plan, 0, n)
        parts = [counted(plan, at, 5) for at in (0, 5, 10, 15)]
        assert np.sum(parts, axis=0).tolist() == counted(plan, 0, n)


def test_groups_move_whole_and_as_often_as_their_keys_say(tiny: Path, arms: tuple[xr.Dataset, xr.Dataset]) -> None:
    plan = plan_of(tiny, arms)
    group, key = plan.group, plan.draw_key
    assert (len(key), len(group)) == (7, 14)
    chosen = relabellings(key, first=0, count=300, **second.relabelling_arguments(plan))
    of_groups = relabellings(key, first=0, count=300, **(second.relabelling_arguments(plan) | {"group": None}))
    np.testing.assert_array_equal(chosen, of_groups[:, group])
    assert set(of_groups.sum(axis=1).tolist()) == {4}
    assert len(set(chosen.sum(axis=1).tolist())) > 3


def test_pooled_groups_are_drawn_as_groups_that_move_whole(tiny: Path, arms: tuple[xr.Dataset, xr.Dataset]) -> None:
    kept, pooled = plan_of(tiny, arms), plan_of(tiny, tuple(map(pool_subjects, arms)), same_subjects="pool")
    np.testing.assert_array_equal(kept.draw_key, pooled.draw_key)
    assert "group" not in pooled.arrays
    assert "groups" not in pooled.settings["conventions"]


def test_without_shared_subjects_nothing_has_changed(tiny: Path) -> None:
    arms = tuple(ale.read_foci(tiny / f"{name}.txt") for name in ("drug", "therapy"))
    identities = {plan_of(tiny, arms, same_subjects=c).identity for c in ("pool", "keep", "refuse", None)}
    assert len(identities) == 1


def test_a_run_of_an_earlier_version_goes_on_as_it_began(tiny: Path, arms: tuple[xr.Dataset, xr.Dataset]) -> None:
    study = load_study(tiny / "study.toml")
    before = study.model_copy(update={"inference": study.inference.model_copy(update={"same_subjects": None})})
    out = tiny / "out"
    results, record = run.run(before, out, quiet=True)
    run.write(results, record, out, study=before, pictures=False)
    # As an earlier version left it: no word on subjects.
    assert "same_subjects" not in (out / "study.toml").read_text()
    assert results["drug"].attrs["n_experiments"] == 8
    _, again, collected = run.collect(out)
    assert {n: e["digest"] for n, e in collected["analyses"].items()} == {
        n: e["digest"] for n, e in record["analyses"].items()
    }
    assert again["drug-vs-therapy"].attrs["groups_per_arm"] == [8, 6]
    _, longer = extend(out, iterations=80, quiet=True)
    assert longer["analyses"]["drug"]["n_experiments"] == 8
    assert "Experiments of the same subjects" not in ale.cite(longer)
    run.write(again, longer, out, study=before, pictures=False)
    command("run", out, "-o", out, "-i", 90)
    assert '"same_subjects": null' in (out / "run.json").read_text()


def test_the_command_pools_keeps_or_refuses(tiny: Path, arms: tuple[xr.Dataset, xr.Dataset]) -> None:
    command("run", tiny / "study.toml", "-o", tiny / "pooled")
    assert "7 became 3 in drug and 5 became 2 in therapy" in (tiny / "pooled" / "logs" / "CITATION.md").read_text()
    assert "one experiment per subject group" in (tiny / "pooled" / "selection.tsv").read_text()
    command("run", tiny / "study.toml", "-o", tiny / "kept", "--same-subjects", "keep")
    assert '"code": "kept-groups"' in (tiny / "kept" / "run.json").read_text()
    text = (tiny / "kept" / "logs" / "CITATION.md").read_text()
    assert "relabelling whole groups of subjects" in text
    assert "8 experiments of 4 groups of subjects in drug" in text
    _, said = command("run", tiny / "study.toml", "-o", tiny / "no", "--same-subjects", "refuse", code=65)
    assert "7 experiments are of 3 group(s) of the same subjects" in said


def test_leaving_out_takes_whole_groups(tiny: Path, arms: tuple[xr.Dataset, xr.Dataset]) -> None:
    a, b = (effect(foci, tiny, name, null="uniform") for foci, name in zip(arms, ("a", "b"), strict=True))
    c = ale.contrast(a, b, name="c")
    found = ale.jackknife([a, b, c])["c"]
    labels = found["left_out"].values.tolist()
    assert len(labels) == 7
    assert "drug 0, n = 10 (2 experiments)" in labels
    assert "drug 1: contrast 0" in labels
    assert len(surviving_clusters(c, "uncorrected")) > 0
    for number, label in enumerate(labels):
        study = label.split(",")[0].split(":")[0]
        rest = [subset(arm, arm["experiment_study"].values != study) for arm in arms]
        one, two = (effect(foci, tiny, name, null="uniform") for foci, name in zip(rest, ("a", "b"), strict=True))
        alone = ale.contrast(one, two)
        column = [
            np.isin(cluster.voxels, _alive(alone, source, cluster.sign)).mean()
            for source in INPUTS
            for cluster in surviving_clusters(c, source)
        ]
        np.testing.assert_array_equal(found["overlap_fraction"].values[:, number], column)
    by_experiment = ale.jackknife([a, b, c], by="experiment")["c"]
    assert by_experiment.sizes["left_out"] == 14


def _alive(result: xr.Dataset, source: str, sign: int) -> np.ndarray:
    found = [c.voxels for c in surviving_clusters(result, source) if c.sign == sign]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])


def test_arms_that_there_are_cannot_be_pooled_later(tiny: Path, arms: tuple[xr.Dataset, xr.Dataset]) -> None:
    a, b = (effect(foci, tiny, name) for foci, name in zip(arms, ("a", "b"), strict=True))
    with pytest.raises(InputError, match="compute the arms with 'pool'"):
        ale.contrast(a, b, same_subjects="pool")
    # The word of another profile comes too late.
    assert ale.contrast(a, b, profile="recommended").attrs["groups_per_arm"] == [4, 3]


def test_foci_are_contrasted_as_their_main_effects_are(tiny: Path) -> None:
    foci = [ale.read_foci(tiny / f"{name}.txt") for name in ("drug", "therapy")]
    settings = {
        "mask": tiny / "ball.nii.gz",
        "null": "uniform",
        "iterations": 40,
        "seed": 1,
        "gate": "none",
        **SETTINGS,
    }
    mains = [ale.main_effect(f, name=n, **settings) for f, n in zip(foci, ("first", "second"), strict=True)]
    xr.testing.assert_identical(ale.contrast(*foci, **settings), ale.contrast(*mains))
    with pytest.raises(InputError, match="one arm is a result and the other foci"):
        ale.contrast(mains[0], foci[1])
