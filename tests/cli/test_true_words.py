"""What results say of themselves in words holds of the numbers beside the words."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from support.real_data import SHARED
from support.studies import write_ball
from typer.testing import CliRunner

import ale_dask as ale
from ale_dask.cli import app
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.reporting.common.maps import find_map_spec, map_specs_of
from ale_dask.reporting.common.wording import facts, label, notes
from ale_dask.reporting.tables.comparisons import contrast_table

SETTINGS = {"iterations": 200, "voxel_p": 0.01, "seed": 1}


def arm(name, at, *, n, number, foci, shared=()):
    """Return experiments of `foci` foci near a place, and those whose study the other arm has as well."""
    rng = np.random.default_rng(n)

    def one(i, study, many):
        xyz = tuple(map(tuple, (np.array(at) + rng.normal(0, 4, (many, 3))).tolist()))
        return Experiment(f"{study}; {name}", n + i, xyz, "MNI", f"{name}.txt:{i}", study=study)

    made = [one(i, f"{name}{i} 2001", foci) for i in range(number)]
    return made + [one(number + k, study, many) for k, (study, many) in enumerate(shared)]


@pytest.fixture(scope="module")
def excluded(tmp_path_factory):
    """A contrast of 8 with 8 experiments of 3 foci, each arm's main effect having 4 more of other numbers of foci."""
    mask = tmp_path_factory.mktemp("mask") / "ball.nii.gz"
    write_ball(mask)
    both = [f"Shared{i} 2010" for i in range(4)]
    a = arm("a", (12, 4, 0), n=20, number=8, foci=3, shared=[(s, 9) for s in both])
    b = arm("b", (-12, 0, 8), n=21, number=8, foci=3, shared=[(s, 1) for s in both])
    mains = {
        name: ale.main_effect(build(made), name=name, mask=mask, shared="exclude", **SETTINGS)
        for name, made in (("a", a), ("b", b))
    }
    return {**mains, "c": ale.contrast(mains["a"], mains["b"], name="c", shared="exclude")}


def test_a_contrast_counts_the_experiments_that_it_compared(excluded):
    found = dict(facts(excluded["c"]))
    assert found["Experiments compared"] == "8 against 8"
    assert found["Foci per experiment"] == "3 against 3"
    assert found["Subjects per experiment"] == "23.5 against 24.5"
    assert not any("1.5-fold" in note for note in notes(excluded["c"]))


def test_experiments_left_out_of_a_contrast_have_no_part_in_its_clusters(excluded):
    table = ale.contribution_table(excluded["c"], excluded)
    assert len(table)
    assert not table["Experiment"].str.startswith("Shared").any()
    np.testing.assert_allclose(table.groupby(["Cluster ID", "Arm"])["Share (%)"].sum(), 100)


def test_methods_text_counts_what_was_compared(tmp_path):
    case = SHARED.parent / "field_cases" / "shared_exclude"
    if not case.is_dir():
        pytest.skip(f"the field case '{case.name}' is not here (expected beside the repository)")
    command = ["run", str(case), "-o", str(tmp_path / "out"), "--no-pictures", "-q"]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert "a-vs-b: 16 experiments, 80 foci" in CliRunner().invoke(app, ["check", str(case)]).stdout
    text = ale.cite(tmp_path / "out")
    assert text.count("(8 experiments of its 12; 4 excluded)") == 2
    assert "experiments of A and B had 6.0 and 4.0 foci, 23.5 and 18.5 subjects." in text
    assert "1.5-fold" not in text


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    mask = tmp_path_factory.mktemp("mask") / "ball.nii.gz"
    write_ball(mask)
    arms = [
        ale.main_effect(build(arm(name, at, n=n, number=12, foci=3)), name=name, mask=mask, **SETTINGS)
        for name, at, n in (("a", (12, 4, 0), 20), ("b", (-12, 0, 8), 40))
    ]
    return arms, mask


@pytest.mark.parametrize("gate", ["arms", "pooled", "none"])
def test_each_map_of_a_contrast_names_its_own_region(pair, gate):
    result = ale.contrast(*pair[0], gate=gate)
    for spec in map_specs_of(result):
        if spec.level in ("voxel-fwe", "size-fwe", "mass-fwe"):
            assert label(result, spec).endswith(
                "whole mask" if gate == "none" else f"pooled experiments at {_at(spec)}"
            )
            assert "p ≤ 0.05" in label(result, spec)
        elif spec.level == "uncorrected":
            where = {"arms": f"arms at {_at(spec)}", "pooled": f"pooled experiments at {_at(spec)}"}
            assert label(result, spec) == f"uncorrected p < 0.05, {where.get(gate, 'whole mask')}"


