"""Sweeps: every cell has the results of a run of its own, whatever it shares with others."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from support.commands import quietly as command
from support.messages import messages
from support.runs import with_backend
from support.studies import ANALYSES, table, write_ball

import ale_dask as ale
from ale_dask.analyses.main_effect_result import thresholded
from ale_dask.config.analysis import INPUTS
from ale_dask.config.study import Study, load_study
from ale_dask.errors import InputError, StoreError
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.storage.location import place
from ale_dask.workflows.run import run
from ale_dask.workflows.run_directory import save_inputs, stored_study
from ale_dask.workflows.status import status
from ale_dask.workflows.sweep import collect_sweep, plan_sweep
from ale_dask.workflows.sweep_cells import axis_from, cells_of, shown_axes

SIZE = "Cluster Size (mm3)"
STUDY = f"""
title = "tiny"
simulated = true
[foci.drug]
files = "drug.csv"
[foci.therapy]
files = "therapy.csv"
[inference]
mask = "ball.nii.gz"
null = "uniform"
iterations = 60
voxel_p = 0.01
min_volume = 64
contrast_p = 0.2
{ANALYSES}[sweep]
voxel_p = [0.01, 0.05]
"select.class" = ["SSRI", "SNRI", "*"]
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Return a study of tables, one of them with a column of drug classes."""
    folder = tmp_path / "study"
    folder.mkdir()
    write_ball(folder / "ball.nii.gz")
    table(folder / "drug.csv", 1, 9, (12, 4, 0), **{"class": ["SSRI", "SNRI", "SSRI"]})
    table(folder / "therapy.csv", 2, 6, (-12, 0, 8))
    (folder / "study.toml").write_text(STUDY)
    return with_backend(load_study(folder / "study.toml"), name="serial")


def test_every_cell_has_the_digests_and_clusters_of_a_run_of_it_alone(study: Study, tmp_path: Path) -> None:
    whole, record = ale.sweep(study, tmp_path / "out", quiet=True)
    assert list(record["cells"]) == list(dict.fromkeys(whole["out"]))
    assert len(record["cells"]) == 6
    for i, cell in enumerate(cells_of(study, study.sweep)):
        results, alone = run(cell.study, tmp_path / f"alone{i}", quiet=True)
        found = record["cells"][cell.label]["digests"]
        for name, analysis in alone["analyses"].items():
            assert found.get(name) == analysis["digest"], (cell.label, name)
        own = ale.long_table([(cell.label, cell.study, results, alone)])
        mine = whole[whole["out"] == cell.label].drop(columns=["sweep.voxel_p", "sweep.select.class"])
        pd.testing.assert_frame_equal(mine.reset_index(drop=True), own.drop(columns=[]), check_dtype=False)
    assert whole["sweep.select.class"].unique().tolist() == ["SSRI", "SNRI", "*"]
    # therapy is the same in all six: two thresholds in one pass; drug and pooled have one pass for each selection.
    kinds = [(p["kind"], p["main_effects"]) for p in record["passes"].values()]
    assert kinds.count(("variants", 2)) == 7
    assert record["tests"] == 24
    assert record["descriptive"].startswith("descriptive: 24 thresholded analyses in 6 cells")


def test_nulls_against_one_base_rate_share_a_pass_and_are_those_of_separate_runs(study: Study, tmp_path: Path) -> None:
    both = study.model_copy(update={"inference": study.inference.model_copy(update={"null": "both"})})
    whole, record = ale.sweep(both, tmp_path / "out", axes={"voxel_p": [0.01, 0.02]}, quiet=True)
    kinds = [(p["kind"], p["main_effects"]) for p in record["passes"].values()]
    # Of drug and of therapy; the pooled arms have no base-rate null.
    assert kinds.count(("base-rate-variants", 2)) == 2
    for i, cell in enumerate(cells_of(both, {"voxel_p": [0.01, 0.02]})):
        results, alone = run(cell.study, tmp_path / f"alone{i}", quiet=True)
        found = record["cells"][cell.label]["digests"]
        for name in ("drug", "therapy"):
            assert found[f"{name}_base-rate"] == alone["analyses"][name]["digest_base_rate"]
        own = ale.long_table([(cell.label, cell.study, results, alone)])
        mine = whole[whole["out"] == cell.label].drop(columns=["sweep.voxel_p"])
        pd.testing.assert_frame_equal(mine.reset_index(drop=True), own, check_dtype=False)


def test_stability_is_the_share_of_cells_and_the_long_table_is_parquet_too(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole, record = ale.sweep(study, out, axes={"voxel_p": [0.01, 0.02, 0.05]}, maps=True, quiet=True)
    cells = cells_of(study, {"voxel_p": [0.01, 0.02, 0.05]})
    results = [run(cell.study, tmp_path / f"alone{i}", quiet=True)[0] for i, cell in enumerate(cells)]
    for source in INPUTS:
        share = nib.load(out / "stability" / f"drug_input-{source}_stability.nii.gz").get_fdata()
        expected = np.mean([thresholded(r["drug"], source) for r in results], axis=0)
        np.testing.assert_allclose(share[tuple(results[0]["drug"]["voxel_ijk"].values.T)], expected, atol=1e-6)
        over = nib.load(out / "stability" / f"drug-vs-therapy_drug-over-therapy_input-{source}_stability.nii.gz")
        up = np.mean([r["drug-vs-therapy"]["z_contrast"].sel(input=source).values > 0 for r in results], axis=0)
        assert np.isclose(over.get_fdata().sum(), up.sum(), atol=1e-3)
        assert up.any()
    again = pd.read_parquet(out / "sweep.parquet")
    pd.testing.assert_frame_equal(again, whole, check_dtype=False)
    assert len(list((out / "cells").iterdir())) == 3
    assert (out / "axes" / "voxel_p.svg").read_text().count("SIMULATED") >= 1
    page = (out / "report.html").read_text()
    assert "SIMULATED DATA" in page
    assert 3 <= len(record["summary"]) <= 5
    assert all(html.escape(sentence) in page for sentence in record["summary"])
    places = pd.read_csv(out / "robustness.tsv", sep="\t", keep_default_na=False)
    # A row of the table leads to its place on its map of stability.
    assert len(re.findall(r'<tr data-at="0 \d+ ', page)) == len(places)
    always, some = (places["Survives"] == 3).sum(), (places["Survives"] < 3).sum()
    assert record["summary"][1].startswith(f"{always or 'None'} of ")
    assert any(sentence.startswith(f"{some} ha") for sentence in record["summary"]) == bool(some)
    for address in re.findall(r'class="file" href="([^"]+)"', page):
        assert (out / address).is_file()
    # The text for a paper is that of the first combination, and says what the sweep varied.
    text = ale.cite(out)
    assert "voxel_p (0.01, 0.02, 0.05)" in text
    assert record["summary"][1].split(":")[0] in text
    again, collected = collect_sweep(out)
    # The copy of the mask in OUT has a name of its own.
    pd.testing.assert_frame_equal(again.drop(columns="mask"), whole.drop(columns="mask"), check_dtype=False)
    assert collected["cells"] == record["cells"]
    assert (out / "report.html").read_text() == page.replace(*_seconds(record, collected))
    assert all(each.done == each.iterations > 0 for each in status(out))
    with pytest.raises(StoreError, match="holds a sweep"):
        ale.verify(out)


def test_a_sweep_that_was_submitted_ends_as_one_that_was_waited_for(study: Study, tmp_path: Path) -> None:
    axes = {"voxel_p": [0.01, 0.05]}
    ale.submit(study, tmp_path / "later", axes=axes, pictures=False)
    assert ale.follow(tmp_path / "later", lambda statuses: None)
    told = status(tmp_path / "later")
    # Without the copies of its files nothing can be planned again: status reads what the sweep keeps of its passes.
    (tmp_path / "later" / "foci").rename(tmp_path / "foci")
    assert status(tmp_path / "later") == told
    (tmp_path / "foci").rename(tmp_path / "later" / "foci")
    (tmp_path / "later" / "plans" / "passes.json").write_text("{}")
    assert status(tmp_path / "later") == told
    later = json.loads((tmp_path / "later" / "sweep.json").read_text())
    _, record = ale.sweep(study, tmp_path / "now", axes=axes, quiet=True)
    assert later["cells"] == record["cells"]
    assert later["summary"] == record["summary"]


def _seconds(*records: dict[str, object]) -> list[str]:
    """Return how the page prints the wall time of each record."""
    return [f"<dd>{record['wall_seconds']:,.0f} s</dd>" for record in records]


def test_places_are_where_any_cell_has_a_cluster(study: Study, tmp_path: Path) -> None:
    axes = {"voxel_p": [0.01, 0.05], "select.class": ["SSRI", "*"]}
    ale.sweep(study, tmp_path / "out", axes=axes, quiet=True)
    cells = {cell.label: cell for cell in cells_of(study, axes)}
    alone = {label: run(cell.study, tmp_path / cell.label, quiet=True)[0] for label, cell in cells.items()}
    written = pd.read_csv(tmp_path / "out" / "robustness.tsv", sep="\t", keep_default_na=False)
    table = ale.robustness_table(alone)
    same = ["Analysis", "Direction", "Place", "X", "Region", "First Cell", "Cells", "Survives"]
    pd.testing.assert_frame_equal(written[same], table[same], check_dtype=False)
    assert len(list((tmp_path / "out" / "places").glob("*.svg"))) == len(written.groupby(["Analysis", "Direction"]))
    for name in ("drug", "drug-vs-therapy"):
        for sign, side in (1, "" if name == "drug" else "drug > therapy"), (-1, "therapy > drug"):
            found = {
                label: [set(c.voxels.tolist()) for c in surviving_clusters(r[name], INPUTS[0]) if c.sign == sign]
                for label, r in alone.items()
            }
            rows = written[(written["Analysis"] == name) & (written["Direction"] == side)]
            first: list[tuple[str, set[int]]] = []
            for label, clusters in found.items():
                first += [(label, c) for c in clusters if not any(c & other for _, other in first)]
            assert len(rows) == len(first)
            for row in rows.to_dict("records"):
                voxels = [v for label, v in first if label == row["First Cell"] and len(v) * 64 == row[SIZE]]
                alive = [{cell: any(v & c for c in found[cell]) for cell in found} for v in voxels]
                assert {row["Survives"]} <= {sum(a.values()) for a in alive}
                told = [
                    "; ".join(
                        f"{value} {sum(a[cell] for cell in cells if cells[cell].values['voxel_p'] == value)}/2"
                        for value in axes["voxel_p"]
                    )
                    for a in alive
                ]
                assert row["voxel_p"] in told
    assert (written["Depends On"] != "").any()


def test_the_same_command_resumes_and_python_and_the_command_line_agree(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    toml = tmp_path / "study" / "study.toml"
    text, said = command("sweep", toml, "-o", out, "--set", "seed=1..3", "-b", "serial", "--json")
    assert re.search(r"about \S+ on 1 thread", said)
    first = json.loads(text)
    for chunk in list((out / "store.zarr").glob("*/null/0/c/*/0"))[::2]:
        chunk.unlink()
    before = (out / "sweep.tsv").read_bytes()
    _, again = ale.sweep(study, out, axes={"seed": [1, 2, 3]}, quiet=True)
    assert again["cells"] == first["cells"]
    assert (out / "sweep.tsv").read_bytes() == before
    text, _ = command("sweep", out / "sweep.toml", "-o", out, "-b", "serial", "--json", "-q")
    assert json.loads(text)["cells"] == first["cells"]
    text, _ = command("sweep", toml, "-o", tmp_path / "none", "--set", "seed=1..3", "-n")
    assert "3 cells, 12 nulls in 12 passes" in text
    assert not (tmp_path / "none").exists()


def test_a_cell_that_cannot_be_run_stops_the_sweep_before_it_starts_or_is_named(study: Study, tmp_path: Path) -> None:
    axes = {"select.class": ["SSRI", "NDRI"], "seed": [1, 2]}
    with pytest.raises(InputError, match=r"(?s)cell select.class=NDRI,seed=1: .*2 of 4 cells cannot be run"):
        ale.sweep(study, tmp_path / "out", axes=axes, quiet=True)
    assert not (tmp_path / "out").exists()
    with messages() as said:
        whole, record = ale.sweep(study, tmp_path / "out", axes=axes, keep_going=True, quiet=True)
    assert sorted(record["failed"]) == ["select.class=NDRI,seed=1", "select.class=NDRI,seed=2"]
    assert whole["out"].unique().tolist() == ["select.class=SSRI,seed=1", "select.class=SSRI,seed=2"]
    assert sum(line.startswith("left out: cell select.class=NDRI") for line in said) == 2


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"voxel": [1]}, "sweep.voxel: no such setting; did you mean 'voxel_p'.; there are voxel_p"),
        ({"voxel_p": [0.1, 2]}, r"cell voxel_p=2: inference.voxel_p: Input should be less than 1"),
        ({"select.dose": [1]}, "sweep.select.dose: no sample has a column 'dose'; there are .*class"),
        ({"seed": [1, 1]}, "sweep.seed: names the same value twice"),
        ({"networks": ["yeo7", "yeo17"]}, "sweep.networks: changes no result"),
        ({}, "nothing to vary"),
    ],
)
def test_what_cannot_be_swept(study: Study, axes: dict[str, list[object]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_sweep(study.model_copy(update={"sweep": {}}), axes)


@pytest.mark.parametrize("text", ["voxel_p", "=1", "voxel_p=", "seed=1,,2", "seed=3..1"])
def test_what_is_no_axis(text: str) -> None:
    with pytest.raises(InputError, match="--set "):
        axis_from(text)


def test_axes_as_they_are_written() -> None:
    assert axis_from("voxel_p=0.01,1e-3") == ("voxel_p", [0.01, 0.001])
    assert axis_from("seed=1..3,9") == ("seed", [1, 2, 3, 9])
    assert axis_from("mask = gm, brain") == ("mask", ["gm", "brain"])


def test_images_keep_their_names_in_the_folder_of_a_sweep(study: Study, tmp_path: Path) -> None:
    images = [tmp_path / "ball.nii.gz", tmp_path / "smaller.nii.gz"]
    for image, radius in zip(images, (9.0, 8.0), strict=True):
        write_ball(image, radius=radius)
    given = study.model_copy(update={"sweep": {"mask": [*map(str, images)]}})
    out = place(tmp_path / "out")
    save_inputs(given, out, backend=given.backend, name="sweep.toml")
    for image in images:
        image.unlink()
    kept = stored_study(out)
    assert shown_axes(kept.sweep) == {"mask": ["ball.nii.gz", "smaller.nii.gz"]}
    assert [cell.label for cell in cells_of(kept, kept.sweep)] == ["mask=ball.nii.gz", "mask=smaller.nii.gz"]
    assert all(Path(image).is_file() for image in kept.sweep["mask"])
