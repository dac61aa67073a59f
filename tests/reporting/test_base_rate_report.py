"""What a run's tables, maps, page, methods text and terminal say of the base-rate null."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from support.commands import ale as command
from support.studies import one_place, write_one_place
from typer.testing import CliRunner

import ale_dask as ale
from ale_dask.analyses.kinds import PLANS
from ale_dask.cli import app
from ale_dask.cli.follow import status_lines
from ale_dask.config.study import load_study
from ale_dask.datasets.base_rate import load_counts
from ale_dask.reporting.common.maps import find_map_spec
from ale_dask.reporting.figures.maps import alt_text
from ale_dask.reporting.tables.clusters import cluster_table
from ale_dask.reporting.write import summary_lines
from ale_dask.workflows import run as runs
from ale_dask.workflows.prepare import make_plans, prepare
from ale_dask.workflows.status import status


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    write_one_place(path, number=12)
    return path


def study_of(folder, null, correction):
    path = folder / f"{null}-{correction}.toml"
    path.write_text(one_place(null=null, iterations=99, settings=f'correction = "{correction}"'))
    return load_study(path)


def run(folder, out, *, null="both", correction="cluster-size"):
    study = study_of(folder, null, correction)
    results, record = runs.run(study, out, quiet=True)
    runs.write(results, record, out, study=study, pictures=False)
    return results["drug"], record


@pytest.fixture(scope="module")
def both(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("both") / "out"
    return out, *run(folder, out)


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "out"
    return out, *run(folder, out, null="base-rate")


def read(path):
    return pd.read_csv(path, sep="\t")


def test_a_cluster_has_its_base_rate_p_and_share(both):
    out, result, _ = both
    table = read(out / "drug" / "drug_clusters.tsv")
    table = table[table["Cluster Size (mm3)"].notna()]
    assert len(table)
    for row in table.to_dict("records"):
        at = result["cluster_size"].values.tolist().index(row["Cluster Size (voxels)"])
        assert row["p size base rate"] == pytest.approx(float(result["cluster_base_rate_size_p"][at]), rel=1e-3)
        share = 100 * float(result["cluster_base_rate_share"][at])
        assert row["Share base rate (%)"] == pytest.approx(share, abs=0.06)


def test_its_own_clusters_have_a_table(both):
    out, result, _ = both
    table = read(out / "drug" / "drug_clusters_base-rate.tsv")
    table = table[table["Cluster Size (mm3)"].notna()]
    assert table["Cluster Size (voxels)"].sum() == (result["z_base_rate_size_fwe"].values != 0).sum() > 0
    assert set(table["Uniform null"]) <= {"found", "not found"}
    assert (table["p size FWE"] <= 0.05).all()


def test_without_it_nothing_of_it_is_there(folder, tmp_path):
    result, record = run(folder, tmp_path / "o", null="uniform")
    assert not [c for c in cluster_table(result).columns if "base rate" in c]
    assert not list((tmp_path / "o").rglob("*base*ate*"))
    assert "base rate" not in (tmp_path / "o" / "report.html").read_text()
    assert "base rate" not in ale.cite(record)
    assert not any("base rate" in line for line in summary_lines({"drug": result}))


def test_maps_say_what_they_are(both):
    out, result, _ = both
    path = out / "drug" / "drug_z_desc-baseRateSize_level-cluster_corr-FWE_method-montecarlo"
    image, told = nib.load(f"{path}.nii.gz"), json.loads(path.with_suffix(".json").read_text())
    assert np.count_nonzero(image.get_fdata()) == (result["z_base_rate_size_fwe"].values != 0).sum()
    assert "against the base rate" in told["Controls"]
    assert told["Thresholds"]["base_rate"] == "literature"
    assert told["Thresholds"]["base_rate_sha256"] == load_counts().sha256
    assert told["Thresholds"]["base_rate_cut_size"] == result.attrs["base_rate_cut_size"]


def test_the_page_says_what_each_null_tests(both):
    page = (both[0] / "report.html").read_text()
    for said in (
        "converge more than foci spread evenly",
        "reported where the literature reports them",
        "is not thereby uninvolved",
        "against the base rate",
        "Smallest cluster, size FWE, base rate",
    ):
        assert said in page, said


def test_methods_text_cites_where_it_comes_from(both):
    text = ale.cite(both[2])
    for said in ("Langner et al., 2014", "Albajes-Eizagirre & Radua, 2018", "Yarkoni et al., 2011", "4 mm FWHM"):
        assert said in text


def test_terminal_says_what_survives(both):
    lines = summary_lines({"drug": both[1]})
    assert any(line.startswith("drug, against the base rate: ") for line in lines)


def test_alone_it_decides_what_is_found(alone, both):
    out, result, record = alone
    table = read(out / "drug" / "drug_clusters.tsv")
    whole = table[table["Cluster Size (mm3)"].notna()]
    kept = result["z_base_rate_size_fwe"].values != 0
    assert whole["Cluster Size (voxels)"].sum() == kept.sum()
    assert np.array_equal(kept, both[1]["z_base_rate_size_fwe"].values != 0)
    labels = nib.load(out / "drug" / "drug_label_tab-clust_corr-FWE.nii.gz").get_fdata()
    assert np.count_nonzero(labels) == kept.sum()
    told = (out / "drug" / "drug_label_tab-clust_corr-FWE.json").read_text()
    assert "against the base rate" in json.loads(told)["Controls"]
    assert "what is reported as surviving was tested against that base rate" in ale.cite(record)


@pytest.mark.parametrize("correction", ["cluster-mass", "voxel"])
def test_the_table_has_the_voxels_of_the_map_of_each_correction(folder, tmp_path, correction):
    result, _ = run(folder, tmp_path / "o", correction=correction)
    name = {"cluster-mass": "z_base_rate_mass_fwe", "voxel": "z_base_rate_voxel_fwe"}[correction]
    table = cluster_table(result, null="base-rate")
    assert table["Cluster Size (voxels)"].sum() == (result[name].values != 0).sum()


@pytest.mark.parametrize("null", ["both", "base-rate"])
def test_p_of_tfce_counts_the_draws_above_it(folder, tmp_path, null):
    out = tmp_path / "o"
    result, record = run(folder, out, null=null, correction="tfce")
    drawn = result["null_base_rate"].sel(base_rate_statistic="max_tfce").values
    enhanced, unit = result["base_rate_tfce"].values, result.attrs["base_rate_tfce_unit"]
    p, kept = result["base_rate_tfce_p"].values, result["z_base_rate_tfce_fwe"].values != 0
    at = int(np.argmax(enhanced))
    # The map is float32: a step of the integers is far less than what its last bit is worth.
    above = (drawn * unit > enhanced[at] * (1 - 1e-6)).sum()
    assert p[at] == p.min() == (1 + above) / (1 + len(drawn))
    assert np.array_equal(kept, p <= 0.05)
    assert 0 < kept.sum() < len(kept)
    stem = out / "drug" / "drug_z_desc-baseRateTfce_level-voxel_corr-FWE_method-montecarlo"
    assert np.count_nonzero(nib.load(f"{stem}.nii.gz").get_fdata()) == kept.sum()
    assert "against the base rate" in json.loads(stem.with_suffix(".json").read_text())["Controls"]
    table = read(out / "drug" / ("drug_clusters_base-rate.tsv" if null == "both" else "drug_clusters.tsv"))
    table = table[table["Cluster Size (mm3)"].notna()]
    assert table["Cluster Size (voxels)"].sum() == kept.sum()
    assert (table["p TFCE FWE"] <= 0.05).all()
    assert "TFCE was computed from that z" in ale.cite(record)
    assert "Smallest TFCE, FWE, base rate" in (out / "report.html").read_text()
    rows = ale.long_table([("o", study_of(folder, null, "tfce"), {"drug": result}, record)])
    own = rows[rows["level"] == ("base-rate-tfce" if null == "both" else "tfce")]
    assert own["p_tfce_base_rate"].min() == p[kept].min()
    assert own["p_tfce_base_rate"].max() <= 0.05
    assert own["cut_base_rate_tfce"].iloc[0] == result.attrs["base_rate_cut_tfce"] * unit
    assert ("by TFCE" in " ".join(summary_lines({"drug": result}))) == (null == "both")


@pytest.mark.parametrize("null", ["both", "base-rate"])
def test_the_threshold_so_far_is_that_of_the_null_asked_for(both, alone, null):
    out, result, _ = both if null == "both" else alone
    standing = {one.analysis: one for one in status(out)}
    against, uniform = standing["drug_base-rate"], standing["drug"]
    assert against.unit == "voxels"
    assert against.cut[0] == result.attrs["base_rate_cut_size"]
    assert against.cut[1] <= against.cut[0] <= against.cut[2]
    decisions = result["base_rate_cluster_size_decision"].values.tolist()
    assert against.clusters == {word: decisions.count(word) for word in ("significant", "not", "undecided")}
    assert (uniform.cut is None) == (uniform.clusters is None) == (null == "base-rate")
    assert "drug_base-rate" in " ".join(status_lines([against]))


def test_a_threshold_against_the_base_rate_is_in_z(folder, both):
    """The live view gets the column of the null of a plan and the unit of its steps."""
    study = study_of(folder, "both", "tfce")
    plan = make_plans(prepare(study))["drug_base-rate"]
    for correction, unit, of, step in (
        ("cluster-mass", "summed z", "max_mass", 1 / 4096),
        ("voxel", "z", "max_z", 1 / 4096),
        ("tfce", "TFCE", "max_tfce", 1 / (3 * 4096**3)),
    ):
        asked = study.inference.model_copy(update={"correction": correction})
        statistic = PLANS[plan.kind].statistic(plan, asked)
        assert statistic.unit == unit
        assert plan.statistics[statistic.column] == of
        assert statistic.value(1) == pytest.approx(step)
        found = PLANS[plan.kind].observed(plan, asked)
        assert (found is None) == (correction != "cluster-mass")
        if found is not None:
            assert found[0].tolist() == both[1]["base_rate_cluster_mass"].values.tolist()


@pytest.mark.parametrize("null", ["both", "base-rate"])
def test_thresholds_by_iterations_are_those_of_the_null_asked_for(both, alone, null):
    out, result, _ = both if null == "both" else alone
    table = read(out / "drug" / "drug_scaling.tsv")
    last = table[table["Iterations"] == 99].set_index("What")
    attrs, volume = result.attrs, 64
    for what, value in (
        ("size (mm3)", attrs["base_rate_cut_size"] * volume),
        ("mass (summed z)", attrs["base_rate_cut_mass"] / 4096),
        ("z", attrs["base_rate_cut_peak"] / 4096),
    ):
        assert last.loc[f"{what} against the base rate", "Value"] == pytest.approx(value, rel=1e-3)
    p = result["base_rate_cluster_size_p"].values
    own = last[last.index.str.contains("cluster 1 against the base rate")]
    assert own["Value"].iloc[0] == pytest.approx(p[np.argmax(result["base_rate_cluster_size"].values)], rel=1e-3)
    assert any(~last.index.str.contains("base rate")) == (null == "both")


class TestCommand:
    def test_it_counts_the_foci_of_files(self, folder, tmp_path):
        out = tmp_path / "own.nii.gz"
        done = CliRunner().invoke(app, ["base-rate", str(folder / "drug.txt"), "-o", str(out)])
        assert done.exit_code == 0, done.output
        foci = ale.read_foci(folder / "drug.txt")
        counts = load_counts(out)
        assert 0 < counts.volume.sum() <= foci.sizes["focus"]
        assert f"{int(counts.volume.sum())} foci of 12 experiments" in done.output
        again = tmp_path / "again.nii.gz"
        CliRunner().invoke(app, ["base-rate", str(folder / "drug.txt"), "-o", str(again)])
        assert again.read_bytes() == out.read_bytes()

    def test_what_is_no_coordinate_is_left_out_and_counted(self, tmp_path):
        (tmp_path / "marks.txt").write_text(
            "// Reference=MNI\n// one\n// Subjects=9\n1 2 3\n17 18 19\n30 20 4\n30 20 4\n"
        )
        done = command("base-rate", tmp_path / "marks.txt", "-o", tmp_path / "o.nii.gz")
        assert "1 foci of 1 experiments" in done.stdout
        assert "numbering" in done.stderr
        assert "twice" in done.stderr

    def test_another_ending_is_told(self, folder, tmp_path):
        done = CliRunner().invoke(app, ["base-rate", str(folder / "drug.txt"), "-o", str(tmp_path / "o.png")])
        assert done.exit_code != 0
        assert not (tmp_path / "o.png").exists()

    def test_a_run_takes_it(self, folder, tmp_path):
        write = ["base-rate", str(folder / "drug.txt"), "-o", str(tmp_path / "own.nii.gz")]
        CliRunner().invoke(app, write)
        (folder / "plain.toml").write_text(one_place(null="uniform", iterations=99))
        arguments = [
            "run",
            str(folder / "plain.toml"),
            "-o",
            str(tmp_path / "o"),
            "-q",
            "--no-pictures",
            "--null",
            "both",
        ]
        done = CliRunner().invoke(app, [*arguments, "--base-rate", str(tmp_path / "own.nii.gz")])
        assert done.exit_code == 0, done.output
        assert json.loads((tmp_path / "o" / "run.json").read_text())["inference"]["base_rate"] == "own.nii.gz"


def test_a_picture_names_the_peaks_of_the_table(both):
    _, result, _ = both
    spec = find_map_spec(result, level="base-rate-cluster-size")
    table = cluster_table(result, null="base-rate")
    for row in table[table["Cluster Size (mm3)"].notna()].to_dict("records"):
        assert f"at {row['X']:.0f}, {row['Y']:.0f}, {row['Z']:.0f} (" in alt_text(result, spec)
