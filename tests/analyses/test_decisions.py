"""Decisions that may depend on how far one has run: wrong at most as often as their risk says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import quietly as command
from support.faults import write_study
from support.strategies import QUICK

import ale_dask as ale
from ale_dask.analyses import main_effect, main_effect_result
from ale_dask.config.study import inference_from, load_study
from ale_dask.errors import InputError
from ale_dask.numerics import correct
from ale_dask.reporting.write import summary_lines
from ale_dask.workflows.run import run


@QUICK
@given(st.integers(0, 10**6), st.floats(0.01, 0.2), st.integers(1, 3000))
def test_a_value_is_decided_when_looking_after_each_iteration_would(seed: int, p: float, n: int) -> None:
    null = (np.random.default_rng(seed).random(n) < p).astype(np.int64)
    looks = [correct.decisions([null[:k].sum()], k, alpha=0.05, eps=1e-2)[0] for k in range(1, n + 1)]
    first = next((k for k, said in enumerate(looks, 1) if said != "undecided"), 0)
    assert correct.decided_at(null, [1], alpha=0.05, eps=1e-2).tolist() == [first]


@pytest.mark.parametrize("p", [0.03, 0.045, 0.049, 0.051, 0.055, 0.08])
def test_wrong_decisions_are_rarer_than_the_risk(p: float) -> None:
    rng, streams, eps = np.random.default_rng(7), 5_000, 0.001
    n, r = 0, np.zeros(streams, dtype=np.int64)
    open_ = np.ones(streams, dtype=bool)
    wrong = decided = 0
    while n < 50_000:
        r += rng.binomial(100, p, streams)
        n += 100
        said = np.array(correct.decisions(r[open_], n, alpha=0.05, eps=eps))
        done = said != "undecided"
        wrong += int((said[done] == ("not" if p < 0.05 else "significant")).sum())
        decided += int(done.sum())
        open_[np.flatnonzero(open_)[done]] = False
        if not open_.any():
            break
    assert wrong <= streams * eps
    if p in (0.03, 0.08):
        assert decided == streams


def test_a_run_goes_on_by_itself_until_its_clusters_are_decided(tmp_path: Path) -> None:
    study, out = write_study(tmp_path / "tiny", block_size=20), tmp_path / "out"
    command("run", study, "-o", out, "-i", 50, "--until-decided", 1600, "-b", "serial")
    kept = load_study(out / "study.toml").inference
    record = json.loads((out / "run.json").read_text())
    assert kept.iterations in (100, 200, 400, 800, 1600)
    drug = ale.collect(out)[1]["drug"]
    decisions = drug["cluster_size_decision"].values.tolist()
    assert "undecided" not in decisions or kept.iterations == 1600
    assert np.isnan(drug["cluster_size_p"].values).all()
    assert (drug["cluster_size_p_high"].values >= drug["cluster_size_p_low"].values).all()
    alone, _ = run(
        load_study(study).model_copy(update={"inference": kept.model_copy(update={"until_decided": None})}),
        tmp_path / "alone",
        quiet=True,
    )
    np.testing.assert_array_equal(alone["drug"]["null"].values, drug["null"].values)
    assert alone["drug"]["cluster_size_decision"].values.tolist() == decisions
    assert "it was doubled until a confidence sequence" in (out / "logs" / "CITATION.md").read_text()
    assert record["inference"]["until_decided"] == 1600
    again, _ = command("run", study, "-o", out, "-i", 50, "--until-decided", 1600, "-b", "serial")
    assert json.loads(again)["analyses"]["drug"]["digest"] == record["analyses"]["drug"]["digest"]


def exceeding(result, null: str) -> list[str]:
    """Return the decisions on the clusters of a null by size, from the null and the clusters alone."""
    prefix, values = {
        "uniform": ("cluster", result["null"].sel(statistic="max_size").values),
        "base-rate": ("base_rate_cluster", result["null_base_rate"].sel(base_rate_statistic="max_size").values),
    }[null]
    size = result[f"{prefix}_size"].values
    r = np.array([(values >= k).sum() for k in size])
    eps = main_effect.EPS / max(1, {"uniform": 2, "base-rate": 3}[null] * len(size))
    return correct.decisions(r, len(values), alpha=0.05, eps=eps)


@pytest.mark.parametrize("null", ["base-rate", "both"])
def test_a_run_goes_on_until_the_clusters_of_each_null_asked_for_are_decided(tmp_path: Path, null: str) -> None:
    study = load_study(write_study(tmp_path / "tiny", block_size=50))
    asked = {**study.inference.model_dump(), "iterations": 25, "until_decided": 800, "null": null}
    inference, analysis = inference_from(asked), {"drug": study.analysis["drug"]}
    study = study.model_copy(update={"inference": inference, "analysis": analysis})
    results, record = run(study, tmp_path / "out", quiet=True)
    drug = results["drug"]
    looked_at = ["base-rate"] if null == "base-rate" else ["uniform", "base-rate"]

    def open_after(n: int) -> int:
        part = drug.isel(iteration=slice(n))
        return sum(exceeding(part, each).count("undecided") for each in looked_at)

    # Each number of iterations before the last left something open, and the last one nothing or was the most.
    n = drug.attrs["iterations"]
    assert n > 25
    assert n == 800 or not open_after(n)
    assert all(open_after(25 * 2**k) for k in range(5) if 25 * 2**k < n)
    assert drug["base_rate_cluster_size_decision"].values.tolist() == exceeding(drug, "base-rate")
    assert drug["cluster_size_decision"].values.tolist() == exceeding(drug, "uniform")
    assert np.isnan(drug["base_rate_cluster_size_p"].values).all()
    said = "\n".join(summary_lines(results))
    assert "drug, against the base rate: clusters " in said
    assert ("drug: clusters " in said) == (null == "both")
    text = ale.cite(record)
    assert ("for each cluster of either null" in text) == (null == "both")
    assert "that null lies below 0.05" in text


def test_main_effects_in_python_go_on_too(tiny: Path) -> None:
    foci = ale.read_foci(tiny / "drug.txt")
    settings = {"mask": str(tiny / "ball.nii.gz"), "voxel_p": 0.01, "seed": 3, "null": "both"}
    result = ale.main_effect(foci, iterations=25, until_decided=400, **settings)
    n = result.attrs["iterations"]
    assert n in (50, 100, 200, 400)
    assert n == 400 or not main_effect_result.undecided([result])
    whole = ale.main_effect(foci, iterations=n, **settings)
    for name in ("null", "null_base_rate"):
        np.testing.assert_array_equal(result[name].values, whole[name].values)


def test_thresholds_by_iterations_are_those_of_shorter_runs(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path / "tiny", block_size=50))

    def at(n: int) -> dict[str, object]:
        inference = study.inference.model_copy(update={"iterations": n})
        return run(study.model_copy(update={"inference": inference}), tmp_path / f"o{n}", quiet=True)[0]["drug"]

    long = at(400)
    table = ale.scaling_table(long)
    counts = sorted(table["Iterations"].unique())
    assert counts[-1] == 400
    short = at(int(counts[12]))
    size = table[(table["Iterations"] == counts[12]) & (table["What"] == "size (mm3)")].iloc[0]
    assert size["Value"] == short.attrs["cut_size"] * 64
    assert [size["Low"], size["High"]] == [k * 64 for k in short.attrs["cut_size_interval"]]
    of_clusters = table[table["What"].str.startswith("cluster 1")]
    assert set(of_clusters["Decision"]) <= {"significant", "not", "undecided"}
    assert len(of_clusters) == len(counts)


def test_what_cannot_be_decided(tiny: Path) -> None:
    foci = ale.read_foci(tiny / "drug.txt")
    with pytest.raises(InputError, match="until_decided needs correction cluster-size or cluster-mass"):
        ale.main_effect(foci, iterations=10, until_decided=100, correction="voxel")
    with pytest.raises(InputError, match="until_decided, 5, is less than iterations, 10"):
        ale.main_effect(foci, iterations=10, until_decided=5)
