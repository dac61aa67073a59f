"""Groups of experiments: distances, groups and criteria against plain computations, and a published solution."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support.commands import ale as command
from support.effects import effect
from support.real_data import shared
from support.runs import finished_run

import ale_dask as ale
from ale_dask.analyses.sample import sample, study_bits
from ale_dask.analyses.sensitivity.experiment_clusters import associations, members
from ale_dask.config.study import Study, inference_from
from ale_dask.coordinates.foci import Experiment, build, concat
from ale_dask.coordinates.masks import load_space
from ale_dask.errors import InputError
from ale_dask.numerics import experiment_clusters as groups
from ale_dask.workflows.prepare import prepare

UNIT = 2.0**groups.UNIT_BITS


@pytest.fixture
def distance() -> np.ndarray:
    """Return the distances of 30 points in the plane, in no order."""
    points = np.random.default_rng(5).normal(size=(30, 2)) + np.repeat([[0, 0], [4, 0], [0, 3]], 10, axis=0)
    return np.rint(UNIT / 8 * np.linalg.norm(points[:, None] - points, axis=2)).astype(np.int64)


def test_distance_is_that_of_ranked_maps(tiny: Path) -> None:
    result = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug")
    solutions = ale.clustering(result, k_max=3, subsamples=2)
    maps = (result["s"] - ale.leave_one_out(result)["s_without"]).transpose("experiment", "voxel").values
    rho = stats.spearmanr(maps[:, maps.any(axis=0)], axis=1).statistic
    np.testing.assert_allclose(1 - solutions["distance"].values, rho, atol=1.1 / UNIT)
    assert np.ptp(rho) > 0.3


def test_distance_of_integers_is_exact() -> None:
    rng = np.random.default_rng(1)
    dense = rng.integers(0, 4, size=(6, 40_000)) * (rng.random((6, 40_000)) < 0.2)
    rows = [(np.flatnonzero(row).astype(np.int32), row[row > 0].astype(np.int32)) for row in dense]
    rho = stats.spearmanr(dense[:, dense.any(axis=0)], axis=1).statistic
    np.testing.assert_allclose(groups.spearman_distance(rows) / UNIT, 1 - rho, atol=1.1 / UNIT)


def test_no_swap_of_a_medoid_lowers_the_sum(distance: np.ndarray) -> None:
    for medoids in ([0, 1, 2], [7, 3, 20, 29]):
        found = groups.swap(medoids, distance)
        least = distance[:, found].min(axis=1).sum()
        for place, other in product(range(len(found)), range(len(distance))):
            tried = [*found[:place], other, *found[place + 1 :]]
            assert distance[:, tried].min(axis=1).sum() >= least
    every = min(distance[:, list(three)].min(axis=1).sum() for three in combinations(range(len(distance)), 3))
    assert distance[:, groups.swap([0, 1, 2], distance)].min(axis=1).sum() == every
    labels = groups.k_medoids(distance, 4)
    assert [len(set(found)) for found in labels] == [2, 3, 4]
    for number, medoid in enumerate(groups.medoids_of(labels[1], distance), 1):
        inside = np.flatnonzero(labels[1] == number)
        sums = distance[np.ix_(inside, inside)].sum(axis=0)
        assert sums[inside.tolist().index(medoid)] == sums.min()


def test_criteria_are_those_of_plain_computations(distance: np.ndarray) -> None:
    a, b = groups.k_medoids(distance, 5)[1:4:2]
    for labels in (a, b, np.r_[a[:-1], 9]):
        expected = []
        for i, own in enumerate(labels):
            mean = {
                g: np.mean([distance[i, j] for j in range(30) if labels[j] == g and j != i] or [0])
                for g in set(labels.tolist())
            }
            inside, other = mean.pop(own), min(mean.values())
            expected.append(0 if (labels == own).sum() == 1 else (other - inside) / max(other, inside))
        np.testing.assert_allclose(groups.silhouette(labels, distance), expected)
    pairs = [(a[i] == a[j], b[i] == b[j]) for i, j in combinations(range(30), 2)]
    both, in_a, in_b = (sum(p) for p in zip(*((x and y, x, y) for x, y in pairs), strict=True))
    chance = in_a * in_b / len(pairs)
    assert groups.adjusted_rand(a, b) == pytest.approx((both - chance) / ((in_a + in_b) / 2 - chance))
    assert groups.adjusted_rand(a, 7 - a) == 1
    joint = pd.crosstab(a, b, normalize=True).to_numpy()
    entropy = [stats.entropy(p, base=2) for p in (joint.ravel(), joint.sum(0), joint.sum(1))]
    assert groups.variation_of_information(a, b) == pytest.approx(2 * entropy[0] - entropy[1] - entropy[2])
    assert groups.variation_of_information(a, 7 - a) == 0


def test_subsamples_do_not_depend_on_their_number_or_on_other_experiments() -> None:
    key = np.arange(1, 21, dtype=np.uint64)
    chosen = groups.subsamples(key, seed=3, number=40, share=0.8)
    assert (chosen.sum(axis=1) == 16).all()
    assert 0.5 < chosen.mean(axis=0).min() < chosen.mean(axis=0).max() < 1
    np.testing.assert_array_equal(chosen[:7], groups.subsamples(key, seed=3, number=7, share=0.8))
    np.testing.assert_array_equal(chosen[:, ::-1], groups.subsamples(key[::-1], seed=3, number=40, share=0.8))


def test_two_samples_in_one_are_found_with_the_column_that_tells_them_apart(tiny: Path) -> None:
    rng = np.random.default_rng(1)
    tasks = {"go": ((20.0, 0.0, 0.0), 9), "wait": ((-20.0, 0.0, 0.0), 7)}
    made = [
        Experiment(f"{task} {i}", 20, tuple(map(tuple, rng.normal(place, 4, (2, 3)))), "MNI", "a.csv", {"task": task})
        for task, (place, number) in tasks.items()
        for i in range(number)
    ]
    result = effect(build(made), tiny, "both")
    solutions = ale.clustering(result, k_max=4, subsamples=10)
    for method in ("average", "medoids"):
        found = members(solutions, method=method, k=2)
        assert pd.crosstab(found["experiment_cluster"], found["task"]).to_numpy().tolist() == [[9, 0], [0, 7]]
    assert solutions["best_k"].sel(criterion="silhouette").values.tolist() == [2, 2]
    first = associations(solutions, method="medoids", k=2).iloc[0]
    assert (first["column"], first["inside"], first["elsewhere"]) == ("task", "0 of 9", "7 of 7")
    assert first["p"] == pytest.approx(stats.fisher_exact([[0, 7], [9, 0]]).pvalue)
    again = ale.clustering(result, k_max=4, subsamples=10)
    assert again.equals(solutions)
    for k_max in (1, 15):
        with pytest.raises(InputError, match="k_max"):
            ale.clustering(result, k_max=k_max)


def test_the_report_shows_the_criteria_and_the_groups(tiny: Path, tiny_study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished_run(tiny_study, out, folder=tiny)
    asked = ["--k", 2, "--k-max", 4, "--subsamples", 5, "--study", tmp_path / "groups"]
    said = command("clustering", out, "drug", *asked).stdout
    assert "k-medoids: " in said
    assert "experiment cluster 2:" in said
    assert "SIMULATED" in (out / "drug" / "drug_experiment-clusters-criteria.svg").read_text()
    shown = pd.read_csv(out / "drug" / "drug_experiment-clusters-medoids-2-members.tsv", sep="\t")
    assert set(shown["Experiment Cluster"]) == {1, 2}
    command("collect", out, "--no-pictures")
    page = (out / "report.html").read_text()
    assert page.count("experiment clusters by k-medoids") == 3
    assert "Rousseeuw" in page
    samples = prepare(ale.load_study(tmp_path / "groups" / "study.toml")).samples
    counts = shown["Experiment Cluster"].value_counts()
    assert {name: len(sample.key) for name, sample in samples.items()} == {
        f"experiment-cluster-{number}": count for number, count in counts.items() if count > 1
    }
    assert "--k" in command("clustering", out, "--study", tmp_path / "no", code=65).stderr


@pytest.mark.integration
def test_groups_of_reward_experiments_agree_with_the_published_ones() -> None:
    folder = shared("reward_talairach")
    parts = [ale.read_foci(folder / f"{name}.txt") for name in ("one", "two", "three", "four")]
    inference = inference_from({"mask": "brain", "null": "uniform"})
    chosen = sample(concat(parts), mask=load_space(inference), inference=inference)
    sizes = [part.sizes["experiment"] for part in parts]
    published = dict(zip(concat(parts)["experiment_key"].values.tolist(), np.repeat(range(4), sizes), strict=True))
    theirs = np.array([published[int(key)] for key in chosen.key])
    distance = groups.spearman_distance(list(chosen.rows(study_bits([chosen]))))
    agreement = [groups.adjusted_rand(theirs, ours) for ours in groups.k_medoids(distance, 8)]
    assert int(np.argmax(agreement)) + 2 == 4
    assert agreement[2] > 0.25
    shuffled = np.random.default_rng(0).permutation(theirs)
    assert abs(groups.adjusted_rand(shuffled, groups.k_medoids(distance, 4)[2])) < 0.02
