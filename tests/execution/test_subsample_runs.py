"""Runs with subsamples and a balanced contrast: their files; that bits stay is in test_every_analysis.py too."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr
from support.runs import Record, Results, digests_of, with_backend
from support.studies import write_tiny

import ale_dask as ale
from ale_dask.config.study import Study, load_study
from ale_dask.workflows.run import run, write

SUBSAMPLES = """[analysis.subsamples]
kind = "subsampled"
of = "drug"
size = 5
subsamples = 12
[analysis.pairs]
kind = "balanced-contrast"
arms = ["drug", "therapy"]
subsamples = 12
[backend]
block_size = 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study with two main effects, subsamples and a balanced contrast."""
    folder = write_tiny(tmp_path_factory.mktemp("subsamples") / "tiny")
    toml = folder / "study.toml"
    text = (
        toml.read_text()
        .replace('"uniform"', '"both"')
        .replace("voxel_p = 0.01", "voxel_p = 0.05")
        .replace("iterations = 60", "iterations = 60\ncluster_p = 0.2")
    )
    toml.write_text(text.partition("[analysis.drug-vs-therapy]")[0] + SUBSAMPLES)
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> tuple[Path, Study, Results, Record]:
    """Return the finished run in a plain loop with blocks of 16 iterations."""
    study = with_backend(load_study(folder / "study.toml"), name="serial", block_size=16)
    results, record = run(study, folder / "out", quiet=True)
    write(results, record, folder / "out", study=study, pictures=True)
    return folder / "out", study, results, record


def test_the_run_is_collected_from_its_folder(done: tuple[Path, Study, Results, Record]) -> None:
    out, _, results, record = done
    _, again, _ = ale.collect(out)
    for name in ("subsamples", "pairs"):
        xr.testing.assert_equal(results[name], again[name])
    assert not ale.verify(out, blocks=200)
    assert record["analyses"]["pairs"]["size"] == 5


@pytest.mark.parametrize("backend", ["serial", pytest.param("processes", marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_with_the_same_bits(
    done: tuple[Path, Study, Results, Record], tmp_path: Path, backend: str
) -> None:
    out, study, _, record = done
    copy = shutil.copytree(out, tmp_path / "killed")
    # As a kill leaves it: the first and the last of four blocks are there.
    first, *lost, last = sorted((copy / "store.zarr" / "subsamples_base-rate" / "null").glob("*/c/*"))
    assert len(lost) == 2
    for block in lost:
        shutil.rmtree(block)
    _, again = run(with_backend(study, name=backend, workers=2), copy, quiet=True)
    assert digests_of(again) == digests_of(record)
    assert "subsamples_base-rate" in digests_of(record)
    assert all(block.is_dir() for block in (first, *lost, last))


def test_files_tables_and_figures(done: tuple[Path, Study, Results, Record]) -> None:
    out, _, results, _ = done
    shown = pd.read_csv(out / "subsamples" / "subsamples_clusters.tsv", sep="\t")
    assert shown["Peak Share"].between(0.5, 1).all()
    assert (shown["Share low"] < shown["Peak Share"]).all()
    against = pd.read_csv(out / "subsamples" / "subsamples_clusters_base-rate.tsv", sep="\t")
    assert len(against)
    assert against["Peak Share"].max() == pytest.approx(
        float(results["subsamples"]["subsample_base_rate_share"].max()), abs=1e-3
    )
    for what in ("subsampleClusters_input-clusterFWE", "subsampleBaseRateClusters"):
        assert (out / "subsamples" / f"subsamples_stat_desc-{what}.png").is_file()
    pairs = pd.read_csv(out / "pairs" / "pairs_clusters.tsv", sep="\t")
    assert set(pairs["Direction"]) <= {"drug > therapy, balanced", "therapy > drug, balanced"}
    assert len(pairs) == len(results_table := ale.tables(results["pairs"])["clusters"])
    assert results_table["Peak Share"].max() == pytest.approx(float(results["pairs"]["balanced_share"][1].max()))
    table = pd.read_csv(out / "study_results.tsv", sep="\t")
    assert set(table.loc[table["share"].notna(), "analysis"]) <= {"subsamples", "pairs"}
    page = (out / "report.html").read_text()
    for words in (
        "In 50 % or more of 12 subsamples",
        "In 50 % or more of 12 pairs of subsamples",
        "share of subsamples",
        "The same against the base rate",
        "cluster-size FWE p ≤ 0.2, against the base rate",
    ):
        assert words in page
    headings = re.findall(r"<h3>(In 50 % or more of 12 .*?)</h3>", page)
    assert len(headings) == len(set(headings)) >= 4
    sidecar = (out / "pairs" / "pairs_stat_desc-group1MinusGroup2Clusters_level-voxel_corr-FWE.json").read_text()
    assert "a share of pairs is no p" in sidecar
    of_clusters = pd.read_csv(out / "pairs" / "pairs_clusters_desc-size_level-cluster.tsv", sep="\t")
    size = results["pairs"].sel(level="size-fwe")
    assert len(of_clusters) > 0
    assert of_clusters["Peak Share"].max() == pytest.approx(float(size["balanced_share"].max()))
    assert "cluster-size FWE p ≤ 0.2, cluster-forming p &lt; 0.05" in page
    found = "; ".join(
        f"{a} &gt; {b}, balanced, {int((volume > 0).sum())}"
        for (a, b), volume in zip([("drug", "therapy"), ("therapy", "drug")], size["pair_volume"].values, strict=True)
    )
    assert found in page
    assert (out / "pairs" / "pairs_stat_desc-group1MinusGroup2ClustersSize_level-cluster_corr-FWE.nii.gz").is_file()


def test_methods_text_protocol_and_checklist(done: tuple[Path, Study, Results, Record]) -> None:
    out, study, results, record = done
    text = ale.cite(record)
    attrs = results["subsamples"].attrs
    assert (
        "“subsamples” took 12 subsamples of 5 of the 8 groups of “drug”, drawn at random from 56 possible ones" in text
    )
    assert f"anything survived in {attrs['with_any'][0]} of them" in text
    assert f"; against the base rate in {attrs['base_rate_with_any'][0]}, with a largest share of" in text
    assert "Against the base rate each subsample had, in the same way," in text
    assert (
        "“pairs” took 12 pairs, drawn at random from 336 possible, of 5 of the 8 groups of “drug” and of the 6" in text
    )
    assert "Clusters of each pair were formed where p < 0.05 among its own relabellings" in text
    for words in ("Eickhoff et al., 2016", "Eickhoff et al., 2011", "Clopper–Pearson", "a share of pairs is no p"):
        assert words in text
    short = ale.cite(record, short=True)
    assert "share of 12 subsamples of 5 of 8 groups of subjects" in short
    assert "share of 12 pairs of subsamples of 5 groups" in short
    protocol = ale.protocol(study, date="2026-11-30")
    assert "**subsamples**: 12 subsamples of 5 groups of subjects of drug" in protocol
    assert "**pairs**: drug against therapy in 12 pairs of equally large subsamples" in protocol
    assert not ale.checklist(out).empty


def test_compared_and_exported(done: tuple[Path, Study, Results, Record], tmp_path: Path) -> None:
    out, _, results, _ = done
    assert ale.compare(results, results).maps["largest_difference"].max() == 0
    for kind in ("nimare", "gingerale"):
        assert ale.export(results, tmp_path / kind, to=kind)
    long = ale.long_table([("out", *ale.collect(out))])
    rows = long[long["kind"] == "subsampled"]
    assert rows["peak_statistic"].max() == pytest.approx(float(results["subsamples"]["subsample_share"].max()))


def test_follow_ups_leave_subsamples_alone(
    done: tuple[Path, Study, Results, Record], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other analyses of the same run are repeated without each experiment all the same, and have their cards."""
    out = shutil.copytree(done[0], tmp_path / "copy")
    with caplog.at_level("INFO"):
        found = ale.jackknife_of_run(out, quiet=True)
    assert set(found) == {"drug", "therapy"}
    assert "groups out themselves: subsamples, pairs" in caplog.text
    assert set(ale.evidence(out)["Analysis"]) == {"drug", "therapy"}
