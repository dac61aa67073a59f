"""One long table of several runs: every cluster of theirs, under the settings and thresholds it was found with."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.commands import ale
from support.runs import with_backend, with_inference
from support.studies import STUDY, experiments, write_ball, write_sample

import ale_dask
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.inference import Inference
from ale_dask.config.study import Study, load_study
from ale_dask.coordinates.foci import n_foci
from ale_dask.errors import StoreError
from ale_dask.numerics.ale import ale_from_s
from ale_dask.numerics.correct import UNREACHABLE
from ale_dask.reporting import long_records, long_table, long_tsv
from ale_dask.reporting.tables.study import cluster_tables, levels_of
from ale_dask.reporting.write import write_results
from ale_dask.workflows import run

ENDS = {
    ("main-effect", "cluster-size", ""): "",
    ("main-effect", "uncorrected", ""): "_uncorrected",
    ("contrast", "uncorrected", "cluster-fwe"): "",
    ("contrast", "uncorrected", "uncorrected"): "_uncorrected",
    ("contrast", "voxel-fwe", "cluster-fwe"): "_level-voxel",
    ("contrast", "voxel-fwe", "uncorrected"): "_level-voxel_uncorrected",
    ("conjunction", "thresholded", "cluster-fwe"): "",
    ("conjunction", "thresholded", "uncorrected"): "_uncorrected",
    ("conjunction", "voxel-fwe", "voxel-fwe"): "_level-voxel",
}
WHICH = ["analysis", "level", "input", "direction"]


def small(study: Study, **changes: Any) -> Study:
    return with_inference(with_backend(study, name="serial", block_size=20), **changes)


def read(text: str) -> pd.DataFrame:
    """Return a TSV with every number as Python reads it: pandas' own reader may round the last digit."""
    table = pd.read_csv(StringIO(text), sep="\t", dtype=str)
    for column in table.columns:
        with suppress(ValueError):
            table[column] = table[column].map(float, na_action="ignore").astype(float)
    return table