def _at(spec):
    return "cluster-size FWE" if spec.source == "cluster-fwe" else "uncorrected p"


def test_a_cluster_of_voxel_fwe_peaks_where_its_p_is_smallest(pair):
    result = ale.contrast(*pair[0], gate="pooled", iterations=99)
    table = contrast_table(result, source="cluster-fwe", level="voxel-fwe")
    z = find_map_spec(result, level="voxel-fwe", source="cluster-fwe").read(result)
    assert len(table)
    for side, sign in (("greater", 1), ("less", -1)):
        rows = table[np.sign(table["Peak Stat"]) == sign]
        inside = sign * z > 0
        if not inside.any():
            continue
        assert rows["p"].min() == result[f"p_voxel_fwe_{side}"].sel(input="cluster-fwe").values[inside].min()
        largest = (sign * result["difference"].values)[inside].max()
        assert (sign * rows["Peak Difference"]).max() == pytest.approx(largest, rel=1e-6)
    # Peak Stat is z of the uncorrected p, which stands there too.
    from scipy.stats import norm

    np.testing.assert_allclose(norm.sf(np.abs(table["Peak Stat"])), table["p uncorrected"], rtol=1e-4)


@pytest.mark.parametrize(("rule", "words"), [("plus-one", "p ≤ 0.05"), ("share", "p ≤ 0.05"), ("at", "level 0.05")])
def test_the_level_is_said_as_the_cut_has_it(pair, rule, words):
    result = pair[0][0]
    inference = json.loads(result.attrs["inference"]) | {"cluster_cut": rule}
    other = result.assign_attrs(inference=json.dumps(inference))
    spec = find_map_spec(other, level="cluster-size")
    assert f"cluster-size FWE {words}," in label(other, spec)


def test_a_threshold_of_few_iterations_has_no_upper_end(pair):
    few = ale.main_effect(pair[0][0], name="few", mask=pair[1], **{**SETTINGS, "iterations": 30})
    said = dict(facts(few))["Smallest cluster, size FWE"]
    assert re.fullmatch(r"\d+ voxels = \d+ mm³ \(95 % interval: at least .*; so few iterations .* no upper end\)", said)
    last = ale.scaling_table(few).query("What == 'size (mm3)'").iloc[-1]
    assert np.isinf(last["High"])
    assert last["Low"] <= last["Value"]


def test_the_table_of_many_runs_leaves_an_open_end_empty(tiny, tmp_path):
    for command in (
        ["run", str(tiny), "-o", str(tmp_path / "out"), "-i", "30", "--no-pictures", "-q"],
        ["collect", str(tmp_path / "out"), "-o", str(tmp_path / "all.tsv")],
    ):
        ended = CliRunner().invoke(app, command)
        assert ended.exit_code == 0, ended.output
    table = pd.read_csv(tmp_path / "all.tsv", sep="\t").query("kind == 'main-effect'")
    for cut in ("cut_size_voxels", "cut_size_mm3", "cut_mass", "cut_ale"):
        assert (table[f"{cut}_low"] <= table[cut]).all()
        assert table[f"{cut}_high"].isna().all()


def test_cite_knows_what_was_asked_of_a_run_after_it(tiny, tmp_path):
    out = tmp_path / "out"
    assert CliRunner().invoke(app, ["run", str(tiny), "-o", str(out), "--no-pictures", "-q"]).exit_code == 0
    assert "## Robustness" not in ale.cite(out)
    for command in (
        ["leave-one-out", str(out), "-q"],
        ["fail-safe", str(out), "--max", "4", "--series", "2", "--no-pictures", "-q"],
        ["collect", str(out), "--no-pictures"],
    ):
        ended = CliRunner().invoke(app, command)
        assert ended.exit_code == 0, ended.output
        robustness = ale.cite(out).split("## Robustness")[1]
        assert "again without each group of subjects in turn" in robustness
        assert ("(Acar et al., 2018)" in robustness) == (command[0] != "leave-one-out")
    assert (out / "logs" / "CITATION.md").read_text() == ale.cite(out)
    assert "again without each group of subjects in turn" in (out / "report.html").read_text()


def test_text_of_a_run_until_decided_speaks_of_no_p(tiny, tmp_path):
    command = ["run", str(tiny), "-o", str(tmp_path / "out"), "--until-decided", "240", "--no-pictures", "-q"]
    assert CliRunner().invoke(app, command).exit_code == 0
    text = ale.cite(tmp_path / "out").split("## Inference")[1].split("## Contrasts")[0]
    for false in ("p = (1 + r)", "with p ≤", "p-values above", "p is reported"):
        assert false not in text
    assert "(1 + r)/(1 + B) was at most 0.05" in text
    assert "given no p" in text
    assert "family-wise error at 0.051 of the clusters called significant" in text
