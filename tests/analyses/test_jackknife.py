"""Leaving experiments out: each analysis without some equals the one that is run alone, bit for bit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.commands import quietly as command
from support.effects import BITS, effect
from support.faults import write_study
from support.runs import with_backend

import ale_dask as ale
from ale_dask.analyses import base_rate
from ale_dask.analyses.base_rate import plan_base_rate
from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.findings.model import Result
from ale_dask.analyses.main_effect import plan_main_effect
from ale_dask.analyses.sample import sample
from ale_dask.analyses.sensitivity import base_rate_variants
from ale_dask.analyses.sensitivity.jackknife import LeftOut, family
from ale_dask.config.analysis import INPUTS
from ale_dask.config.study import inference_from, load_study
from ale_dask.coordinates.foci import subset
from ale_dask.coordinates.masks import load_space
from ale_dask.errors import InputError
from ale_dask.reporting.sensitivity.leave_one_out import jackknife_lines
from ale_dask.reporting.tables.clusters import base_rate_clusters
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.workflows.run import run, write


def without(foci: xr.Dataset, *labels: str) -> xr.Dataset:
    return subset(foci, ~np.isin(foci["experiment_id"].values.astype(str), labels))


def expected(whole: xr.Dataset, others: dict[str, xr.Dataset]) -> np.ndarray:
    """Return the overlap fraction of each cluster, computed from separate analyses without each set."""
    rows = []
    for source in INPUTS:
        for cluster in surviving_clusters(whole, source):
            rows.append([np.isin(cluster.voxels, _alive(o, source, cluster.sign)).mean() for o in others.values()])
    return np.array(rows)


def _alive(result: xr.Dataset, source: str, sign: int) -> np.ndarray:
    return np.concatenate(
        [np.empty(0, dtype=np.int64), *(c.voxels for c in surviving_clusters(result, source) if c.sign == sign)]
    )


@pytest.mark.parametrize("correction", ["cluster-size", "cluster-mass", "voxel"])
@pytest.mark.parametrize("within", ["max", "additive"])
def test_a_main_effect_without_each_experiment(tiny: Path, correction: str, within: str) -> None:
    foci = ale.read_foci(tiny / "drug.txt")
    changes = {"correction": correction, "within": within}
    whole = effect(foci, tiny, "drug", **changes)
    found = ale.jackknife([whole])["drug"]
    labels = found["left_out"].values.tolist()
    assert sorted(labels) == sorted(foci["experiment_id"].values.tolist())
    alone = {label: effect(without(foci, label), tiny, "drug", **changes) for label in labels}
    assert len({int(one.attrs["threshold"]) for one in alone.values()}) > 1
    np.testing.assert_array_equal(found["overlap_fraction"].values, expected(whole, alone))
    assert 0 < found["overlap_fraction"].values.mean() < 1


@pytest.mark.parametrize("within", ["max", "additive"])
def test_the_base_rate_null_without_some_is_that_of_the_others_alone(tiny: Path, within: str) -> None:
    """The integers are equal, also where a variant lacks all experiments of the variant before it and more."""
    mask = load_space(inference_from({"mask": str(tiny / "ball.nii.gz")}))
    inference = inference_from({"null": "both", "voxel_p": 0.01, "within": within})
    whole = sample(ale.read_foci(tiny / "drug.txt"), mask=mask, inference=inference)
    main = plan_main_effect(whole, bits=BITS, name="drug")
    sets = [LeftOut(str(i), frozenset(whole.key[list(i)].tolist())) for i in [(7,), (2, 7)]]
    made = family(whole, main, left_out=sets, name="drug")
    (passed,) = made.base_rate_passes
    assert passed.further.tolist() == [False, False, True]
    null = base_rate_variants.block(passed, 5, 40)["null"]
    for number, (members, part) in enumerate(made.parts.items()):
        keep = ~np.isin(np.arange(8), members)
        few = sample(subset(whole.foci, keep), mask=mask, inference=inference)
        alone = plan_base_rate(few, main=plan_main_effect(few, bits=BITS, name="x"), name="x")
        np.testing.assert_array_equal(base_rate_variants.null_of(null, number), base_rate.block(alone, 5, 40)["null"])
        np.testing.assert_array_equal(passed.table(number).z, alone.table.z)
        np.testing.assert_array_equal(part.s, alone.s)
    assert (null > 0).mean() > 0.5


@pytest.mark.parametrize(("correction", "null"), [("cluster-mass", "both"), ("voxel", "base-rate")])
def test_clusters_of_the_base_rate_without_some_experiments(tiny: Path, correction: str, null: str) -> None:
    foci = ale.read_foci(tiny / "drug.txt")
    halves = np.array(["one", "two"], dtype=object)[np.isin(np.arange(8), (1, 2, 4)).astype(int)]
    foci = foci.assign(experiment_study=("experiment", halves))
    changes = {"correction": correction, "null": null, "cluster_p": 0.05 if null == "both" else 0.5}
    whole = effect(foci, tiny, "drug", **changes)
    found = ale.jackknife([whole], by="study")["drug"]
    alone = {label: effect(subset(foci, halves != label), tiny, "drug", **changes) for label in ("one", "two")}
    source, retained = found["cluster_input"].values, found["overlap_fraction"].values
    np.testing.assert_array_equal(retained[source != "base-rate"], expected(whole, alone))
    kept = [one[CORRECTION_OF[correction].base_rate.map].values != 0 for one in alone.values()]
    wanted = [[k[c.voxels].mean() for k in kept] for c in base_rate_clusters(whole)]
    np.testing.assert_array_equal(retained[source == ("base-rate" if null == "both" else "cluster-fwe")], wanted)
    assert 0 < np.mean(wanted) < 1
    said = jackknife_lines({"drug": found})
    assert any("against the base rate, cluster" in line for line in said) == (null == "both")


def test_a_contrast_and_a_conjunction_without_each_experiment(tiny: Path) -> None:
    drug, therapy = ale.read_foci(tiny / "drug.txt"), ale.read_foci(tiny / "therapy.txt")
    changes = {"contrast_p": 0.2, "null": "uniform"}
    a, b = effect(drug, tiny, "drug", **changes), effect(therapy, tiny, "therapy", **changes)
    c, d = ale.contrast(a, b, name="c"), ale.conjunction([a, b], name="d")
    found = ale.jackknife([a, b, c, d])
    contrasts, conjunctions = {}, {}
    for label in found["c"]["left_out"].values.tolist():
        one = effect(without(drug, label), tiny, "drug", **changes)
        two = effect(without(therapy, label), tiny, "therapy", **changes)
        contrasts[label], conjunctions[label] = ale.contrast(one, two), ale.conjunction([one, two])
    assert len(contrasts) == 14
    assert len(surviving_clusters(c, "cluster-fwe")) > 0
    np.testing.assert_array_equal(found["c"]["overlap_fraction"].values, expected(c, contrasts))
    np.testing.assert_array_equal(found["d"]["overlap_fraction"].values, expected(d, conjunctions).reshape(-1, 14))


def test_pairs_and_studies_left_out_equal_analyses_without_them(tiny: Path) -> None:
    foci = ale.read_foci(tiny / "drug.txt")
    whole = effect(foci, tiny, "drug")
    pairs = ale.jackknife([whole], k=2)["drug"]
    assert pairs.sizes["left_out"] == 28
    label = str(pairs["left_out"].values[5])
    alone = effect(without(foci, *label.split(" + ")), tiny, "drug")
    np.testing.assert_array_equal(pairs["overlap_fraction"].values[:, [5]], expected(whole, {label: alone}))
    halves = np.array(["one", "two"], dtype=object)[np.arange(8) % 2]
    named = foci.assign(experiment_study=("experiment", halves))
    by = ale.jackknife([effect(named, tiny, "drug")], by="study")["drug"]
    assert by["left_out"].values.tolist() == ["one", "two"]
    half = effect(subset(named, halves != "one"), tiny, "drug")
    np.testing.assert_array_equal(by["overlap_fraction"].values[:, [0]], expected(whole, {"one": half}))


def test_nothing_is_left_out_of_another_kind_of_analysis() -> None:
    class UnionResult(Result, kind="union-of-a-test"):
        """View a Dataset as a union, a kind of analysis that leave-one-out does not know."""

    union = xr.Dataset(attrs={"name": "either", "kind": UnionResult.kind})
    with pytest.raises(InputError, match="'either' is no main effect, contrast or conjunction"):
        ale.jackknife([union])


def test_what_cannot_be_left_out(tiny: Path) -> None:
    a = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug")
    with pytest.raises(InputError, match=r"by 'dose': no such column; there are: group, experiment, id, study"):
        ale.jackknife([a], by="dose")
    with pytest.raises(InputError, match="leaving out 8 of 8: that is nothing to do"):
        ale.jackknife([a], k=8)
    with pytest.raises(InputError, match="set another than tfce"):
        ale.jackknife([effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug", correction="tfce")])
    b = effect(ale.read_foci(tiny / "therapy.txt"), tiny, "therapy")
    with pytest.raises(InputError, match="needs the main effect"):
        ale.jackknife([a, ale.conjunction([a, b])])


def test_a_run_and_python_alike_and_resumed(tmp_path: Path) -> None:
    study, out = write_study(tmp_path / "tiny", block_size=20), tmp_path / "out"
    command("run", study, "-o", out)
    text, said = command("leave-one-out", out, "--json", "-b", "serial")
    assert re.search(r"leaving out \d+ sets of experiments over \d analyses, about \S+ on \d+ thread", said)
    rows = json.loads(text)["analyses"]
    found = ale.jackknife_of_run(out)
    nulls = list((out / "store.zarr").glob("*without-group*/null/0/c/*/0"))
    assert len(nulls) > 3
    for chunk in nulls[::2]:
        chunk.unlink()
    again = ale.jackknife_of_run(out)
    _, results, _ = ale.collect(out)
    python = ale.jackknife([r for n, r in results.items() if not n.endswith("_pooled")])
    assert set(python) == set(found) == set(rows)
    for name, one in found.items():
        xr.testing.assert_identical(one, again[name])
        np.testing.assert_array_equal(one["overlap_fraction"].values, python[name]["overlap_fraction"].values)
        assert (out / name / f"{name}_leave-out-group.tsv").is_file()
    first = rows["drug"][0]
    assert first["Survives"] == int((found["drug"]["overlap_fraction"].values[0] > 0).sum())
    assert first["Sets"] == 8


def test_the_page_shows_it_as_long_as_the_nulls_are_the_same(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(with_backend(load_study(write_study(tmp_path / "tiny", block_size=20)), name="serial"), out, quiet=True)

    def page() -> str:
        study, results, record = ale.collect(out)
        write(results, record, out, study=study, pictures=False)
        return (out / "report.html").read_text()

    words = ("Without each group of subjects</summary>", "Fail-safe N: how many")
    assert not any(word in page() for word in words)
    left_out = ale.jackknife_of_run(out, quiet=True)
    fail_safe = ale.fail_safe_of_run(out, most=3, series=2, iterations=40, quiet=True)
    shown = page()
    assert shown.count(words[0]) == len(left_out) >= 3
    assert shown.count(f"<summary>{words[1]}") == len(fail_safe) > 0
    assert "Least Retained (%)" in shown
    out = out.rename(tmp_path / "moved")
    assert page().count(words[0]) == len(left_out)
    study, results, record = ale.collect(out)
    stricter = {
        name: r.assign_attrs(inference=r.attrs["inference"].replace("0.05", "0.04")) for name, r in results.items()
    }
    write(stricter, record, out, study=study, pictures=False)
    assert not any(word in (out / "report.html").read_text() for word in words), "of the same nulls, cut elsewhere"
    ale.extend(out, iterations=80, quiet=True)
    assert not any(word in page() for word in words)