def whole(outs: list[Path]) -> pd.DataFrame:
    return long_table((str(out), *run.collect(out)) for out in outs)


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two finished runs of the tiny study with two seeds, their tables written."""
    folder = tmp_path_factory.mktemp("long")
    write_ball(folder / "ball.nii.gz")
    write_sample(folder / "drug.txt", experiments(1, number=8, planted=(12, 4, 0), prefix="drug"))
    write_sample(folder / "therapy.txt", experiments(2, number=6, planted=(-12, 0, 8), prefix="therapy"))
    (folder / "study.toml").write_text(STUDY)
    folders = []
    for seed in (3, 4):
        out = folder / f"seed-{seed}"
        results, _ = run.run(small(load_study(folder / "study.toml"), seed=seed), out, quiet=True)
        write_results(results, out, title="tiny", pictures=False)
        folders.append(out)
    return folders


def test_command_and_python_give_one_row_per_cluster_of_each_run(outs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.tsv"
    before = {p: p.stat().st_mtime_ns for out in outs for p in out.rglob("*") if p.suffix in (".gz", ".html", ".tsv")}
    done = ale("collect", *outs, "-o", path)
    assert before == {p: p.stat().st_mtime_ns for p in before}
    table = read(path.read_text())
    assert f"{table['cluster'].count()} clusters of 2 runs" in done.stdout
    python = whole(outs)
    assert long_tsv(python) == path.read_bytes()
    pd.testing.assert_frame_equal(table, read(long_tsv(python).decode()))
    assert table["out"].unique().tolist() == [str(o) for o in outs]
    assert set(table["simulated"]) == {"yes"}
    assert set(table["ale_dask_version"]) == {ale_dask.__version__}
    counted = 0
    for out in outs:
        seen = table[table["out"] == str(out)]
        for (kind, level, source), end in ENDS.items():
            of_kind = seen[seen["kind"] == kind]
            for name in of_kind["analysis"].unique():
                rows = of_kind[
                    (of_kind["analysis"] == name)
                    & (of_kind["level"] == level)
                    & (of_kind["input"].fillna("") == source)
                ]
                written = pd.read_csv(out / name / f"{name}_clusters{end}.tsv", sep="\t")
                written = written[written["Cluster Size (mm3)"].notna()]
                numbers = [c for c in ("X", "Y", "Z", "Peak Stat", "Peak Difference", "p") if c in written]
                written = written.astype(dict.fromkeys(numbers, float))
                clusters = rows[rows["cluster"].notna()]
                assert clusters["cluster"].tolist() == written["Cluster ID"].astype(int).tolist(), (name, level, source)
                np.testing.assert_array_equal(clusters["size_mm3"], written["Cluster Size (mm3)"])
                np.testing.assert_allclose(clusters[["x", "y", "z"]], written[["X", "Y", "Z"]], atol=0.051)
                np.testing.assert_allclose(clusters["peak_z"], written["Peak Stat"].abs(), atol=5.1e-4)
                if kind == "contrast":
                    assert clusters["direction"].tolist() == written["Direction"].tolist()
                    # Along the direction: positive wherever z is.
                    sign = np.sign(written["Peak Stat"])
                    np.testing.assert_allclose(
                        clusters["peak_statistic"], sign * written["Peak Difference"], rtol=1e-3, atol=0
                    )
                    np.testing.assert_allclose(clusters["p_peak"], written["p"], rtol=1e-3)
                counted += len(rows)
    # Nothing else is in the table.
    assert counted == len(table)
    assert table["cluster"].count() > 10


def test_settings_thresholds_and_intervals_are_the_results(outs: list[Path]) -> None:
    table = whole(outs)
    for out in outs:
        study, results, record = run.collect(out)
        for name, result in results.items():
            rows = table[(table["out"] == str(out)) & (table["analysis"] == name)]
            once = rows.drop_duplicates("analysis").iloc[0]
            attrs = result.attrs
            for setting, value in study.inference.model_dump().items():
                expected = {"mask": "mask.nii.gz", "iterations": attrs.get("iterations", 60)}.get(setting, value)
                assert rows[setting].isna().all() if expected is None else (rows[setting] == expected).all(), setting
            assert (rows["mask_sha256"] == attrs["mask_sha256"]).all()
            digest = record["analyses"][name]["digest"]
            assert rows["digest"].isna().all() if digest is None else (rows["digest"] == digest).all()
            if attrs["kind"] != "main-effect":
                assert (
                    rows[[c for c in rows if c.startswith(("cut_", "threshold_", "p_size", "p_mass"))]]
                    .isna()
                    .all(axis=None)
                )
                continue
            unit = 2.0 ** -attrs["scale_bits"]
            low, high = attrs["cut_size_interval"]
            expected = {
                "experiments": attrs["n_experiments"],
                "foci": attrs["n_foci"],
                "threshold_ale": attrs["threshold_ale"],
                "cut_size_voxels": attrs["cut_size"],
                "cut_size_voxels_low": low,
                "cut_size_voxels_high": high,
                "cut_size_mm3": 64 * attrs["cut_size"],
                "cut_size_mm3_low": 64 * low,
                "cut_size_mm3_high": 64 * high,
                "cut_mass": unit * attrs["cut_mass"],
                "cut_mass_low": unit * attrs["cut_mass_interval"][0],
                "cut_mass_high": unit * attrs["cut_mass_interval"][1],
                "cut_ale": attrs["cut_ale"],
                "cut_ale_low": ale_from_s(np.array(attrs["cut_s_interval"]), bits=attrs["scale_bits"])[0],
                "cut_ale_high": ale_from_s(np.array(attrs["cut_s_interval"]), bits=attrs["scale_bits"])[1],
            }
            ends = {
                "cut_size_voxels": "cut_size",
                "cut_size_mm3": "cut_size",
                "cut_mass": "cut_mass",
                "cut_ale": "cut_s",
            }
            # So few iterations give no upper end.
            open_ends = {f"{c}_high" for c, cut in ends.items() if attrs[f"{cut}_interval"][1] >= UNREACHABLE}
            assert {c for c in expected if pd.isna(once[c])} == open_ends
            assert {c: once[c] for c in expected if c not in open_ends} == {
                c: value for c, value in expected.items() if c not in open_ends
            }
            assert (rows["cut_size_voxels_low"] <= rows["cut_size_voxels"]).all()
            for row in rows[rows["cluster"].notna()].to_dict("records"):
                for word, observed in (("size", row["size_voxels"]), ("mass", row["mass"] / unit)):
                    at = np.flatnonzero(result[f"cluster_{word}"].values == observed)
                    assert at.size, "no such cluster in the result"
                    for column, variable in (("p", "p"), ("low", "p_low"), ("high", "p_high")):
                        value = row[f"p_{word}" if column == "p" else f"p_{word}_{column}"]
                        assert value in result[f"cluster_{word}_{variable}"].values[at]
    contrast = table[table["kind"] == "contrast"].iloc[0]
    pooled = table[table["analysis"] == "drug-vs-therapy_pooled"].iloc[0]
    assert [contrast["experiments_a"], contrast["experiments_b"]] == [8, 6]
    assert contrast["foci_a"] + contrast["foci_b"] == pooled["foci"]


@pytest.mark.parametrize("correction", ["cluster-size", "cluster-mass", "voxel"])
def test_survives_is_what_the_corrected_map_shows(tiny_study: Study, tmp_path: Path, correction: str) -> None:
    out = tmp_path / "o"
    results, _ = run.run(small(tiny_study, correction=correction), out, quiet=True)
    table = whole([out])
    variable = {"cluster-size": "z_size_fwe", "cluster-mass": "z_mass_fwe", "voxel": "z_voxel_fwe"}[correction]
    main = table[(table["kind"] == "main-effect") & table["cluster"].notna()]
    answers = set()
    for row in main.to_dict("records"):
        result = results[row["analysis"]]
        shown = result[variable].values != 0
        mm = result["voxel_ijk"].values * 4.0 + np.array(result.attrs["affine"]).reshape(4, 4)[:3, 3]
        peak = int(np.abs(mm - [row["x"], row["y"], row["z"]]).sum(axis=1).argmin())
        assert row["survives"] == ("yes" if shown[peak] else "no")
        if row["level"] == correction:
            assert row["survives"] == "yes"
        answers.add(row["survives"])
    assert answers == {"yes", "no"}
    others = table[(table["kind"] != "main-effect") & table["cluster"].notna()]
    assert (others["survives"].notna() == (others["level"] == "voxel-fwe")).all()


def test_what_has_no_cluster_has_its_row(tiny_study: Study, tmp_path: Path) -> None:
    # Five iterations have no cut at .05: nothing survives.
    out = tmp_path / "few"
    results, _ = run.run(small(tiny_study, iterations=5), out, quiet=True)
    table = whole([out])
    groups = table.groupby(WHICH, dropna=False)
    wanted = {(name, level, pd.NA, pd.NA) for name, r in results.items() for level in ("cluster-size", "uncorrected")
              if r.attrs["kind"] == "main-effect"} | {
        (name, level, source, direction)
        for name, r in results.items()
        for level, source in levels_of(r)
        for direction in model_of(r).directions
    }  # fmt: skip
    keys = table[WHICH].drop_duplicates().fillna("").itertuples(index=False, name=None)
    assert set(keys) == {tuple("" if part is pd.NA else part for part in key) for key in wanted}
    empty = 0
    for _, rows in groups:
        missing = rows["cluster"].isna()
        if missing.any():
            assert len(rows) == 1
            empty += 1
            columns = list(table.columns)
            cluster_part = columns[columns.index("cluster") : columns.index("digest")]
            assert rows[cluster_part].isna().all(axis=None)
            assert rows[["out", "analysis", "seed", "iterations", "ale_dask_version"]].notna().all(axis=None)
    assert len(table) == empty + sum(
        t["Cluster Size (mm3)"].notna().sum() for r in results.values() for t in cluster_tables(r).values()
    )
    nothing = table[(table["analysis"] == "drug") & (table["level"] == "cluster-size")].iloc[0]
    assert pd.isna(nothing["cluster"])
    assert nothing["threshold_ale"] > 0
    # A cut that the iterations do not reach has no interval either.
    assert nothing[[c for c in table if c.startswith("cut_")]].isna().all()
    assert not table[table["level"] == "uncorrected"]["cluster"].isna().all()


def test_arms_are_counted_without_what_stands_in_both(tiny: Path, tmp_path: Path) -> None:
    drug = (tiny / "drug.txt").read_text()
    first = drug.split("\n\n")[0].removeprefix("// Reference=MNI\n")
    (tiny / "therapy.txt").write_text((tiny / "therapy.txt").read_text() + f"\n{first}\n")
    study = small(load_study(tiny / "study.toml"), shared="exclude")
    results, _ = run.run(study, tmp_path / "o", quiet=True)
    table = whole([tmp_path / "o"])
    contrast = table[table["kind"] == "contrast"].iloc[0]
    pooled = results["drug-vs-therapy_pooled"]
    assert [contrast["experiments_a"], contrast["experiments_b"]] == [7, 6]
    assert results["therapy"].attrs["n_experiments"] == 7
    assert contrast["experiments_a"] + contrast["experiments_b"] == pooled.attrs["n_experiments"]
    assert contrast["foci_a"] + contrast["foci_b"] == int(n_foci(pooled).sum())


def test_json_is_the_table(outs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    records = json.loads(ale("collect", outs[0], "-o", path, "--json", "-q").stdout)
    table = read(path.read_text())
    assert list(records[0]) == list(table.columns)
    assert len(records) == len(table) > 10
    for record, row in zip(records, table.to_dict("records"), strict=True):
        for column, value in record.items():
            assert pd.isna(row[column]) if value is None else row[column] == value, column
    assert records == long_records(whole(outs[:1]))


def test_a_run_that_cannot_be_read_fails_the_command_and_writes_nothing(outs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("of before")
    missing, damaged = tmp_path / "unfinished", tmp_path / "damaged"
    for copy in (missing, damaged):
        shutil.copytree(outs[1], copy)
    next((missing / "store.zarr/drug/null").glob("*/c/1/0")).unlink()
    chunk = next((damaged / "store.zarr/therapy/null").glob("*/c/0/0"))
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    for bad, said, others in ((missing, "drug: 1 block", outs[:1]), (damaged, "therapy: 1 block", [])):
        done = ale("collect", *others, bad, "-o", path, "--json", code=74)
        assert f"ale-dask: {bad}: " in done.stderr
        assert said in done.stderr
        # With --json the error is the only thing on standard output.
        assert json.loads(done.stdout)["exit_code"] == 74
        assert path.read_text() == "of before"
    with pytest.raises(StoreError):
        whole([outs[0], missing])


def test_several_runs_without_a_table_and_a_folder_for_one_are_usage_errors(outs: list[Path], tmp_path: Path) -> None:
    before = (outs[0] / "study_results.tsv").stat().st_mtime_ns
    assert "give -o TABLE.tsv" in said(ale("collect", *outs, code=2).stderr)
    assert "is a directory" in said(ale("collect", *outs, "-o", tmp_path, code=2).stderr)
    assert "Missing argument" in said(ale("collect", code=2).stderr)
    assert (outs[0] / "study_results.tsv").stat().st_mtime_ns == before


def said(errors: str) -> str:
    """Return a usage error without the box that it is drawn in."""
    return " ".join(errors.replace("│", " ").split())


def test_every_setting_and_public_name_is_in_the_table(outs: list[Path]) -> None:
    assert ale_dask.long_table is long_table
    table = whole(outs[:1])
    assert set(Inference.model_fields) <= set(table.columns)
    assert len(set(table.columns)) == len(table.columns)
    assert long_table([]).columns.tolist() == table.columns.tolist()
    assert long_table([]).dtypes.equals(table.dtypes)
