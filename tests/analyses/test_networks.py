"""The share of each cluster in the networks of a label image: as counted, in every table, kept with the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from support.commands import ale as command
from support.effects import effect
from support.real_data import shared
from support.runs import finished_run, with_backend, with_inference

import ale_dask as ale
from ale_dask.analyses.findings.atlas import ATLASES
from ale_dask.analyses.networks import network_shares
from ale_dask.config.inference import ATLAS_LABELS, FETCHED_LABELS
from ale_dask.config.study import Study, load_study
from ale_dask.datasets.atlases import ATLAS_IMAGES
from ale_dask.errors import InputError


@pytest.fixture
def halves(tiny: Path, tmp_path: Path) -> Path:
    """Return a label image of the sides of the tiny mask with their names beside it; a layer is in neither."""
    image = nib.load(tiny / "ball.nii.gz")
    x = np.indices(image.shape)[0] - (image.shape[0] - 1) / 2
    nib.save(
        nib.Nifti1Image(np.select([x < 0, x > 2], [1, 2], 0).astype(np.int16), image.affine), tmp_path / "h.nii.gz"
    )
    (tmp_path / "h.txt").write_text("left\nright\n")
    return tmp_path / "h.nii.gz"


def test_names_of_label_images_are_those_that_there_are() -> None:
    assert set(FETCHED_LABELS) == set(ATLAS_IMAGES)
    assert set(ATLAS_LABELS) == set(ATLASES)


def test_shares_are_those_of_a_plain_count_and_nothing_else_changes(tiny: Path, halves: Path) -> None:
    foci = ale.read_foci(tiny / "drug.txt")
    plain = effect(foci, tiny, "drug")
    named = effect(foci, tiny, "drug", networks=halves)
    assert set(named) - set(plain) == {"network_of_voxel"}
    for name in plain:
        np.testing.assert_array_equal(plain[name], named[name])
    for source in ("cluster-fwe", "uncorrected"):
        without, table = (ale.cluster_table(result, source=source) for result in (plain, named))
        pd.testing.assert_frame_equal(table.drop(columns="Networks"), without)
        clusters = table[table["Cluster Size (mm3)"].notna()]
        for words, bounds in zip(clusters["Networks"], clusters["Bounds (mm)"], strict=True):
            low, high = map(float, bounds.split(",")[0].removeprefix("x ").split(" to "))
            assert ("left" in words) == (low < 0)
            assert ("right" in words or "unlabelled" in words) == (high >= 0)
    inside = named["cluster_of_voxel"].values == 1
    x = ale.load_mask(str(tiny / "ball.nii.gz")).to_mm(named["voxel_ijk"].values)[:, 0]
    step = float(np.diff(np.unique(x))[0])
    counts = {"left": (x < 0), "right": (x > 2 * step), "unlabelled": (x >= 0) & (x <= 2 * step)}
    found = network_shares(named, np.flatnonzero(inside))
    assert found == {name: part[inside].mean() for name, part in counts.items() if part[inside].any()}
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_tables_report_and_text_of_a_run_have_the_shares_and_the_run_keeps_the_image(
    tiny: Path, tiny_study: Study, halves: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _, before = finished_run(tiny_study, tmp_path / "plain", folder=tiny, write=True)
    study = with_backend(with_inference(tiny_study, networks=str(halves)), name="serial")
    results, record = ale.run(study, out, quiet=True)
    digests = {name: entry["digest"] for name, entry in record["analyses"].items()}
    assert digests == {name: entry["digest"] for name, entry in before["analyses"].items()}
    halves.unlink()
    command("collect", out, "--no-pictures", "-q")
    kept = load_study(out / "study.toml").inference.networks
    assert kept == str((out / "image_h.nii.gz").resolve())
    for name in results:
        for path in (out / name).glob("*_clusters*.tsv"):
            other = tmp_path / "plain" / path.relative_to(out)
            table, without = (pd.read_csv(p, sep="\t", dtype=str) for p in (path, other))
            pd.testing.assert_frame_equal(table.drop(columns="Networks"), without)
            assert table["Networks"].dropna().str.fullmatch(r"((left|right|unlabelled) \d+%(; )?)+").all()
    rows = pd.read_csv(out / "study_results.tsv", sep="\t")
    assert rows["networks"].notna().sum() == (rows["cluster"] != "none").sum() > 0
    assert "each network or region of “h”" in command("cite", out).stdout
    assert "Networks" in (out / "report.html").read_text()
    assert json.loads((out / "run.json").read_text())["inference"]["networks"] == "h"
    assert ale.verify(out, blocks=1) == []


def test_an_image_that_cannot_be_used_is_said_before_anything_runs(tiny: Path, tmp_path: Path) -> None:
    study = tiny / "study.toml"
    said = command("run", study, "-o", tmp_path / "out", "--networks", "yeo8", code=65).stderr
    assert "did you mean 'yeo7'" in said
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="no labels"):
        effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug", networks=_values(tiny, tmp_path))


def _values(tiny: Path, folder: Path) -> Path:
    image = nib.load(tiny / "ball.nii.gz")
    nib.save(nib.Nifti1Image(np.full(image.shape, 0.5, dtype=np.float32), image.affine), folder / "values.nii.gz")
    return folder / "values.nii.gz"


@pytest.mark.integration
def test_networks_of_yeo_are_cited_and_kept_with_the_run(
    tiny: Path, tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = shared("yeo_networks/TY7.nii.gz")
    monkeypatch.setenv("ALE_DASK_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "atlases").mkdir(parents=True)
    shutil.copy(image, tmp_path / "data" / "atlases")
    study = with_backend(with_inference(tiny_study, networks="yeo7"), name="serial")
    _, first = ale.run(study, tmp_path / "out", quiet=True)
    shutil.rmtree(tmp_path / "data")
    _, _, again = ale.collect(tmp_path / "out")
    for record in (first, again):
        assert record["inference"]["networks"] == "yeo7"
        text = ale.cite(record)
        assert "7 networks of Yeo et al. 2011 (Yeo et al., 2011)" in text
        assert "10.1152/jn.00338.2011" in text
